import os
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlmodel import Session, select

from loop.depot import FolderDepot
from loop.depots import open_depot
from loop.errors import DepotAway, NotFound
from loop.ingest import IngestCounts, NotIngested, ingest_uploads, not_ingested
from loop.settings import Settings
from loop.store import get_transcript, keep
from loop.tables import Decision, Label, LabelIn, Quarantined, Transcript
from loop.transcript import Transcript as Content
from loop.transcript import transcript_of
from loop.upload import Record, read_upload
from loop.values import Origin, Severity, digest_bytes
from tests.factories import empty_places, upload

DAY = date(2026, 3, 1)


@pytest.fixture
def places(tmp_path):
    return empty_places(tmp_path)


def put(places, number=1, *, day=DAY, key=None, redacted=None, **more):
    """A raw object as intake's shipper leaves it; returns its key."""
    sent = upload(number, **more)
    record = Record(received=day, privacy="1", redacted=redacted or {}, upload=sent)
    data = record.to_bytes()
    key = key or f"raw/{sent['upload_id']}/{digest_bytes(data)}.json"
    places.depot.put(key, data)
    return key


def rows(places, table):
    with Session(places.store) as session:
        return session.exec(select(table)).all()


def reasons(places):
    return sorted(row.reason for row in rows(places, Quarantined))


def test_a_raw_object_becomes_a_transcript_with_its_day_and_its_origin(places):
    key = put(places, schema_version=2, origin="tree", model_version="m.1")

    counts = ingest_uploads(places)

    (row,) = rows(places, Transcript)
    assert counts == IngestCounts(1, 0, {}, 1, DAY)
    assert (row.received, row.origin, row.model_version) == (DAY, Origin.TREE, "m.1")
    assert (row.source, row.privacy) == ("upload", "1")
    assert key == f"raw/{row.id}/{row.record}.json"


class BadSector(FolderDepot):
    """A depot in which one object cannot be read."""

    def __init__(self, root, bad, error=None):
        super().__init__(root)
        self.bad, self.error = bad, error or OSError("input/output error")

    def get(self, key):
        if key == self.bad:
            raise self.error
        return super().get(key)


def test_an_object_that_cannot_be_read_holds_up_no_other_and_is_tried_again(places):
    bad = put(places, 1)
    put(places, 2)
    damaged = replace(places, depot=BadSector(places.settings.depot_place, bad))
    first = ingest_uploads(damaged)
    second = ingest_uploads(places)

    assert (first.ingested, first.failed) == (1, 1)
    assert (second.ingested, second.known, second.failed) == (1, 1, 0)


def test_a_depot_that_goes_away_ends_the_pass_and_the_next_one_goes_on(places):
    keys = sorted(put(places, number) for number in (1, 2, 3))
    away = DepotAway("unavailable", "s3://loop", "503 SlowDown")
    leaving = replace(places, depot=BadSector(places.settings.depot_place, keys[1], away))
    with pytest.raises(DepotAway):
        ingest_uploads(leaving)
    with pytest.raises(DepotAway):
        not_ingested(leaving)
    taken = len(rows(places, Transcript))
    rest = ingest_uploads(places)

    assert (taken, rest.ingested, rest.known) == (1, 2, 1)


def test_a_bucket_is_listed_once_and_only_what_is_new_is_read(places, object_store, tmp_path):
    settings = Settings(home=tmp_path, depot=object_store.new_place(), **object_store.settings())
    bucket = replace(places, depot=open_depot(settings.depot_place, settings))
    for number in (1, 2):
        put(bucket, number)
    first = ingest_uploads(bucket)
    put(bucket, 3)
    object_store.proxy.asked.clear()
    second = ingest_uploads(bucket)

    assert (first.ingested, second.ingested, second.known) == (2, 1, 2)
    actions = [asked.action for asked in object_store.proxy.asked]
    assert actions == ["s3:ListBucket", "s3:GetObject"]


def test_the_stored_body_is_the_whole_session(places):
    put(places)
    ingest_uploads(places)

    (row,) = rows(places, Transcript)
    content = transcript_of(read_upload(upload()))
    assert Content.model_validate(row.body) == content
    assert row.digest == content.digest()


def test_a_transcript_says_what_was_redacted_in_it(places):
    put(places, redacted={"phone": 1, "mail": 3})
    ingest_uploads(places)

    (row,) = rows(places, Transcript)
    assert row.reasons == ["redacted_mail", "redacted_phone"]


def test_a_second_pass_adds_nothing(places):
    put(places, 1)
    put(places, 2)
    put(places, 3, key="raw/odd/object.json")
    first = ingest_uploads(places)

    again = ingest_uploads(places)

    assert (first.ingested, first.known) == (2, 0)
    assert (again.ingested, again.known) == (0, 3)
    assert again.quarantined == first.quarantined == {"bad_digest": 1}


