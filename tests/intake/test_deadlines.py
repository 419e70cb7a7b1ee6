"""Slow clients on real sockets, and a service that is told to stop under way.

A wait here ends when the server closes the connection; without deadlines it would never end.
"""

import json
import signal

import httpx
import pytest

from intake.spool import Room, Spool
from loop.depot import FolderDepot
from tests.factories import upload
from tests.intake.served import connected, free_port, measured, rest_of, served
from tests.processes import until

BODY = json.dumps(upload()).encode()
HEAD = (
    b"POST /transcripts HTTP/1.1\r\nHost: intake\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n"
)
SHORT = {"header_seconds": 0.3, "body_seconds": 0.3}


def dripped(line, data):
    """Send byte by byte, each well before any deadline, until the server has had enough."""
    line.settimeout(0.1)
    for at in range(len(data)):
        try:
            line.sendall(data[at : at + 1])
            if not line.recv(65536):
                return True
        except TimeoutError:
            continue
        except (ConnectionResetError, BrokenPipeError):
            return True
    return False


@pytest.mark.parametrize("begun", [b"", b"POST /trans", HEAD[:-6]], ids=["idle", "line", "headers"])
def test_headers_that_never_end_are_cut_off_and_counted(tmp_path, begun):
    private = free_port()
    with served(tmp_path, private, **SHORT) as (url, _process), connected(url) as line:
        line.sendall(begun)

        assert rest_of(line) == b""
        assert 'intake_refused_total{reason="slow_header"} 1.0' in measured(private)


def test_headers_that_come_byte_by_byte_are_cut_off(tmp_path):
    with served(tmp_path, **SHORT) as (url, _process), connected(url) as line:
        assert dripped(line, b"GET /health HTTP/1.1\r\n" + b"X-Slow: slow\r\n" * 1000)


def test_the_headers_of_a_later_request_have_their_deadline_too(tmp_path):
    with served(tmp_path, **SHORT) as (url, _process), connected(url) as line:
        line.sendall(b"GET /health HTTP/1.1\r\nHost: intake\r\n\r\n")
        assert b" 200 " in line.recv(65536)

        assert dripped(line, b"GET /health HTTP/1.1\r\n" + b"X-Slow: slow\r\n" * 1000)


def test_a_body_that_never_ends_is_answered_and_counted(tmp_path):
    private = free_port()
    with served(tmp_path, private, **SHORT) as (url, _process), connected(url) as line:
        line.sendall(HEAD % len(BODY) + BODY[:-1])
        said = rest_of(line)

        assert said.startswith(b"HTTP/1.1 400 ")
        assert said.endswith(b'{"error":"body_invalid"}')
        assert 'intake_refused_total{reason="too_slow"} 1.0' in measured(private)


def test_a_body_that_drips_on_after_its_answer_is_cut_off(tmp_path):
    with served(tmp_path, **SHORT) as (url, _process), connected(url) as line:
        line.sendall(HEAD % (1 << 30))
        assert line.recv(65536).startswith(b"HTTP/1.1 413 ")

        assert dripped(line, b" " * 1000)


def test_idle_and_slow_clients_keep_nobody_out(tmp_path):
    with served(tmp_path) as (url, _process):
        lines = [connected(url) for _ in range(100)]
        for line in lines[50:]:
            line.sendall(HEAD % len(BODY) + BODY[:100])
        answer = httpx.post(f"{url}/transcripts", json=upload())
        for line in lines:
            line.close()

    assert answer.status_code == 200


def test_more_bodies_at_once_than_allowed_get_503_and_when_to_come_back(tmp_path):
    with served(tmp_path, uploads_at_once=1) as (url, _process), connected(url) as line:
        line.sendall(HEAD % len(BODY) + BODY[:100])
        until(lambda: httpx.post(f"{url}/transcripts", json=upload(2)).status_code == 503)
        refused = httpx.post(f"{url}/transcripts", json=upload(2))
        line.sendall(BODY[100:])

        assert line.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert refused.json() == {"error": "storage_unavailable"}
        assert int(refused.headers["Retry-After"]) > 0


def test_a_stopped_service_finishes_what_is_under_way_and_answers_new_uploads_with_503(tmp_path):
    private = free_port()
    with served(tmp_path, private, body_seconds=60) as (url, process), connected(url) as line:
        line.sendall(HEAD % len(BODY) + BODY[:100])
        until(lambda: "intake_under_way 1.0" in measured(private))
        process.send_signal(signal.SIGTERM)
        ready = f"http://127.0.0.1:{private}/ready"
        until(lambda: httpx.get(ready).json()["unready"] == ["stopping"])
        refused = httpx.post(f"{url}/transcripts", json=upload(2))
        line.sendall(BODY[100:])
        said = rest_of(line)
        status = process.wait()

    assert (refused.status_code, refused.json()) == (503, {"error": "storage_unavailable"})
    assert int(refused.headers["Retry-After"]) > 0
    assert said.startswith(b"HTTP/1.1 200 ")
    assert status == 0
    assert [key.split("/")[1] for key in FolderDepot(tmp_path / "depot").keys("raw/")] == [
        upload()["upload_id"]
    ]
    assert list(Spool(tmp_path / "spool", Room()).waiting()) == []
