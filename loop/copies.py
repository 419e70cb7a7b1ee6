"""Copies on this machine of what an object store holds, each checked whenever it is asked for."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from loop.errors import DepotError
from loop.jobs import locked
from loop.values import Digest

PATIENCE = 3600.0
"""Seconds to wait for another process that is fetching the same bytes."""


class Wanted(NamedTuple):
    """One thing to have here, and how it is known to be right."""

    key: str
    digest: Digest
    measure: Callable[[Path], Digest]
    fetch: Callable[[Path], None]
    """Writes it to a path that is free."""


class Copies:
    """A folder that may be deleted whenever nothing runs; what is missing is fetched again."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def copy(self, wanted: Wanted) -> Path:
        """Where the thing lies here, read-only, with exactly the wanted bytes.

        Raises:
            DepotError: What was fetched has another digest; nothing of it stays.
        """
        path = self.root / wanted.key
        if not _is_right(path, wanted):
            name = wanted.digest
            with locked(self.root / ".locks" / name, name, PATIENCE):
                if not _is_right(path, wanted):
                    self._renew(path, wanted)
        return path

    def drop(self, key: str) -> None:
        """Forget a copy, because the store no longer has the thing."""
        remove(self.root / key)

    def _renew(self, path: Path, wanted: Wanted) -> None:
        fresh = self.root / ".new" / wanted.digest  # a killed process left it for the next one
        remove(fresh)
        fresh.parent.mkdir(parents=True, exist_ok=True)
        wanted.fetch(fresh)
        if (found := wanted.measure(fresh)) != wanted.digest:
            remove(fresh)
            raise DepotError(f"{wanted.key}: expected sha256 {wanted.digest}, got {found}")
        remove(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.rename(path)


def _is_right(path: Path, wanted: Wanted) -> bool:
    return path.exists() and wanted.measure(path) == wanted.digest


def remove(path: Path) -> None:
    """Delete a file, a link or a whole folder; what is gone already is no matter."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        with suppress(NotADirectoryError):  # nor is what something else stands in place of
            path.unlink(missing_ok=True)
