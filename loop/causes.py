"""The one vocabulary of root causes: names, their aliases, and words for each.

The table is loop/data/root_causes.yaml. A model's free text is compared after normalisation, whole
and never in part: `clock` inside a sentence is no diagnosis.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from loop.errors import FactsError
from loop.values import Severity, Value
from loop.written import read_written

TABLE = Path(__file__).parent / "data/root_causes.yaml"
MOST_WORDS = 12
"""Of a template sentence: a small model has to say it whole."""

_GAPS = re.compile(r"[\s_\-\u2010-\u2015\u2212]+")


def normal(text: str) -> str:
    """A cause as the vocabulary writes it: lower case, one underscore between words.

    >>> normal(" Clock-Unsynced "), normal("NTP  unsynced")
    ('clock_unsynced', 'ntp_unsynced')
    """
    return _GAPS.sub("_", unicodedata.normalize("NFKC", text).casefold()).strip("_")


def _already_normal(name: str) -> str:
    if normal(name) != name or not name:
        raise ValueError(f"expected the normal form {normal(name)!r}")
    return name


def _one_short_sentence(text: str) -> str:
    if not text.endswith(".") or len(text.split()) > MOST_WORDS or "{" in text:
        raise ValueError(f"expected one plain sentence of at most {MOST_WORDS} words")
    return text


CauseName = Annotated[str, AfterValidator(_already_normal)]
Sentence = Annotated[str, AfterValidator(_one_short_sentence)]


class Cause(Value):
    """One thing that can be wrong, or the finding that nothing is."""

    id: CauseName
    aliases: tuple[CauseName, ...] = ()
    severity: Severity
    """What a verdict of this cause normally has."""
    about: str = Field(min_length=1)
    """For a labeller who chooses."""
    summary: Sentence
    """What a verdict says where nobody wrote a better summary."""
    reasoning: Sentence
    """Why its action is right, where nobody wrote a better reason."""


class Vocabulary(Value):
    """The whole table."""

    causes: tuple[Cause, ...]

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = Counter(name for cause in self.causes for name in (cause.id, *cause.aliases))
        if twice := sorted(name for name, count in names.items() if count > 1):
            raise ValueError(f"expected each id and alias once, got {', '.join(twice)} again")
        return self


@cache
def causes() -> Mapping[str, Cause]:
    """Every cause by its id, in the order of the table."""
    vocabulary = read_written(TABLE, Vocabulary, FactsError)
    return MappingProxyType({cause.id: cause for cause in vocabulary.causes})


@cache
def _ids() -> Mapping[str, str]:
    """The id behind each id and alias."""
    named = ((name, cause.id) for cause in causes().values() for name in (cause.id, *cause.aliases))
    return MappingProxyType(dict(named))


def cause_of(text: str) -> str | None:
    """The id that some words name; None: they name no cause.

    >>> cause_of("Clock unsynced"), cause_of("ipfs_host_oom_killed")
    ('clock_unsynced', 'kubo_oom_killed')
    >>> cause_of("the clock is unsynced") is None
    True
    """
    return _ids().get(normal(text))
