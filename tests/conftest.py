"""What the whole test run shares."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

from loop.settings import Settings
from tests.intake.small_disk import may_mount

LLAMA = Settings().llama_root
"""The built llama.cpp: all that tests may know of what an operator has set up, and only read."""
for name in [name for name in os.environ if name.startswith("LOOP_")]:
    del os.environ[name]
os.environ["LOOP_HOME"] = f"{os.devnull}/no-home"  # a test that names none of its own fails
Settings.model_config["env_file"] = None

settings.register_profile("patient", deadline=None)  # a busy machine is no finding
settings.load_profile("patient")


CONTRACTS = Path(__file__).parents[2] / "shared/contracts"
"""Where the device's and the phone's own schemas may lie, beside the project."""
REAL = CONTRACTS.parent / "real/labelled"
"""Where labelled records of devices may lie."""


@pytest.fixture(scope="session")
def object_store():
    """An object store behind a proxy that can fail; tests leave it passing everything on."""
    from tests.object_store import running_store

    with running_store() as store:
        yield store


@pytest.fixture(autouse=True)
def settings_stay():
    """What a command under test tells its processes ends with the test."""
    before = {name: value for name, value in os.environ.items() if name.startswith("LOOP_")}
    yield
    for name in [name for name in os.environ if name.startswith("LOOP_")]:
        del os.environ[name]
    os.environ.update(before)


def pytest_report_header() -> str:
    """What this run cannot compare with, in one line."""
    beside = (_beside(*one) for one in (("outside contracts", CONTRACTS), ("records", REAL)))
    return "\n".join((*beside, _small_disks()))


def _beside(what: str, folder: Path) -> str:
    if folder.is_dir():
        return f"{what}: {folder}"
    return f"{what}: none at {folder}; tests against them are not collected"


def _small_disks() -> str:
    if may_mount():
        return "small disks: mounted where a test needs one"
    return "small disks: none may be mounted; tests on one are not collected, doubles fail instead"


def needs_program(name: str, package: str = "", path: str | None = None) -> str:
    """The path of a system program; without it the test is skipped, and in CI it fails.

    Args:
        name: The program.
        package: The Debian package that holds it, where that has another name.
        path: Where to look instead of PATH.
    """
    if found := shutil.which(name, path=path):
        return found
    line = f"{name} is not installed; as root on Debian: apt-get install {package or name}"
    if os.environ.get("CI") == "true":
        pytest.fail(f"in CI a skip is a failure: {line}", pytrace=False)
    pytest.skip(line, allow_module_level=True)
