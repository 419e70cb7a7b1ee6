"""A depot in an object store that speaks S3; its promises rest on conditional writes (ADR 12).

Imported only where a setting names a bucket: boto3 is slow to load, and a folder needs none of it.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeAlias

from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import ClientError

from loop.copies import Copies, Wanted
from loop.depot import changed, check_key, digest_folder, missing, put_files, taken
from loop.errors import DepotError, NotFound
from loop.s3_answers import code_of, status_of, translated
from loop.values import Digest, digest_bytes, digest_file

CONNECT_S = 3.0
"""To each of a store's addresses, of which Amazon's names have eight."""
ATTEMPTS = 2
"""Of one request; whoever asks has more patience, and knows what for."""
BLOCK = 1 << 20
LARGEST = 5 * 1024**3
"""The largest object that S3 accepts in one request; larger ones would come in parts, which have no
one checksum that the store compares."""
MOVED = (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED)
"""How a store says that a pointer is no longer what was read."""
CLASHES = 3
"""Attempts at a key that another writer creates at the same moment."""
Client: TypeAlias = Any
"""boto3 makes its clients at run time; they have no types."""


@dataclass(frozen=True)
class Bucket:
    """Where in which object store a depot lies, and how patiently it is asked."""

    name: str
    prefix: str = ""
    """What all its keys begin with: empty, or a path that ends with a slash."""
    endpoint: str | None = None
    """None: Amazon's."""
    seconds: float = 20.0
    """So long may an answer take to begin, or to go on."""

    def __str__(self) -> str:
        return f"s3://{self.name}/{self.prefix}".rstrip("/")

    def client(self, attempts: int) -> Client:
        """A client with boto3's usual chain of credentials; safe to share among threads."""
        style = {"addressing_style": "path"} if self.endpoint else {}
        patience = {"connect_timeout": CONNECT_S, "read_timeout": self.seconds}
        config = Config(
            retries={"mode": "standard", "total_max_attempts": attempts}, s3=style, **patience
        )
        return Session().client("s3", endpoint_url=self.endpoint, config=config)


class _Held(NamedTuple):
    """What a pointer holds, and the tag that changes with it."""

    data: bytes
    etag: str


