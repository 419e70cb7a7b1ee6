"""One Prefect server for all flow tests; for each test, places of its own with quick stages."""

import os

import pytest

from deployments.releases import create_app
from loop.ingest import ingest_uploads
from loop.labels import check_label
from loop.places import Places, get_places
from loop.repository import init_repository
from loop.sessions import generate
from loop.settings import get_settings
from loop.store import keep
from loop.upload import Record
from loop.values import canonical_json, digest_bytes, utc_now
from tests.candidates import serving
from tests.flows.doubles import install

os.environ |= {  # before Prefect is imported
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
}


@pytest.fixture(scope="session")
def prefect_server():
    """A real server on a database of its own."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def places(tmp_path, monkeypatch, prefect_server):
    """Real places in an empty home; the dear stages are quick, the release repository is served."""
    from tasks import human

    monkeypatch.setenv("LOOP_HOME", str(tmp_path))
    with serving(create_app(tmp_path / "releases")) as url:
        monkeypatch.setenv("LOOP_RELEASES_URL", url)
        forget()
        (tmp_path / "llama.cpp").mkdir()
        (tmp_path / "llama.cpp/build.json").write_text('{"version": "none, stages are quick"}')
        install(monkeypatch.setattr)
        monkeypatch.setattr(human, "PLAIN_WAIT", 120)  # a wait that nobody ends fails the test
        made = get_places()
        init_repository(made.releases, "rehearsal")
        yield made
        made.store.dispose()
    forget()


def forget():
    """The next question for settings and places is answered from the environment again."""
    get_settings.cache_clear()
    get_places.cache_clear()


def label_some(places: Places, count: int, seed: int = 1) -> None:
    """Sessions that were uploaded, ingested and labelled."""
    made = generate(seed, count)
    for one in made:
        record = Record(received=utc_now().date(), privacy="1", redacted={}, upload=one.upload)
        data = canonical_json(record)
        places.depot.put(f"raw/{one.upload['upload_id']}/{digest_bytes(data)}.json", data)
    ingest_uploads(places)
    keep(places.store, *(check_label(one.truth, made_by="simulated-labeller") for one in made))
