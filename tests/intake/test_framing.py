"""What no client library sends, on a real socket: lengths that lie, codings, no HTTP at all.

Every answer is the contract's, and nothing is inflated.
"""

import gzip
import json
import zlib
from contextlib import suppress

import pytest

from loop.values import Json
from tests.factories import upload
from tests.intake.served import connected, free_port, measured, most_memory, rest_of, served
from tests.processes import until

CAP = 256 * 1024
MB = 1 << 20
KEPT: tuple[int, Json] = (200, {})
INVALID = (400, {"error": "body_invalid"})
TOO_LARGE = (413, {"error": "body_too_large"})
MEDIA_TYPE = (415, {"error": "body_invalid"})
BODY = json.dumps(upload()).encode()
CHUNKED = "Transfer-Encoding: chunked"
WHOLE = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
JSON = "Content-Type: application/json"


def request(*headers, body=b"", kind=JSON):
    """The bytes of one request with exactly these headers."""
    lines = ["POST /transcripts HTTP/1.1", "Host: intake", "Connection: close", kind, *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def sized(body, *headers, kind=JSON):
    return request(f"Content-Length: {len(body)}", *headers, body=body, kind=kind)


def length(number, body=BODY):
    """A request that declares a length of its own choice."""
    return request(f"Content-Length: {number}", body=body)


CASES = {
    "as long as declared": (sized(BODY), KEPT),
    "chunked": (request(CHUNKED, body=WHOLE), KEPT),
    "no body": (request(), INVALID),
    "no length": (request(body=BODY), INVALID),
    "shorter than declared": (length(len(BODY) + 9), INVALID),
    "longer than declared": (length(len(BODY) - 9), INVALID),
    "declared over the cap": (length(CAP + 1), TOO_LARGE),
    "declared beyond all disks": (length("9" * 20), TOO_LARGE),
    "declared beyond all numbers": (length("9" * 400), INVALID),
    "counted over the cap": (
        request(CHUNKED, body=b"%x\r\n" % (CAP + 1) + b" " * (CAP + 1)),
        TOO_LARGE,
    ),
    "negative": (length(-5), INVALID),
    "no number": (length("many"), INVALID),
    "digits that are not ASCII": (length("\u0665"), INVALID),
    "two lengths": (request("Content-Length: 5", "Content-Length: 6", body=BODY), INVALID),
    "a length and chunks": (request(CHUNKED, "Content-Length: 5", body=WHOLE), INVALID),
    "a chunk that is none": (request(CHUNKED, body=b"zz\r\n"), INVALID),
    "another transfer coding": (request("Transfer-Encoding: gzip", body=BODY), INVALID),
    "no HTTP": (b"hello there\r\n\r\n", INVALID),
    "the beginning of TLS": (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n", INVALID),
    "an endless header": (request("X-Long: " + "x" * 200_000), INVALID),
    "text": (sized(BODY, kind="Content-Type: text/plain"), MEDIA_TYPE),
    "no type": (sized(BODY, kind="X-Type: none"), MEDIA_TYPE),
    "a form": (sized(BODY, kind="Content-Type: multipart/form-data; boundary=x"), MEDIA_TYPE),
    "gzip that says so": (sized(gzip.compress(BODY), "Content-Encoding: gzip"), MEDIA_TYPE),
    "deflate that says so": (sized(zlib.compress(BODY), "Content-Encoding: deflate"), MEDIA_TYPE),
    "br": (sized(b"\x0b\x02\x80{}\x03", "Content-Encoding: br"), MEDIA_TYPE),
    "zstd": (sized(b"(\xb5/\xfd\x00X\x11\x00\x00{}", "Content-Encoding: zstd"), MEDIA_TYPE),
    "two codings": (sized(BODY, "Content-Encoding: identity, gzip"), MEDIA_TYPE),
    "gzip that does not say so": (sized(gzip.compress(BODY)), INVALID),
}


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    home = tmp_path_factory.mktemp("framing")
    with served(home, body_seconds=1, header_seconds=1) as (url, _process):
        yield url


def answers_to(url, data):
    """The status and body of all that the server says to raw bytes until it closes."""
    with connected(url) as line:
        with suppress(BrokenPipeError, ConnectionResetError):  # it may have heard enough
            line.sendall(data)
        return told(rest_of(line))


def told(said):
    """Each answer in these bytes; the body of 100 is none."""
    parts = [one.partition(b"\r\n\r\n") for one in said.split(b"HTTP/1.1 ")[1:]]
    return [(int(head.split()[0]), json.loads(body or b"null")) for head, _, body in parts]


@pytest.mark.parametrize("name", CASES)
def test_every_framing_and_coding_gets_the_contracts_answer(url, name):
    sent, answer = CASES[name]

    assert answers_to(url, sent) == [answer]


def test_a_phone_that_waits_for_100_is_told_to_go_on_and_then_answered(url):
    assert answers_to(url, sized(BODY, "Expect: 100-continue")) == [(100, None), KEPT]
    with connected(url) as line:
        line.sendall(sized(b"", "Expect: 100-continue").replace(b": 0", b": %d" % len(BODY)))
        assert line.recv(65536).startswith(b"HTTP/1.1 100 ")
        line.sendall(BODY)

        assert told(rest_of(line)) == [KEPT]


def test_a_phone_that_waits_for_100_with_too_large_a_body_is_refused_instead(url):
    asked = request(f"Content-Length: {CAP + 1}", "Expect: 100-continue")

    assert answers_to(url, asked) == [TOO_LARGE]


def test_what_is_no_http_is_counted_and_what_follows_an_answer_logs_no_error(tmp_path):
    private = free_port()
    with served(tmp_path, private) as (url, _process), connected(url) as line:
        answers_to(url, b"hello there\r\n\r\n")
        line.sendall(request(CHUNKED, body=b"%x\r\n" % (CAP + 1) + b" " * (CAP + 1)))
        until(lambda: 'intake_refused_total{reason="too_large"} 1.0' in measured(private))
        line.sendall(b"\r\nno chunk\r\n")
        rest_of(line)
        counted = measured(private)

    assert 'intake_refused_total{reason="framing"} 1.0' in counted
    assert "Traceback" not in (tmp_path / "intake.log").read_text()


@pytest.mark.parametrize("said", [["Content-Encoding: gzip"], []], ids=["said", "hidden"])
def test_a_bomb_is_not_inflated(tmp_path, said):
    bomb = gzip.compress(b" " * (200 * MB))
    with served(tmp_path) as (url, process):
        before = most_memory(process)
        answers = answers_to(url, sized(bomb, *said))
        grown = most_memory(process) - before

    assert len(bomb) < CAP
    assert answers == [MEDIA_TYPE if said else INVALID]
    assert grown < 50 * MB
