"""Moving records from the spool into the depot, for as long as that takes."""

import logging
import math
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Literal, NamedTuple, get_args

from intake.spool import Spool, Spooled
from loop.depot import Depot
from loop.errors import AwayReason, DepotAway, DepotError, LoopError, TranscriptError
from loop.upload import Record
from loop.values import digest_bytes, digest_json

logger = logging.getLogger(__name__)

AT_ONCE = 8
"""Records on their way to the depot at the same time."""
AWAY_AFTER = 8
"""So many failures in a row, none of a record's own, and the depot is away for this pass."""
STUCK_S = 120.0
"""Without a sign of life for this long, a shipper is stuck: a file or a depot hangs."""
STOP_S = 10.0
"""What a stopped intake still ships, it ships within this; the rest waits for the next start."""
GIVE_WAY_S, LOOK_S = 0.05, 0.005
"""Uploads go first: before each record, so long at most is waited for a moment without any."""
Failure = AwayReason | Literal["refused", "other"]
"""Why a record still waits: the depot is away; it refuses this record; an error of a disk."""
FAILURES: tuple[Failure, ...] = (*get_args(AwayReason), "refused", "other")


@dataclass(frozen=True)
class Pace:
    """How many seconds lie between two passes over the spool."""

    every_s: float = 1.0
    first_s: float = 10.0
    """After a pass that left something behind; twice that after the next such pass, and so on."""
    longest_s: float = 300.0

    def after(self, failed: int) -> float:
        """The pause after so many failed passes in a row, each a little different.

        >>> Pace().after(0), Pace(first_s=8, longest_s=8).after(2000) >= 4
        (1.0, True)
        """
        if not failed:
            return self.every_s
        longest = min(self.longest_s, self.first_s * 2.0 ** min(failed - 1, 30))
        return longest * random.uniform(0.5, 1)  # noqa: S311  (so that processes do not march in step)


class Shipped(NamedTuple):
    """One pass over the spool."""

    done: int
    failed: Counter[Failure]
    """Attempts that left a record where it was."""


def ship(spool: Spool, depot: Depot, go_on: Callable[[], bool] = lambda: True) -> Shipped:
    """Put every waiting record under raw/<upload id>/<sha256>.json, then forget it here.

    A record that the depot does not take keeps waiting and holds up no other; a depot that is away
    ends the pass.

    Args:
        spool: Where the records wait.
        depot: Where they go.
        go_on: Asked before each; False ends the pass.
    """
    return _Pass(spool, depot, go_on).run()


