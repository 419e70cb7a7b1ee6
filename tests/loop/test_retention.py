"""Retention: what goes when, what stays, and that it may be killed anywhere."""

import shutil
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlmodel import Session, select

from loop import cycles
from loop.cycles import Ending
from loop.errors import NotFound
from loop.freezing import freeze_dataset
from loop.ingest import NotIngested, ingest_uploads, not_ingested
from loop.labels import check_label
from loop.places import open_places
from loop.report import cycle_report
from loop.rescanning import rescan
from loop.retention import find_due, find_overdue, retain
from loop.sessions import generate
from loop.settings import Settings
from loop.store import keep, upload_digest, writing
from loop.tables import (
    CanaryReport,
    Card,
    Cycle,
    CycleEnd,
    CycleOutcome,
    Dataset,
    Decision,
    Forgotten,
    GateReport,
    Label,
    ModelForm,
    OpenCycle,
    Quarantined,
    Release,
    SignOff,
    Transcript,
)
from loop.upload import Record
from loop.values import digest_bytes, digest_json, utc_now
from tests.candidates import released_places
from tests.factories import age_file, empty_places, transcript_row, upload
from tests.killed import dies, holding
from tests.labelled import cycle, labelled
from tests.whole_cycles import released_cycle

NOW = utc_now()


@pytest.fixture
def places(tmp_path, store_url):
    made = open_places(Settings(home=tmp_path / "home", database_url=store_url))
    yield made
    made.store.dispose()


def in_days(days):
    return NOW + timedelta(days=days)


def put(places, number, age=0, **more):
    """A raw object that was received some days ago; returns its key."""
    sent, day = upload(number, **more), NOW.date() - timedelta(days=age)
    data = Record(received=day, privacy="1", redacted={}, upload=sent).to_bytes()
    key = f"raw/{sent['upload_id']}/{digest_bytes(data)}.json"
    places.depot.put(key, data)
    return key


def as_if_it_came(places, key, days_ago):
    age_file(places.settings.depot_place / key, days_ago)


def rows(places, table):
    with Session(places.store) as session:
        return session.exec(select(table)).all()


def raw(places):
    return list(places.depot.keys("raw/"))


def test_an_object_goes_thirty_days_after_receipt_and_only_once_it_was_read(places):
    old, young = put(places, 1, age=31), put(places, 2, age=30)
    ingest_uploads(places)
    unread = put(places, 3, age=400)
    due = retain(places, NOW)

    assert due.raw == (old,)
    assert raw(places) == [young, unread]
    assert len(rows(places, Transcript)) == 2


def test_an_object_that_went_is_not_missed_and_the_first_body_still_wins(places):
    put(places, 1, age=31, user_comment="first")
    ingest_uploads(places)
    retain(places, NOW)
    before = not_ingested(places)
    put(places, 1, age=31, user_comment="first")
    put(places, 1, age=0, user_comment="first")
    second = put(places, 1, age=0, user_comment="second")
    counts = ingest_uploads(places)

    assert before == NotIngested(0, None)
    assert (counts.ingested, counts.known, counts.quarantined) == (0, 2, {"second_body": 1})
    assert [row.body["user_comment"] for row in rows(places, Transcript)] == ["first"]
    assert {row.name for row in rows(places, Quarantined)} >= {second}
    assert rescan(places).looked == 1


def test_what_was_set_aside_goes_with_its_object_after_ninety_days(places):
    put(places, 1)
    ingest_uploads(places)
    put(places, 1, user_comment="second")
    places.depot.put("raw/odd/object.json", b"no record")
    keep(places.store, Quarantined(name="a.json", record=digest_json(1), reason="bad_record"))
    ingest_uploads(places)
    retain(places, in_days(29))
    early = len(rows(places, Quarantined))
    retain(places, in_days(91))

    assert early == 3
    assert rows(places, Quarantined) == raw(places) == []
    assert len(rows(places, Transcript)) == 1


def test_a_session_goes_after_two_years_with_labels_and_every_dataset_it_is_in(places):
    labelled(places, 1, 60)
    frozen = freeze_dataset(places, cycle(places, 1))
    with writing(places.store) as session:
        first = session.exec(select(Transcript).order_by(Transcript.id).limit(1)).one()
        first.received = NOW.date() - timedelta(days=731)
    due = retain(places, NOW)

    assert due.sessions == (first.id,)
    assert len(rows(places, Transcript)) == len(rows(places, Label)) == 59
    assert [row.digest for row in rows(places, Dataset)] == [frozen.digest]
    with pytest.raises(NotFound):
        places.depot.fetch_tree("datasets", frozen.digest)
    assert [(row.upload, row.why) for row in rows(places, Forgotten)] == [
        (upload_digest(first.id), "retention")
    ]


