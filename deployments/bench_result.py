"""What a bench found out: the text for docs/benchmarks.md, and the ratios that are not kept."""

import time
from collections.abc import Callable
from dataclasses import dataclass

ROUNDS = 3


@dataclass(frozen=True)
class Result:
    """One bench of one run."""

    text: str
    """Markdown: a sentence on what was measured, then a table."""
    failures: tuple[str, ...]
    """A sentence for each ratio that is worse than it may be."""


def cpu_seconds(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Processor time of the fastest of some rounds: what else runs here counts least in it."""
    return min(_cpu_seconds_once(work) for _ in range(rounds))


def _cpu_seconds_once(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def percentile(values: list[float], share: float) -> float:
    """The value that this share of all does not exceed.

    >>> percentile([4.0, 1.0, 3.0, 2.0], 0.5), percentile([1.0], 0.99)
    (2.0, 1.0)
    """
    return sorted(values)[max(0, -int(-share * len(values) // 1) - 1)]
