"""An answer that is dear to find, remembered for many times as long as finding it took."""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
TIMES = 20
"""However often it is asked, finding takes at most one part in 21 of the time."""


class Seldom(Generic[T]):
    """A question whose answer may be a little old: the dearer, the older."""

    def __init__(self, find: Callable[[], T], clock: Callable[[], float] = time.monotonic) -> None:
        self._find, self._clock = find, clock
        self._found: T | None = None
        self._until = -float("inf")

    def ask(self) -> T:
        """The answer, found now or remembered; an error of finding it is not remembered."""
        began = self._clock()
        if self._found is None or began >= self._until:
            self._found = self._find()
            ended = self._clock()
            self._until = ended + TIMES * (ended - began)
        return self._found
