"""Slow clients on real sockets, and a service that is told to stop under way.

A wait here ends when the server closes the connection; without deadlines it would never end.
"""

import json
import signal
import socket
import struct
from contextlib import ExitStack

import httpx
import pytest

from intake.spool import Room, Spool
from loop.depot import FolderDepot
from tests.factories import upload
from tests.intake.served import connected, free_port, measured, most_memory, rest_of, served
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


def test_five_hundred_idle_clients_keep_nobody_out_and_are_all_closed(tmp_path):
    with served(tmp_path) as (url, _process), ExitStack() as lines:
        idle = [lines.enter_context(connected(url)) for _ in range(500)]
        answers = {httpx.post(f"{url}/transcripts", json=upload(n)).status_code for n in range(20)}

        assert answers == {200}
        assert [line for line in idle if rest_of(line)] == []


def ends(line, how):
    """Half-closed, or away without a goodbye."""
    if how == "half-closed":
        line.shutdown(socket.SHUT_WR)
    else:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        line.close()


@pytest.mark.parametrize("how", ["half-closed", "reset"])
def test_a_client_that_leaves_in_the_middle_is_counted_and_holds_nothing(tmp_path, how):
    private = free_port()
    with served(tmp_path, private) as (url, _process), connected(url) as line:
        line.sendall(HEAD % len(BODY) + BODY[:100])
        until(lambda: "intake_under_way 1.0" in measured(private))
        ends(line, how)
        until(lambda: "intake_under_way 0.0" in measured(private))

        assert 'intake_refused_total{reason="client_left"} 1.0' in measured(private)


CAP = 256 * 1024
EMPTY_OBJECTS = b"[" + b"{}," * (CAP // 3 - 1) + b"{}]"
"""A body that takes many times its size while it is parsed."""


@pytest.mark.parametrize(
    ("body", "status"), [(BODY, b"200"), (EMPTY_OBJECTS, b"400")], ids=["an upload", "hostile"]
)
def test_two_hundred_bodies_that_end_at_once_fit_into_250_megabytes(tmp_path, body, status):
    private, whole = free_port(), body.ljust(CAP)
    patient = {"body_seconds": 60, "header_seconds": 60, "source_share": 1}
    with served(tmp_path, private, **patient) as (url, process), ExitStack() as lines:
        slow = [lines.enter_context(connected(url)) for _ in range(200)]
        for line in slow:
            line.sendall(HEAD % CAP + whole[:-1])
        until(lambda: "intake_under_way 200.0" in measured(private))
        healthy = httpx.post(f"{url}/transcripts", json=upload(2))
        for line in slow:
            line.sendall(whole[-1:])
        answers = {line.recv(65536)[9:12] for line in slow}
        most = most_memory(process)

    assert healthy.status_code == 200
    assert answers == {status}
    assert most < 250 * 1024 * 1024


def test_more_bodies_at_once_than_allowed_get_503_and_are_charged_to_nobody(tmp_path):
    few = {"uploads_at_once": 1, "uploads_per_source": 2}
    with served(tmp_path, **few) as (url, _process), connected(url) as line:
        line.sendall(HEAD % len(BODY) + BODY[:100])
        until(lambda: httpx.post(f"{url}/transcripts", json=upload(2)).status_code == 503)
        refused = httpx.post(f"{url}/transcripts", json=upload(2))
        too_large = httpx.post(f"{url}/transcripts", content=b" " * (CAP + 1))
        line.sendall(BODY[100:])
        assert line.recv(65536).startswith(b"HTTP/1.1 200 ")
        later = [httpx.post(f"{url}/transcripts", json=upload(n)).status_code for n in (2, 3)]

    assert refused.json() == {"error": "storage_unavailable"}
    assert int(refused.headers["Retry-After"]) > 0
    assert too_large.status_code == 413  # coming again would not help it
    assert later == [200, 429]


def test_a_network_with_slow_bodies_gets_503_and_another_is_still_served(tmp_path):
    private, few = free_port(), {"uploads_at_once": 8, "body_seconds": 60, "proxies": "127.0.0.1"}
    with served(tmp_path, private, **few) as (url, _process), ExitStack() as lines:
        for last in (1, 2):
            slow = lines.enter_context(connected(url))
            slow.sendall(head_from(f"203.0.113.{last}") + BODY[:100])
        until(lambda: "intake_under_way 2.0" in measured(private))
        refused, other = (post_from(url, host) for host in ("203.0.113.3", "198.51.100.1"))
        slow.sendall(BODY[100:])
        assert slow.recv(65536).startswith(b"HTTP/1.1 200 ")
        later = post_from(url, "203.0.113.3")

        assert (refused.status_code, refused.json()) == (503, {"error": "storage_unavailable"})
        assert int(refused.headers["Retry-After"]) > 0
        assert (other.status_code, later.status_code) == (200, 200)
        assert 'intake_refused_total{reason="source_busy"} 1.0' in measured(private)


def head_from(host):
    """The headers of an upload that a proxy passes on for a client."""
    told = f"X-Forwarded-For: {host}\r\nX-Forwarded-Proto: https\r\n\r\n".encode()
    return (HEAD % len(BODY)).removesuffix(b"\r\n") + told


def post_from(url, host):
    told = {"X-Forwarded-For": host, "X-Forwarded-Proto": "https"}
    return httpx.post(f"{url}/transcripts", json=upload(2), headers=told)


def test_a_client_without_proxy_takes_no_places_of_others_by_naming_them(tmp_path):
    private, few = free_port(), {"uploads_at_once": 8, "source_share": 0.1, "body_seconds": 60}
    with served(tmp_path, private, **few) as (url, _process), connected(url) as line:
        line.sendall(head_from("203.0.113.1") + BODY[:100])
        until(lambda: "intake_under_way 1.0" in measured(private))

        assert post_from(url, "198.51.100.1").status_code == 503


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
