"""Models whose answers are known beforehand, and conversations with them."""

from collections.abc import Iterable, Mapping, Sequence

from loop.protocol import (
    Conversation,
    Message,
    Recommendation,
    Verdict,
    answer_text,
    call_block,
    converse,
)
from loop.scenario import Scenario
from loop.values import Action, Severity
from loop.whitelist import confidence_cap, tier_of

RULES = "Speak only in blocks."


def answer(
    severity: str = "green", root_cause: str = "no_issue", actions: Iterable[Action] = ()
) -> str:
    """A final turn as the device likes it."""
    level = Severity(severity)
    said = [
        Recommendation(a, "It helps.", min(0.8, confidence_cap(a.name, level)), tier_of(a.name))
        for a in actions
    ]
    return answer_text(Verdict(level, root_cause, "This is what I found."), said)


def look(*tools: str) -> str:
    """A turn that asks for some diagnostics."""
    return "\n".join(map(call_block, tools))


def looks(scenario: Scenario) -> list[str]:
    """One turn for each diagnostic that a good session looks at: the summary, then the evidence."""
    return [look(tool) for tool in dict.fromkeys(("diag/summary", *scenario.expect.mentions))]


def right_answer(scenario: Scenario) -> str:
    expect = scenario.expect
    return answer(expect.severity, expect.root_cause, expect.actions)


class Scripted:
    """A model that says its lines, one conversation's after the other's, whatever it hears."""

    def __init__(self, lines: Mapping[str, Sequence[str]]) -> None:
        """Args: lines: What it says turn by turn, by the user's request."""
        self.lines = lines

    def answer(self, conversations: Sequence[Sequence[Message]]) -> list[str]:
        return [self._next(messages) for messages in conversations]

    def _next(self, messages: Sequence[Message]) -> str:
        request = messages[0]["content"].partition("Request: ")[2]
        said = sum(message["role"] == "assistant" for message in messages)
        return self.lines[request][said]


def play(scenario: Scenario, *texts: str) -> Conversation:
    """A scenario's conversation in which a model says these turns."""
    conversation = Conversation(scenario.user, scenario.diagnostics, RULES)
    converse(Scripted({scenario.user: texts}), [conversation])
    return conversation


def play_right(scenario: Scenario) -> Conversation:
    return play(scenario, *looks(scenario), right_answer(scenario))
