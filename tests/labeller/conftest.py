"""The labeller over a store of its own, asked as a browser on this machine asks."""

import pytest
from fastapi.testclient import TestClient

from labeller.app import create_app
from tests.factories import empty_places


@pytest.fixture
def places(tmp_path):
    opened = empty_places(tmp_path / "home")
    yield opened
    opened.store.dispose()


@pytest.fixture
def client(places):
    with TestClient(create_app(places, person="ann"), base_url="http://127.0.0.1:8020") as opened:
        yield opened


@pytest.fixture
def agreement():
    """A label that agrees with `transcript_row(1)`."""
    return {
        "transcript_id": "00000000-0000-4000-8000-000000000001",
        "decision": "accept",
        "severity_correct": True,
        "root_cause_correct": True,
        "actions_correct": True,
        "severity": "red",
        "root_cause": "clock_unsynced",
        "actions": [{"name": "ntp.resync", "args": {}}],
    }
