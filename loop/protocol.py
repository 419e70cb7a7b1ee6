"""The device's conversation with its model: blocks, chat rendering and the one agent loop.

Training, gate and canary all speak through this module, so what a model is trained on is what it
is asked. The parser is our own re-statement of how the device reads: as tolerant, and as strict.

Source:
    functionland/blox-ai 6bf006a, src/runtime/rkllm_runtime.py: prompt without a system turn,
    blocks, parse tolerance, turn loop.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypedDict

from loop.values import Action, Json, Severity

MAX_TURNS = 8
DEFAULT_CONFIDENCE = 0.5
FORCED_VERDICT = "Stop calling tools. Give your verdict now, in one verdict block."
"""Our wording of the device's fixed directive after a turn without any block."""


class Message(TypedDict):
    """One chat turn."""

    role: str
    content: str


class ChatModel(Protocol):
    """Anything that continues conversations: a folder of weights, a served file, a device."""

    def answer(self, conversations: Sequence[Sequence[Message]]) -> list[str]:
        """The next assistant turn of each conversation, in order."""
        ...


@dataclass(frozen=True)
class ToolCall:
    """One diagnostic the model asked for."""

    tool: str


@dataclass(frozen=True)
class Verdict:
    """The device model's diagnosis."""

    severity: Severity
    root_cause: str
    summary: str


@dataclass(frozen=True)
class Recommendation:
    """One action the model recommends; `tier` None: not 2 or 3, so the device drops it."""

    action: Action
    reasoning: str
    confidence: float
    tier: int | None


@dataclass(frozen=True)
class Turn:
    """What the device reads in one assistant turn."""

    calls: tuple[ToolCall, ...]
    verdict: Verdict | None
    verdict_blocks: int
    """How many verdict blocks were opened, readable or not."""
    recommendations: tuple[Recommendation, ...]

    @property
    def recommends(self) -> bool:
        """Whether the device keeps any of its recommendations."""
        return any(said.tier is not None for said in self.recommendations)

    @property
    def empty(self) -> bool:
        """Prose only: no block that the device can read."""
        return not (self.calls or self.verdict or self.recommends)


# ------------------------------------------------------------------ writing


def compact(value: Json) -> str:
    """JSON as the device writes it into prompts: no spaces, keys in the order they came."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def first_message(rules: str, prompt: str) -> Message:
    """The opening user turn: rules and request together, because there is no system turn."""
    return {"role": "user", "content": f"Instructions:\n{rules}\n\nRequest: {prompt}"}


def call_block(tool: str) -> str:
    """An assistant's tool call."""
    return f"<tool_call>{compact({'name': tool, 'arguments': {}})}</tool_call>"


def response_block(tool: str, result: Json | None, error: str = "unavailable") -> str:
    """What the device sends back for one call; None: the tool failed."""
    answer = {"name": tool, "error": error} if result is None else {"name": tool, "result": result}
    return f"<tool_response>{compact(answer)}</tool_response>"


def verdict_block(verdict: Verdict) -> str:
    """An assistant's diagnosis."""
    body = {
        "summary": verdict.summary,
        "severity": verdict.severity.value,
        "root_cause": verdict.root_cause,
    }
    return f"<verdict>{compact(body)}</verdict>"


def recommendation_block(said: Recommendation) -> str:
    """An assistant's recommended action."""
    body = {
        "action_name": said.action.name,
        "args": said.action.args,
        "reasoning": said.reasoning,
        "confidence": said.confidence,
        "tier": said.tier,
    }
    return f"<recommendation>{compact(body)}</recommendation>"


def answer_text(verdict: Verdict, recommendations: Sequence[Recommendation]) -> str:
    """A whole final turn: the verdict, then one block per recommended action."""
    return "\n".join([verdict_block(verdict), *map(recommendation_block, recommendations)])


def render_chat(messages: Sequence[Message]) -> str:
    """ChatML up to where the model goes on; tokenizers and servers must render the same text."""
    turns = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
    return f"{turns}<|im_start|>assistant\n"


# ------------------------------------------------------------------ reading

_ENDS = r"\s*(?:</{kind}>|<(?:tool_call|verdict|recommendation)>|\Z)"
_BLOCKS = {
    kind: re.compile(rf"<{kind}>\s*(\{{.*?\}})" + _ENDS.format(kind=kind), re.DOTALL)
    for kind in ("tool_call", "verdict", "recommendation")
}
_FENCE = re.compile(r"```(?:json)?\s*(\{.*?\})\s*```", re.DOTALL)


def visible(text: str, thinking: bool) -> str:
    """What is left once the device cut the thinking; nothing, if it never ended."""
    if not thinking:
        return text
    return text.partition("</think>")[2] if "</think>" in text else ""


def parse(text: str) -> Turn:
    """Read one assistant turn the way the device does."""
    verdicts = _bodies("verdict", text)
    return Turn(
        calls=_calls(text),
        verdict=_verdict(verdicts[0]) if verdicts else None,
        verdict_blocks=text.count("<verdict>"),
        recommendations=tuple(
            said for body in _bodies("recommendation", text) if (said := _recommendation(body))
        ),
    )


def _bodies(kind: str, text: str) -> list[Json]:
    return [_load(body) for body in _BLOCKS[kind].findall(text)]


