"""One upload id more than once: at once, with another body, and after everything was forgotten."""

import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlmodel import Session, select

from intake.app import create_app
from intake.parts import make_parts
from loop.ingest import ingest_uploads
from loop.tables import Quarantined, Transcript
from tests.factories import empty_places, upload
from tests.intake.served import NEAR, free_port, measured, served, settings_in


@pytest.fixture
def places(tmp_path):
    """The places of the intake on the same folder."""
    opened = empty_places(tmp_path)
    yield opened
    opened.store.dispose()


def sent_at_once(home, bodies):
    """The answers of the real program to these bodies, and its outcomes, once it has stopped."""
    private = free_port()
    with served(home, private) as (url, process), ThreadPoolExecutor(32) as pool:
        asked = [pool.submit(httpx.post, f"{url}/transcripts", json=body) for body in bodies]
        answers = Counter((one.result().status_code, one.result().text) for one in asked)
        counts = measured(private)
        process.send_signal(signal.SIGTERM)
        process.wait()
    return answers, outcomes(counts)


def outcomes(counts):
    told = [line.split() for line in counts if line.startswith("intake_uploads_total{")]
    return {name.split('"')[1]: int(float(value)) for name, value in told}


def kept(places):
    with Session(places.store) as session:
        return [row.body.get("user_comment") for row in session.exec(select(Transcript))]


def aside(places):
    with Session(places.store) as session:
        return Counter(row.reason for row in session.exec(select(Quarantined)))


def test_the_same_upload_a_hundred_times_at_once_is_one_object(tmp_path, places):
    answers, counted = sent_at_once(tmp_path, [upload()] * 100)

    assert answers == {(200, "{}"): 100}
    assert counted == {"accepted": 1, "duplicate": 99, "divergent": 0}
    assert len(list(places.depot.keys("raw/"))) == 1
    assert ingest_uploads(places).ingested == 1


def test_ten_bodies_under_one_id_at_once_are_one_transcript_and_nine_that_are_set_aside(
    tmp_path, places
):
    bodies = [upload(user_comment=f"body {number % 10}") for number in range(100)]
    answers, counted = sent_at_once(tmp_path, bodies)
    ingest_uploads(places)

    assert answers == {(200, "{}"): 100}
    assert counted["accepted"] == 1
    assert counted["duplicate"] + counted["divergent"] == 99
    assert counted["divergent"] >= 9
    assert len(kept(places)) == 1
    assert aside(places) == {"second_body": 9}


def one_life(home, *bodies):
    """The outcomes of an intake that starts, takes these bodies, ships them and ends."""
    parts = make_parts(settings_in(home))
    with TestClient(create_app(parts), client=NEAR) as phone:
        answers = [phone.post("/transcripts", json=body) for body in bodies]
        counts = parts.metrics.text().decode().splitlines()
    assert [(one.status_code, one.text) for one in answers] == [(200, "{}")] * len(bodies)
    return outcomes(counts)


def test_an_id_that_comes_again_when_intake_has_forgotten_it_changes_nothing(tmp_path, places):
    """Intake cannot look into the depot; ingest knows what it has read."""
    first = one_life(tmp_path, upload(user_comment="first"))
    ingest_uploads(places)
    again = one_life(tmp_path, upload(user_comment="first"), upload(user_comment="second"))
    counts = ingest_uploads(places)

    assert first == {"accepted": 1, "duplicate": 0, "divergent": 0}
    assert again == {"accepted": 1, "duplicate": 0, "divergent": 1}
    assert (counts.ingested, counts.quarantined) == (0, {"second_body": 1})
    assert kept(places) == ["first"]


def test_what_waits_in_the_spool_is_remembered_over_a_restart(tmp_path, places):
    (tmp_path / "depot").mkdir(exist_ok=True)
    (tmp_path / "depot").rename(tmp_path / "away")
    (tmp_path / "depot").write_text("no folder: every write fails")
    one_life(tmp_path, upload(user_comment="first"))
    again = one_life(tmp_path, upload(user_comment="first"), upload(user_comment="second"))

    assert again == {"accepted": 0, "duplicate": 1, "divergent": 1}
