"""Many expressions in one pass over a text: which of them may match in it, in linear time.

Hyperscan reads the expressions as they stand. Where it cannot look around, as in front of a match,
it does not: it lets through too much and never too little, so Python's own engine has the last word
on what it names.
"""

import re
from collections.abc import Sequence
from threading import local

import hyperscan

_PYTHON_ESCAPE = re.compile(r"\\u([0-9A-Fa-f]{4})")
_FLAGS = (
    hyperscan.HS_FLAG_PREFILTER  # match more often where it cannot be exact
    | hyperscan.HS_FLAG_SINGLEMATCH  # once each is enough, and bounds the work
    | hyperscan.HS_FLAG_UTF8
    | hyperscan.HS_FLAG_DOTALL
)


class Sieve:
    """A set of expressions, in Python's syntax and with its ASCII classes.

    Source: Hyperscan 5.4 Developer's Reference, "Prefilter mode" for what is promised; "Allocate
    one scratch space per scanning context" for why each thread has its own.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        """Compile, in a fraction of a second.

        Raises:
            hyperscan.error: A pattern that it cannot read.
        """
        written = [_PYTHON_ESCAPE.sub(r"\\x{\1}", pattern).encode() for pattern in patterns]
        self._database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
        self._database.compile(
            expressions=written, ids=list(range(len(written))), flags=[_FLAGS] * len(written)
        )
        self._own = local()

    def named(self, text: str) -> list[int]:
        """The numbers of the expressions that may match somewhere in a text, in their order.

        >>> Sieve(["[0-9]{3}(?![0-9])", "@"]).named("room 1204")
        [0]
        """
        found: list[int] = []
        self._database.scan(
            text.encode(),
            match_event_handler=lambda number, *_place: found.append(number),
            scratch=self._scratch(),
        )
        return sorted(found)

    def _scratch(self) -> hyperscan.Scratch:
        if not hasattr(self._own, "scratch"):
            self._own.scratch = self._database.scratch.clone()
        scratch: hyperscan.Scratch = self._own.scratch
        return scratch