def test_a_session_that_a_rescan_quarantined_goes_ninety_days_later(places):
    keep(places.store, transcript_row(1, prompt="write to ola@example.org"))
    keep(places.store, transcript_row(2))
    rescan(places)
    retain(places, in_days(89))
    early = len(rows(places, Transcript))
    retain(places, in_days(91))

    assert early == 2
    assert [row.id for row in rows(places, Transcript)] == [transcript_row(2).id]


def test_files_that_intake_set_aside_go_ninety_days_after_they_were_moved_there(places):
    places.settings.aside.mkdir(parents=True)
    (places.settings.aside / "notes.txt.17").write_text("foreign")
    (places.settings.aside / "folder").mkdir()
    (places.settings.aside / "link").symlink_to(places.settings.home)
    (places.settings.spool / "waits.json").write_text("{}")
    retain(places, in_days(89))
    early = len(list(places.settings.aside.iterdir()))
    retain(places, in_days(91))

    assert early == 3
    assert list(places.settings.aside.iterdir()) == []
    assert (places.settings.spool / "waits.json").exists()


def test_what_an_open_cycle_learns_from_waits_for_its_end(places):
    labelled(places, 1, 60)
    frozen = freeze_dataset(places, ref := cycle(places, 1))
    keep(places.store, OpenCycle(model=ref.model, cycle_id=ref.id))
    waits = retain(places, in_days(731))
    cycles.end_cycle(places, ref, Ending(CycleOutcome.REHEARSED, "done"))
    then = retain(places, in_days(731))

    assert (len(waits.held), len(waits.sessions)) == (60, 0)
    assert (len(then.held), len(then.sessions)) == (0, 60)
    assert rows(places, Transcript) == []
    assert list(places.depot.keys(f"datasets/{frozen.digest}/")) == []


def test_a_dry_run_says_the_same_and_deletes_nothing(places):
    put(places, 1, age=31)
    ingest_uploads(places)
    there = raw(places)
    dry = retain(places, NOW, dry_run=True)

    assert raw(places) == there
    assert retain(places, NOW) == dry
    assert raw(places) == []


def test_what_was_not_forgotten_to_the_end_is_forgotten_now(places):
    put(places, 1)
    ingest_uploads(places)
    digest = upload_digest(upload(1)["upload_id"])
    keep(places.store, Forgotten(upload=digest, why="asked", made_by="ada", learnt=[]))
    due = retain(places, utc_now())

    assert due.unfinished == (upload(1)["upload_id"],)
    assert rows(places, Transcript) == raw(places) == []
    assert [row.made_by for row in rows(places, Forgotten)] == ["ada"]


AUDIT = (Cycle, CycleEnd, Dataset, GateReport, CanaryReport, Card, SignOff, Release, ModelForm)
MARKER = "the purple walrus lamp blinks"


def plant(places):
    """One more session among those of a cycle, labelled with a word of the labeller's own."""
    made = next(one for one in generate(99, 20) if one.truth.decision != Decision.ACCEPT)
    sent = made.upload | {"user_prompt": MARKER}
    data = Record(received=NOW.date(), privacy="1", redacted={}, upload=sent).to_bytes()
    places.depot.put(f"raw/{sent['upload_id']}/{digest_bytes(data)}.json", data)
    ingest_uploads(places)
    note = made.truth.model_copy(update={"note": MARKER})
    keep(places.store, check_label(note, made_by="ada"))


def kept(places):
    return [[row.model_dump() for row in rows(places, table)] for table in AUDIT]


def test_what_holds_no_session_stays_for_ever_and_the_claim_is_true(tmp_path):
    with released_places(tmp_path) as places:
        plant(places)
        cycle_report(places, released_cycle(places))
        before, held = kept(places), holding(tmp_path, MARKER)
        retain(places, in_days(10_000))

        assert all(before)
        assert {path.split("/")[-3] for path in held if "/" in path} == {"raw", "datasets"}
        assert rows(places, Transcript) == rows(places, Label) == []
        assert kept(places) == before
        assert holding(tmp_path, MARKER) == set()
        assert cycle_report(places, cycles.ref_of(rows(places, Cycle)[0])).is_file()


