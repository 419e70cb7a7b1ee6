"""How many uploads are under way, in all and of one network, and when no new one may begin."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from intake.refusals import Refused


class Door:
    """Counts the uploads inside; used from one event loop, so without locks."""

    def __init__(self, most: int, share: float) -> None:
        """A door that lets in `most` at once, which bounds the memory that bodies take.

        One network may take a `share` of them, or one, so that it cannot keep others out.
        """
        self._most, self._most_of_one = most, max(1, int(most * share))
        self._of: Counter[str] = Counter()
        """Networks that have an upload inside, and no other."""
        self.inside = 0
        self.closed = False
        """Those inside are finished, nobody else comes in."""

    @contextmanager
    def entered(self, network: str) -> Iterator[None]:
        """One upload of a network is inside for as long as the block lasts.

        Raises:
            Refused: The service stops, or it or this network's share is as full as it may be.
        """
        self._check(network)
        self._move(network, 1)
        try:
            yield
        finally:
            self._move(network, -1)

    def _check(self, network: str) -> None:
        if self.closed:
            raise Refused("stopping")
        if self.inside >= self._most:
            raise Refused("busy")
        if self._of[network] >= self._most_of_one:
            raise Refused("source_busy")

    def _move(self, network: str, by: int) -> None:
        self.inside += by
        self._of[network] += by
        if not self._of[network]:
            del self._of[network]
