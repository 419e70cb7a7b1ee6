"""When each stage of a cycle ran, read from the marks it left; nothing here asks the clock."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from loop.cycles import STAGES
from loop.tables import StageMark


@dataclass(frozen=True)
class Span:
    """One stage of a cycle: how far it is, since when, and how long it took."""

    stage: str
    mark: str
    """`todo`, `started`, `waiting`, `failed` or `finished`; once finished, it stays so."""
    began: datetime | None
    """Begin of the attempt that finished, or of the last one; None: todo."""
    seconds: float
    """Of that attempt; while it runs or waits, so far."""
    attempts: int
    waited: bool
    """It waited for people."""
    detail: str = ""
    """What went wrong, where it failed."""


def spans(marks: Sequence[StageMark], until: datetime) -> list[Span]:
    """Every stage in its order.

    A continued cycle walks once more through what is done already; such passes do not count.

    Args:
        marks: Of one cycle, oldest first.
        until: End of the cycle, or now while it is open.
    """
    return [_span(name, [m for m in marks if m.stage == name], until) for name in STAGES]


def _span(name: str, marks: Sequence[StageMark], until: datetime) -> Span:
    if not marks:
        return Span(name, "todo", None, 0.0, 0, waited=False)
    done = next((i for i, m in enumerate(marks) if m.mark == "finished"), len(marks) - 1)
    passed, last = marks[: done + 1], marks[done]
    starts = [m.at for m in passed if m.mark == "started"]
    began = starts[-1] if starts else passed[0].at
    over = last.at if last.mark in ("finished", "failed") else max(until, last.at)
    return Span(
        stage=name,
        mark=last.mark,
        began=began,
        seconds=(over - began).total_seconds(),
        attempts=max(1, len(starts)),
        waited=any(m.mark == "waiting" for m in passed),
        detail=last.detail if last.mark == "failed" else "",
    )
