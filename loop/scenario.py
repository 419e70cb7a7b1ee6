"""Scenarios: held-out sessions with canned diagnostics and the answer a good model gives.

They live in scenarios/, one YAML file each; scenarios/README.md describes the format for people.
"""

from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from loop.causes import cause_of
from loop.diagnostics import TOOLS, check_result, summary_problems
from loop.errors import FactsError, ScenarioError
from loop.values import Action, Digest, Json, Severity, Value, digest_json
from loop.whitelist import violation
from loop.written import read_written

SCENARIOS = Path(__file__).parents[1] / "scenarios"


def _known_cause(name: str) -> str:
    if (found := cause_of(name)) is None:
        raise ValueError("expected an id or alias of loop/data/root_causes.yaml")
    return found


def _allowed(action: Action) -> Action:
    if sentence := violation(action):
        raise ValueError(sentence)
    return action


def _known_tool(name: str) -> str:
    if name not in TOOLS:
        raise ValueError(f"expected one of {', '.join(TOOLS)}")
    return name


def _real(diagnostics: dict[str, Any]) -> dict[str, Any]:
    try:
        for tool, result in diagnostics.items():
            check_result(tool, result)
    except FactsError as error:
        raise ValueError(str(error)) from error
    summary = diagnostics.get("diag/summary")  # without one the device tells nothing at all
    if summary is not None and (problems := summary_problems(summary)):
        raise ValueError(f"diag/summary: no device says this: {'; '.join(problems)}")
    return diagnostics


class Expected(Value):
    """The right answer."""

    severity: Severity
    root_cause: Annotated[str, AfterValidator(_known_cause)]
    actions: tuple[Annotated[Action, AfterValidator(_allowed)], ...]
    """Exactly this set; empty: recommend nothing."""
    mentions: tuple[Annotated[str, AfterValidator(_known_tool)], ...] = ()
    """Diagnostics the answer must have looked at."""


class Rules(Value):
    """Limits on how the answer is reached."""

    max_tool_calls: int = Field(default=3, ge=0, le=3)
    """A scenario may be stricter than the device, never laxer."""


class Scenario(Value):
    """One behaviour that a model must show."""

    id: str
    suite: Literal["core", "full"]
    """core: a small model must manage it; full: everything else."""
    about: str
    user: str = Field(min_length=1)
    diagnostics: Annotated[dict[str, Any], AfterValidator(_real)]
    """Canned answers by tool; a tool without one answers with the runtime's error form."""
    expect: Expected
    rules: Rules = Rules()
    tags: tuple[str, ...] = ()


@cache
def all_scenarios(folder: Path = SCENARIOS) -> tuple[Scenario, ...]:
    """Every scenario, by id.

    Raises:
        ScenarioError: One is not usable as written; says file and line.
    """
    return tuple(_read(path) for path in sorted(folder.glob("*.yaml")))


def _read(path: Path) -> Scenario:
    scenario = read_written(path, Scenario, ScenarioError)
    if scenario.id != path.stem:
        raise ScenarioError(f"{path}: expected id {path.stem}, as the file is named")
    return scenario


def read_suite(name: str) -> tuple[Scenario, ...]:
    """The scenarios of a suite: `core`, or `full` for all of them.

    Raises:
        ScenarioError: No such suite.
    """
    if name not in ("core", "full"):
        raise ScenarioError(f"suite {name!r}: expected core or full")
    return tuple(s for s in all_scenarios() if name in ("full", s.suite))


def suite_digest(name: str) -> Digest:
    """Names exactly these scenarios."""
    return digest_json([_plain(scenario) for scenario in read_suite(name)])


def _plain(scenario: Scenario) -> Json:
    return scenario.model_dump(mode="json")
