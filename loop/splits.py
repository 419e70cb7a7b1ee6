"""Identifiers that begin in one text of a value and end in the next, or whose context does.

Where a mark stands between the two, any row of the table is asked. Elsewhere those are that a
beginning or a form tells (`joins`), of two texts: words that happen to follow one another make up
the others too easily.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise

from loop.neighbours import leaves, pairs, runs, with_leaves
from loop.plain import Span
from loop.privacy_rules import Rule, apart, rules
from loop.values import Json

EDGE = "\0"
"""Where one text ends and the next begins; no stored text holds it."""
Likely = Callable[[str], list[Rule]]


def joined_at_marks(texts: Sequence[str]) -> Iterator[str]:
    """The texts in which any row may find what was split."""
    return ("".join(texts[start:end]) for start, end in runs(texts))


def may_be_joined(texts: Sequence[str]) -> bool:
    """Whether some two texts, side by side, hold what a beginning or a form tells."""
    whole = EDGE.join("".join(texts[start:end]) for start, end in pairs(texts))
    return any(any(rule.found(whole)) for rule in _that_join(whole))


def cut_split(value: Json, counts: Counter[str]) -> Json:
    """The value without what was split over its texts."""
    texts = leaves(value)
    kept = list(texts)
    for start, end in list(runs(kept)):
        kept[start:end] = _cut(kept[start:end], rules().likely, counts)
    for start, end in list(pairs(kept)):
        kept[start:end] = _cut(kept[start:end], _that_join, counts)
    return value if kept == texts else with_leaves(value, iter(kept))


def _that_join(text: str) -> list[Rule]:
    return [rule for rule in rules().likely(text) if rule.joins]


def _cut(texts: Sequence[str], likely: Likely, counts: Counter[str]) -> list[str]:
    """Neighbouring texts without what is found across an edge."""
    whole, edges = "".join(texts), list(accumulate(map(len, texts)))[:-1]
    found = [(cut, rule) for rule in likely(whole) for cut in _split(rule, texts, whole, edges)]
    if not found:
        return list(texts)
    parts, done = [], 0
    for span, rule in apart(found):
        before = _between(whole, edges, done, span.start + 1)[:-1]
        parts += [before, rule.placeholder, EDGE * _crossed(edges, span)]
        done = span.end
        counts[rule.id] += 1
    return "".join([*parts, _between(whole, edges, done, len(whole) + 1)]).split(EDGE)


def _split(rule: Rule, texts: Sequence[str], whole: str, edges: Sequence[int]) -> Iterator[Span]:
    """What a rule finds across an edge, where it finds nothing in any of the texts alone."""
    for match in rule.matches(whole):
        first, last = bisect_right(edges, match.start()), bisect_left(edges, match.end())
        alone = (any(rule.found(text)) for text in texts[first : last + 1])
        if last > first and not any(alone):
            yield Span(*match.span(rule.group))


def _crossed(edges: Sequence[int], span: Span) -> int:
    return bisect_left(edges, span.end) - bisect_right(edges, span.start)


def _between(whole: str, edges: Sequence[int], start: int, end: int) -> str:
    """A part of the joined texts, with the edges in it; one at `end` belongs to what follows."""
    inside = edges[bisect_left(edges, start) : bisect_left(edges, end)]
    return EDGE.join(whole[a:b] for a, b in pairwise([start, *inside, end]))
