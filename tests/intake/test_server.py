"""The real program on a real socket: stopped, shared by processes, asked by its operator."""

import signal
import socket

import httpx

from loop.depot import FolderDepot
from tests.factories import upload
from tests.intake.served import connected, free_port, measured, rest_of, served


def upload_all(url, numbers):
    """The ids that were acknowledged."""
    kept = []
    with httpx.Client() as client:
        for number in numbers:
            sent = upload(number)
            if client.post(f"{url}/transcripts", json=sent).status_code == 200:
                kept.append(sent["upload_id"])
    return kept


def in_depot(home):
    return {key.split("/")[1] for key in FolderDepot(home / "depot").keys("raw/")}


def test_a_stopped_intake_has_shipped_everything(tmp_path):
    with served(tmp_path) as (url, process):
        kept = upload_all(url, range(20))
        process.send_signal(signal.SIGTERM)
        status = process.wait()

    assert status in (0, -signal.SIGTERM)
    assert in_depot(tmp_path) == set(kept)
    assert len(kept) == 20


def test_operators_are_answered_on_a_port_of_their_own(tmp_path):
    private = free_port()
    with served(tmp_path, private) as (url, _process):
        upload_all(url, range(1))
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
