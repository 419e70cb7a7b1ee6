"""The depot: immutable bytes under keys, and a few pointers that change by compare-and-swap.

Devices download from a depot of their own (the release repository); it has the same interface.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Protocol, cast

from loop.errors import DepotError, NotFound
from loop.values import Digest, digest_bytes, digest_file, digest_tree, short

TRIES = 100
"""More often than anybody deletes in one folder while somebody writes into it."""


class Depot(Protocol):
    """Where bytes live; every backend passes the same contract tests.

    Each call may raise DepotAway, where bytes live elsewhere, and then done is done or not.
    """

    def put(self, key: str, data: bytes) -> bool:
        """Write once; False if the very same bytes are there already, DepotError if others are."""
        ...

    def put_file(self, key: str, file: Path) -> bool:
        """`put` for a file of any size."""
        ...

    def get(self, key: str) -> bytes:
        """The bytes under a key, or NotFound."""
        ...

    def keys(self, prefix: str) -> Iterator[str]:
        """The keys that begin with `prefix`, in order."""
        ...

    def delete(self, key: str) -> bool:
        """Remove an object for good, and what this machine keeps of it; False: there was none."""
        ...

    def arrived(self, key: str) -> datetime:
        """When a key was written, by the depot's own clock, or NotFound."""
        ...

    def put_tree(self, prefix: str, folder: Path) -> Digest:
        """Keep a folder's files under `prefix`/<digest>/ and return that digest."""
        ...

    def fetch_tree(self, prefix: str, digest: Digest) -> Path:
        """A local, read-only folder with exactly the files that `put_tree` kept, verified."""
        ...

    def fetch_file(self, key: str, digest: Digest) -> Path:
        """A local, read-only file with exactly these bytes, verified."""
        ...

    def read_pointer(self, key: str) -> bytes | None:
        """What a pointer holds now; None before its first write."""
        ...

    def swap_pointer(self, key: str, data: bytes, expected: bytes | None) -> None:
        """Set a pointer if it still holds `expected`, else DepotError and no change."""
        ...


