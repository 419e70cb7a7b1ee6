"""The real program on a real socket: killed, stopped, and sent what no client library sends."""

import json
import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import httpx

from intake.spool import Room, Spool
from loop.depot import FolderDepot
from tests.factories import upload
from tests.intake.served import connected, free_port, measured, rest_of, served
from tests.processes import until

CAP = 256 * 1024


def upload_until_it_dies(url, numbers):
    """The ids that were acknowledged."""
    kept = []
    with httpx.Client() as client:
        for number in numbers:
            sent = upload(number)
            try:
                if client.post(f"{url}/transcripts", json=sent).status_code == 200:
                    kept.append(sent["upload_id"])
            except httpx.TransportError:
                break
    return kept


def in_depot(home):
    return {key.split("/")[1] for key in FolderDepot(home / "depot").keys("raw/")}


def objects_of(home, upload_id):
    return list(FolderDepot(home / "depot").keys(f"raw/{upload_id}/"))


def kill_while_uploading(home, start):
    """The ids that were acknowledged before the process was killed."""
    before = len(in_depot(home))
    with served(home) as (url, process), ThreadPoolExecutor(4) as pool:
        working = [
            pool.submit(upload_until_it_dies, url, range(first, first + 10_000))
            for first in range(start, start + 40_000, 10_000)
        ]
        until(lambda: len(in_depot(home)) > before + 20)
        process.send_signal(signal.SIGKILL)
        return [upload_id for worker in working for upload_id in worker.result()]


def test_what_was_acknowledged_before_a_kill_reaches_the_depot_after_a_restart(tmp_path):
    kept = [
        upload_id
        for start in (0, 100_000, 200_000)
        for upload_id in kill_while_uploading(tmp_path, start)
    ]

    with served(tmp_path) as (_url, process):
        process.send_signal(signal.SIGTERM)
        process.wait()

    assert len(kept) > 60
    assert [len(objects_of(tmp_path, upload_id)) for upload_id in kept] == [1] * len(kept)
    assert list(Spool(tmp_path / "spool", Room()).waiting()) == []
    assert list((tmp_path / "spool").glob(".new-*")) == []


def test_a_stopped_intake_has_shipped_everything(tmp_path):
    with served(tmp_path) as (url, process):
        kept = upload_until_it_dies(url, range(20))
        process.send_signal(signal.SIGTERM)
        status = process.wait()

    assert status in (0, -signal.SIGTERM)
    assert in_depot(tmp_path) == set(kept)
    assert len(kept) == 20


def answer_to(url, head, *chunks):
    """The first line and the rest of what the server says to raw bytes."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as line:
        line.sendall(head)
        for chunk in chunks:
            try:
                line.sendall(chunk)
            except (BrokenPipeError, ConnectionResetError):
                break
        first, _, rest = _all(line).partition(b"\r\n")
    return first, rest


def _all(line):
    said = b""
    while b"\r\n\r\n" not in said or not said.endswith((b"}", b".")):
        if not (more := line.recv(65536)):
            break
        said += more
    return said


def test_raw_requests_get_the_contracts_answers(tmp_path):
    head = (
        b"POST /transcripts HTTP/1.1\r\nHost: intake\r\nContent-Type: application/json\r\n"
        b"Connection: close\r\n"
    )
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n"
    body = json.dumps(upload()).encode()
    whole = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    large = b"%x\r\n" % (CAP + 1) + b" " * (CAP + 1)

    with served(tmp_path) as (url, _process):
        accepted = answer_to(url, chunked, whole)
        declared = answer_to(url, head + b"Content-Length: 9999999999\r\n\r\n")
        counted = answer_to(url, chunked, large)
        both = answer_to(url, chunked[:-2] + b"Content-Length: 5\r\n\r\n", whole)
        negative = answer_to(url, head + b"Content-Length: -5\r\n\r\n")

    assert accepted[0] == b"HTTP/1.1 200 OK"
    assert accepted[1].endswith(b"{}")
    assert b" 413 " in declared[0]
    assert counted[0].split()[1] == b"413"
    assert b'{"error":"body_too_large"}' in counted[1]
    assert b" 400 " in negative[0]
    assert b" 400 " in both[0]
    assert both[1].endswith(b'{"error":"body_invalid"}')


def test_operators_are_answered_on_a_port_of_their_own(tmp_path):
    private = free_port()
    with served(tmp_path, private) as (url, _process):
        upload_until_it_dies(url, range(1))
        ready = httpx.get(f"http://127.0.0.1:{private}/ready")
        counts = httpx.get(f"http://127.0.0.1:{private}/metrics")
        public = [httpx.get(f"{url}/{path}").status_code for path in ("ready", "metrics")]

    assert (ready.status_code, ready.json()["ready"]) == (200, True)
    assert 'intake_uploads_total{outcome="accepted"} 1.0' in counts.text
    assert public == [404, 404]


def test_a_private_port_that_is_taken_ends_the_program(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with served(tmp_path, taken.getsockname()[1]) as (_url, process):
            status = process.wait()

    assert status > 0


def test_two_processes_and_a_restart_share_one_limit(tmp_path):
    with (
        served(tmp_path, uploads_per_source=10) as (one, first),
        served(tmp_path, uploads_per_source=10) as (other, second),
    ):
        kept = upload_until_refused(one, range(4)) + upload_until_refused(other, range(10, 14))
        for process in (first, second):
            process.send_signal(signal.SIGTERM)
            process.wait()
    with served(tmp_path, uploads_per_source=10) as (again, _process):
        kept += upload_until_refused(again, range(20, 30))

    assert kept == 10


def upload_until_refused(url, numbers):
    """How many were taken."""
    answers = [httpx.post(f"{url}/transcripts", json=upload(number)) for number in numbers]
    return sum(answer.status_code == 200 for answer in answers)


def test_neither_log_nor_metrics_hold_a_planted_word_an_address_or_an_id(tmp_path):
    private, far = free_port(), {"X-Forwarded-For": "203.0.113.77", "X-Forwarded-Proto": "https"}
    marks = ["planted", "203.0.113", "192.168.77.7", upload()["upload_id"]]
    sent = [
        upload(user_comment="planted@example.org"),
        upload(user_comment="planted 192.168.77.7"),
        upload(planted="planted"),
        upload(),
        upload(2),
    ]
    headers = {**far, "X-Planted": "planted", "X-Anonymizer-Version": "planted"}
    with served(tmp_path, private, proxies="127.0.0.1", uploads_per_source=4) as (url, process):
        (tmp_path / "spool/planted-203.0.113.77").write_text("foreign")
        answers = [httpx.post(f"{url}/transcripts?planted", json=o, headers=headers) for o in sent]
        answers += [httpx.get(f"{url}/planted", headers=headers)]
        with connected(url) as line:
            line.sendall(b"planted 203.0.113.77\r\n\r\n")
            rest_of(line)
        counts = "".join(measured(private))
        process.send_signal(signal.SIGTERM)
        process.wait()

    said = (tmp_path / "intake.log").read_text() + counts
    assert [answer.status_code for answer in answers] == [200, 400, 400, 200, 429, 404]
    assert "an upload of" in said
    assert [mark for mark in marks if mark in said] == []
