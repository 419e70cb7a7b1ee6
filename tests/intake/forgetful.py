"""A double of a disk's cache: after a power cut, only what was synced is there."""

import os
import stat
from pathlib import Path


class ForgetfulDisk:
    """Watches syncs of files in one folder, and says what a power cut now would leave of it.

    A name is durable once its folder was synced, bytes once their file was; a name without its
    bytes is an empty file, the worst that ext4 does.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._bytes: dict[int, bytes] = {}
        self._names: dict[str, int] = {}
        self.cuts: list[dict[str, bytes]] = []
        """What a power cut just before each sync would have left."""

    def sync(self, handle: int) -> None:
        """In place of `os.fsync`."""
        self.cuts.append(self.after_power_cut())
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            self._names = {path.name: path.stat().st_ino for path in self._root.glob("*.json")}
        else:
            self._bytes[os.fstat(handle).st_ino] = Path(f"/proc/self/fd/{handle}").read_bytes()

    def after_power_cut(self) -> dict[str, bytes]:
        """The files that would be there, by name."""
        return {name: self._bytes.get(inode, b"") for name, inode in self._names.items()}