def test_the_same_upload_on_another_day_is_known_and_stays_as_it_was(places):
    put(places, day=DAY)
    ingest_uploads(places)
    put(places, day=date(2026, 3, 31))

    counts = ingest_uploads(places)

    assert (counts.ingested, counts.known, counts.quarantined) == (0, 2, {})
    assert rows(places, Transcript)[0].received == DAY
    assert not_ingested(places) == NotIngested(0, None)  # and the repeat is read only once


def test_another_body_under_a_known_id_is_quarantined_and_the_first_stays(places):
    put(places, user_comment="first")
    ingest_uploads(places)
    key = put(places, user_comment="second")

    counts = ingest_uploads(places)

    (aside,) = rows(places, Quarantined)
    assert counts.quarantined == {"second_body": 1}
    assert aside.name == key
    assert rows(places, Transcript)[0].body["user_comment"] == "first"


def came_at(places, key, second):
    """The moment at which an object came into the depot, made up."""
    os.utime(places.depot.path(key), (second, second))


BODIES = [f"body {n}" for n in range(6)]


@pytest.mark.parametrize("first", range(6))
def test_of_bodies_in_one_pass_the_one_that_came_first_stays(places, first):
    for number, words in enumerate(BODIES):
        came_at(places, put(places, user_comment=words), (number - first) % 6)

    counts = ingest_uploads(places)

    assert counts.quarantined == {"second_body": 5}
    assert rows(places, Transcript)[0].body["user_comment"] == BODIES[first]


def test_a_body_of_an_earlier_day_came_first_whenever_it_was_shipped(places):
    came_at(places, put(places, day=date(2026, 3, 2), user_comment="shipped at once"), 1)
    came_at(places, put(places, day=date(2026, 3, 1), user_comment="shipped late"), 2)
    ingest_uploads(places)

    assert rows(places, Transcript)[0].body["user_comment"] == "shipped late"


def test_one_session_under_two_ids_is_two_transcripts_with_one_digest(places):
    put(places, 1)
    put(places, 2)

    ingest_uploads(places)

    assert len({row.id for row in rows(places, Transcript)}) == 2
    assert len({row.digest for row in rows(places, Transcript)}) == 1


def test_an_object_that_is_not_what_its_key_says_is_quarantined(places):
    put(places, 1, key=f"raw/{upload(1)['upload_id']}/{'0' * 64}.json")
    data = Record(received=DAY, privacy="1", redacted={}, upload=upload(2)).to_bytes()
    places.depot.put(f"raw/{upload(3)['upload_id']}/{digest_bytes(data)}.json", data)

    ingest_uploads(places)

    assert reasons(places) == ["bad_digest", "id_mismatch"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not_json"),
        (b"[" * 5000, "too_deep"),
        (b"\xff", "not_utf8"),
        (b"{}", "bad_record"),
        (b'{"a": NaN}', "bad_number"),
    ],
)
def test_an_unreadable_object_is_quarantined_by_reason_and_blocks_nothing(places, data, reason):
    places.depot.put(f"raw/{upload(9)['upload_id']}/{digest_bytes(data)}.json", data)
    put(places)

    counts = ingest_uploads(places)

    assert (counts.ingested, counts.quarantined) == (1, {reason: 1})


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"schema_version": 7}, "unknown_version"), ({"user_rating": 9}, "schema_violation")],
)
def test_a_record_whose_upload_breaks_the_schema_is_quarantined(places, change, reason):
    put(places, **change)

    assert ingest_uploads(places).quarantined == {reason: 1}


def test_the_counts_say_how_many_wait_for_a_person_and_since_when(places):
    for number, day in enumerate((3, 1, 2), start=1):
        put(places, number, day=date(2026, 3, day))
    ingest_uploads(places)
    sent = LabelIn(
        transcript_id=upload(2)["upload_id"],
        decision=Decision.ACCEPT,
        severity_correct=True,
        root_cause_correct=True,
        actions_correct=True,
        severity=Severity.RED,
        root_cause="clock_unsynced",
        actions=[],
    )
    keep(places.store, Label.model_validate(sent, update={"made_by": "ola"}))

    counts = ingest_uploads(places)

    assert (counts.unlabelled, counts.oldest_unlabelled) == (2, date(2026, 3, 2))


def test_an_empty_depot_is_no_error(places):
    assert ingest_uploads(places) == IngestCounts(0, 0, {}, 0, None)


def test_what_lies_elsewhere_in_the_depot_is_not_ingested(places):
    places.depot.put("imports/a/b.json", b"{}")

    ingest_uploads(places)

    with Session(places.store) as session, pytest.raises(NotFound):
        get_transcript(session, "a")
    assert reasons(places) == []


@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from("ab")), min_size=2, max_size=8))
def test_however_uploads_repeat_each_id_is_one_transcript_and_nothing_is_lost(
    tmp_path_factory, sent
):
    places = empty_places(tmp_path_factory.mktemp("ingest"))
    for number, words in sent:
        put(places, number, user_comment=words)
        ingest_uploads(places)

    ids = {upload(number)["upload_id"] for number, _ in sent}
    bodies = len(set(sent))
    assert {row.id for row in rows(places, Transcript)} == ids
    assert reasons(places) == ["second_body"] * (bodies - len(ids))
