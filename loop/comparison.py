"""Candidate and incumbent side by side: what the canary saw of both, ready to be read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loop.canary import Measured, Report, Tally
from loop.figures import figure, size

SIDES = ("candidate", "incumbent")


@dataclass(frozen=True)
class Measure:
    """One thing that was seen of both models; None: not measured, for one was not served."""

    name: str
    values: tuple[float | None, float | None]
    """Candidate and incumbent."""
    write: Callable[[float], str] = figure
    """How a person reads the number."""

    def texts(self) -> tuple[str, str]:
        """Both values, to be read."""
        first, second = ("-" if value is None else self.write(value) for value in self.values)
        return first, second


def tallies(report: Report) -> list[Tally]:
    """What candidate and incumbent did in the scenarios."""
    return [report.scenarios[side] for side in SIDES]


def passed(report: Report) -> Measure:
    """How many scenarios went well."""
    asked = max(tally.n for tally in tallies(report))
    return Measure(f"passed of {asked}", _pair([tally.passed for tally in tallies(report)]))


def problems(report: Report) -> list[Measure]:
    """What must not happen in any answer."""
    return [
        Measure("empty answers", _pair([tally.empty for tally in tallies(report)])),
        Measure("whitelist violations", _pair([tally.violations for tally in tallies(report)])),
    ]


def costs(report: Report) -> list[Measure]:
    """Speed and memory."""
    sides = [report.speed.get(side) for side in SIDES]

    def pair(read: Callable[[Measured], float]) -> tuple[float | None, float | None]:
        return _pair([read(side) if side else None for side in sides])

    return [
        Measure("tokens/s", pair(lambda side: side.tokens_per_s)),
        Measure("first token", pair(lambda side: side.first_token_s), _seconds),
        Measure("peak memory", pair(lambda side: side.peak_mb), _megabytes),
    ]


def all_measures(report: Report) -> list[Measure]:
    """Everything, what matters most first."""
    return [passed(report), *problems(report), *costs(report)]


def _pair(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    first, second = values
    return first, second


def _megabytes(count: float) -> str:
    return size(round(count * 1e6))


def _seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"
