import shutil
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlmodel import Session, select

from loop import cycles, privacy
from loop.derived import Derived
from loop.errors import CycleError, DatasetError
from loop.freezing import freeze_dataset
from loop.places import open_places
from loop.rescanning import BATCH, rescan
from loop.settings import Settings
from loop.store import current_labels, keep, writing
from loop.tables import (
    CycleEnd,
    CycleOutcome,
    CycleTranscript,
    Dataset,
    OpenCycle,
    Release,
    Transcript,
)
from tests.candidates import released_places
from tests.factories import empty_places, transcript_row
from tests.killed import dies
from tests.labelled import cycle, labelled
from tests.late_depot import LateDepot
from tests.whole_cycles import released_cycle


@pytest.fixture
def places(tmp_path):
    """Places in which sessions of clean users led to a release, all under an older engine."""
    with released_places(tmp_path) as places:
        released_cycle(places)
        yield places


def plant(places, count, words):
    """The first few transcripts say this, as if an older engine had passed them."""
    with writing(places.store) as session:
        chosen = session.exec(select(Transcript).order_by(Transcript.id).limit(count)).all()
        for row in chosen:
            row.body = row.body | {"user_prompt": words}
        return [row.id for row in chosen]


def rows(places):
    with Session(places.store) as session:
        return {row.id: row for row in session.exec(select(Transcript))}


def test_clean_transcripts_stay_and_are_known_as_passed_by_todays_engine(places):
    found = rescan(places)

    assert (found.looked, found.quarantined, found.derived) == (120, 0, ())
    assert {row.privacy for row in rows(places).values()} == {privacy.VERSION}


def test_what_still_carries_something_is_quarantined_with_its_rules_and_never_learnt_again(places):
    planted = plant(places, 3, "reach me at ola@example.org or 192 . 0 . 2 . 17")
    found = rescan(places)

    kept = rows(places)
    assert (found.quarantined, found.rules) == (3, {"mail": 3, "ipv4_apart": 3})
    assert {kept[one].quarantined for one in planted} == {"identifier: ipv4_apart, mail"}
    assert {kept[one].privacy for one in planted} == {"1"}  # today's engine passed none of them
    with Session(places.store) as session:
        assert current_labels(session).keys().isdisjoint(planted)


def test_a_second_pass_changes_nothing_and_still_lists_what_was_learnt(places):
    plant(places, 2, "C:\\Users\\Annika")
    first, second = rescan(places), rescan(places)

    assert (second.looked, second.quarantined) == (118, 0)
    assert second.derived == first.derived


def test_the_models_and_manifests_that_learnt_from_them_are_listed(places):
    plant(places, 2, "call me: +1 555 010 0123")
    (derived,) = rescan(places).derived

    with Session(places.store) as session:
        (release,) = session.exec(select(Release).where(Release.verb == "publish"))
    assert derived == Derived("blox-tiny cycle 1", 2, (release.model_version,), (release.number,))


@pytest.fixture
def sessions(tmp_path, store_url):
    """Places with three clean sessions that an older engine passed."""
    made = open_places(Settings(home=tmp_path / "home", database_url=store_url))
    keep(made.store, *map(transcript_row, (1, 2, 3)))
    yield made
    made.store.dispose()


FIRST, SECOND, THIRD = (transcript_row(number).id for number in (1, 2, 3))
WHOLE = transcript_row(2).body
ODD = {
    "no events": {"user_prompt": "my blox is offline"},
    "an event that is none": WHOLE | {"events": ["verdict"]},
    "half a character": WHOLE | {"user_prompt": "it is \ud800 offline"},
    "a field that no rule looks into": WHOLE | {"nickname": "ola@example.org"},
    "no object": ["my blox is offline"],
}


def replace_body(places, body):
    with writing(places.store) as session:
        session.get_one(Transcript, SECOND).body = body


