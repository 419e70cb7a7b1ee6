"""Nothing of an upload or its sender is in what the real program writes, whatever goes wrong."""

import json
import re
import signal
import socket
import ssl
from contextlib import suppress

import httpx
import pytest

from tests.factories import upload
from tests.intake.served import connected, free_port, measured, rest_of, served
from tests.intake.test_tls import certificate  # noqa: F401
from tests.processes import until

MARKS = ("planted", "203.0.113", upload()["upload_id"])
TOLD = {"X-Planted": "planted", "X-Forwarded-For": "203.0.113.77"}
RAW = (
    b"planted 203.0.113.77\r\n\r\n",
    b"GET /planted HTTP/9.9\r\nHost: planted\r\n\r\n",
    b"GET /planted HTTP/1.1\r\nplanted\r\n\r\n",
    b"GET /planted HTTP/1.1\r\nHost: a\r\nHost: planted\r\n\r\n",
    b"POST /transcripts HTTP/1.1\r\nHost: a\r\nContent-Length: planted\r\n\r\n",
    b"POST /transcripts HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: planted\r\n\r\n",
    b"POST /transcripts HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nplanted\r\n",
    b"GET /" + b"planted" * 20_000 + b" HTTP/1.1\r\n\r\n",
    b"\xff\x00planted\r\n\r\n",
)
"""What an HTTP server complains about in its own words."""


def complained_to(url):
    """Says all of RAW, each on a line that the server may close at any point."""
    for raw in RAW:
        with connected(url) as line, suppress(OSError):
            line.sendall(raw)
            line.shutdown(socket.SHUT_WR)
            rest_of(line)


def written(home):
    return (home / "intake.log").read_text()


def marks_in(text):
    return [mark for mark in MARKS if mark in text]


def test_bugs_that_quote_the_upload_leave_its_text_nowhere(tmp_path):
    private = free_port()
    bodies = [upload(user_comment="planted bug"), upload(user_comment="planted")]
    with served(tmp_path, private, program="tests.intake.buggy") as (url, process):
        answers = [httpx.post(f"{url}/transcripts", json=o, headers=TOLD) for o in bodies]
        ready = f"http://127.0.0.1:{private}/ready"
        until(lambda: httpx.get(ready).json()["unready"] == ["shipper"])
        said = [*measured(private), httpx.get(ready).text, *(answer.text for answer in answers)]
        process.send_signal(signal.SIGKILL)

    assert [answer.status_code for answer in answers] == [503, 200]
    assert "a bug ended a request: KeyError at buggy.py:" in written(tmp_path)
    assert re.search(r"a bug ended the thread ship\S*: KeyError at buggy\.py:", written(tmp_path))
    assert marks_in("".join(said) + written(tmp_path)) == []


def test_what_the_server_itself_complains_about_is_not_quoted(tmp_path):
    private = free_port()
    with served(tmp_path, private) as (url, process):
        complained_to(url)
        complained_to(f"http://127.0.0.1:{private}")
        answer = httpx.post(f"{url}/transcripts", json=upload())
        process.send_signal(signal.SIGTERM)
        process.wait()

    assert answer.status_code == 200
    assert "Invalid HTTP request received." in written(tmp_path)
    assert marks_in(written(tmp_path)) == []


def test_the_operators_port_neither_writes_nor_tells_what_it_is_asked(tmp_path):
    private = free_port()
    with served(tmp_path, private) as (url, process):
        httpx.post(f"{url}/transcripts", json=upload(user_comment="planted"), headers=TOLD)
        asked = [
            ("GET", "/planted?planted"),
            ("POST", "/metrics"),
            ("GET", "/metrics?name[]=planted"),
            ("GET", "/ready?planted"),
            ("DELETE", "/ready/planted"),
        ]
        at = f"http://127.0.0.1:{private}"
        told = [httpx.request(method, at + path, headers=TOLD) for method, path in asked]
        process.send_signal(signal.SIGTERM)
        process.wait()

    assert [answer.status_code for answer in told] == [404, 405, 200, 200, 404]
    assert marks_in("".join(answer.text for answer in told) + written(tmp_path)) == []


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_a_failing_handshake_leaves_neither_name_nor_address(tmp_path, certificate):  # noqa: F811
    options = ["--certfile", str(certificate[0]), "--keyfile", str(certificate[1])]
    with served(tmp_path, options=options) as (url, process):
        complained_to(url)
        ports = [handshake(url, ssl.create_default_context()), handshake(url, too_old())]
        trusted = ssl.create_default_context(cafile=certificate[0])
        at = f"https://localhost:{httpx.URL(url).port}/transcripts"
        body = json.dumps(upload(user_comment="planted")).encode()
        answer = httpx.post(at, content=body, headers=TOLD, verify=trusted)
        process.send_signal(signal.SIGTERM)
        process.wait()

    assert answer.status_code == 415
    assert marks_in(written(tmp_path)) == []
    assert [port for port in ports if str(port) in written(tmp_path)] == []


def handshake(url, context):
    """The port from which a client came whose handshake fails: it distrusts, or is too old."""
    with connected(url) as line:
        port = line.getsockname()[1]
        with pytest.raises(ssl.SSLError):
            context.wrap_socket(line, server_hostname="planted.example")
    return port


def too_old():
    context = ssl.create_default_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
    return context
