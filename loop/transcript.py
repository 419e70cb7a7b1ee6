"""A session as the store keeps it, and as people and training read it.

Parsing what a phone sends is `upload`'s business; ill-shaped payloads, which its schema leaves
free, read as absent here and never as an error.
"""

import re
import unicodedata
from dataclasses import dataclass, field

from loop.upload import Event, Events, Payload, ScenarioId, Upload
from loop.values import Action, Digest, Json, Origin, Severity, Value, digest_json


class Transcript(Value):
    """A session without its upload id and consent; equal sessions have equal digests.

    Former sibling fields of an event lie in its payload, where the upload kept them.
    """

    origin: Origin
    events: Events
    user_prompt: str | None = None
    user_comment: str | None = None
    user_rating: int = 0
    scenario_id: ScenarioId | None = None
    device_class: str | None = None
    anonymizer_version: str
    model_version: str | None = None
    runbook_version: int | None = None
    app_version: str | None = None
    runtime_version: str | None = None
    protocol_version: int | None = None
    locale: str | None = None

    def as_json(self) -> dict[str, Json]:
        """As JSON values: absent stays absent."""
        return self.model_dump(mode="json", exclude_unset=True)

    def digest(self) -> Digest:
        """Of the content, which the upload id is no part of."""
        return digest_json(self.as_json())


_NOT_CONTENT = {"schema_version", "upload_id", "session_relative_start", "consent"}


def transcript_of(upload: Upload) -> Transcript:
    """The session in an upload; v1 does not say who answered, so its origin is unknown."""
    content = {"origin": Origin.UNKNOWN, "anonymizer_version": upload.consent.anonymizer_version}
    content |= {key: value for key, value in upload.as_json().items() if key not in _NOT_CONTENT}
    return Transcript.model_validate(content)


OWN_FIELDS = {
    "diag/discovery_state": frozenset({"ok", "error"}),
    "diag/heartbeat": frozenset({"error"}),
}
"""Tools whose own answer has a field that, in other results, stood beside the payload."""
_BESIDE_RESULT = frozenset({"call_id", "call_index", "ok", "error"})


@dataclass(frozen=True)
class Call:
    """One tool call and its answer."""

    tool: str
    args: dict[str, Json]
    result: Json | None = None
    """What the tool returned; None: nothing, or the upload lost it."""
    ok: bool = False


