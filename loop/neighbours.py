"""Texts that follow one another in a value: what one alone does not say, two may say together."""

import re
from collections.abc import Iterator, Sequence

from loop.plain import Span
from loop.values import Json

SHORT = 64
"""Characters; a longer text is no part of an identifier that was split over neighbours."""
LEAST = 12
"""Characters; two texts that are shorter together are not asked for an id."""
MARKS = frozenset(".:-@_/=")
"""Where an identifier is split that was taken apart by a program."""
_DIGEST = re.compile("[0-9A-Fa-f]{32}|[0-9A-Fa-f]{40}|[0-9A-Fa-f]{64}")


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
    """No slash begins the second: paths follow one another. No sentence ends in front of a word."""
    if not _are_short(left, right) or MARKS.isdisjoint((left[-1:], right[:1])):
        return False
    if left[-1:] not in MARKS:
        return right[:1] != "/"
    return left[-1:] != "." or " " not in left or "@" in left or not right[:1].isalpha()


def pairs(texts: Sequence[str]) -> Iterator[Span]:
    """Two short texts each that are long enough together, and of which none is a digest.

    >>> list(pairs(["ok", "ghp_0123456789abcdefgh", "ijABCDEFGHIJ012345", "yes"]))
    [Span(start=0, end=2), Span(start=1, end=3), Span(start=2, end=4)]
    """
    for at in range(len(texts) - 1):
        left, right = texts[at], texts[at + 1]
        digest = _DIGEST.fullmatch(left) or _DIGEST.fullmatch(right)
        if len(left) + len(right) >= LEAST and _are_short(left, right) and not digest:
            yield Span(at, at + 2)


def _are_short(left: str, right: str) -> bool:
    return len(left) <= SHORT and len(right) <= SHORT
