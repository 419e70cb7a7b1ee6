"""What several test files make only once: a tiny model, an adapter on it, and its GGUF."""

import os

import pytest

from loop.jobs import run_job
from loop.leash import descendants
from loop.settings import Settings
from loop.to_gguf import GgufJob
from tests.candidates import released_places
from tests.conftest import LLAMA, needs_program
from tests.postgres import new_database, programs, running_postgres
from tests.tiny_models import make_adapter, make_base
from tests.whole_cycles import released_cycle

os.environ["HF_HUB_OFFLINE"] = "1"  # before anybody imports transformers


@pytest.fixture
def no_child_left():
    """After the test lives no child process that did not live before it."""
    before = set(descendants(os.getpid()))
    yield
    assert set(descendants(os.getpid())) <= before


@pytest.fixture(scope="session")
def postgres():
    """The folder of a real server's socket."""
    with running_postgres(needs_program("initdb", "postgresql", programs())) as folder:
        yield folder


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request, tmp_path):
    """The address of a new, empty database, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    return new_database(request.getfixturevalue("postgres"))


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("tiny") / "base")


@pytest.fixture(scope="session")
def tiny_adapter(tmp_path_factory, tiny_base):
    return make_adapter(tmp_path_factory.mktemp("tiny") / "adapter", tiny_base)


@pytest.fixture(scope="session")
def llama_settings():
    """Settings that name a built llama.cpp; without one these tests cannot say anything."""
    settings = Settings(llama_cpp=LLAMA)
    if (settings.llama_root / "bin/llama-server").is_file():
        return settings
    missing = f"no llama.cpp at {settings.llama_root}: `python -m deployments.build_llama`"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory, tiny_base, llama_settings):
    """The tiny base without loss of precision, so that its answers can be compared."""
    job = GgufJob(
        folder=tiny_base,
        llama=llama_settings.llama_root,
        name="tiny",
        quantisation="F16",
        made=True,
        threads=2,
    )
    return run_job("to_gguf", job, tmp_path_factory.mktemp("gguf")) / "form/model.gguf"


@pytest.fixture(scope="session")
def released(tmp_path_factory):
    """Places with two cycles that led to releases, and the second of them."""
    with released_places(tmp_path_factory.mktemp("released")) as places:
        released_cycle(places, 1)
        yield places, released_cycle(places, 2)