@pytest.mark.parametrize("body", ODD.values(), ids=ODD)
def test_an_odd_session_ends_no_rescan_and_is_never_taken_for_clean(sessions, body):
    replace_body(sessions, body)
    found, kept = rescan(sessions), rows(sessions)

    assert (found.looked, found.quarantined) == (3, 0)
    assert [one.transcript for one in found.unreadable] == [SECOND]
    assert kept[SECOND].quarantined == f"unreadable: {found.unreadable[0].fault}"
    assert {one: kept[one].privacy for one in kept} == {
        FIRST: privacy.VERSION,
        SECOND: "1",
        THIRD: privacy.VERSION,
    }


def test_a_row_that_the_store_itself_cannot_read_ends_no_rescan(tmp_path):
    places = empty_places(tmp_path)  # Postgres would not take such a row
    keep(places.store, *map(transcript_row, (1, 2, 3)))
    with places.store.begin() as connection:
        connection.execute(
            text("UPDATE transcript SET origin = 'x' WHERE id = :id"), {"id": SECOND}
        )
    found = rescan(places)
    places.store.dispose()

    assert [(one.transcript, one.fault) for one in found.unreadable] == [(SECOND, "LookupError")]


def test_an_odd_session_in_which_something_is_found_is_quarantined_for_that(sessions):
    replace_body(sessions, WHOLE | {"nickname": "x", "user_prompt": "write to ola@example.org"})
    found = rescan(sessions)

    assert (found.quarantined, found.unreadable) == (1, ())
    assert rows(sessions)[SECOND].quarantined == "identifier: mail"


def test_an_odd_session_is_looked_at_again_and_counts_once_it_can_be_read(sessions):
    replace_body(sessions, ODD["no events"])
    first, second = rescan(sessions), rescan(sessions)
    replace_body(sessions, WHOLE)
    third, kept = rescan(sessions), rows(sessions)[SECOND]

    assert [len(one.unreadable) for one in (first, second, third)] == [1, 1, 0]
    assert (kept.quarantined, kept.quarantined_at, kept.privacy) == (None, None, privacy.VERSION)


def test_an_odd_session_is_not_deleted_before_its_time(sessions):
    replace_body(sessions, ODD["no events"])
    rescan(sessions)

    assert rows(sessions)[SECOND].quarantined_at is None  # else it would go like a leaking one


def frozen_by(places, number):
    """A cycle that froze the labels there are and is open, held by a run."""
    ref = cycle(places, number)
    freeze_dataset(places, ref)
    with writing(places.store) as session:
        session.merge(OpenCycle(model=ref.model, cycle_id=ref.id, flow_run_id="run"))
    return ref


def end_of(places, ref):
    with Session(places.store) as session:
        return session.get_one(CycleEnd, ref.id)


def test_an_open_cycle_that_froze_a_leaking_session_is_cancelled_and_its_next_stage_says_why(
    sessions,
):
    labelled(sessions, 1, 60)
    ref = frozen_by(sessions, 1)
    plant(sessions, 60, "write to ola@example.org")
    found = rescan(sessions)

    assert found.ended == (ref,)
    assert [one.cycle for one in found.derived] == ["blox-tiny cycle 1"]
    assert cycles.held_cycles(sessions) == []
    assert end_of(sessions, ref).outcome == CycleOutcome.CANCELLED
    with (
        pytest.raises(
            CycleError, match="ended as cancelled: a rescan found something in a session"
        ),
        cycles.stage(sessions, ref, "train"),
    ):
        pass


def test_an_open_cycle_that_froze_no_leaking_session_goes_on(sessions):
    labelled(sessions, 1, 60)
    ref = frozen_by(sessions, 1)
    replace_body(sessions, WHOLE | {"user_prompt": "write to ola@example.org"})
    found = rescan(sessions)

    assert (found.quarantined, found.ended) == (1, ())
    assert cycles.held_cycles(sessions) == [(ref, "run")]


def test_the_next_cycle_learns_without_the_leaking_session(sessions):
    labelled(sessions, 1, 60)
    frozen_by(sessions, 1)
    leaking = plant(sessions, 10, "write to ola@example.org")
    rescan(sessions)
    second = frozen_by(sessions, 2)
    with Session(sessions.store) as session:
        frozen = set(
            session.exec(
                select(CycleTranscript.transcript_id).where(CycleTranscript.cycle_id == second.id)
            )
        )

    assert len(frozen) == 53  # of the ten, three have no label
    assert frozen.isdisjoint(leaking)
    assert rescan(sessions).ended == ()


