"""The gate: whether a form of a model may go on, from its scores and those of the incumbent.

Source:
    Thresholds: functionland/blox-ai 6bf006a, the device's own gate. Bounds: E. B. Wilson (1927),
    JASA 22(158), 209-212, and the rule of three for zero failures, 1 - 0.05^(1/n).
"""

from collections.abc import Sequence
from math import comb, sqrt

from loop.checks import Score
from loop.values import Value

THRESHOLDS = {"severity": 0.85, "root_cause": 0.90, "actions": 0.80}
"""Shares of the judged scenarios that must be right."""
MAX_UNJUDGED = 0.05
"""With more of the scenarios unanswered, nothing has been shown."""
SIGNIFICANT = 0.05
Z95 = 1.96
ALONE = "no incumbent to compare with"


class Metric(Value):
    """One share of right answers, with what it must reach."""

    name: str
    passed_n: int
    n: int
    rate: float
    low: float
    """Lower end of the 95 % interval."""
    threshold: float
    passed: bool


class Case(Value):
    """One failed scenario, for people."""

    scenario: str
    wanted: str
    said: str
    shown: str
    """What the device would have shown."""
    problems: tuple[str, ...]


class Report(Value):
    """What one form did on one suite, and what follows."""

    suite: str
    n: int
    unjudged: int
    empty: int
    metrics: tuple[Metric, ...]
    violations: int
    violation_bound: float
    """With 95 % confidence, the share of answers with a violation is below this."""
    rule_violations: int
    passed_all: int
    lost: int
    """Scenarios that the incumbent passes and this form fails."""
    gained: int
    p: float
    passed: bool
    reason: str
    scores: tuple[Score, ...]
    failures: tuple[Case, ...] = ()


def wilson_low(passed: int, n: int) -> float:
    """The lower end of Wilson's 95 % interval for a share; 0.0 of nothing.

    >>> round(wilson_low(45, 50), 3), wilson_low(0, 0)
    (0.786, 0.0)
    """
    if passed == 0:  # exactly, where rounding would leave a trace
        return 0.0
    rate = passed / n
    centre = rate + Z95**2 / (2 * n)
    spread = Z95 * sqrt(rate * (1 - rate) / n + Z95**2 / (4 * n**2))
    return max(0.0, (centre - spread) / (1 + Z95**2 / n))


def zero_failures_bound(n: int) -> float:
    """With 95 % confidence, the failure share below which n trials without failure put it.

    >>> round(zero_failures_bound(300), 4), zero_failures_bound(0)
    (0.0099, 1.0)
    """
    return 1 - 0.05 ** (1 / n) if n else 1.0


def mcnemar_p(lost: int, gained: int) -> float:
    """Two-sided exact p that two models differ, from the scenarios on which they disagree.

    Args:
        lost: Scenarios the incumbent passes and the candidate fails.
        gained: Scenarios the candidate passes and the incumbent fails.

    Source:
        Q. McNemar (1947), Psychometrika 12(2), 153-157; exact form: binomial with p = 1/2.

    >>> round(mcnemar_p(lost=12, gained=3), 3), mcnemar_p(0, 0)
    (0.035, 1.0)
    """
    tail = sum(comb(lost + gained, k) for k in range(min(lost, gained) + 1))
    return min(1.0, float(tail / 2 ** (lost + gained - 1)))


def decide(suite: str, scores: Sequence[Score], incumbent: Sequence[Score] = ()) -> Report:
    """Judge the scores of one form; without an incumbent nothing can be lost to it.

    Args:
        suite: Name of the suite, for the report.
        scores: One for each scenario, unjudged ones too.
        incumbent: The incumbent's scores on the same suite, if it was ever scored.
    """
    judged = [score for score in scores if score.passed is not None]
    metrics = tuple(_metric(name, judged) for name in THRESHOLDS)
    lost, gained = _disagreements(judged, incumbent)
    broken = sum(bool(score.broken_rules) for score in judged)
    forbidden = sum(bool(score.violations) for score in judged)
    problems = _problems(scores, metrics, forbidden, broken, lost, gained)
    return Report(
        suite=suite,
        n=len(judged),
        unjudged=len(scores) - len(judged),
        empty=sum(score.empty for score in judged),
        metrics=metrics,
        violations=forbidden,
        violation_bound=1.0 if forbidden else zero_failures_bound(len(judged)),
        rule_violations=broken,
        passed_all=sum(bool(score.passed) for score in judged),
        lost=lost,
        gained=gained,
        p=mcnemar_p(lost, gained),
        passed=not problems,
        reason=_sentence(problems, _compared(lost, gained) if incumbent else ALONE),
        scores=tuple(scores),
    )


def _metric(name: str, judged: Sequence[Score]) -> Metric:
    passed = sum(bool(getattr(score, name)) for score in judged)
    rate = passed / len(judged) if judged else 0.0
    return Metric(
        name=name,
        passed_n=passed,
        n=len(judged),
        rate=rate,
        low=wilson_low(passed, len(judged)),
        threshold=THRESHOLDS[name],
        passed=rate >= THRESHOLDS[name],
    )


def _disagreements(judged: Sequence[Score], incumbent: Sequence[Score]) -> tuple[int, int]:
    before = {score.scenario: score.passed for score in incumbent}
    pairs = [(before.get(score.scenario), score.passed) for score in judged]
    return pairs.count((True, False)), pairs.count((False, True))


def _problems(
    scores: Sequence[Score],
    metrics: Sequence[Metric],
    forbidden: int,
    broken: int,
    lost: int,
    gained: int,
) -> list[str]:
    unjudged = sum(score.passed is None for score in scores)
    problems = [
        f"{m.name} {m.rate:.1%} of {m.n}, expected at least {m.threshold:.0%}"
        for m in metrics
        if not m.passed
    ]
    if not scores or unjudged > MAX_UNJUDGED * len(scores):
        problems.append(f"{unjudged} of {len(scores)} scenarios unjudged")
    if forbidden:
        problems.append(f"{forbidden} answers break the whitelist, expected none")
    if broken:
        problems.append(f"{broken} answers break a rule of the conversation, expected none")
    if lost > gained and mcnemar_p(lost, gained) < SIGNIFICANT:
        problems.append(f"worse than the incumbent: {lost} lost, {gained} gained")
    return problems


def _compared(lost: int, gained: int) -> str:
    return f"{lost} lost, {gained} gained, p={mcnemar_p(lost, gained):.3f}"


def _sentence(problems: Sequence[str], compared: str) -> str:
    return f"held: {'; '.join(problems)}" if problems else f"passed: {compared}"
