"""How many uploads a day a network and all networks may send, without knowing any of them.

A network is known by a keyed hash alone. The day's key lies in memory, the counts in a file of
that day; both are deleted at midnight UTC, and neither is ever stored with a record.
"""

import hmac
import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from threading import Event, Lock, Thread

from intake.day_key import day_key, private_folder, warn_unless_in_memory
from intake.refusals import Refused
from loop.errors import SpoolError
from loop.values import utc_now

logger = logging.getLogger(__name__)

ALL = b""
"""The name under which everybody's uploads are counted."""
CLOCK_S = 60.0
"""So often at least the clock is asked whether it is another day; it may be set meanwhile."""
_TABLE = "CREATE TABLE IF NOT EXISTS taken (source BLOB PRIMARY KEY, uploads INTEGER) WITHOUT ROWID"
_READ = "SELECT source, uploads FROM taken WHERE source IN (?, ?)"
_COUNT = "INSERT INTO taken VALUES (?, 1) ON CONFLICT (source) DO UPDATE SET uploads = uploads + 1"


@dataclass(frozen=True)
class Allowance:
    """Uploads from midnight to midnight."""

    of_one: int
    """For one /24 or /64."""
    of_all: int


class Rates:
    """The counts of one day, shared by every process that is given the same two folders."""

    def __init__(
        self,
        counts: Path,
        keys: Path,
        allowance: Allowance,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._counts, self._keys, self._allowance, self._now = counts, keys, allowance, now
        self._lock = Lock()
        self._open: tuple[date, sqlite3.Connection] | None = None

    def open(self) -> None:
        """Tell the log what keeps uploads from being counted, or their key from being safe.

        Where they cannot be counted none is taken, but what waits in the spool still ships: on a
        full disk that may be what makes room.
        """
        try:
            self.check()
            warn_unless_in_memory(self._keys)
        except (SpoolError, OSError) as error:
            logger.error("uploads are not taken until this is mended: %s", error)  # noqa: TRY400

    def check(self) -> None:
        """Nothing, if uploads can be counted.

        Raises:
            SpoolError: The counts cannot be read, or the key's folder is not this user's alone.
        """
        with self._usable() as (_day, connection):
            connection.execute(_READ, (ALL, ALL))

    def charge(self, network: str) -> None:
        """Count one upload of a network, if it may still send one; a refusal counts nothing.

        Raises:
            Refused: Too many today; with the seconds until midnight.
            SpoolError: The counts cannot be read or written.
        """
        with self._usable() as (day, connection):
            self._count(connection, self._name(day, network))

    def forget(self) -> None:
        """Delete keys and counts of every day but this one."""
        today = self._now().date()
        with self._lock:
            if self._open and self._open[0] != today:
                self._close()
            for path in [*self._keys.glob("key-*"), *self._counts.glob("rates-*")]:
                if today.isoformat() not in path.name:
                    path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._close()

    def until_midnight_s(self) -> int:
        """Seconds, at least one."""
        now = self._now()
        midnight = datetime.combine(now.date() + timedelta(days=1), time(), UTC)
        return max(1, int((midnight - now).total_seconds()))

    def _count(self, connection: sqlite3.Connection, source: bytes) -> None:
        with connection:  # commits, or rolls back where it raises
            connection.execute("BEGIN IMMEDIATE")
            taken = dict(connection.execute(_READ, (source, ALL)).fetchall())
            spent = taken.get(source, 0) >= self._allowance.of_one
            if spent or taken.get(ALL, 0) >= self._allowance.of_all:
                raise Refused("rate_limit", self.until_midnight_s())
            connection.executemany(_COUNT, [(source,), (ALL,)])

    @contextmanager
    def _usable(self) -> Iterator[tuple[date, sqlite3.Connection]]:
        """Today's counts, for one caller at a time; what goes wrong with them is a SpoolError."""
        try:
            private_folder(self._keys)
            with self._lock:
                yield self._today()
        except (sqlite3.Error, OSError) as error:
            raise SpoolError(f"{self._counts}: counts of uploads: {error}") from error

    def _today(self) -> tuple[date, sqlite3.Connection]:
        today = self._now().date()
        if self._open is None or self._open[0] != today:
            self._close()
            self._open = today, _connect(self._counts / f"rates-{today}.db")
        return self._open

    def _close(self) -> None:
        if self._open:
            self._open[1].close()
            self._open = None

    def _name(self, day: date, network: str) -> bytes:
        return hmac.digest(day_key(self._keys, day), network.encode(), "sha256")


class Forgetter(Thread):
    """Has each day's keys and counts deleted when it is over."""

    def __init__(self, rates: Rates) -> None:
        super().__init__(name="forgetter", daemon=True)
        self._rates, self._stopping = rates, Event()

    def run(self) -> None:
        """Forget now, and after each midnight."""
        while not self._stopping.wait(self._pass()):
            pass

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        self.join()

    def _pass(self) -> float:
        try:
            self._rates.forget()
        except OSError:
            logger.exception("yesterday's counts or key could not be deleted")
        return min(CLOCK_S, self._rates.until_midnight_s())


def _connect(path: Path) -> sqlite3.Connection:
    path.touch(mode=0o600)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may forget some counts
    connection.execute(_TABLE)
    return connection
