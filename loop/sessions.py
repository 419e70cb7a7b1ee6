"""Generated Blox sessions: what a phone would upload, and the judgement it deserves.

A rehearsal needs users, devices and their mistakes. The devices here are invented and seeded; their
diagnostics have the real shapes, their answers are right or wrong in the ways a small model is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Literal
from uuid import UUID

from loop.causes import causes
from loop.errors import FactsError
from loop.faults import Fault, faults, quote, show
from loop.healthy import HEALTHY
from loop.tables import Decision, LabelIn
from loop.values import Action, Json, Severity, Value
from loop.whitelist import tier_of
from loop.written import read_written

Slip = Literal["none", "cause", "severity", "action", "needless tool", "missed tool"]
SLIPS: dict[Slip, float] = {
    "none": 0.62,
    "cause": 0.14,
    "severity": 0.06,
    "action": 0.10,
    "needless tool": 0.04,
    "missed tool": 0.04,
}
"""How often a generated device answers like this."""
MODEL_VERSION = "simulated-device"
MISTYPED = 0.15
"""Share of prompts with a slip of the fingers."""


class UserWords(Value):
    """How people begin, digress, complain and end, by symptom."""

    openers: tuple[str, ...]
    closers: tuple[str, ...]
    asides: tuple[str, ...]
    slots: dict[str, tuple[str, ...]]
    """What fills a name in braces."""
    boxes: tuple[str, ...]
    symptoms: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Answer:
    """What a device said at the end of a session."""

    severity: Severity
    cause: str
    summary: str
    actions: tuple[Action, ...]


@dataclass(frozen=True)
class Generated:
    """One upload, and what a careful person would say about it."""

    upload: dict[str, Json]
    truth: LabelIn


@dataclass(frozen=True)
class Telling:
    """One invented session before it is written down as an upload."""

    upload_id: str
    prompt: str
    results: tuple[tuple[str, Json], ...]
    answer: Answer
    slip: Slip
    origin: str
    version: Literal[1, 2]


def generate(seed: int, count: int) -> tuple[Generated, ...]:
    """The same sessions for the same seed; different seeds share no upload id."""
    rng = Random(f"bloxloop sessions {seed}")  # noqa: S311  (reproducible, not secret)
    weights = [fault.weight for fault in faults()]
    drawn = rng.choices(faults(), weights, k=count)
    return tuple(_generated(fault, rng) for fault in drawn)


def say(symptom: str, rng: Random) -> str:
    """What a user with this symptom might type, with what else is on their mind."""
    words = _user_words()
    parts = [rng.choice(words.symptoms[symptom]), *_asides(words, rng)]
    rng.shuffle(parts)
    said = rng.choice(words.openers) + rng.choice([", ", ". ", " and "]).join(parts)
    filled = (said + rng.choice(words.closers)).format_map(_filling(words, rng))
    return _mistyped(filled, rng) if rng.random() < MISTYPED else filled


def _asides(words: UserWords, rng: Random) -> list[str]:
    return rng.sample(words.asides, rng.choice([0, 0, 1, 1, 2]))


def _filling(words: UserWords, rng: Random) -> dict[str, str]:
    return {name: rng.choice(fills) for name, fills in {**words.slots, "box": words.boxes}.items()}


def _mistyped(text: str, rng: Random) -> str:
    """Two neighbouring letters change places, as when somebody types fast."""
    at = rng.randrange(len(text) - 1)
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


def right_answer(fault: Fault, results: Mapping[str, Json]) -> Answer:
    """What a good model, or a terse person, says of a fault; the rules want fields quoted."""
    cause, last = causes()[fault.cause], list(results)[-1]
    seen = quote(fault, last, results[last])
    return Answer(cause.severity, cause.id, seen, fault.actions)


def _generated(fault: Fault, rng: Random) -> Generated:
    slip = rng.choices(list(SLIPS), list(SLIPS.values()))[0]
    if slip == "missed tool" and len(fault.path) == 1:
        slip = "none"
    shown = show(fault, rng)
    right, results = right_answer(fault, shown), list(shown.items())
    if slip == "missed tool":
        results = results[:1]
    elif slip == "needless tool":
        spare = rng.choice([tool for tool in HEALTHY if tool not in fault.path])
        results.append((spare, HEALTHY[spare](rng)))
    telling = Telling(
        upload_id=str(UUID(int=rng.getrandbits(128), version=4)),
        prompt=say(rng.choice(fault.symptoms), rng),
        results=tuple(results),
        answer=_slipped(fault, right, slip, rng),
        slip=slip,
        origin=rng.choices(["model", "tree", "mock"], [88, 8, 4])[0],
        version=rng.choices((1, 2), [20, 80])[0],
    )
    return Generated(_upload(telling, rng), _truth(telling, right))


def _slipped(fault: Fault, right: Answer, slip: Slip, rng: Random) -> Answer:
    if slip in ("cause", "missed tool"):
        other = rng.choice([other for other in faults() if other.cause != fault.cause])
        return right_answer(other, show(other, rng))
    if slip == "severity":
        return replace(right, severity=rng.choice([s for s in Severity if s != right.severity]))
    if slip == "action":
        return replace(right, actions=_wrong_actions(right.actions, rng))
    return right


def _wrong_actions(right: Sequence[Action], rng: Random) -> tuple[Action, ...]:
    wrong: list[tuple[Action, ...]] = [
        (Action(name="restart_fula"),),
        (Action(name="docker.restart", args={"container": "ipfs_host"}),),  # forbidden, yet taught
        (Action(name="reset"),),
        (),
    ]
    return rng.choice([actions for actions in wrong if actions != tuple(right)])


def _truth(telling: Telling, deserved: Answer) -> LabelIn:
    right, said = _possible(telling.slip, deserved), telling.answer
    parts = (
        said.severity == right.severity,
        said.cause == right.cause,
        (telling.version == 1 and bool(said.actions))  # lost, so nobody can judge them wrong
        or {a.key() for a in said.actions} == {a.key() for a in right.actions},
    )
    tools_correct = telling.slip not in ("needless tool", "missed tool")
    accepted = all(parts) and tools_correct
    return LabelIn(
        transcript_id=telling.upload_id,
        decision=(
            Decision.ACCEPT if accepted else Decision.PARTIAL if any(parts) else Decision.REJECT
        ),
        severity_correct=parts[0],
        root_cause_correct=parts[1],
        actions_correct=parts[2],
        tools_correct=tools_correct,
        severity=right.severity,
        root_cause=right.cause,
        actions=list(right.actions),
        summary=right.summary,
        reasoning=right.summary if right.actions else "",
    )


def _possible(slip: Slip, right: Answer) -> Answer:
    """What a careful person says; nobody can name the cause where too little was looked at."""
    if slip != "missed tool":
        return right
    unknown = causes()["insufficient_data"]
    return Answer(unknown.severity, unknown.id, unknown.summary, ())


# ------------------------------------------------------------------ written down as an upload


def _upload(telling: Telling, rng: Random) -> dict[str, Json]:
    body: dict[str, Json] = {
        "schema_version": telling.version,
        "upload_id": telling.upload_id,
        "session_relative_start": "+0s",
        "events": _events(telling, rng),
        "user_rating": 1 if telling.slip == "none" else rng.choice([-1, 0, 1]),
        "user_prompt": telling.prompt,
        "scenario_id": "freeform",
        "consent": {
            "explicit_opt_in": True,
            "preview_shown": True,
            "anonymizer_version": "0.1.0",
        },
        "device_class": "rk3588",
    }
    if telling.version == 2:
        body |= {"origin": telling.origin, "model_version": MODEL_VERSION, "protocol_version": 4}
    return body


def _events(telling: Telling, rng: Random) -> list[Json]:
    said: list[tuple[str, Json]] = [("session_started", {})]
    for tool, result in telling.results:
        said += [
            ("thought", f"Calling {tool} to gather data."),
            ("tool_call", {"tool": tool, "args": {}}),
            ("tool_result", result),
        ]
    verdict = {
        "summary": telling.answer.summary,
        "severity": telling.answer.severity.value,
        "root_cause": telling.answer.cause,
    }
    said.append(("verdict", verdict))
    said += [("recommended_action", _action_payload(a, telling)) for a in telling.answer.actions]
    seconds = 0
    events: list[Json] = []
    for kind, payload in said:
        events.append({"type": kind, "relative_ts": f"+{seconds}s", "payload": payload})
        seconds += rng.randint(1, 40)
    return events


def _action_payload(action: Action, telling: Telling) -> Json:
    if telling.version == 1:
        return {}  # v1 phones keep only `payload`, and this event has none: all of it is lost
    return {
        "action_name": action.name,
        "args": action.args,
        "reasoning": telling.answer.summary,
        "confidence": 0.6,
        "tier": tier_of(action.name) or 2,
    }


@cache
def _user_words() -> UserWords:
    return read_written(Path(__file__).parent / "data" / "user_words.yaml", UserWords, FactsError)
