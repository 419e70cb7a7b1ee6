"""What may be learnt from labels: which examples, their split, and what is left out.

Everything here is a pure rule; `examples` makes each of them, `freezing` does the storing.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import combinations
from typing import Literal, get_args

from loop.causes import causes
from loop.errors import UnreadableError
from loop.examples import CORRECTION, Example, Judged, agrees, evidence_digest, look, make_example
from loop.reading import reading
from loop.scenario import Scenario
from loop.tables import LabelIn
from loop.transcript import user_words
from loop.values import Digest, Origin, Value
from loop.whitelist import violation

VALIDATION_SHARE = 0.2
MIN_EXAMPLES = 20
"""Fewer cannot be split into something to learn from and something to check with."""
ALIKE = 0.6
"""Prompts over the same evidence that share so many of their letter triples are near-duplicates."""
MOST_ALIKE = 20
"""Examples of one group of near-duplicates; more of the same would only outweigh the rest."""
SHARED_WORDS = 8
"""So many consecutive words in common with a scenario give its answer away."""
NO_AGREEMENT = (Origin.TREE, Origin.MOCK, Origin.UNKNOWN)
"""Agreeing with these teaches a model nothing about itself."""


Overlap = Literal["shares the words of a scenario", "shares cause and evidence with a scenario"]
OVERLAPS: tuple[str, ...] = get_args(Overlap)
"""Counted in every dataset, 0 included: nothing found is not the same as never looked for."""
Unfit = Literal[
    "too little was looked at to tell",
    "agreement with an answer that no model gave",
    "same content as another transcript",
    "judged in words that today's tables do not know",
]
SURPLUS = "more of the same near-duplicates"
UNREADABLE = "cannot be read by this version"


@dataclass(frozen=True)
class Selection:
    """The examples, and how many judged transcripts became none, by reason."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    excluded: Mapping[str, int]

    def without(self, reason: str, count: int) -> "Selection":
        """The same, with so many more that became no example."""
        excluded = Counter(self.excluded)
        excluded[reason] += count
        return replace(self, excluded=dict(sorted(excluded.items())) if count else self.excluded)


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


def select(judged: Sequence[Judged], scenarios: Sequence[Scenario], rules: str) -> Selection:
    """The examples that may be learnt from, split, and the reasons for the rest."""
    excluded: Counter[str] = Counter(dict.fromkeys(OVERLAPS, 0))
    kept: dict[Digest, Example] = {}
    leaks = Leaks(scenarios)
    for one in sorted(judged, key=lambda j: (j.day, j.digest)):
        if unfit := _unfit(one, kept):
            excluded[unfit] += 1
            continue
        try:
            with reading(one.digest):
                kept[one.digest] = make_example(one, rules)
        except UnreadableError:
            excluded[UNREADABLE] += 1
    forms = _forms(kept.values())
    clean = []
    for example in kept.values():
        if reason := leaks.reason(example, forms):
            excluded[reason] += 1
        else:
            clean.append(example)
    chosen = few_alike(grouped(clean))
    train, validation = split(chosen)
    found = Selection(train, validation, dict(sorted(excluded.items())))
    return found.without(SURPLUS, len(clean) - len(chosen))


def _unfit(judged: Judged, known: Collection[Digest]) -> Unfit | None:
    if not judged.label.tools_correct and judged.label.root_cause == "insufficient_data":
        return "too little was looked at to tell"
    if agrees(judged.label) and judged.origin in NO_AGREEMENT:
        return "agreement with an answer that no model gave"
    if judged.digest in known:
        return "same content as another transcript"
    return None if _is_known(judged.label) else "judged in words that today's tables do not know"


def _is_known(label: LabelIn) -> bool:
    """Whether cause and actions, checked when it was made, are still what devices know."""
    return label.root_cause in causes() and not any(map(violation, label.actions))


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
        by_look[look(example.messages)].append(example)
    for block in by_look.values():
        spelt = zip(block, _triples([example.words for example in block]), strict=True)
        for (one, a), (other, b) in combinations(spelt, 2):
            if (a & b).bit_count() >= ALIKE * (a | b).bit_count():
                yield one, other


def _triples(prompts: Iterable[str]) -> list[int]:
    """The letter triples of each prompt, a bit for each: such sets are compared in no time."""
    bits: dict[str, int] = defaultdict(lambda: 1 << len(bits))
    padded = [f" {words} " for words in prompts]
    return [sum(bits[t] for t in {p[i : i + 3] for i in range(len(p) - 2)}) for p in padded]


def few_alike(examples: Iterable[Example]) -> tuple[Example, ...]:
    """The examples, of each group the oldest few: what floods in later changes nothing of them."""
    found: Counter[Digest] = Counter()
    kept = []
    for example in sorted(examples, key=_age):
        found[example.group] += 1
        if found[example.group] <= MOST_ALIKE:
            kept.append(example)
    return tuple(kept)


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
