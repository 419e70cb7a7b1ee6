"""An answer that is dear to find, remembered for many times as long as finding it took."""

import math
from collections.abc import Callable
from time import monotonic
from typing import Generic, TypeVar

T = TypeVar("T")
Clock = Callable[[], float]
TIMES = 20
"""However often it is asked, finding takes at most one part in 21 of the time."""


class Seldom(Generic[T]):
    """A question whose answer may be a little old: the dearer, the older."""

    def __init__(self, find: Callable[[], T], least_s: float = 0, clock: Clock = monotonic) -> None:
        """A question that is not asked anew within `least_s`, however cheap it is."""
        self._find, self._least_s, self._clock = find, least_s, clock
        self._found: T | None = None
        self._until = -math.inf

    def ask(self) -> T:
        """The answer, found now or remembered; an error of finding it is not remembered."""
        began = self._clock()
        if self._found is None or began >= self._until:
            self._until, until = math.inf, -math.inf  # others go on with the last answer meanwhile
            try:
                self._found = self._find()
                ended = self._clock()
                until = ended + max(self._least_s, TIMES * (ended - began))
            finally:
                self._until = until
        return self._found
