"""What may be learnt from labels: examples, their weights, their split, and what is left out.

The target is written from the label, never from what the device said, except where a person judged
that right. Everything here is a pure rule; `freezing` does the storing.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import combinations
from random import Random
from typing import Literal, TypedDict, get_args

from loop.causes import causes
from loop.healthy import INSTANT
from loop.protocol import (
    Message,
    Recommendation,
    Verdict,
    answer_text,
    call_block,
    first_message,
    response_block,
)
from loop.scenario import Scenario
from loop.tables import LabelIn
from loop.transcript import Session, user_words
from loop.values import Action, Digest, Json, Origin, Value, digest_json
from loop.whitelist import confidence_cap, tier_of

CORRECTION, AGREEMENT = 1.0, 0.5
"""Loss weights: what a person put right teaches more than what was right already."""
CONFIDENT = 0.8
"""What a target says where no cap holds."""
VALIDATION_SHARE = 0.2
MIN_EXAMPLES = 20
"""Fewer cannot be split into something to learn from and something to check with."""
ALIKE = 0.6
"""Prompts over the same evidence that share so many of their letter triples are near-duplicates."""
SHARED_WORDS = 8
"""So many consecutive words in common with a scenario give its answer away."""
NO_AGREEMENT = (Origin.TREE, Origin.MOCK, Origin.UNKNOWN)
"""Agreeing with these teaches a model nothing about itself."""


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


Overlap = Literal["shares the words of a scenario", "shares cause and evidence with a scenario"]
OVERLAPS: tuple[str, ...] = get_args(Overlap)
"""Counted in every dataset, 0 included: nothing found is not the same as never looked for."""
Unfit = Literal[
    "too little was looked at to tell",
    "agreement with an answer that no model gave",
    "same content as another transcript",
]


@dataclass(frozen=True)
class Selection:
    """The examples, and how many judged transcripts became none, by reason."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    excluded: Mapping[str, int]


class DatasetCard(Value):
    """What a person wants to know of a dataset before a model learns from it."""

    train: int
    validation: int
    corrections: int
    agreements: int
    causes: dict[str, int]
    severities: dict[str, int]
    origins: dict[str, int]
    with_actions: int
    excluded: dict[str, int]
    first_day: date
    last_day: date
    previous: Digest | None = None
    """The model's last dataset whose files are still kept; None: there is none to compare with."""
    new: int = 0
    """Examples that the last dataset did not have."""
    gone: int = 0


# ------------------------------------------------------------------ one example


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
        group=digest_json(["family", judged.family] if judged.family else [words, _look(messages)]),
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
            yield {"role": "assistant", "content": asked, "learn": judged.label.tools_correct}
            answers = (response_block(c.tool, fill_instants(c.result, rng)) for c in step.calls)
            yield _context({"role": "user", "content": "\n".join(answers)})
    answer = answer_text(_verdict(judged), [_said(judged, a) for a in judged.label.actions])
    yield {"role": "assistant", "content": answer, "learn": True}


def _context(message: Message) -> LearnMessage:
    return {"role": message["role"], "content": message["content"], "learn": False}


def _verdict(judged: Judged) -> Verdict:
    label, said = judged.label, judged.session.verdict
    own = said.summary if said and label.severity_correct and label.root_cause_correct else ""
    summary = label.summary or own or causes()[label.root_cause].summary
    return Verdict(label.severity, label.root_cause, summary)


def _said(judged: Judged, action: Action) -> Recommendation:
    label = judged.label
    said = judged.session.actions if label.actions_correct else None
    own = next((s.reasoning for s in said or () if s.action.key() == action.key()), "")
    return Recommendation(
        action,
        label.reasoning or own or causes()[label.root_cause].reasoning,
        min(CONFIDENT, confidence_cap(action.name, label.severity)),
        tier_of(action.name),
    )


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


# ------------------------------------------------------------------ all of them


def select(judged: Sequence[Judged], scenarios: Sequence[Scenario], rules: str) -> Selection:
    """The examples that may be learnt from, split, and the reasons for the rest."""
    excluded: Counter[str] = Counter(dict.fromkeys(OVERLAPS, 0))
    kept: dict[Digest, Example] = {}
    leaks = Leaks(scenarios)
    for one in sorted(judged, key=lambda j: (j.day, j.digest)):
        if unfit := _unfit(one, kept):
            excluded[unfit] += 1
        else:
            kept[one.digest] = make_example(one, rules)
    forms = _forms(kept.values())
    clean = []
    for example in kept.values():
        if reason := leaks.reason(example, forms):
            excluded[reason] += 1
        else:
            clean.append(example)
    train, validation = split(grouped(clean))
    return Selection(train, validation, dict(sorted(excluded.items())))


def _unfit(judged: Judged, known: Collection[Digest]) -> Unfit | None:
    if not judged.label.tools_correct and judged.label.root_cause == "insufficient_data":
        return "too little was looked at to tell"
    if agrees(judged.label) and judged.origin in NO_AGREEMENT:
        return "agreement with an answer that no model gave"
    return "same content as another transcript" if judged.digest in known else None


