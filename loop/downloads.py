"""What a device would get from a published address: checked before any manifest names it."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from ssl import SSLContext

import httpx

from loop.errors import ReleaseError
from loop.manifest import Entry

SAMPLE = 16
"""Bytes asked for by the Range request."""


def verify_download(entry: Entry) -> None:
    """The whole file at an entry's address has its size and sha256, and parts can be asked for.

    Raises:
        ReleaseError: A download that a device could not use; a store's own 200 proves nothing.
    """
    digest, size, head = hashlib.sha256(), 0, b""
    with _answers(entry) as client, client.stream("GET", entry.url) as answer:
        _check_whole(entry, answer)
        for block in answer.iter_raw():
            digest.update(block)
            size += len(block)
            head = head or block[:SAMPLE]
    if (size, digest.hexdigest()) != (entry.size_bytes, entry.sha256):
        raise ReleaseError(
            f"{entry.url}: expected {entry.size_bytes} bytes with sha256 {entry.sha256}, "
            f"got {size} with {digest.hexdigest()}"
        )
    if not probe_download(entry).startswith(head):
        raise ReleaseError(f"{entry.url}: expected the file's first bytes in parts too, got others")


def probe_download(entry: Entry) -> bytes:
    """The first bytes at an entry's address, by HEAD and Range, without downloading the rest.

    Raises:
        ReleaseError: It is not there in the right size, or cannot be read in parts.
    """
    end = min(SAMPLE, entry.size_bytes) - 1
    with _answers(entry) as client:
        _check_whole(entry, client.head(entry.url))
        answer = client.get(entry.url, headers={"Range": f"bytes=0-{end}"})
    span = f"bytes 0-{end}/{entry.size_bytes}"
    found = answer.status_code, answer.headers.get("Content-Range")
    if found != (206, span) or len(answer.content) != end + 1:
        raise ReleaseError(f"{entry.url}: expected a Range answer (206, {span!r}), got {found}")
    return answer.content


def shows(url: str, data: bytes) -> bool:
    """Whether a public address answers with exactly these bytes by now."""
    with _client(url) as client:
        try:
            return client.get(url).content == data
        except httpx.HTTPError:
            return False


@contextmanager
def _answers(entry: Entry) -> Iterator[httpx.Client]:
    with _client(entry.url) as client:
        try:
            yield client
        except httpx.ConnectError as error:
            raise ReleaseError(
                f"{entry.url}: nobody answers there; serve the release repository, as `make run` "
                "does, and do this again: nothing was changed"
            ) from error
        except httpx.HTTPError as error:
            raise ReleaseError(f"{entry.url}: expected a download, got {error!r}") from error


def _client(url: str) -> httpx.Client:
    return httpx.Client(
        headers={"Accept-Encoding": "identity"},
        timeout=60,
        verify=_authorities(),
        trust_env=url.startswith("https://"),  # a loopback address never goes through a proxy
    )


@cache
def _authorities() -> SSLContext:
    """Made once: it takes 40 ms, longer than a whole local check."""
    return httpx.create_ssl_context()


def _check_whole(entry: Entry, answer: httpx.Response) -> None:
    """Also refuses redirects: today's devices follow them, even to plain http."""
    found = {
        "status": str(answer.status_code),
        "Content-Length": answer.headers.get("Content-Length"),
        "Accept-Ranges": answer.headers.get("Accept-Ranges"),
    }
    expected = {
        "status": "200",
        "Content-Length": str(entry.size_bytes),
        "Accept-Ranges": "bytes",
    }
    if found != expected:
        raise ReleaseError(f"{entry.url}: expected {expected}, got {found}")
