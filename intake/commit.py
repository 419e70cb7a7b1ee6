"""Group commit: one sync of a folder for all who were waiting when it began."""

import errno
from collections.abc import Callable
from threading import Lock


class GroupCommit:
    """A costly step that serves everybody who asked for it before it began.

    While one runs, others gather; the next one serves them all. A failure fails them all: after
    one, the same sync again may succeed without having written what the first had lost.
    """

    def __init__(self, step: Callable[[], None]) -> None:
        self._step = step
        self._asking, self._running = Lock(), Lock()
        self._asked = self._ended = 0
        self._lost: set[int] = set()

    def __call__(self) -> None:
        """Return once the step has begun and ended after this call.

        Raises:
            OSError: It failed, for this caller or for another of the same group.
        """
        mine = self._ask()
        with self._running:
            if self._ended < mine:
                self._lead(mine)
            elif mine in self._lost:
                self._lost.remove(mine)
                raise OSError(errno.EIO, "the sync that others waited for too failed")

    def _lead(self, mine: int) -> None:
        group = range(self._ended + 1, self._asked + 1)
        try:
            self._step()
        except OSError:
            self._lost.update(one for one in group if one != mine)
            raise
        finally:
            self._ended = group[-1]

    def _ask(self) -> int:
        with self._asking:
            self._asked += 1
            return self._asked
