"""A cycle in the terminal: which stage, how far, how long so far, and how long still.

On a screen it is one line that changes; elsewhere (a log file, a pipe) one line per change.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.console import Console
from rich.status import Status

from loop.cycles import StageState
from loop.values import Progress

STEP = 10
"""Percent between two lines of one stage where nothing can be overwritten."""
BUSY = {"started", "waiting"}


@dataclass(frozen=True)
class View:
    """What a watcher sees of a cycle at one moment."""

    position: int
    """Of the stage, from 1; 0 before the first one starts."""
    stages: int
    stage: str
    mark: str
    percent: int | None
    """Of the stage; None where it does not say."""
    note: str
    elapsed: float
    """Seconds since the watching began."""
    left: float
    """Seconds until the end, as far as earlier cycles tell."""

    def line(self) -> str:
        """All of it in one line.

        >>> View(6, 15, "train", "started", 42, "step 151 of 360", 192.0, 280.0).line()
        '[ 6/15] train         42 %   3:12 elapsed, about  4:40 left  step 151 of 360'
        """
        percent = f"{self.percent:3d} %" if self.percent is not None else "     "
        note = self.note if self.mark != "waiting" else f"waits: {self.note}"
        return (
            f"[{self.position:2d}/{self.stages}] {self.stage:<13}{percent}  "
            f"{clock(self.elapsed)} elapsed, about {clock(self.left)} left  {note}"
        ).rstrip()


def view_of(
    states: Sequence[StageState],
    expected: Mapping[str, float],
    progress: Progress | None,
    elapsed: float,
    now: datetime,
) -> View:
    """What a watcher sees, from the marks of the stages and the progress of the present one."""
    position = _position(states)
    state = states[max(0, position - 1)]
    percent = round(100 * progress.done / progress.total) if progress else None
    spent = (now - state.last.at).total_seconds() if state.last else 0.0
    later = sum(expected[s.name] for s in states[position:] if s.mark != "finished")
    busy = position and state.mark in BUSY
    here = _left_here(expected[state.name], spent, percent) if busy else 0.0
    return View(
        position=position,
        stages=len(states),
        stage=state.name if position else "starting",
        mark=state.mark,
        percent=percent,
        note=_note(state, progress),
        elapsed=elapsed,
        left=here + later,
    )


def present_stage(states: Sequence[StageState]) -> StageState | None:
    """The stage that a cycle is at; None before the first one."""
    position = _position(states)
    return states[position - 1] if position else None


def _position(states: Sequence[StageState]) -> int:
    """The first stage that is at work, else the last one that finished, from 1."""
    for position, state in enumerate(states, start=1):
        if state.mark in BUSY:
            return position
    return sum(state.mark == "finished" for state in states)


def _left_here(expected: float, spent: float, percent: int | None) -> float:
    if percent and percent >= 5:
        return spent * (100 - percent) / percent
    return max(0.0, expected - spent)


def _note(state: StageState, progress: Progress | None) -> str:
    if state.mark in ("waiting", "failed") and state.last:
        return plain(state.last.detail)
    return progress.note if progress else ""


def plain(text: str) -> str:
    r"""The first line of a Markdown text, without its marks.

    >>> plain("**38 of 50 labelled**\n\nmore")
    '38 of 50 labelled'
    """
    return text.strip().partition("\n")[0].replace("*", "").replace("`", "")


def clock(seconds: float) -> str:
    """Minutes and seconds.

    >>> clock(192.4), clock(3671)
    (' 3:12', '61:11')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes:2d}:{rest:02d}"


class Terminal:
    """Where `make run` speaks to people."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._status: Status | None = None
        self._shown: tuple[str, str, int] | None = None

    def say(self, text: str) -> None:
        """One line that stays."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def show(self, view: View) -> None:
        """How far the cycle is now."""
        if self.console.is_terminal:
            self._change(view.line())
        elif (shown := (view.stage, view.mark, (view.percent or 0) // STEP)) != self._shown:
            self._shown = shown
            self.say(view.line())

    def _change(self, line: str) -> None:
        if self._status is None:
            self._status = self.console.status(line)
            self._status.start()
        self._status.update(line.replace("[", r"\["))

    def work(self, text: str) -> None:
        """What goes on now, where a line can be overwritten."""
        if self.console.is_terminal:
            self._change(text)

    def rest(self) -> None:
        """Stop the changing line."""
        if self._status:
            self._status.stop()
            self._status = None