class S3Depot:
    """A depot in a bucket."""

    def __init__(self, bucket: Bucket, copies: Path) -> None:
        """A depot that keeps copies of what it fetched in a local folder; nothing is asked yet."""
        self.bucket = bucket
        self._copies = Copies(copies)

    def put(self, key: str, data: bytes) -> bool:
        """Write once; False if the very same bytes are there already."""
        return self._put(key, data, digest_bytes(data))

    def put_file(self, key: str, file: Path) -> bool:
        """Write a file once; False if the very same bytes are there already.

        Raises:
            DepotError: It is larger than `LARGEST`.
        """
        if (size := file.stat().st_size) > LARGEST:
            raise DepotError(f"{key}: expected {LARGEST} bytes at most in one object, got {size}")
        return self._put(key, file, digest_file(file))

    def get(self, key: str) -> bytes:
        """The bytes under a key."""
        return self._held(key).data

    def keys(self, prefix: str) -> Iterator[str]:
        """The keys that begin with `prefix`, in order; a page of them at a time."""
        pages = self._pages("list_objects_v2", prefix)
        found = (self._key(one) for page in pages for one in page.get("Contents", ()))
        return (key for key in found if not key.endswith("/"))  # a console's idea of a folder

    def delete(self, key: str) -> bool:
        """Remove an object with all versions that the bucket keeps of it, and its copy here."""
        check_key(key)
        found = [
            one
            for page in self._pages("list_object_versions", key)
            for one in (*page.get("Versions", ()), *page.get("DeleteMarkers", ()))
            if self._key(one) == key
        ]
        with translated(str(self.bucket), key):
            for one in found:
                self._client.delete_object(**self._named(key), VersionId=one["VersionId"])
        self._copies.drop(key)
        return any("Size" in one for one in found)  # a delete marker has none

    def arrived(self, key: str) -> datetime:
        """When a key was written, by the store's clock, which counts in seconds."""
        at: datetime = self._head(key)["LastModified"]
        return at

    def put_tree(self, prefix: str, folder: Path) -> Digest:
        """Keep a folder's files under `prefix`/<digest>/; half of them are not a folder yet."""
        return put_files(self, prefix, folder)

    def fetch_tree(self, prefix: str, digest: Digest) -> Path:
        """A copy of the kept folder, after checking that its files hash to `digest`."""
        key = f"{prefix}/{digest}"
        check_key(key)
        keys = list(self.keys(f"{key}/"))
        if not keys:
            self._copies.drop(key)
            raise missing(key)

        def fetch(folder: Path) -> None:
            for one in keys:
                check_key(name := one.removeprefix(f"{key}/"))
                self._download(one, folder / name)

        return self._copies.copy(Wanted(key, digest, digest_folder, fetch))

    def fetch_file(self, key: str, digest: Digest) -> Path:
        """A copy of the kept file, after checking its bytes."""
        try:
            self._head(key)
        except NotFound:
            self._copies.drop(key)
            raise
        return self._copies.copy(
            Wanted(key, digest, digest_file, lambda path: self._download(key, path))
        )

    def read_pointer(self, key: str) -> bytes | None:
        """What a pointer holds now."""
        held = self._pointer(key)
        return held.data if held else None

    def swap_pointer(self, key: str, data: bytes, expected: bytes | None) -> None:
        """Set a pointer on condition that its tag is still that of `expected`.

        Raises:
            DepotError: Somebody else changed it.
            DepotAway: Also where the answer was lost and it is set; only a look at it tells.
        """
        held = self._pointer(key)
        if (held.data if held else None) != expected:
            raise changed(key)
        unchanged = {"IfMatch": held.etag} if held else {"IfNoneMatch": "*"}
        with translated(str(self.bucket)):
            try:
                self._write(self._impatient, key, data, digest_bytes(data), **unchanged)
            except ClientError as error:
                if status_of(error) in MOVED and code_of(error) != "NoSuchBucket":
                    raise changed(key) from error
                raise

    @cached_property
    def _client(self) -> Client:
        """Made when first needed: where credentials come from may be away, too."""
        return self.bucket.client(ATTEMPTS)

    @cached_property
    def _impatient(self) -> Client:
        """Asks once: a swap that is repeated after a lost answer would refuse itself."""
        return self.bucket.client(1)

    def _put(self, key: str, source: bytes | Path, digest: Digest) -> bool:
        check_key(key)
        while not self._create(key, source, digest):
            with suppress(NotFound):  # deleted at this very moment
                if PurePosixPath(key).stem != digest and self._digest(key) != digest:
                    raise taken(key)
                return False
        return True

    def _create(
        self, key: str, source: bytes | Path, digest: Digest, attempts: int = CLASHES
    ) -> bool:
        """Whether the object is new; asked again while another writer of it is just ending."""
        with translated(str(self.bucket), key):
            try:
                self._write(self._client, key, source, digest, IfNoneMatch="*")
            except ClientError as error:
                if status_of(error) == HTTPStatus.PRECONDITION_FAILED:
                    return False
                if code_of(error) == "ConditionalRequestConflict" and attempts > 1:
                    return self._create(key, source, digest, attempts - 1)
                raise
        return True

    def _write(
        self, client: Client, key: str, source: bytes | Path, digest: Digest, **only: str
    ) -> None:
        """One request; the store compares what arrives with the digest before it keeps it."""
        checked = {"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": _base64(digest)}
        with ExitStack() as stack:
            file = stack.enter_context(source.open("rb")) if isinstance(source, Path) else source
            client.put_object(**self._named(key), Body=file, **checked, **only)

    def _held(self, key: str) -> _Held:
        check_key(key)
        with translated(str(self.bucket), key):
            answer = self._client.get_object(**self._named(key))
            return _Held(answer["Body"].read(), answer["ETag"])

    def _pointer(self, key: str) -> _Held | None:
        try:
            return self._held(key)
        except NotFound:
            return None

    def _head(self, key: str) -> dict[str, Any]:
        check_key(key)
        with translated(str(self.bucket), key):
            return dict(self._client.head_object(**self._named(key), ChecksumMode="ENABLED"))

    def _digest(self, key: str) -> Digest:
        """The sha256 of an object: as the store compared it, else by reading it."""
        kept = self._head(key).get("ChecksumSHA256", "")
        if kept and "-" not in kept:  # with a dash: of an object that came in parts
            return b64decode(kept).hex()
        whole = sha256()
        for block in self._blocks(key):
            whole.update(block)
        return whole.hexdigest()

    def _download(self, key: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            for block in self._blocks(key):
                file.write(block)
        path.chmod(0o444)

    def _blocks(self, key: str) -> Iterator[bytes]:
        with translated(str(self.bucket), key):
            yield from self._client.get_object(**self._named(key))["Body"].iter_chunks(BLOCK)

    def _pages(self, kind: str, prefix: str) -> Iterator[dict[str, Any]]:
        begins = {"Bucket": self.bucket.name, "Prefix": f"{self.bucket.prefix}{prefix}"}
        with translated(str(self.bucket)):
            yield from self._client.get_paginator(kind).paginate(**begins)

    def _named(self, key: str) -> dict[str, str]:
        return {"Bucket": self.bucket.name, "Key": f"{self.bucket.prefix}{key}"}

    def _key(self, listed: dict[str, Any]) -> str:
        return str(listed["Key"]).removeprefix(self.bucket.prefix)


def _base64(digest: Digest) -> str:
    return b64encode(bytes.fromhex(digest)).decode()
