"""Moving records from the spool into the depot, for as long as that takes."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

from intake.spool import Spool, Spooled
from loop.depot import Depot
from loop.errors import LoopError, TranscriptError
from loop.upload import Record
from loop.values import digest_bytes, digest_json

logger = logging.getLogger(__name__)

EVERY_S = 1.0
AFTER_FAILURE_S = 30.0
STUCK_S = 120.0
"""Without a sign of life for this long, a shipper is stuck: a file or a depot hangs."""


class Shipped(NamedTuple):
    """One pass over the spool."""

    done: int
    failed: int
    """Still waiting in the spool."""


def ship(spool: Spool, depot: Depot, alive: Callable[[], None] = lambda: None) -> Shipped:
    """Put every waiting record under raw/<upload id>/<sha256>.json, then forget it here.

    A record that the depot does not take keeps waiting and holds up no other. `alive` is called
    before each.
    """
    done = failed = 0
    for spooled in spool.waiting():
        alive()
        try:
            done += _ship_one(spool, depot, spooled)
        except (LoopError, OSError) as error:
            logger.warning("an upload waits in the spool: %s", type(error).__name__)
            failed += 1
    return Shipped(done, failed)


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
    """The bytes of a file; OSError where a link has taken its place."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        return file.read()


def _is_whole(spooled: Spooled, data: bytes) -> bool:
    try:
        upload = Record.from_bytes(data).upload
    except TranscriptError:
        return False
    return upload.get("upload_id") == spooled.upload_id and digest_json(upload) == spooled.digest


class Shipper(Thread):
    """Ships in the background until it is stopped; a failing depot delays and loses nothing."""

    def __init__(self, spool: Spool, depot: Depot, every_s: float = EVERY_S) -> None:
        super().__init__(name="shipper", daemon=True)
        self._spool, self._depot, self._every_s = spool, depot, every_s
        self._stopping = Event()
        self._alive_at = time.monotonic()
        self.shipped = self.failed = 0
        """Uploads that the depot took; attempts that it did not."""
        self.troubles = 0
        """Passes that could not even read the spool."""

    def run(self) -> None:
        """Ship, wait, again; once more after the stop."""
        while not self._stopping.wait(self._pass()):
            pass
        self._pass()

    def stop(self) -> None:
        """Ship what is waiting and end."""
        self._stopping.set()
        self.join()

    def is_stuck(self, after_s: float = STUCK_S) -> bool:
        """Whether it ended, or has been at one and the same thing for too long."""
        return not self.is_alive() or time.monotonic() - self._alive_at > after_s

    def _pass(self) -> float:
        """One attempt, and how many seconds to wait before the next."""
        try:
            shipped = ship(self._spool, self._depot, self._alive)
        except OSError as error:
            self.troubles += 1
            logger.warning("the spool cannot be read: %s", error.strerror)
            return AFTER_FAILURE_S
        finally:
            self._alive()
        self.shipped += shipped.done
        self.failed += shipped.failed
        if shipped.done:
            logger.info("shipped %d uploads to the depot", shipped.done)
        return AFTER_FAILURE_S if shipped.failed else self._every_s

    def _alive(self) -> None:
        self._alive_at = time.monotonic()
