"""The key of the day that hides networks: in memory, for this user alone, gone at midnight."""

import logging
import os
import secrets
import stat
from contextlib import suppress
from datetime import date
from pathlib import Path
from tempfile import NamedTemporaryFile

from loop.errors import SpoolError

logger = logging.getLogger(__name__)

MEMORY = frozenset({"tmpfs", "ramfs"})
"""File systems that no disk keeps."""
KEY_BYTES = 32
_MOUNTS = Path("/proc/self/mountinfo")


def day_key(folder: Path, day: date) -> bytes:
    """The key of a day, the same for every process over this folder; made where there is none.

    Raises:
        OSError: It cannot be read or made.
        SpoolError: The file holds no whole key; an empty one would hide nobody.
    """
    path = folder / f"key-{day}"
    if not path.exists():
        _make(path)
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise SpoolError(f"{path}: expected {KEY_BYTES} bytes, got {len(key)}; delete it")
    return key


def private_folder(path: Path) -> None:
    """Make a folder of this user alone, where there is none.

    Raises:
        SpoolError: Somebody else can read or replace what lies in it.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    if not ours or stat.S_IMODE(found.st_mode) & 0o077:
        raise SpoolError(f"{path}: expected a folder of this user that nobody else can read")


def warn_unless_in_memory(folder: Path) -> None:
    """Tell the log where a folder may lie on a disk, which keeps what was deleted from it."""
    if not is_in_memory(folder):
        logger.warning(
            "LOOP_RATE_KEYS: %s is not in memory (expected one of: %s); a disk may keep the day's"
            " key after midnight, which then tells whose uploads were counted",
            folder,
            ", ".join(sorted(MEMORY)),
        )


def is_in_memory(folder: Path) -> bool:
    """Whether a folder's file system is one of `MEMORY`; False also where nobody can say.

    Source:
        proc(5), mountinfo: the third field is the device, the first after `-` the file system.
    """
    device = folder.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    mounts = (line.split() for line in _MOUNTS.read_text().splitlines())
    return any(one[2] == wanted and one[one.index("-") + 1] in MEMORY for one in mounts)


def _make(path: Path) -> None:
    """Of several processes, one wins; the name of what a killed one leaves goes with its day."""
    with NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.new-") as made:
        made.write(secrets.token_bytes(KEY_BYTES))
        made.flush()
        os.fsync(made.fileno())  # a power cut must not leave a name without its bytes
        with suppress(FileExistsError):
            os.link(made.name, path)