@dataclass(frozen=True)
class Step:
    """One turn of the model: what it thought and which tools it called before hearing back."""

    thought: str | None = None
    calls: tuple[Call, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """The device model's diagnosis."""

    severity: Severity
    root_cause: str
    """Free text; empty where the upload has none."""
    summary: str


@dataclass(frozen=True)
class Recommended:
    """One repair that the device's model recommended."""

    action: Action
    reasoning: str
    confidence: float | None
    tier: int | None


@dataclass(frozen=True)
class Session:
    """A transcript put back into the order of a conversation."""

    prompt: str
    steps: tuple[Step, ...]
    verdict: Verdict | None
    """The last one: an included tree may have given an earlier one."""
    actions: tuple[Recommended, ...] | None
    """None: something was recommended and the upload lost what."""


@dataclass
class _OpenStep:
    """A step still being read; `answers` has one slot per call."""

    thought: str | None = None
    calls: list[dict[str, Json]] = field(default_factory=list)
    answers: list[Event | None] = field(default_factory=list)

    def slot_for(self, result: Event) -> int | None:
        """The call a result belongs to: by index or id where both have one, else by order."""
        for key in ("call_index", "call_id"):
            for number, call in enumerate(self.calls):
                if self.answers[number] is None and _same(key, call, result.payload):
                    return number
        return self.answers.index(None) if None in self.answers else None

    def close(self) -> Step:
        pairs = zip(self.calls, self.answers, strict=True)
        return Step(self.thought, tuple(_call(call, answer) for call, answer in pairs))


def read_session(transcript: Transcript) -> Session:
    """The conversation in a transcript; ill-shaped payloads read as absent, never as an error."""
    return Session(
        prompt=transcript.user_prompt or "",
        steps=tuple(step.close() for step in _steps(transcript.events)),
        verdict=_last_verdict(transcript.events),
        actions=_actions(transcript.events),
    )


def user_words(prompt: str) -> str:
    r"""The words of a prompt in one spelling, for comparing prompts.

    >>> user_words("  My BLOX can\u2019t\nbe reached!! ")
    'my blox can t be reached'
    """
    folded = unicodedata.normalize("NFKC", prompt).casefold()
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", folded)))


def _steps(events: tuple[Event, ...]) -> list[_OpenStep]:
    steps: list[_OpenStep] = []
    for event in events:
        if event.type == "thought" and isinstance(event.payload, str):
            steps.append(_OpenStep(event.payload))
        elif event.type == "tool_call" and isinstance(event.payload, dict):
            _take_call(steps, event.payload)
        elif event.type == "tool_result":
            _take_result(steps, event)
    return steps


def _take_call(steps: list[_OpenStep], payload: dict[str, Json]) -> None:
    if not isinstance(payload.get("tool"), str):
        return
    if not steps or any(steps[-1].answers):  # a call after an answer is a new turn
        steps.append(_OpenStep())
    steps[-1].calls.append(payload)
    steps[-1].answers.append(None)


def _take_result(steps: list[_OpenStep], event: Event) -> None:
    for step in reversed(steps):
        if (number := step.slot_for(event)) is not None:
            step.answers[number] = event
            return


def _same(key: str, call: dict[str, Json], result: Payload) -> bool:
    return key in call and isinstance(result, dict) and result.get(key) == call[key]


def _call(call: dict[str, Json], answer: Event | None) -> Call:
    args = call.get("args")
    result = _result(call["tool"], answer.payload if answer else None)
    return Call(
        tool=call["tool"],
        args=args if isinstance(args, dict) else {},
        result=result,
        ok=result is not None and not _said_not_ok(call["tool"], answer),
    )


def _result(tool: str, payload: Payload) -> Json | None:
    if not isinstance(payload, dict):
        return payload
    beside = _BESIDE_RESULT - OWN_FIELDS.get(tool, frozenset())
    return {key: value for key, value in payload.items() if key not in beside} or None


def _said_not_ok(tool: str, answer: Event | None) -> bool:
    if answer is None or not isinstance(answer.payload, dict) or "ok" in OWN_FIELDS.get(tool, ()):
        return False
    return answer.payload.get("ok") is False


def _last_verdict(events: tuple[Event, ...]) -> Verdict | None:
    read = [_verdict(event.payload) for event in events if event.type == "verdict"]
    return next((verdict for verdict in reversed(read) if verdict), None)


def _verdict(payload: Payload) -> Verdict | None:
    if not isinstance(payload, dict) or payload.get("severity") not in list(Severity):
        return None
    return Verdict(
        Severity(payload["severity"]), _text(payload, "root_cause"), _text(payload, "summary")
    )


def _actions(events: tuple[Event, ...]) -> tuple[Recommended, ...] | None:
    read = [_recommended(event.payload) for event in events if event.type == "recommended_action"]
    kept = tuple(action for action in read if action)
    return kept if len(kept) == len(read) else None


def _recommended(payload: Payload) -> Recommended | None:
    if not isinstance(payload, dict) or not isinstance(payload.get("action_name"), str):
        return None
    args, tier = payload.get("args"), payload.get("tier")
    return Recommended(
        action=Action(name=payload["action_name"], args=args if isinstance(args, dict) else {}),
        reasoning=_text(payload, "reasoning"),
        confidence=_number(payload.get("confidence")),
        tier=tier if type(tier) is int else None,
    )


def _text(payload: dict[str, Json], key: str) -> str:
    found = payload.get(key)
    return found if isinstance(found, str) else ""


def _number(found: Json) -> float | None:
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    return float(found) if is_number else None
