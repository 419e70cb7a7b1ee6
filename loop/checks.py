"""Scoring one answer: what a model said in one scenario against what it should have said."""

from loop.causes import cause_of
from loop.protocol import Conversation, Recommendation, Verdict
from loop.scenario import Scenario
from loop.values import Value
from loop.whitelist import violation


class Score(Value):
    """One scenario's result; every judgement is None where the model could not be asked."""

    scenario: str
    severity: bool | None = None
    root_cause: bool | None = None
    actions: bool | None = None
    violations: tuple[str, ...] = ()
    """What today's whitelist forbids of the actions that the model named."""
    broken_rules: tuple[str, ...] = ()
    """Rules of the conversation that the model broke."""
    overlooked: tuple[str, ...] = ()
    """Evidence it never looked at: a cause named without it was guessed, and counts as wrong."""
    empty: bool = False
    """It said nothing at all: converted models sometimes do."""
    said: str = ""
    """Its answer in a few words, for people."""

    @property
    def passed(self) -> bool | None:
        """All of it right; None: unjudged."""
        if self.severity is None:
            return None
        right = self.severity and self.root_cause and self.actions
        return bool(right) and not (self.violations or self.broken_rules or self.overlooked)


def unjudged(scenario: Scenario) -> Score:
    """The score of a scenario that could not be asked."""
    return Score(scenario=scenario.id)


def score_scenario(scenario: Scenario, played: Conversation) -> Score:
    """Judge the raw output of a finished conversation; the device's guardrails do not help it."""
    verdict, expect = _readable(played), scenario.expect
    overlooked = _overlooked(scenario, played)
    said = [one.action for one in played.recommendations]
    return Score(
        scenario=scenario.id,
        severity=verdict is not None and verdict.severity == expect.severity,
        root_cause=verdict is not None
        and cause_of(verdict.root_cause) == expect.root_cause
        and not overlooked,
        actions=_dropped(played) == ()
        and {a.key() for a in said} == {a.key() for a in expect.actions},
        violations=tuple(sentence for action in said if (sentence := violation(action))),
        broken_rules=_broken_rules(scenario, played),
        overlooked=overlooked,
        empty=not any(text.strip() for text in played.texts),
        said=_in_words(played),
    )


def _readable(played: Conversation) -> Verdict | None:
    """The verdict, if the device can send it on: its wire format refuses an empty summary."""
    verdict = played.verdict
    return verdict if verdict and verdict.summary.strip() else None


def _dropped(played: Conversation) -> tuple[Recommendation, ...]:
    """What the device refuses to read and so never shows: its tier is neither 2 nor 3."""
    return tuple(said for said in played.recommendations if said.tier is None)


def _broken_rules(scenario: Scenario, played: Conversation) -> tuple[str, ...]:
    calls, limit = len(played.calls), scenario.rules.max_tool_calls
    verdicts = sum(turn.verdict_blocks for turn in played.turns)
    broken = []
    if calls > limit:
        broken.append(f"{calls} tool calls, at most {limit} are allowed")
    if verdicts != 1:
        broken.append(f"{verdicts} verdict blocks, exactly 1 is expected")
    return tuple(broken)


def _overlooked(scenario: Scenario, played: Conversation) -> tuple[str, ...]:
    asked = {call.tool for call in played.calls}
    return tuple(tool for tool in scenario.expect.mentions if tool not in asked)


def _in_words(played: Conversation) -> str:
    if (verdict := played.verdict) is None:
        return played.ended
    actions = ", ".join(said.action.key() for said in played.recommendations) or "no action"
    return f"{verdict.severity} {verdict.root_cause}: {actions}"
