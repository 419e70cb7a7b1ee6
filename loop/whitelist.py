"""What a device's executor allows a model to recommend, and how sure the model may sound.

The table is loop/data/whitelist.yaml. The gate, import and people's labels all ask `violation`.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Self

from pydantic import Field, model_validator

from loop.errors import FactsError
from loop.values import Action, Severity, Value
from loop.written import read_written

TABLE = Path(__file__).parent / "data/whitelist.yaml"


class AllowedAction(Value):
    """One repair that a device can execute once the user approves it."""

    name: str
    tier: Literal[2, 3]
    """2: one tap; 3: security code and a long press."""
    about: str
    argument: str | None = None
    """The one argument it needs; None: it takes none."""
    allowed: tuple[str, ...] = ()
    """The values that argument may have."""
    flag_file: bool = False
    """The executor writes a flag file and does not look at the arguments."""
    restart_class: bool = False
    """The runtime caps its confidence unless the verdict is red."""

    @model_validator(mode="after")
    def _argument_has_values(self) -> Self:
        if (self.argument is None) != (not self.allowed):
            raise ValueError(f"{self.name}: expected argument and allowed together or neither")
        return self


class Confidence(Value):
    """The runtime's cap on restart-class actions."""

    ceiling: float = Field(gt=0, lt=1)
    lowered_to: float = Field(gt=0, lt=1)


class Whitelist(Value):
    """The whole table."""

    read_only: tuple[str, ...]
    confidence: Confidence
    actions: tuple[AllowedAction, ...]

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [action.name for action in self.actions]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"actions: expected each name once, got {', '.join(twice)} again")
        return self


@cache
def whitelist() -> Whitelist:
    """Today's whitelist."""
    return read_written(TABLE, Whitelist, FactsError)


def allowed_actions() -> tuple[AllowedAction, ...]:
    """Every repair in the order of the table: the mildest tier first."""
    return whitelist().actions


@cache
def _by_name() -> Mapping[str, AllowedAction]:
    return MappingProxyType({action.name: action for action in allowed_actions()})


def tier_of(name: str) -> int | None:
    """The tier of a repair; None: today's executor does not know that name.

    >>> tier_of("restart_fula"), tier_of("reset"), tier_of("diag/time")
    (2, 3, None)
    """
    allowed = _by_name().get(name)
    return allowed.tier if allowed else None


def violation(action: Action, *, exact: bool = True) -> str | None:
    """Why today's whitelist forbids an action, as a sentence; None: it is allowed.

    Args:
        action: What is recommended.
        exact: Refuse also superfluous arguments, which the executor ignores. Labels, scenarios and
            the gate are exact: a model that invents arguments has not understood the action.

    >>> violation(Action(name="docker.restart", args={"container": "fula_go"}))
    >>> violation(Action(name="format_disk"))
    'format_disk: expected an action of the whitelist'
    """
    allowed = _by_name().get(action.name)
    if allowed is None:
        return f"{action.name}: expected an action of the whitelist"
    return _argument_problem(allowed, action) or (_superfluous(allowed, action) if exact else None)


def _argument_problem(allowed: AllowedAction, action: Action) -> str | None:
    if allowed.argument is None:
        return None
    place, values = f"{action.name} {allowed.argument}", ", ".join(allowed.allowed)
    if allowed.argument not in action.args:
        return f"{place}: expected one of {values}; got none"
    got = action.args[allowed.argument]
    return None if got in allowed.allowed else f"{place}: expected one of {values}; got {got!r}"


def _superfluous(allowed: AllowedAction, action: Action) -> str | None:
    extra = sorted(set(action.args) - {allowed.argument})
    wanted = f"only {allowed.argument}" if allowed.argument else "no arguments"
    return f"{action.name}: expected {wanted}; got {', '.join(extra)}" if extra else None


def confidence_cap(name: str, severity: Severity | None) -> float:
    """The confidence that a target may state for an action, 0 to 1.

    Args:
        name: The action's name.
        severity: Of the verdict beside it; None: there is no verdict, which caps like yellow.

    >>> [confidence_cap("restart_fula", severity) for severity in (Severity.YELLOW, Severity.RED)]
    [0.6, 1.0]
    """
    return whitelist().confidence.lowered_to if _capped(name, severity) else 1.0


def shown_confidence(name: str, severity: Severity | None, confidence: float) -> float:
    """What the device shows for the confidence that its model stated: above 0.7 becomes 0.6.

    >>> shown_confidence("wireguard.bounce", Severity.YELLOW, 0.85)
    0.6
    >>> shown_confidence("wireguard.bounce", Severity.YELLOW, 0.7)
    0.7
    """
    limits = whitelist().confidence
    above = _capped(name, severity) and confidence > limits.ceiling
    return limits.lowered_to if above else confidence


def _capped(name: str, severity: Severity | None) -> bool:
    allowed = _by_name().get(name)
    return allowed is not None and allowed.restart_class and severity != Severity.RED
