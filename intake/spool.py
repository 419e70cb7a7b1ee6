"""The spool: what intake accepted, durably on this machine until the depot has it."""

import errno
import fcntl
import logging
import os
import re
import shutil
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from threading import Lock
from typing import Literal, NamedTuple, get_args

from intake.commit import GroupCommit
from intake.seen import Seen, UploadOutcome
from intake.seldom import Seldom
from loop.errors import SpoolError
from loop.upload import Record
from loop.values import Digest, digest_json

logger = logging.getLogger(__name__)

_NAME = re.compile(r"([0-9a-f-]{36})\.([0-9a-f]{64})\.json")
_FRESH = ".new-"
COUNTED_EVERY_S = 1.0
"""What waits is counted so often at most; a hundred thousand take long."""
ASIDE = "aside"
"""The subfolder of files that nobody can ship."""
AsideReason = Literal["foreign", "not_a_file", "corrupt"]
"""Another name; a link, folder or pipe; not what its name says."""
ASIDE_REASONS: tuple[AsideReason, ...] = get_args(AsideReason)


class Spooled(NamedTuple):
    """One file of the spool, by what its name says."""

    path: Path
    upload_id: str
    digest: Digest
    """Of the upload inside, so that the same upload twice is the same name."""


class Backlog(NamedTuple):
    """What lies in the spool now."""

    length: int
    """Uploads that the depot does not have yet."""
    oldest_s: float
    """How long the oldest of them waits; 0 where none does."""
    aside: int
    """Files that wait for a person."""


@dataclass(frozen=True)
class Room:
    """When a spool takes nothing more: whichever comes first."""

    free_bytes: int = 0
    free_share: float = 0.0
    """Of the whole disk; what must stay free is the larger of the two."""
    uploads: int = 100_000
    """That wait; they are counted each second or more seldom, so a few more may come in."""