def test_what_is_quarantined_while_it_is_frozen_makes_no_dataset_and_a_retry_does(sessions):
    labelled(sessions, 1, 60)
    plant(sessions, 10, "write to ola@example.org")
    late, first = LateDepot(sessions, "put_tree", lambda: rescan(sessions)), cycle(sessions, 1)
    with pytest.raises(DatasetError, match="was quarantined at this very moment; retry the cycle"):
        freeze_dataset(replace(sessions, depot=late), first)
    with Session(sessions.store) as session:
        assert session.exec(select(Dataset)).all() == []
    freeze_dataset(sessions, first)

    with Session(sessions.store) as session:
        assert len(session.exec(select(CycleTranscript)).all()) == 53


def test_wherever_it_is_killed_no_open_cycle_learns_from_what_is_quarantined(tmp_path):
    first = empty_places(tmp_path / "first")
    labelled(first, 1, 30)
    ref = frozen_by(first, 1)
    plant(first, 2, "write to ola@example.org")
    first.store.dispose()
    for at in range(1, 200):
        shutil.copytree(tmp_path / "first", tmp_path / str(at))
        places = empty_places(tmp_path / str(at))
        died = dies(places, at, rescan)
        leaks = [row for row in rows(places).values() if row.quarantined]
        learning = cycles.held_cycles(places)
        found = rescan(places)
        places.store.dispose()

        assert len(leaks) == (0 if learning else 2)
        assert found.ended == ((ref,) if learning else ())
        if not died:
            break

    assert 30 < at < 199


LEAKING = WHOLE | {"user_prompt": "write to ola@example.org"}
EXPECTED: dict[str, tuple[Any, str | None]] = {
    "clean": (WHOLE, None),
    "leaking": (LEAKING, "identifier: mail"),
    "odd": (ODD["no events"], "unreadable: KeyError"),
    "odd and leaking": (LEAKING | {"nickname": "x"}, "identifier: mail"),
}


def kept_as(places, kinds):
    made = [transcript_row(number) for number, _ in enumerate(kinds)]
    for row, kind in zip(made, kinds, strict=True):
        row.body = EXPECTED[kind][0]
    keep(places.store, *made)
    return [row.id for row in made]


@settings(max_examples=15, deadline=None)
@given(kinds=st.lists(st.sampled_from(sorted(EXPECTED)), max_size=8))
def test_whatever_lies_beside_it_each_session_ends_as_it_is(tmp_path_factory, kinds):
    places = empty_places(tmp_path_factory.mktemp("home"))
    ids = kept_as(places, kinds)
    first, kept = rescan(places), rows(places)
    second, again = rescan(places), rows(places)
    places.store.dispose()
    odd = [one for one, kind in zip(ids, kinds, strict=True) if kind == "odd"]

    assert [kept[one].quarantined for one in ids] == [EXPECTED[kind][1] for kind in kinds]
    assert {one for one in ids if kept[one].privacy == privacy.VERSION} == {
        one for one in ids if kept[one].quarantined is None
    }
    assert [error.transcript for error in first.unreadable] == odd
    assert [error.transcript for error in second.unreadable] == odd
    assert (second.looked, second.quarantined) == (kinds.count("clean") + len(odd), 0)
    assert kept == again


def test_odd_sessions_at_the_edges_of_batches_hold_up_no_other(tmp_path):
    places = empty_places(tmp_path)
    kinds = ["clean"] * (2 * BATCH + 1)
    for at in (0, BATCH - 1, BATCH, 2 * BATCH):
        kinds[at] = "odd"
    kinds[BATCH + 1] = "leaking"
    kept_as(places, kinds)
    found, kept = rescan(places), rows(places)
    places.store.dispose()

    assert (found.looked, found.quarantined, len(found.unreadable)) == (2 * BATCH + 1, 1, 4)
    assert [row.privacy for row in kept.values()].count(privacy.VERSION) == 2 * BATCH - 4
