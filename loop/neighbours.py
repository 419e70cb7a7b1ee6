"""Texts that follow one another in a value: what one alone does not say, two may say together."""

from collections.abc import Callable, Iterator, Sequence

from loop.plain import Span
from loop.values import Json

SHORT = 64
"""Characters; a longer text is no part of an identifier that was split over neighbours."""
MARKS = frozenset(".:-@_/=")
"""Where an identifier is split that was taken apart by a program."""

Linked = Callable[[str, str], bool]
"""Whether a text goes on in the one behind it."""


def leaves(value: Json) -> list[str]:
    """The texts in a value as one reads them; no keys, and nothing that is empty.

    >>> leaves({"a": "192.168", "b": [{"c": ""}, 3, ".1.7"]})
    ['192.168', '.1.7']
    """
    found: list[str] = []
    _gather(value, found)
    return found


def _gather(value: Json, found: list[str]) -> None:
    if isinstance(value, str):
        if value:
            found.append(value)
    elif isinstance(value, dict):
        for inner in value.values():
            _gather(inner, found)
    elif isinstance(value, list):
        for inner in value:
            _gather(inner, found)


def with_leaves(value: Json, texts: Iterator[str]) -> Json:
    """The value with other texts, as many as it has leaves.

    >>> with_leaves({"a": "192.168", "b": ["", ".1.7"]}, iter(["<IP>", ""]))
    {'a': '<IP>', 'b': ['', '']}
    """
    if isinstance(value, str) and value:
        return next(texts)
    if isinstance(value, dict):
        return {key: with_leaves(inner, texts) for key, inner in value.items()}
    if isinstance(value, list):
        return [with_leaves(inner, texts) for inner in value]
    return value


def runs(texts: Sequence[str], linked: Linked) -> Iterator[Span]:
    """The runs of at least two texts of which each goes on in the next.

    >>> list(runs(["dial", "203.0", ".113.9", "refused"], at_a_mark))
    [Span(start=1, end=3)]
    """
    start = 0
    for at in range(1, len(texts) + 1):
        if at == len(texts) or not linked(texts[at - 1], texts[at]):
            if at - start > 1:
                yield Span(start, at)
            start = at


def side_by_side(left: str, right: str) -> bool:
    """Two short texts, whatever they say."""
    return len(left) <= SHORT and len(right) <= SHORT


def at_a_mark(left: str, right: str) -> bool:
    """Two short texts with a mark where they meet."""
    return side_by_side(left, right) and not MARKS.isdisjoint((left[-1], right[0]))
