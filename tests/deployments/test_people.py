"""Simulated people against the real labeller."""

from dataclasses import replace
from datetime import date

import pytest
from sqlmodel import select

from deployments import people
from labeller.app import create_app
from loop import store
from loop.ingest import ingest_uploads
from loop.tables import Label
from loop.upload import Record
from loop.values import canonical_json, digest_bytes
from tests.candidates import serving
from tests.factories import empty_places, transcript_row

SESSIONS, MOST_LISTED = 5, 1000


@pytest.fixture
def places(tmp_path):
    made = empty_places(tmp_path)
    with serving(create_app(made)) as url:
        yield replace(made, settings=made.settings.model_copy(update={"labeller_url": url}))
    made.store.dispose()


def arrive(places, crowd):
    """The crowd's sessions come into the store."""
    for one in crowd.sessions:
        record = Record(received=date(2026, 3, 1), privacy="1", redacted={}, upload=one.upload)
        key = f"raw/{one.truth.transcript_id}/{digest_bytes(canonical_json(record))}.json"
        places.depot.put(key, canonical_json(record))
    ingest_uploads(places)


def labelled(places):
    with store.writing(places.store) as session:
        return set(session.exec(select(Label.transcript_id)))


def test_simulated_labellers_find_their_sessions_behind_any_number_of_older_ones(places):
    with store.writing(places.store) as session:
        older = date(2020, 1, 1)
        session.add_all(transcript_row(n, received=older) for n in range(MOST_LISTED + 1))
    crowd = people.crowd_of(1, SESSIONS, real=False)
    arrive(places, crowd)

    assert people.label(places, crowd) == SESSIONS
    assert labelled(places) == set(crowd.truths)
    assert people.label(places, crowd) == 0


def test_what_is_a_real_persons_to_label_is_left(places):
    crowd = people.crowd_of(1, people.LEFT_TO_PEOPLE + 2, real=True)
    arrive(places, crowd)

    assert people.label(places, crowd) == 2
    assert people.label(places, crowd) == 0


def test_a_session_that_somebody_else_judged_is_not_judged_again(places):
    crowd = people.crowd_of(1, SESSIONS, real=False)
    arrive(places, crowd)
    first = crowd.sessions[0].truth
    store.keep(places.store, Label(**first.model_dump(), made_by="ann"))

    assert people.label(places, crowd) == SESSIONS - 1