def old_home(home):
    """Something of every kind that is due, and something young."""
    places = empty_places(home)
    labelled(places, 1, 30)
    freeze_dataset(places, cycle(places, 1))
    for number, age in ((1, 31), (2, 800), (3, 0)):
        put(places, number, age=age)
    places.depot.put("raw/odd/object.json", b"no record")
    ingest_uploads(places)
    with writing(places.store) as session:
        session.exec(select(Quarantined)).one().at = in_days(-91)
        for row in session.exec(select(Transcript).limit(3)):
            row.received = NOW.date() - timedelta(days=731)
    places.store.dispose()


def left(places):
    there = [row.id for row in rows(places, Transcript)], rows(places, Quarantined)
    return there, list(places.depot.keys("")), len(rows(places, Forgotten))


def test_whoever_is_killed_at_any_step_is_followed_by_one_who_ends_it(tmp_path):
    old_home(tmp_path / "first")
    ends = []
    for at in range(1, 100):
        shutil.copytree(tmp_path / "first", tmp_path / str(at))
        places = empty_places(tmp_path / str(at))
        died = dies(places, at, lambda broken: retain(broken, NOW))
        retain(places, NOW)
        ends.append(left(places))
        again = find_due(places, NOW)
        places.store.dispose()

        assert again.sentence() == ""
        if not died:
            break

    assert 20 < at < 99
    assert [end == ends[-1] for end in ends] == [True] * at


AGES = st.lists(st.integers(0, 900), min_size=1, max_size=6)


@settings(max_examples=10, deadline=None)
@given(ages=AGES, steps=st.lists(st.integers(0, 400), max_size=4))
def test_however_often_it_runs_the_same_is_left_in_the_end(tmp_path_factory, ages, steps):
    daily, once = (empty_places(tmp_path_factory.mktemp("home")) for _ in range(2))
    for places in (daily, once):
        for number, age in enumerate(ages):
            put(places, number, age=age)
        ingest_uploads(places)
    for day in sorted(steps):
        retain(daily, in_days(day))
    for places in (daily, once):
        retain(places, in_days(400))

    assert left(daily) == left(once)
    assert len(rows(once, Transcript)) == sum(age + 400 <= 730 for age in ages)
    assert raw(once) == []
    for places in (daily, once):
        places.store.dispose()


def test_what_is_due_for_two_days_is_overdue(places):
    key = put(places, 1, age=31)
    as_if_it_came(places, key, 31)
    ingest_uploads(places)

    assert find_overdue(places, in_days(1)).sentence() == ""
    assert find_overdue(places, in_days(2)).sentence() == "objects that were read into the store: 1"


def test_a_copy_that_comes_again_is_overdue_two_days_after_it_came_and_not_at_once(places):
    put(places, 1, age=40)
    ingest_uploads(places)
    retain(places, NOW)
    again = put(places, 1, age=40)
    as_if_it_came(places, again, 1)
    early, late = find_overdue(places, NOW), find_overdue(places, in_days(2))

    assert find_due(places, NOW).raw == late.raw == (again,)
    assert early.sentence() == ""


def test_an_upload_that_was_shipped_late_is_not_overdue_at_once(places):
    key = put(places, 1, age=40)
    as_if_it_came(places, key, 1)
    ingest_uploads(places)

    assert find_overdue(places, NOW).sentence() == ""
    assert retain(places, NOW).raw == (key,)


def test_a_late_copy_of_a_forgotten_upload_is_overdue_two_days_after_it_came(places):
    id_ = upload(1)["upload_id"]
    long_ago = Forgotten(
        upload=upload_digest(id_), why="asked", made_by="ada", learnt=[], at=in_days(-90)
    )
    keep(places.store, long_ago)
    as_if_it_came(places, put(places, 1), 1)
    early, late = find_overdue(places, NOW), find_overdue(places, in_days(2))

    assert find_due(places, NOW).unfinished == late.unfinished == (id_,)
    assert early.sentence() == ""


@settings(max_examples=15, deadline=None)
@given(
    objects=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=6),
    day=st.integers(0, 40),
)
def test_overdue_is_what_was_due_two_days_ago_and_has_been_there_since(
    tmp_path_factory, objects, day
):
    places = empty_places(tmp_path_factory.mktemp("home"))
    keys = [put(places, number, age=age) for number, (age, _) in enumerate(objects)]
    for key, (_, came) in zip(keys, objects, strict=True):
        as_if_it_came(places, key, came)
    ingest_uploads(places)
    overdue, due = (find(places, in_days(day)).raw for find in (find_overdue, find_due))
    places.store.dispose()
    both = zip(keys, objects, strict=True)

    assert list(overdue) == [
        key for key, (age, came) in both if age + day - 2 > 30 and came + day > 2
    ]
    assert set(overdue) <= set(due)