class _Pass:
    """One walk over the spool, by several threads that share it."""

    def __init__(self, spool: Spool, depot: Depot, go_on: Callable[[], bool]) -> None:
        self._spool, self._depot, self._go_on = spool, depot, go_on
        self._waiting: list[list[Spooled]] = []
        """By upload id, the oldest first: which of two bodies came first must not be lost."""
        self._lock, self._turn = Lock(), Lock()
        self._done = self._in_a_row = self._ended = 0
        self._failed: Counter[Failure] = Counter()

    def run(self) -> Shipped:
        self._waiting = list(_by_id(self._spool.waiting()))
        # in no order: refused ones must not gather in front, nor processes meet at each record
        random.shuffle(self._waiting)
        # no pool: its threads would keep a stopped process alive for as long as a depot hangs
        threads = [Thread(target=self._work, name=f"ship-{n}", daemon=True) for n in self._crew()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._ended < len(threads):
            raise RuntimeError(
                "a thread of the shipper ended early, by a bug whose traceback stands above"
            )
        return Shipped(self._done, self._failed)

    def _crew(self) -> range:
        return range(min(AT_ONCE, len(self._waiting)))

    def _work(self) -> None:
        while bodies := self._next():
            self._ship_in_order(bodies)
        with self._lock:
            self._ended += 1

    def _ship_in_order(self, bodies: list[Spooled]) -> None:
        """Ship the bodies of one id, up to the first that must wait."""
        for spooled in bodies:
            if not self._may_go_on():
                return
            done, failure = self._attempt(spooled)
            self._note(done, failure)
            if failure:
                return

    def _may_go_on(self) -> bool:
        with self._turn:  # one after the other: who asks may be made to wait
            return self._go_on()

    def _next(self) -> list[Spooled] | None:
        with self._lock:
            on = self._waiting and self._in_a_row < AWAY_AFTER
            return self._waiting.pop() if on else None

    def _attempt(self, spooled: Spooled) -> tuple[bool, Failure | None]:
        """Whether the depot has it now; and why it still waits, if it does."""
        try:
            return _ship_one(self._spool, self._depot, spooled), None
        except (LoopError, OSError) as error:
            told = error if isinstance(error, DepotAway) else type(error).__name__
            logger.warning("an upload waits in the spool: %s", told)
            return False, _failure(error)

    def _note(self, done: bool, failure: Failure | None) -> None:
        with self._lock:
            self._done += done
            if failure:
                self._failed[failure] += 1
            if failure != "refused":  # which says nothing of the depot
                self._in_a_row = self._in_a_row + 1 if failure else 0


def _by_id(waiting: Iterable[Spooled]) -> Iterable[list[Spooled]]:
    found: dict[str, list[Spooled]] = {}
    for spooled in waiting:
        found.setdefault(spooled.upload_id, []).append(spooled)
    return found.values()


def _failure(error: LoopError | OSError) -> Failure:
    if isinstance(error, DepotAway):
        return error.reason
    return "refused" if isinstance(error, DepotError) else "other"


def _ship_one(spool: Spool, depot: Depot, spooled: Spooled) -> bool:
    try:
        data = _read(spooled.path)
    except FileNotFoundError:  # another process over the same spool shipped it
        return False
    if not _is_whole(spooled, data):
        spool.set_aside(spooled.path, "corrupt")
        return False
    depot.put(f"raw/{spooled.upload_id}/{digest_bytes(data)}.json", data)
    spooled.path.unlink(missing_ok=True)
    return True


def _read(path: Path) -> bytes:
    """The bytes of a file; OSError where a link has taken its place, nothing where a pipe has."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        return file.read()


def _is_whole(spooled: Spooled, data: bytes) -> bool:
    try:
        upload = Record.from_bytes(data).upload
    except TranscriptError:
        return False
    return upload.get("upload_id") == spooled.upload_id and digest_json(upload) == spooled.digest


class Shipper(Thread):
    """Ships in the background until it is stopped; a failing depot delays and loses nothing."""

    def __init__(
        self,
        spool: Spool,
        depot: Depot,
        pace: Pace | None = None,
        busy: Callable[[], bool] = lambda: False,
    ) -> None:
        """A shipper that gives way while `busy` says that uploads are under way."""
        super().__init__(name="shipper", daemon=True)
        self._spool, self._depot, self._pace, self._busy = spool, depot, pace or Pace(), busy
        self._stopping = Event()
        self._ends_at = math.inf
        self._alive_at = time.monotonic()
        self._in_a_row = 0
        self.shipped = 0
        """Uploads that the depot took."""
        self.failed: Counter[Failure] = Counter()
        """Attempts that it did not."""
        self.troubles = 0
        """Passes that could not even read the spool."""

    def run(self) -> None:
        """Ship, wait, again; once more after the stop."""
        while not self._stopping.wait(self._rest(self._pass())):
            pass
        self._pass()

    def stop(self, within_s: float = STOP_S) -> None:
        """Ship what is waiting, and end; what takes too long is left in the spool."""
        self._ends_at = time.monotonic() + within_s
        self._stopping.set()
        self.join(within_s)

    def is_stuck(self, after_s: float = STUCK_S) -> bool:
        """Whether it ended, or has been at one and the same thing for too long."""
        return not self.is_alive() or time.monotonic() - self._alive_at > after_s

    def _pass(self) -> float:
        """One attempt, and how many seconds to wait before the next."""
        try:
            shipped = ship(self._spool, self._depot, self._go_on)
        except OSError as error:
            self.troubles += 1
            logger.warning("the spool cannot be read: %s", error.strerror)
            return self._pace.first_s
        self.shipped += shipped.done
        self.failed += shipped.failed
        if shipped.done:
            logger.info("shipped %d uploads to the depot", shipped.done)
        self._in_a_row = failed_in_a_row(self._in_a_row, shipped)
        return self._pace.after(self._in_a_row)

    def _go_on(self) -> bool:
        self._give_way()
        self._alive_at = time.monotonic()
        return self._alive_at < self._ends_at

    def _give_way(self) -> None:
        ends = time.monotonic() + GIVE_WAY_S
        while self._busy() and time.monotonic() < ends and not self._stopping.wait(LOOK_S):
            pass

    def _rest(self, seconds: float) -> float:
        """The same seconds, through which nobody needs a sign of life."""
        self._alive_at = time.monotonic() + seconds
        return seconds


def failed_in_a_row(before: int, shipped: Shipped) -> int:
    """How many passes the depot has been away, or refused all of many; else one, or none."""
    if not shipped.failed:
        return 0
    own = set(shipped.failed) == {"refused"} and shipped.failed.total() <= AWAY_AFTER
    return 1 if shipped.done or own else before + 1