class FolderDepot:
    """A depot in a folder on this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def path(self, key: str) -> Path:
        """Where a key's bytes lie.

        Raises:
            DepotError: The key would leave the root.
        """
        check_key(key)
        path = (self.root / key).resolve()
        if not path.is_relative_to(self.root):  # by a link
            raise leaves(key)
        return path

    def put(self, key: str, data: bytes) -> bool:
        """Write once; False if the very same bytes are there already."""
        with self._fresh(key) as temporary:
            temporary.write(data)
            temporary.flush()
            return self._settle(key, Path(temporary.name), digest_bytes(data))

    def put_file(self, key: str, file: Path) -> bool:
        """Write a file once; False if the very same bytes are there already."""
        with self._fresh(key) as temporary, file.open("rb") as source:
            shutil.copyfileobj(source, temporary, 1 << 20)
            temporary.flush()
            return self._settle(key, Path(temporary.name), digest_file(file))

    def get(self, key: str) -> bytes:
        """The bytes under a key."""
        try:
            return self.path(key).read_bytes()
        except (FileNotFoundError, IsADirectoryError) as error:
            raise missing(key) from error

    def keys(self, prefix: str) -> Iterator[str]:
        """The keys that begin with `prefix`, in order."""
        folder = self.root / prefix.rpartition("/")[0]
        for path in sorted(_below(folder), key=Path.as_posix):
            key = path.relative_to(self.root).as_posix()
            if path.is_file() and key.startswith(prefix) and not path.name.startswith(".new-"):
                yield key

    def delete(self, key: str) -> bool:
        """Remove an object and the folders that it leaves empty, up to the first of its key."""
        path = self.path(key)
        try:
            path.unlink()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return False
        _sync_folder(_drop_empty(path.parent, self.root))
        return True

    def arrived(self, key: str) -> datetime:
        """When a key was written; of two within a tick of the disk's clock it cannot tell."""
        try:
            return datetime.fromtimestamp(self.path(key).stat().st_mtime, UTC)
        except FileNotFoundError as error:
            raise missing(key) from error

    def put_tree(self, prefix: str, folder: Path) -> Digest:
        """Keep a folder's files under `prefix`/<digest>/; half of them are not a folder yet."""
        return put_files(self, prefix, folder)

    def fetch_tree(self, prefix: str, digest: Digest) -> Path:
        """The kept folder, after checking that its files still hash to `digest`."""
        folder = self.path(f"{prefix}/{digest}")
        if not folder.is_dir():
            raise missing(f"{prefix}/{digest}")
        if (found := digest_folder(folder)) != digest:
            raise DepotError(f"{prefix}/{short(digest)}: expected its own digest, got {found}")
        return folder

    def fetch_file(self, key: str, digest: Digest) -> Path:
        """The kept file, after checking its bytes."""
        path = self.path(key)
        if not path.is_file():
            raise missing(key)
        if (found := digest_file(path)) != digest:
            raise DepotError(f"{key}: expected sha256 {digest}, got {found}")
        return path

    def read_pointer(self, key: str) -> bytes | None:
        """What a pointer holds now."""
        path = self.path(key)
        return path.read_bytes() if path.is_file() else None

    def swap_pointer(self, key: str, data: bytes, expected: bytes | None) -> None:
        """Set a pointer under a lock, by an atomic rename."""
        path = self.path(key)
        _make_folder(path.parent)
        with (self.root / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self.read_pointer(key) != expected:
                raise changed(key)
            with self._fresh(key) as temporary:
                temporary.write(data)
                temporary.flush()
                os.fsync(temporary.fileno())
                Path(temporary.name).chmod(0o644)
                Path(temporary.name).rename(path)
                _sync_folder(path.parent)

    @contextmanager
    def _fresh(self, key: str) -> Iterator[IO[bytes]]:
        with _temporary(self.path(key).parent) as temporary:
            try:
                yield temporary
            finally:
                Path(temporary.name).unlink(missing_ok=True)

    def _settle(self, key: str, temporary: Path, digest: Digest) -> bool:
        path = self.path(key)
        temporary.chmod(0o444)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        while not (new := _linked(temporary, path)):
            with suppress(FileNotFoundError):  # deleted at this very moment
                if digest_file(path) != digest:
                    raise taken(key)
                break
        _sync_folder(path.parent)  # also for who linked it and was killed before this
        return new


def put_files(depot: Depot, prefix: str, folder: Path) -> Digest:
    """`put_tree`, by a `put_file` for each file."""
    files = digests_in(folder)
    digest = digest_tree(files)
    for name in files:
        depot.put_file(f"{prefix}/{digest}/{name}", folder / name)
    return digest


def check_key(key: str) -> None:
    """Nothing, if a key names one place below the root of every backend.

    Raises:
        DepotError: It is absolute, or a part of it is empty or leads elsewhere.
    """
    if any(part in ("", ".", "..") for part in key.split("/")):
        raise leaves(key)


def leaves(key: str) -> DepotError:
    """What every backend says to a key that is no place in it."""
    return DepotError(f"key {key!r} leaves the depot")


def missing(key: str) -> NotFound:
    """What every backend says to a key that it does not hold."""
    return NotFound(f"the depot has no {key}")


def taken(key: str) -> DepotError:
    """What every backend says to a second writer with other bytes."""
    return DepotError(f"{key} holds other bytes already; keys are written once")


def changed(key: str) -> DepotError:
    """What every backend says to a swap from what a pointer no longer holds."""
    return DepotError(f"{key}: somebody else changed it; read it again and decide anew")


def digest_folder(folder: Path) -> Digest:
    """The name under which a depot keeps a folder."""
    return digest_tree(digests_in(folder))


def digests_in(folder: Path) -> dict[str, Digest]:
    """The files of a folder by their relative names."""
    return {
        path.relative_to(folder).as_posix(): digest_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".new-")
    }


def _below(folder: Path) -> Iterator[Path]:
    """The files in a folder, however deep; folders that vanish meanwhile are passed over."""
    for place, _folders, names in os.walk(folder, onerror=_unless_gone):
        yield from (Path(place, name) for name in names)


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def _drop_empty(folder: Path, root: Path) -> Path:
    """Remove empty folders upwards; the first that stays, at the latest one right below `root`."""
    while root not in (folder, folder.parent) and _removed(folder):
        folder = folder.parent
    return folder


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:  # another process was faster
        return True
    except OSError:  # something lies in it
        return False
    return True


def _temporary(folder: Path) -> IO[bytes]:
    """A new file in a folder that is made; anew, where a `delete` just found it empty."""
    for _ in range(TRIES):
        with suppress(FileNotFoundError):
            _make_folder(folder)
            return cast("IO[bytes]", NamedTemporaryFile(dir=folder, prefix=".new-", delete=False))
    raise DepotError(f"{folder}: expected it to stay once it was made, it was gone {TRIES} times")


def _linked(temporary: Path, path: Path) -> bool:
    """Whether the name was free; nobody ever sees half a file under it."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    return True


def _make_folder(folder: Path) -> None:
    """Make a folder that a power cut does not take away again, nor any above it."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    try:
        handle = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:  # `delete` found it empty: who removed it synced the one above
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
