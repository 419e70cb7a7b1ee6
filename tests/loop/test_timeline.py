from datetime import UTC, datetime, timedelta

from loop.cycles import STAGES
from loop.tables import StageMark
from loop.timeline import Span, spans

START = datetime(2026, 11, 3, 9, tzinfo=UTC)


def marks(*made: tuple[str, str, int]) -> list[StageMark]:
    """Stage, mark and second of each."""
    return [
        StageMark(cycle_id="c", stage=stage, mark=mark, at=START + timedelta(seconds=second))
        for stage, mark, second in made
    ]


def read(stage: str, *made: tuple[str, int], until: int = 1000) -> Span:
    """One stage of a cycle that left these marks."""
    found = spans(
        marks(*((stage, mark, second) for mark, second in made)), START + timedelta(seconds=until)
    )
    return next(span for span in found if span.stage == stage)


def test_every_stage_has_its_place_whatever_was_marked():
    found = spans(marks(("merge", "started", 1), ("ingest", "started", 2)), START)

    assert [span.stage for span in found] == list(STAGES)


def test_a_stage_without_marks_is_still_to_do():
    span = read("train")

    assert (span.mark, span.began, span.seconds, span.attempts) == ("todo", None, 0.0, 0)


def test_a_finished_stage_took_from_its_start_to_its_end():
    span = read("train", ("started", 10), ("finished", 70))

    assert (span.mark, span.seconds, span.attempts) == ("finished", 60.0, 1)


def test_the_walk_through_what_is_done_already_does_not_count():
    span = read("train", ("started", 10), ("finished", 70), ("started", 500), ("finished", 501))

    assert (span.mark, span.seconds, span.attempts) == ("finished", 60.0, 1)


def test_an_attempt_that_was_killed_does_not_count_as_time():
    span = read("train", ("started", 10), ("started", 300), ("finished", 360))

    assert (span.began, span.seconds, span.attempts) == (START + timedelta(seconds=300), 60.0, 2)


def test_a_wait_lasts_from_its_first_mark_however_often_it_was_looked_at():
    span = read("label", ("waiting", 10), ("waiting", 70), ("waiting", 130), ("finished", 190))

    assert (span.mark, span.seconds, span.waited) == ("finished", 180.0, True)


def test_what_runs_or_waits_has_lasted_until_now():
    assert read("train", ("started", 10), until=40).seconds == 30.0
    assert read("label", ("waiting", 10), until=40).seconds == 30.0


def test_a_failed_stage_says_what_went_wrong():
    made = marks(("train", "started", 1), ("train", "failed", 5))
    made[-1].detail = "no memory"
    span = next(s for s in spans(made, START + timedelta(days=1)) if s.stage == "train")

    assert (span.mark, span.seconds, span.detail) == ("failed", 4.0, "no memory")
