import logging
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from intake.app import create_app
from intake.parts import make_parts
from intake.spool import Room, Spool
from tests.factories import upload
from tests.intake.served import NEAR, settings_in


class BuggySpool(Spool):
    """A spool with a bug whose message holds what was uploaded, as that of a KeyError may."""

    def keep(self, record):
        raise KeyError(record.upload["user_comment"])


@pytest.fixture
def client(tmp_path):
    parts = make_parts(settings_in(tmp_path))
    buggy = replace(parts, spool=BuggySpool(tmp_path / "buggy", Room()))
    with TestClient(create_app(buggy), client=NEAR) as client:
        yield client


def test_a_bug_is_answered_and_counted_and_its_text_is_kept_by_nobody(client, caplog):
    caplog.set_level(logging.DEBUG)
    told = {"X-Anonymizer-Version": "0.1.0"}
    answer = client.post("/transcripts", json=upload(user_comment="planted words"), headers=told)

    assert (answer.status_code, answer.json()) == (503, {"error": "storage_unavailable"})
    assert answer.headers["Retry-After"] == "300"
    metrics = client.app.state.parts.metrics.text().decode()
    assert 'intake_refused_total{reason="bug"} 1.0' in metrics
    assert "a bug ended a request: KeyError at test_guard.py:" in caplog.text
    assert "planted" not in caplog.text
