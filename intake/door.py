"""How many uploads are under way, and when no new one may begin."""

from collections.abc import Iterator
from contextlib import contextmanager

from intake.refusals import Refused


class Door:
    """Counts the uploads inside; used from one event loop, so without locks."""

    def __init__(self, most: int) -> None:
        """A door that lets in `most` at once, which bounds the memory that bodies take."""
        self._most = most
        self.inside = 0
        self.closed = False
        """Those inside are finished, nobody else comes in."""

    @contextmanager
    def entered(self) -> Iterator[None]:
        """One upload is inside for as long as the block lasts.

        Raises:
            Refused: The service stops, or is as full as it may be.
        """
        if self.closed:
            raise Refused("stopping")
        if self.inside >= self._most:
            raise Refused("busy")
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1
