"""The scenarios that a model failed, in the order in which a person should read them."""

from collections.abc import Sequence
from dataclasses import dataclass

from loop.gate import Case, Report


@dataclass(frozen=True)
class Failure:
    """One failed scenario, and the forms that failed it: a form that others passed is to blame."""

    case: Case
    """As the last of these forms answered."""
    forms: tuple[str, ...]


def worst_first(report: Report) -> list[Case]:
    """The failed scenarios: broken whitelist and rules first, then by how much was wrong."""
    wrong = {
        score.scenario: (score.severity, score.root_cause, score.actions).count(False)
        for score in report.scores
    }
    return sorted(
        report.failures,
        key=lambda case: (-len(case.problems), -wrong.get(case.scenario, 0), case.scenario),
    )


def failures_of(reports: Sequence[tuple[str, Report]]) -> list[Failure]:
    """The failures of some forms together, one entry for each scenario.

    Args:
        reports: Name and gate report of each form, in the order in which the forms were made.
    """
    cases = {case.scenario: case for _, report in reports for case in worst_first(report)}
    failed = {
        scenario: tuple(
            name
            for name, report in reports
            if any(case.scenario == scenario for case in report.failures)
        )
        for scenario in cases
    }
    order = sorted(cases, key=lambda scenario: -len(failed[scenario]))
    return [Failure(cases[scenario], failed[scenario]) for scenario in order]
