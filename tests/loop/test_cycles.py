import pytest
from sqlmodel import col

from loop import cycles, store
from loop.cycles import STAGES, CyclePlan, Ending
from loop.errors import CycleError
from loop.tables import CycleOutcome, CycleTranscript, StageMark, Transcript
from loop.values import Outcome, digest_json
from tests.factories import empty_places, transcript_row

PLAN = CyclePlan(
    "blox-tiny", "tiny-cpu", digest_json("recipe"), "core", digest_json("suite"), 5, True
)


@pytest.fixture
def places(tmp_path):
    return empty_places(tmp_path)


def dead(run):
    return False


def live(run):
    return True


def opened(places, run="first", is_live=live, **changed):
    return cycles.open_cycle(places, CyclePlan(**vars(PLAN) | changed), run, is_live)


def marks(places, cycle):
    with store.writing(places.store) as session:
        return [(mark.stage, mark.mark) for mark in store.marks_of(session, cycle.id)]


def test_the_first_cycle_of_a_model_is_number_one_and_the_next_opens_after_it_ended(places):
    first = opened(places)
    cycles.end_cycle(places, first, Ending(CycleOutcome.REHEARSED, "done"))
    second = opened(places)

    assert (first.number, second.number) == (1, 2)
    assert cycles.next_number(places, PLAN.model) == 2


def test_a_run_that_opens_its_own_cycle_again_continues_it(places):
    assert opened(places, "first") == opened(places, "first")


def test_a_live_run_keeps_others_away(places):
    opened(places, "first")

    with pytest.raises(CycleError, match="blox-tiny cycle 1 is held by flow run first"):
        opened(places, "second", live)


def test_a_new_run_takes_the_cycle_over_from_a_dead_one(places):
    first = opened(places, "first")
    second = opened(places, "second", dead)

    assert second == first
    assert cycles.held_cycles(places) == [(first, "second")]


@pytest.mark.parametrize(
    "changed",
    [
        {"recipe_digest": digest_json("edited")},
        {"suite_digest": digest_json("edited")},
        {"labels_wanted": 6},
        {"dry_run": False},
    ],
)
def test_an_open_cycle_is_only_continued_as_it_was_opened(places, changed):
    opened(places, "first")

    with pytest.raises(CycleError, match=f"opened with {next(iter(changed))}"):
        opened(places, "second", dead, **changed)
    assert cycles.held_cycles(places)[0][1] == "first"


def test_two_models_have_cycles_of_their_own(places):
    one, other = opened(places), opened(places, "second", model="blox-other")

    assert (one.number, other.number) == (1, 1)
    assert len(cycles.held_cycles(places)) == 2


def test_a_recipe_must_make_the_model_that_is_asked_for(places):
    with pytest.raises(CycleError, match="tiny-cpu makes blox-tiny"):
        cycles.plan_cycle("another", "tiny-cpu", 5, dry_run=True)
    with pytest.raises(CycleError, match="at least 20"):
        cycles.plan_cycle("blox-tiny", "tiny-cpu", 0, dry_run=True)


def test_how_a_cycle_ended_first_is_what_stays(places):
    cycle = opened(places)
    cycles.end_cycle(places, cycle, Ending(CycleOutcome.CANCELLED, "the operator said so"))
    again = cycles.end_cycle(places, cycle, Ending(CycleOutcome.RELEASED, "too late"))

    assert again == Ending(CycleOutcome.CANCELLED, "the operator said so")
    assert not cycles.held_cycles(places)


def test_what_a_gate_holds_ends_a_cycle_as_rejected():
    ending = cycles.rejected(Outcome(digest_json(1), passed=False, reason="severity 61 %"))

    assert ending == Ending(CycleOutcome.REJECTED, "severity 61 %")


def test_a_stage_is_marked_when_it_starts_and_when_it_ends(places):
    cycle = opened(places)
    with cycles.stage(places, cycle, "train"):
        assert marks(places, cycle) == [("train", "started")]

    assert marks(places, cycle) == [("train", "started"), ("train", "finished")]