def _forms(examples: Iterable[Example]) -> dict[str, set[Digest]]:
    forms: dict[str, set[Digest]] = {}
    for example in examples:
        forms.setdefault(example.cause, set()).add(example.evidence)
    return forms


class Leaks:
    """What the scenarios would give away if an example held it."""

    def __init__(self, scenarios: Sequence[Scenario]) -> None:
        self._words = {user_words(s.user) for s in scenarios}
        self._runs = {run for words in self._words for run in _runs(words)}
        self._pairs = {
            (s.expect.root_cause, evidence_digest(looked_at))
            for s in scenarios
            for count in range(1, len(s.diagnostics) + 1)
            for looked_at in combinations(s.diagnostics.items(), count)
        }

    def reason(self, example: Example, forms: Mapping[str, set[Digest]]) -> Overlap | None:
        """Why an example is too close to a scenario; None: it is not.

        A pair of cause and evidence counts only where that evidence has more than one form:
        where there is one way to look broken, everybody who is broken looks like it.
        """
        if example.words in self._words or self._runs & _runs(example.words):
            return "shares the words of a scenario"
        pair = (example.cause, example.evidence)
        if pair in self._pairs and len(forms[example.cause]) > 1:
            return "shares cause and evidence with a scenario"
        return None


def _runs(words: str) -> set[tuple[str, ...]]:
    said = words.split()
    return {tuple(said[i : i + SHARED_WORDS]) for i in range(len(said) - SHARED_WORDS + 1)}


def grouped(examples: Iterable[Example]) -> tuple[Example, ...]:
    """The examples, near-duplicates in one group, also where only a third one links them."""
    found, into = tuple(examples), dict[Digest, Digest]()
    for one, other in _near_duplicates(found):
        first, last = sorted((_end(one.group, into), _end(other.group, into)))
        if first != last:
            into[last] = first
    return tuple(e.model_copy(update={"group": _end(e.group, into)}) for e in found)


def _end(group: Digest, into: Mapping[Digest, Digest]) -> Digest:
    while group in into:
        group = into[group]
    return group


def _near_duplicates(examples: Iterable[Example]) -> Iterator[tuple[Example, Example]]:
    by_look: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        by_look[_look(example.messages)].append(example)
    for block in by_look.values():
        spelt = zip(block, _triples([example.words for example in block]), strict=True)
        for (one, a), (other, b) in combinations(spelt, 2):
            if (a & b).bit_count() >= ALIKE * (a | b).bit_count():
                yield one, other


def _look(messages: Sequence[Mapping[str, Json]]) -> str:
    """The evidence as the model reads it, numbers apart."""
    heard = "\n".join(turn["content"] for turn in messages[1:] if turn["role"] == "user")
    return re.sub(r"-?\d+(\.\d+)?", "#", heard)


def _triples(prompts: Iterable[str]) -> list[int]:
    """The letter triples of each prompt, a bit for each: such sets are compared in no time."""
    bits: dict[str, int] = defaultdict(lambda: 1 << len(bits))
    padded = [f" {words} " for words in prompts]
    return [sum(bits[t] for t in {p[i : i + 3] for i in range(len(p) - 2)}) for p in padded]


def split(examples: Iterable[Example]) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Train and validation: the newest fifth is held out, and no group is torn apart."""
    groups: dict[Digest, list[Example]] = {}
    for example in sorted(examples, key=_age):
        groups.setdefault(example.group, []).append(example)
    total = sum(map(len, groups.values()))
    train: list[Example] = []
    validation: list[Example] = []
    for group in sorted(groups.values(), key=lambda g: _age(g[-1]), reverse=True):
        room = len(validation) + len(group) <= VALIDATION_SHARE * total
        (validation if room else train).extend(group)
    return tuple(sorted(train, key=_age)), tuple(sorted(validation, key=_age))


def _age(example: Example) -> tuple[date, Digest]:
    return example.day, example.transcript


def make_card(selection: Selection, previous: Digest | None, known: set[Digest]) -> DatasetCard:
    """The card of a selection, against the transcripts that the last dataset held."""
    examples = selection.train + selection.validation
    now = {example.transcript for example in examples}
    days = [example.day for example in examples]
    corrections = sum(example.weight == CORRECTION for example in examples)
    return DatasetCard(
        train=len(selection.train),
        validation=len(selection.validation),
        corrections=corrections,
        agreements=len(examples) - corrections,
        causes=_counts(e.cause for e in examples),
        severities=_counts(e.severity for e in examples),
        origins=_counts(e.origin.value for e in examples),
        with_actions=sum(e.actions > 0 for e in examples),
        excluded=dict(selection.excluded),
        first_day=min(days),
        last_day=max(days),
        previous=previous,
        new=len(now - known),
        gone=len(known - now),
    )


def _counts(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))