def _load(body: str) -> Json:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):  # not JSON: the device loses the block, and so do we
        return None


def _calls(text: str) -> tuple[ToolCall, ...]:
    bodies = _bodies("tool_call", text) + [_load(body) for body in _FENCE.findall(text)]
    different = {}  # identical calls run once
    for body in bodies:
        name = body.get("name") if isinstance(body, dict) else None
        if isinstance(name, str) and name.startswith("diag/"):
            args = body.get("arguments")
            asked = json.dumps(args if isinstance(args, dict) else {}, sort_keys=True)
            different[name, asked] = ToolCall(name)
    return tuple(different.values())


def _verdict(body: Json) -> Verdict | None:
    if not isinstance(body, dict):
        return None
    severity, cause, summary = (body.get(key) for key in ("severity", "root_cause", "summary"))
    if severity not in [s.value for s in Severity] or not isinstance(summary, str):
        return None
    if not isinstance(cause, str) or not cause.strip():
        return None
    return Verdict(Severity(severity), cause[:200], summary[:500])


def _recommendation(body: Json) -> Recommendation | None:
    if not isinstance(body, dict) or not isinstance(name := body.get("action_name"), str):
        return None
    args, reasoning, tier = (body.get(key) for key in ("args", "reasoning", "tier"))
    return Recommendation(
        Action(name=name[:64], args=_writable(args) if isinstance(args, dict) else {}),
        reasoning[:1000] if isinstance(reasoning, str) and reasoning else "(no reasoning)",
        _confidence(body.get("confidence")),
        tier if type(tier) is int and tier in (2, 3) else None,
    )


def _writable(args: Json) -> Json:
    """The arguments with words for NaN and infinity, which JSON cannot write down again."""
    return json.loads(compact(args), parse_constant=str)


def _confidence(said: Json) -> float:
    try:
        number = float(DEFAULT_CONFIDENCE if said is None else said)
    except (TypeError, ValueError, OverflowError):
        return DEFAULT_CONFIDENCE
    return 1.0 if math.isnan(number) else min(1.0, max(0.0, number))


# ------------------------------------------------------------------ the loop


@dataclass
class Conversation:
    """One session between a model and a device whose diagnostics are canned.

    Feed it the model's turns with `take` until `done`; `messages` is what the model sees next.
    """

    prompt: str
    results: Mapping[str, Json]
    """Canned results by tool; a tool without one answers with the runtime's error form."""
    rules: str
    thinking: bool = False
    messages: list[Message] = field(init=False)
    turns: list[Turn] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    forced: bool = False
    ended: str = ""
    """Empty while it goes on, then `verdict`, `no_verdict_emitted` or `max_turns_exceeded`."""

    def __post_init__(self) -> None:
        self.messages = [first_message(self.rules, self.prompt)]

    @property
    def done(self) -> bool:
        """Whether the device would end the session here."""
        return bool(self.ended)

    @property
    def verdict(self) -> Verdict | None:
        """The first readable verdict; later ones are ignored."""
        return next((turn.verdict for turn in self.turns if turn.verdict), None)

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """Every tool call of the session, in order."""
        return tuple(call for turn in self.turns for call in turn.calls)

    @property
    def recommendations(self) -> tuple[Recommendation, ...]:
        """Every recommendation of the session, in order."""
        return tuple(said for turn in self.turns for said in turn.recommendations)

    def take(self, text: str) -> None:
        """Go on with the model's next turn."""
        hurried = self.messages[-1]["content"] == FORCED_VERDICT  # asked with thinking off
        turn = parse(visible(text, self.thinking and not hurried))
        self.texts.append(text)
        self.turns.append(turn)
        if self._final(turn):
            self.ended = "verdict"
        elif len(self.turns) >= MAX_TURNS:
            self.ended = "verdict" if self.verdict else "max_turns_exceeded"
        elif turn.empty and self.forced:
            self.ended = "no_verdict_emitted"
        else:
            self._reply(text, turn)

    def _final(self, turn: Turn) -> bool:
        if self.verdict is None:
            return False
        return not turn.calls or turn.recommends

    def _reply(self, text: str, turn: Turn) -> None:
        last_chance = len(self.turns) == MAX_TURNS - 1 and not self.forced
        if turn.empty or last_chance:
            self.forced = True
            reply = FORCED_VERDICT
        elif turn.calls:
            reply = "\n".join(
                response_block(call.tool, self.results.get(call.tool)) for call in turn.calls
            )
        else:  # only recommendations: the device sends its last message again
            reply = self.messages[-1]["content"]
        self.messages.append({"role": "assistant", "content": text})
        self.messages.append({"role": "user", "content": reply})


def converse(
    model: ChatModel,
    conversations: Sequence[Conversation],
    on_turn: Callable[[int], None] = lambda done: None,
) -> None:
    """Play all conversations to their end, together, turn by turn.

    Args:
        model: Who answers.
        conversations: Fresh ones; each is played in place.
        on_turn: Told how many are done after each round.
    """
    while live := [c for c in conversations if not c.done]:
        for conversation, text in zip(live, model.answer([c.messages for c in live]), strict=True):
            conversation.take(text)
        on_turn(sum(c.done for c in conversations))
