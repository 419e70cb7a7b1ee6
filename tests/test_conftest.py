import sys
from pathlib import Path

import pytest

from tests.conftest import needs_program


def test_a_program_that_is_there_is_found(monkeypatch):
    here = Path(sys.executable)
    monkeypatch.setenv("PATH", str(here.parent))

    assert needs_program(here.name) == str(here)


def test_without_the_program_one_line_says_what_to_install(monkeypatch):
    monkeypatch.delenv("CI", raising=False)

    with pytest.raises(pytest.skip.Exception, match="apt-get install no-such-program"):
        needs_program("no-such-program")


def test_in_ci_a_skip_is_a_failure(monkeypatch):
    monkeypatch.setenv("CI", "true")

    with pytest.raises(pytest.fail.Exception, match="in CI a skip is a failure"):
        needs_program("no-such-program")
