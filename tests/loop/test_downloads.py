from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from deployments.releases import create_app
from loop.downloads import probe_download, shows, verify_download
from loop.errors import ReleaseError
from loop.manifest import Entry
from loop.values import digest_bytes
from tests.candidates import serving

DATA = b"some model bytes " * 500


def entry_at(url: str, data: bytes = DATA) -> Entry:
    return Entry(
        model_version="v1",
        url=f"{url}/models/v1/m.gguf",
        sha256=digest_bytes(data),
        size_bytes=len(data),
    )


@pytest.mark.parametrize("size", [1, 15, 16, 17, 8500])
def test_a_file_that_is_served_well_is_accepted(tmp_path, size):
    (tmp_path / "models/v1").mkdir(parents=True)
    (tmp_path / "models/v1/m.gguf").write_bytes(DATA[:size])
    with serving(create_app(tmp_path)) as url:
        verify_download(entry_at(url, DATA[:size]))

        assert probe_download(entry_at(url, DATA[:size])) == DATA[: min(size, 16)]


def whole(request: Request) -> Response:
    """A server that knows nothing of parts, though it says so."""
    return Response(DATA, headers={"Accept-Ranges": "bytes"})


def silent(request: Request) -> Response:
    """One that does not offer parts."""
    return Response(DATA)


def parted(data: bytes, part: bytes) -> Response:
    return Response(
        part,
        206,
        headers={"Accept-Ranges": "bytes", "Content-Range": f"bytes 0-15/{len(data)}"},
    )


def other_parts(request: Request) -> Response:
    """One whose parts are not parts of the file."""
    return parted(DATA, b"x" * 16) if "range" in request.headers else whole(request)


def flipped(request: Request) -> Response:
    """One that delivers one wrong bit."""
    data = DATA[:-1] + bytes([DATA[-1] ^ 1])
    if "range" in request.headers:
        return parted(DATA, data[:16])
    return Response(data, headers={"Accept-Ranges": "bytes"})


def short(request: Request) -> Response:
    return Response(DATA[:-1], headers={"Accept-Ranges": "bytes"})


def missing(request: Request) -> Response:
    return Response(status_code=404)


def moved(request: Request) -> Response:
    return RedirectResponse("http://127.0.0.1/elsewhere")


@contextmanager
def answering(answer: object) -> Iterator[str]:
    with serving(Starlette(routes=[Route("/{path:path}", answer)])) as url:  # type: ignore[arg-type]
        yield url


@pytest.mark.parametrize(
    "answer", [whole, silent, other_parts, flipped, short, missing, moved], ids=lambda f: f.__name__
)
def test_a_file_that_a_device_could_not_use_is_refused(answer):
    with answering(answer) as url, pytest.raises(ReleaseError, match="expected"):
        verify_download(entry_at(url))


def test_an_address_that_nobody_serves_is_refused_as_such():
    with serving(Starlette()) as url:
        pass

    with pytest.raises(ReleaseError, match=r"m\.gguf: nobody answers there; serve the"):
        verify_download(entry_at(url))


def test_a_pointer_that_shows_other_bytes_or_none_is_noticed():
    with answering(silent) as url:
        assert shows(f"{url}/ai-manifest.json", DATA)
        assert not shows(f"{url}/ai-manifest.json", DATA[1:])

    assert not shows(f"{url}/ai-manifest.json", DATA)
