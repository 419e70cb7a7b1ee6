"""Texts that follow one another in a value: what one alone does not say, two may say together."""

from collections.abc import Iterator, Sequence

from loop.plain import Span
from loop.values import Json

SHORT = 64
"""Characters; a longer text is no part of an identifier that was split over neighbours."""
LEAST = 16
"""Characters; two texts that are shorter together hold no id that a beginning or a length tells."""
MARKS = frozenset(".:-@_/=")
"""Where an identifier is split that was taken apart by a program."""


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


def runs(texts: Sequence[str]) -> Iterator[Span]:
    """The runs of short texts, two at least, with a mark wherever one ends and the next begins.

    >>> list(runs(["dial", "203.0", ".113.9", "refused"]))
    [Span(start=1, end=3)]
    """
    start = 0
    for at in range(1, len(texts) + 1):
        if at == len(texts) or not _at_a_mark(texts[at - 1], texts[at]):
            if at - start > 1:
                yield Span(start, at)
            start = at


def _at_a_mark(left: str, right: str) -> bool:
    return _are_short(left, right) and not MARKS.isdisjoint((left[-1:], right[:1]))


def pairs(texts: Sequence[str]) -> Iterator[Span]:
    """Two short texts each that are long enough together.

    >>> list(pairs(["ok", "ghp_0123456789abcdefgh", "ijABCDEFGHIJ012345", "yes"]))
    [Span(start=0, end=2), Span(start=1, end=3), Span(start=2, end=4)]
    """
    for at in range(len(texts) - 1):
        left, right = texts[at], texts[at + 1]
        if len(left) + len(right) >= LEAST and _are_short(left, right):
            yield Span(at, at + 2)


def _are_short(left: str, right: str) -> bool:
    return len(left) <= SHORT and len(right) <= SHORT
