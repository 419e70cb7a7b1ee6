"""The table of faults, and the evidence that a device with one of them shows.

loop/data/faults.yaml holds the facts; `show` turns a row and a random generator into the answers
of every diagnostic on the row's path.
"""

import re
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from pydantic import Field

from loop.diagnostics import subsystem_status, worst
from loop.errors import FactsError
from loop.healthy import HEALTHY, INSTANT, metrics
from loop.protocol import compact
from loop.values import Action, Json, Severity, Value
from loop.written import read_written

SUMMARY = "diag/summary"
NOTHING = "nothing abnormal"
MOST_QUOTED = 2
TABLE = Path(__file__).parent / "data" / "faults.yaml"


class Fault(Value):
    """One row: a root cause, what users say then, and how a device shows it."""

    cause: str
    core: bool = False
    """The deciding evidence is a boolean, an enum or an empty list."""
    weight: float = 1.0
    """How often it is drawn, relative to the others."""
    symptoms: tuple[str, ...]
    path: tuple[str, ...]
    """The diagnostics a good session asks for, in order."""
    evidence: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """By diagnostic: what differs from a healthy device."""
    actions: tuple[Action, ...] = ()


class Faults(Value):
    """The whole table."""

    faults: tuple[Fault, ...]


@cache
def faults() -> tuple[Fault, ...]:
    """Every fault, in the order of the table."""
    return read_written(TABLE, Faults, FactsError).faults


def show(fault: Fault, rng: Random) -> dict[str, Json]:
    """The answers of the diagnostics on a fault's path, from one device that has the fault."""
    return {tool: _answer(tool, fault.evidence.get(tool, {}), rng) for tool in fault.path}


def _answer(tool: str, changes: dict[str, Any], rng: Random) -> Json:
    if tool == SUMMARY:
        return summarise(_changed(metrics(rng), changes, rng))
    if "only" in changes:
        return _drawn(changes["only"], rng)
    return _changed(HEALTHY[tool](rng), changes, rng)


def summarise(key_metrics: dict[str, dict[str, Json]]) -> Json:
    """A diag/summary as the device scores these metrics; `overall` is the worst subsystem."""
    statuses = {
        name: subsystem_status(name, found) or Severity.YELLOW
        for name, found in key_metrics.items()
    }
    return {
        "overall": worst(statuses.values()).value,
        "subsystems": {
            name: {"status": statuses[name].value, "key_metrics": found}
            for name, found in key_metrics.items()
        },
        "generated_at": INSTANT,
    }


def quote(fault: Fault, tool: str, result: Json) -> str:
    """What in one result is not normal, as a careful person quotes it.

    At most two fields in which a device with this fault differs from a healthy one; of numbers the
    name alone, because they vary from device to device.
    """
    changes = fault.evidence.get(tool, {})
    odd = [_quoted(place, _value_at(result, place)) for place in changes.get("only", changes)]
    return ", ".join(odd[:MOST_QUOTED]) or NOTHING


def _quoted(place: str, value: Json) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return place if number else f"{place}={compact(value)}"


def _value_at(result: Json, place: str) -> Json:
    if "subsystems" in result:
        subsystem, metric = place.split(".")
        return result["subsystems"][subsystem]["key_metrics"][metric]
    for step in _steps(place):
        result = _inside(result, step)
    return result


def _changed(answer: Json, changes: dict[str, Any], rng: Random) -> Json:
    for place, value in changes.items():
        *steps, last = _steps(place)
        target = answer
        for step in steps:
            target = _inside(target, step)
        target[last] = _drawn(value, rng)
    return answer


def _steps(place: str) -> list[str]:
    """`services[fula.service].state` as services, [fula.service], state; else what dots part."""
    found = re.fullmatch(r"(\w+)(\[[^]]+\])\.(\w+)", place)
    return list(found.groups()) if found else place.split(".")


def _inside(target: Json, step: str) -> Json:
    if step.startswith("["):
        return next(entry for entry in target if entry["name"] == step[1:-1])
    return target[step]


def _drawn(value: Any, rng: Random) -> Json:
    if isinstance(value, dict) and set(value) == {"pick"}:
        return rng.choice(value["pick"])
    if isinstance(value, dict) and set(value) == {"between"}:
        return rng.randint(*value["between"])
    if isinstance(value, dict):
        return {key: _drawn(inner, rng) for key, inner in value.items()}
    return value