class Spool:
    """A folder of records that outlives this process and a power cut."""

    def __init__(self, root: Path, room: Room, sync: Callable[[int], None] = os.fsync) -> None:
        """A spool in `root`, which need not exist before it is opened."""
        self.root, self.room, self._sync = root, room, sync
        self._commit = GroupCommit(lambda: self._sync_folder(self.root))
        self._seen = Seen()
        self._held: int | None = None
        self._counted, self._kept_since = Seldom(self._count, COUNTED_EVERY_S), 0
        self._counting = Lock()
        self.set_aside_by: Counter[AsideReason] = Counter()

    def check(self) -> None:
        """Nothing, if there is room for another upload.

        Raises:
            SpoolError: The disk is nearly full, too many wait, or there is no such folder.
        """
        try:
            disk, length = shutil.disk_usage(self.root), self._counted.ask() + self._kept_since
        except OSError as error:
            raise SpoolError(f"{self.root}: {error.strerror}") from error
        wanted = max(self.room.free_bytes, int(disk.total * self.room.free_share))
        if disk.free < wanted:
            raise SpoolError(f"{self.root}: expected {wanted} bytes free, got {disk.free}")
        if length >= self.room.uploads:
            raise SpoolError(f"{self.root}: expected under {self.room.uploads} to wait: {length}")

    def keep(self, record: Record) -> UploadOutcome:
        """Keep a record; on return a power cut no longer loses it. The same upload stays as it was.

        Raises:
            SpoolError: The disk did not take it.
        """
        upload_id, digest = record.upload["upload_id"], digest_json(record.upload)
        try:
            self._write(self.root / f"{upload_id}.{digest}.json", record.to_bytes())
        except OSError as error:
            raise SpoolError(f"{self.root}: {error.strerror}") from error
        return self._seen.add(upload_id, digest)

    def open(self) -> None:
        """Make the folder, drop what a killed process left half-written, remember what waits."""
        self.close()
        self._make_folder(self.root)
        self._held = os.open(self.root, os.O_RDONLY)
        if _alone(self._held):
            self._sweep()
        fcntl.flock(self._held, fcntl.LOCK_SH)
        for spooled in self.waiting():
            self._seen.add(spooled.upload_id, spooled.digest)

    def close(self) -> None:
        """Let go of the folder; the next process that opens it may tidy up."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def waiting(self) -> Iterator[Spooled]:
        """What the depot does not have yet, the oldest first.

        Files that intake did not write are set aside; what another process took meanwhile is
        passed over.
        """
        for path in _by_age(self.root):
            if path.name == ASIDE or path.name.startswith(_FRESH):
                continue
            named = _NAME.fullmatch(path.name)
            with suppress(FileNotFoundError):
                if named is None:
                    self._try_aside(path, "foreign")
                elif not stat.S_ISREG(path.lstat().st_mode):
                    self._try_aside(path, "not_a_file")
                else:
                    yield Spooled(path, *named.groups())

    def backlog(self) -> Backlog:
        """How much waits, and for how long, by a look at every file; nothing is moved."""
        since = [_written(entry) for entry in _uploads(self.root)]
        there = [written for written in since if written is not None]
        oldest_s = max(0.0, time.time() - min(there)) if there else 0.0
        return Backlog(len(there), oldest_s, len(list(self.root.glob(f"{ASIDE}/*"))))

    def set_aside(self, path: Path, reason: AsideReason) -> None:
        """Keep a file where it blocks nothing, beside others of its name, and count it."""
        (self.root / ASIDE).mkdir(exist_ok=True)
        if (self.root / ASIDE).is_symlink():
            raise NotADirectoryError(errno.ENOTDIR, "a link, through which files would leave")
        path.rename(self.root / ASIDE / f"{path.name}.{time.time_ns()}")
        with self._counting:
            self.set_aside_by[reason] += 1
        logger.error("a spool file is set aside: %s", reason)

    def _try_aside(self, path: Path, reason: AsideReason) -> None:
        """`set_aside`, but on a disk that is full or cannot be written the file just stays."""
        try:
            self.set_aside(path, reason)
        except FileNotFoundError:  # another process was here first
            return
        except OSError as error:
            logger.warning("a spool file cannot be set aside: %s", error.strerror)

    def _sweep(self) -> None:
        """Drop half-written files; what cannot be dropped stays, and blocks nobody."""
        for path in self.root.glob(f"{_FRESH}*"):
            try:
                path.unlink()
            except OSError as error:
                logger.warning("a half-written spool file stays: %s", error.strerror)

    def _write(self, path: Path, data: bytes) -> None:
        with NamedTemporaryFile(dir=self.root, prefix=_FRESH) as temporary:
            temporary.write(data)
            temporary.flush()
            self._sync(temporary.fileno())
            if not path.exists():
                _link(Path(temporary.name), path)
        if _is_no_file(path):
            raise FileExistsError(errno.EEXIST, "something else has an upload's name")
        self._commit()  # also where another request linked it and has not come this far
        self._kept_since += 1

    def _count(self) -> int:
        before = self._kept_since
        found = sum(1 for _ in _uploads(self.root))
        # what comes meanwhile is rather counted twice than not at all, and two may count at once
        self._kept_since = max(0, self._kept_since - before)
        return found

    def _make_folder(self, folder: Path) -> None:
        """Where it is new, a power cut must not take it away with what came into it since."""
        if not folder.is_dir():
            self._make_folder(folder.parent)
            folder.mkdir(exist_ok=True)
            self._sync_folder(folder.parent)

    def _sync_folder(self, folder: Path) -> None:
        handle = os.open(folder, os.O_RDONLY)
        try:
            self._sync(handle)
        finally:
            os.close(handle)


def _alone(folder: int) -> bool:
    """Whether no other process has this folder open as its spool."""
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _by_age(root: Path) -> list[Path]:
    """What lies in a folder, by when it was written, then by name."""
    with os.scandir(root) as entries:
        aged = [(at, one.name) for one in entries if (at := _written(one)) is not None]
    return [root / name for _, name in sorted(aged)]


def _uploads(root: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(root) as entries:
        yield from (entry for entry in entries if _NAME.fullmatch(entry.name))


def _link(temporary: Path, path: Path) -> None:
    """Put-if-absent: of two at once, one wins and both are kept."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return


def _is_no_file(path: Path) -> bool:
    """Whether a link, folder or pipe is there; a file that was shipped meanwhile is not."""
    try:
        return not stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def _written(entry: os.DirEntry[str]) -> float | None:
    """When a file was written; None once it is shipped."""
    try:
        return entry.stat(follow_symlinks=False).st_mtime
    except FileNotFoundError:
        return None
