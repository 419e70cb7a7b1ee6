"""The threads that work on uploads: few, as Python computes in one of them at a time anyway."""

from asyncio import get_running_loop
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

READERS = 1
"""Bodies that are parsed and scanned at a time: what forty had half done would take hundreds of
megabytes, and they would spend their time handing Python's lock to each other."""
WRITERS = 8
"""Records on their way to the disk at a time: enough to share one sync of the folder."""
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Crew:
    """Uploads that nobody works on wait in the event loop, not in a thread."""

    def __init__(self) -> None:
        self._readers = ThreadPoolExecutor(READERS, "reader")
        self._writers = ThreadPoolExecutor(WRITERS, "writer")

    async def reads(self, work: Callable[[*Ts], T], *given: *Ts) -> T:
        """The result of work that computes."""
        return await get_running_loop().run_in_executor(self._readers, work, *given)

    async def writes(self, work: Callable[[*Ts], T], *given: *Ts) -> T:
        """The result of work that waits for a disk."""
        return await get_running_loop().run_in_executor(self._writers, work, *given)
