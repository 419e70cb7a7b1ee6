from datetime import UTC, datetime, timedelta
from io import StringIO

from rich.console import Console

from deployments.terminal import Terminal, view_of
from loop.cycles import STAGES, stage_states
from loop.tables import StageMark
from loop.values import Progress

BEGAN = datetime(2026, 3, 1, 10, tzinfo=UTC)


def marked(*marks):
    """The states of a cycle after marks like `train started 30`, the last in seconds."""
    rows = []
    for line in marks:
        stage, what, second = line.split()
        at = BEGAN + timedelta(seconds=int(second))
        rows.append(StageMark(cycle_id="c", stage=stage, mark=what, detail="**why**", at=at))
    return stage_states(rows)


def seen(*marks, at=60, progress=None):
    return view_of(marked(*marks), STAGES, progress, 60.0, BEGAN + timedelta(seconds=at))


def terminal():
    written = StringIO()
    return Terminal(Console(file=written, width=200)), written


def test_before_the_first_stage_nothing_is_done():
    view = seen()

    assert (view.position, view.stage, view.left) == (0, "starting", sum(STAGES.values()))


def test_a_running_stage_shows_its_percent_and_what_is_left_of_it():
    view = seen("train started 0", at=60, progress=Progress(25, 100, "step 90 of 360"))

    later = list(STAGES)[list(STAGES).index("train") + 1 :]
    assert (view.stage, view.percent) == ("train", 25)
    assert view.left == 180 + sum(STAGES[name] for name in later)


def test_a_wait_says_what_it_waits_for():
    assert "waits: why" in seen("label waiting 0").line()


def test_a_cycle_that_is_done_has_nothing_left():
    view = seen(*(f"{name} finished 1" for name in STAGES))

    assert (view.position, view.left) == (len(STAGES), 0.0)


def test_in_a_log_file_there_is_a_line_per_change_and_not_per_look():
    shown, written = terminal()
    for percent in range(25):
        shown.show(seen("train started 0", progress=Progress(percent, 100)))
    shown.show(seen("train finished 1", "merge started 2"))

    lines = written.getvalue().splitlines()
    assert len(lines) == 4
    assert [line.split("]")[1].split()[0] for line in lines] == ["train"] * 3 + ["merge"]


def test_a_line_may_hold_brackets():
    shown, written = terminal()
    shown.say("[bold]not a style[/bold]")

    assert written.getvalue() == "[bold]not a style[/bold]\n"