def test_a_stage_that_fails_is_marked_with_the_reason(places):
    cycle = opened(places)
    with pytest.raises(CycleError), cycles.stage(places, cycle, "train"):
        raise CycleError("no room")

    with store.writing(places.store) as session:
        last = store.marks_of(session, cycle.id)[-1]
    assert (last.mark, last.detail) == ("failed", "no room")


def test_no_stage_of_an_ended_cycle_starts(places):
    cycle = opened(places)
    cycles.end_cycle(places, cycle, Ending(CycleOutcome.CANCELLED, "the operator said so"))

    with (
        pytest.raises(CycleError, match="ended as cancelled"),
        cycles.stage(places, cycle, "train"),
    ):
        raise AssertionError("it started")


def mark(stage, what, minute, second=0):
    at = f"2026-03-01T10:{minute:02d}:{second:02d}+00:00"
    return StageMark.model_validate(
        {"cycle_id": "c", "stage": stage, "mark": what, "detail": "", "at": at}
    )


def test_a_stage_that_finished_once_stays_finished_and_keeps_the_time_it_took_then():
    walked_twice = [
        mark("ingest", "started", 0),
        mark("ingest", "finished", 2),
        mark("ingest", "started", 9),
        mark("ingest", "finished", 9, 1),
        mark("label", "waiting", 10),
        mark("ingest", "started", 11),
        mark("label", "finished", 15),
        mark("sign-off", "waiting", 16),
        mark("label", "finished", 58),  # the body walks past it once more
    ]
    states = {state.name: state for state in cycles.stage_states(walked_twice)}

    assert (states["ingest"].mark, states["ingest"].seconds) == ("finished", 120.0)
    assert (states["label"].mark, states["label"].seconds) == ("finished", 300.0)
    assert states["sign-off"].mark == "waiting"
    assert states["train"].mark == "todo"
    assert list(states) == list(STAGES)


def test_the_open_cycles_from_a_transcript_are_those_that_froze_it_and_have_not_ended(places):
    first, second = transcript_row(1), transcript_row(2)
    store.keep(places.store, first, second)
    ended = opened(places)
    store.keep(places.store, CycleTranscript(cycle_id=ended.id, transcript_id=first.id))
    cycles.end_cycle(places, ended, Ending(CycleOutcome.REHEARSED, "done"))
    going_on = opened(places)
    for row in (first, second):
        store.keep(places.store, CycleTranscript(cycle_id=going_on.id, transcript_id=row.id))
    with store.writing(places.store) as session:
        both = cycles.open_cycles_from(session, col(Transcript.id).in_([first.id, second.id]))
        none = cycles.open_cycles_from(session, col(Transcript.id) == "another")

    assert (both, none) == ([going_on], [])


def test_people_who_are_asked_again_are_waited_for():
    """As after a signed card that could not be published: a new canary makes a new card."""
    marks = [mark("sign-off", "waiting", 0), mark("sign-off", "finished", 2)]
    asked = [*marks, mark("sign-off", "waiting", 9)]
    (first,) = [state for state in cycles.stage_states(marks) if state.name == "sign-off"]
    (again,) = [state for state in cycles.stage_states(asked) if state.name == "sign-off"]

    assert (first.mark, again.mark) == ("finished", "waiting")


def test_a_failed_stage_that_starts_again_is_at_work():
    states = cycles.stage_states(
        [mark("train", "started", 0), mark("train", "failed", 1), mark("train", "started", 2)]
    )

    assert next(state.mark for state in states if state.name == "train") == "started"


def test_estimates_come_from_an_earlier_cycle_and_else_from_what_was_shipped():
    found = cycles.estimates([mark("train", "started", 0), mark("train", "finished", 3)])

    assert found == STAGES | {"train": 180.0}
