"""One judged transcript as a conversation to learn from; the target is written from the label.

What the device said is context, and target only where a person judged it right and it is plain
words or a call of a tool that devices have. Which examples count together is `dataset`'s business.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import TypedDict

from loop.causes import causes
from loop.diagnostics import TOOLS
from loop.healthy import INSTANT
from loop.labels import marker_in
from loop.protocol import (
    Message,
    Recommendation,
    Verdict,
    answer_text,
    call_block,
    first_message,
    response_block,
)
from loop.tables import LabelIn
from loop.transcript import Session, user_words
from loop.values import Action, Digest, Json, Origin, Value, digest_json
from loop.whitelist import confidence_cap, tier_of

CORRECTION, AGREEMENT = 1.0, 0.5
"""Loss weights: what a person put right teaches more than what was right already."""
CONFIDENT = 0.8
"""What a target says where no cap holds."""


class LearnMessage(TypedDict):
    """A chat turn, and whether the model learns to say it."""

    role: str
    content: str
    learn: bool


class Example(Value):
    """One conversation to learn from."""

    messages: tuple[dict[str, Json], ...]
    """`LearnMessage`s."""
    weight: float
    cause: str
    severity: str
    actions: int
    origin: Origin
    day: date
    transcript: Digest
    """Of the transcript's content."""
    words: str
    """The user's words in one spelling."""
    evidence: Digest
    """Of everything the diagnostics said, instants apart."""
    group: Digest
    """Near-duplicates share it, by their words and evidence or by the family they come from."""


@dataclass(frozen=True)
class Judged:
    """A transcript as it is read, and the newest judgement of it."""

    session: Session
    label: LabelIn
    origin: Origin
    day: date
    digest: Digest
    family: str | None = None
    """What an imported record is a variation of."""


def make_example(judged: Judged, rules: str) -> Example:
    """The conversation that the label says should have happened, under the recipe's rules."""
    session, label = judged.session, judged.label
    results = [(c.tool, c.result) for step in session.steps for c in step.calls]
    words = user_words(session.prompt)
    messages = tuple(dict(turn) for turn in _turns(judged, rules))
    return Example(
        messages=messages,
        weight=AGREEMENT if agrees(label) else CORRECTION,
        cause=label.root_cause,
        severity=label.severity.value,
        actions=len(label.actions),
        origin=judged.origin,
        day=judged.day,
        transcript=judged.digest,
        words=words,
        evidence=evidence_digest(results),
        group=digest_json(["family", judged.family] if judged.family else [words, look(messages)]),
    )


def agrees(label: LabelIn) -> bool:
    """Whether nothing of the answer was put right; a lost action written down is no correction."""
    return label.severity_correct and label.root_cause_correct and label.actions_correct


def _turns(judged: Judged, rules: str) -> Iterable[LearnMessage]:
    rng = Random(judged.digest)  # noqa: S311  (reproducible, not secret)
    yield _context(first_message(rules, judged.session.prompt))
    for step in judged.session.steps:
        if step.calls:
            asked = "\n".join(call_block(call.tool) for call in step.calls)
            known = all(call.tool in TOOLS for call in step.calls)  # else somebody made it up
            learn = judged.label.tools_correct and known
            yield {"role": "assistant", "content": asked, "learn": learn}
            answers = (response_block(c.tool, fill_instants(c.result, rng)) for c in step.calls)
            yield _context({"role": "user", "content": "\n".join(answers)})
    answer = answer_text(_verdict(judged), [_said(judged, a) for a in judged.label.actions])
    yield {"role": "assistant", "content": answer, "learn": True}


def _context(message: Message) -> LearnMessage:
    return {"role": message["role"], "content": message["content"], "learn": False}


def _verdict(judged: Judged) -> Verdict:
    label, said = judged.label, judged.session.verdict
    own = said.summary if said and label.severity_correct and label.root_cause_correct else ""
    summary = label.summary or _plain(own) or causes()[label.root_cause].summary
    return Verdict(label.severity, label.root_cause, _composed(summary))


def _said(judged: Judged, action: Action) -> Recommendation:
    label = judged.label
    said = judged.session.actions if label.actions_correct else None
    own = next((s.reasoning for s in said or () if s.action.key() == action.key()), "")
    return Recommendation(
        action,
        _composed(label.reasoning or _plain(own) or causes()[label.root_cause].reasoning),
        min(CONFIDENT, confidence_cap(action.name, label.severity)),
        tier_of(action.name),
    )


def _plain(said: str) -> str:
    """The device's words; nothing where a marker in them would end the block they are learnt in."""
    return "" if marker_in(said) else said


def _composed(text: str) -> str:
    """The text in the one Unicode form in which tokenizers give it back."""
    return unicodedata.normalize("NFC", text)


def fill_instants(value: Json, rng: Random) -> Json:
    """The value with plausible instants where a phone left `<TS>`.

    A device shows its model real instants, so a model that only ever read `<TS>` would meet them
    for the first time in a home. The instants are invented from the transcript's digest.
    """
    if value == INSTANT:
        moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=rng.randrange(31_536_000))
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, dict):
        return {key: fill_instants(inner, rng) for key, inner in value.items()}
    if isinstance(value, list):
        return [fill_instants(inner, rng) for inner in value]
    return value


def evidence_digest(results: Iterable[tuple[str, Json]]) -> Digest:
    """Of what the diagnostics said, whatever the order and the time."""
    found = {tool: _timeless(result) for tool, result in results}
    return digest_json(found)


_INSTANT = re.compile(r"^\d{4}-\d{2}-\d{2}T[\d:.]+(Z|[+-][\d:]+)$")


def _timeless(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _timeless(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_timeless(inner) for inner in value]
    return INSTANT if isinstance(value, str) and _INSTANT.match(value) else value


def look(messages: Sequence[Mapping[str, Json]]) -> str:
    """The evidence as the model reads it, numbers apart."""
    heard = "\n".join(turn["content"] for turn in messages[1:] if turn["role"] == "user")
    return re.sub(r"-?\d+(\.\d+)?", "#", heard)


def read_examples(text: str) -> list[Example]:
    """The examples in a file of a dataset.

    A newline alone ends a line there; the users' words may hold other characters that Python
    takes for the end of one.
    """
    return [Example.model_validate_json(line) for line in text.split("\n") if line]
