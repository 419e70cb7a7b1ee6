"""A corpus of leaks: every known form of an identifier, in sentences, with what must not survive.

The forms, the sentences and the look-alikes are a table, tests/data/leaks.yaml; the values are made
by tests/invented.py. Rules are written against one half of it and measured on the other.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Literal

from loop.errors import FactsError
from loop.values import Json, Value
from loop.written import read_written
from tests.invented import Invented

Tier = Literal["A", "B"]
"""A: the phone promises to strip it. B: it never does."""
Phone = Literal["gone", "unchanged", "residue"]
"""What the phone's anonymiser makes of it."""
Judged = Literal["gated", "reported", "free"]
"""Must go; is counted without a threshold; identifies nobody and may stay."""
Half = Literal["develop", "report"]

SPLIT = "halves 194"
"""Begins what is hashed; the first of four hundred that puts a fifth of each form in each half."""
TELLING = 8
"""So many characters of a secret in a row give it away; of a shorter one, all."""


@dataclass(frozen=True)
class Leak:
    """One text, or payload, that carries an identifier."""

    number: int | None
    """The form's, 1 to 97; nothing for a leak by structure."""
    kind: str
    tier: Tier
    phone: Phone
    judged: Judged
    template: str
    """What `half` splits by: the same for every seed."""
    value: Json
    """A text; for a leak by structure a payload."""
    secrets: tuple[str, ...]
    left: tuple[str, ...]
    """The secrets that the phone leaves."""


class LookAlike(Value):
    """A text that carries nothing, and what the phone nevertheless makes of it."""

    number: int
    text: str
    phone: str


def leaks(seed: int = 0) -> tuple[Leak, ...]:
    """Every form in each of its sentences; another seed has other values in the same sentences."""
    return tuple(
        _leak(form, carrier.replace("{leak}", text), text, seed)
        for form in _table().forms
        for carrier in _carriers(form)
        for text in form.forms
    )


def structural(seed: int = 0) -> tuple[Leak, ...]:
    """Leaks by structure: in keys and numbers, split, next to other scripts, in JSON as text."""
    return tuple(_leak(row, row.payload, "", seed) for row in _table().structures)


def look_alikes() -> tuple[LookAlike, ...]:
    """Texts that must come through as they are."""
    return _table().clean


def half(template: str) -> Half:
    """The half of the corpus that a template belongs to, for ever.

    >>> half("my box says {mac}") == half("my box says {mac}")
    True
    """
    return "develop" if sha256(f"{SPLIT} {template}".encode()).digest()[0] % 2 else "report"


def surviving(leak: Leak, found: Json) -> tuple[str, ...]:
    """The secrets of a leak that still stand in what became of it, be it in a telling part."""
    text = "\n".join(_leaves(found))
    return tuple(secret for secret in leak.secrets if any(map(text.__contains__, _parts(secret))))


def _parts(secret: str) -> Iterator[str]:
    for start in range(max(1, len(secret) - TELLING + 1)):
        yield secret[start : start + TELLING]


def _leaves(value: Json) -> Iterator[str]:
    """Keys and scalars, as they are written."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    else:
        yield str(value)


# ------------------------------------------------------------------ the table


class _Row(Value):
    kind: str
    tier: Tier
    phone: Phone
    judged: Judged = "gated"
    secrets: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


class _Form(_Row):
    number: int
    forms: tuple[str, ...]
    carriers: str = ""


class _Structure(_Row):
    payload: dict[str, Json]


class _Table(Value):
    carriers: dict[str, tuple[str, ...]]
    forms: tuple[_Form, ...]
    structures: tuple[_Structure, ...]
    clean: tuple[LookAlike, ...]


@cache
def _table() -> _Table:
    return read_written(Path(__file__).parent / "data/leaks.yaml", _Table, FactsError)


def _carriers(form: _Form) -> tuple[str, ...]:
    carriers = _table().carriers
    return carriers[form.carriers] if form.carriers else carriers[form.kind] + carriers["any"]


def _leak(row: _Form | _Structure, unfilled: Json, whole: str, seed: int) -> Leak:
    template = unfilled if isinstance(unfilled, str) else json.dumps(unfilled, ensure_ascii=False)
    values = Invented(f"leak {seed} {template}")
    secrets = tuple(text.format_map(values) for text in row.secrets or (whole,))
    left = tuple(text.format_map(values) for text in row.left)
    return Leak(
        number=row.number if isinstance(row, _Form) else None,
        kind=row.kind,
        tier=row.tier,
        phone=row.phone,
        judged=row.judged,
        template=template,
        value=_filled(unfilled, values),
        secrets=secrets,
        left=secrets if row.phone == "unchanged" else left,
    )


def _filled(value: Json, values: Invented) -> Json:
    if isinstance(value, dict):
        return {_filled(key, values): _filled(inner, values) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, values) for inner in value]
    if not isinstance(value, str):
        return value
    text = value.format_map(values)
    return json.loads(text[1:]) if text.startswith("#") else text
