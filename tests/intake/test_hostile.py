"""The worst that fits into a body: refused or kept, never a bug, and in bounded memory."""

import json
import subprocess
import sys

import pytest
from fastapi.testclient import TestClient

from intake.app import create_app
from intake.parts import make_parts
from tests.factories import event, upload
from tests.intake.contract import INVALID, KEPT, LARGEST, TOO_LARGE, answer_to
from tests.intake.served import NEAR, settings_in

WHOLE = json.dumps(upload()).encode()
MIB = 1024 * 1024


def filled(begin, unit, end):
    """As many units as fit into the largest body."""
    return begin + unit * ((LARGEST - len(begin) - len(end)) // len(unit)) + end


def numbered(form, most):
    """An object or array of so many different members, as many as fit."""
    members, length = [], 2
    for number in range(most):
        members.append(form % number)
        length += len(members[-1]) + 1
        if length > LARGEST:
            return b",".join(members[:-1])
    return b",".join(members)


HOSTILE = {
    "nothing": b"",
    "spaces": b" " * LARGEST,
    "null": b"null",
    "a string": b'"' + b"x" * 1000 + b'"',
    "a number": b"1",
    "half a document": WHOLE[:-1],
    "text behind it": WHOLE + b"x",
    "two documents": WHOLE + WHOLE,
    "NUL bytes": b"\0" * LARGEST,
    "100 000 arrays in each other": b"[" * 50_000 + b"]" * 50_000,
    "100 000 open arrays": b"[" * 100_000,
    "900 arrays in each other": b"[" * 900 + b"]" * 900,
    "objects in each other": b'{"a":' * 40_000 + b"1" + b"}" * 40_000,
    "as many keys as fit": b"{" + numbered(b'"%d":0', 100_000) + b"}",
    "the same key again": filled(b"{", b'"a":0,', b'"a":0}'),
    "as many empty arrays": filled(b"[", b"[],", b"[]]"),
    "as many empty objects": filled(b"[", b"{},", b"{}]"),
    "as many characters": filled(b"[", b'"\xc3\xa9",', b'""]'),
    "as many different texts": b"[" + numbered(b'"%d"', 100_000) + b"]",
    "as many floats": filled(b"[", b"1.5,", b"0]"),
    "as many integers": b"[" + numbered(b"%d", 100_000) + b"]",
    "an integer of 4000 digits": b"[" + b"9" * 4000 + b"]",
    "an integer of 5000 digits": b"[" + b"9" * 5000 + b"]",
    "a float of full size": filled(b"0.", b"1", b""),
    "an exponent of full size": filled(b"1e", b"9", b""),
    "a string of full size": filled(b'"', b"x", b'"'),
    "escapes of full size": filled(b'"', rb"\u00e9", b'"'),
    "halves of full size": filled(b'"', rb"\ud83d", b'"'),
    "backslashes": filled(b'"', rb"\\", b'"'),
    "a million elements": b"[" + b"0," * 10**6 + b"0]",
    "10 MB of text": b'"' + b"x" * 10 * MIB + b'"',
    "UTF-16": json.dumps(upload()).encode("utf-16"),
    "UTF-32": json.dumps(upload()).encode("utf-32"),
    "bytes that are no text": b"\xff" * LARGEST,
}


@pytest.fixture(scope="module")
def phone(tmp_path_factory):
    app = create_app(make_parts(settings_in(tmp_path_factory.mktemp("hostile"))))
    with TestClient(app, client=NEAR) as client:
        yield client


def told(response):
    return response.status_code, response.json()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_body_is_refused_by_the_contracts_word(phone, name):
    body = HOSTILE[name]
    response = phone.post(
        "/transcripts", content=body, headers={"Content-Type": "application/json"}
    )

    assert told(response) == answer_to(body)
    assert told(response) == (TOO_LARGE if len(body) > LARGEST else INVALID)


def test_intake_takes_uploads_after_all_of_that(phone):
    assert told(phone.post("/transcripts", json=upload())) == KEPT
    metrics = phone.app.state.parts.metrics.text().decode()
    assert 'intake_refused_total{reason="bug"} 0.0' in metrics


# ------------------------------------------------------------------ memory

LIMIT = 32 * MIB
"""Beside what the program has anyway; the largest of these took 9 MiB when this was written."""
WORST = (
    "100 000 open arrays",
    "objects in each other",
    "as many keys as fit",
    "as many empty arrays",
    "as many different texts",
    "as many floats",
    "halves of full size",
)
LOOK = """
import json, sys
from pathlib import Path
from loop.errors import LoopError
from loop.privacy import redact
from loop.upload import Record, parse_upload
from tests.factories import upload

def take(body):
    try:
        checked, redacted = redact(parse_upload(body))
    except LoopError as error:
        return type(error).__name__
    told = {"received": "2026-03-01", "privacy": "1", "redacted": redacted}
    Record(**told, upload=checked.as_json()).to_bytes()
    return "kept"

def held(line):
    said = Path("/proc/self/status").read_text().split(line + ":")[1]
    return int(said.split()[0]) * 1024

take(json.dumps(upload(user_comment="write to ola@example.org")).encode())  # tables are loaded
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
before = held("VmRSS")
print(take(sys.stdin.buffer.read()), held("VmHWM") - before)
"""


def taken_by_a_process_of_its_own(body):
    """What became of a body, and how many bytes more than before its process held at most."""
    done = subprocess.run([sys.executable, "-c", LOOK], input=body, capture_output=True, check=True)
    outcome, grown = done.stdout.split()
    return outcome.decode(), int(grown)


def payload(value):
    """An upload with a payload, in the shortest form."""
    sent = upload(events=[event("tool_result", value)])
    return json.dumps(sent, separators=(",", ":"), ensure_ascii=False).encode()


KEPT_LARGE = {
    "20 000 values": payload({"l": [0] * 19_970}),
    "20 000 keys": payload({f"{n}": 0 for n in range(19_970)}),
    "20 000 texts": payload({"l": ["ab"] * 19_970}),
    "three texts of 64 KiB": payload({"l": ["x " * 32_000] * 3}),
    "many identifiers": payload({"l": ["a@b.co x " * 7000] * 3}),
}


@pytest.mark.parametrize("name", WORST)
def test_a_hostile_body_takes_bounded_memory(name):
    outcome, grown = taken_by_a_process_of_its_own(HOSTILE[name])

    assert outcome == "TranscriptError"
    assert grown < LIMIT


@pytest.mark.parametrize("name", KEPT_LARGE)
def test_a_valid_body_of_full_size_takes_bounded_memory(name):
    outcome, grown = taken_by_a_process_of_its_own(KEPT_LARGE[name])

    assert outcome == "kept"
    assert grown < LIMIT


def test_the_measure_sees_memory_that_is_taken():
    _, grown = taken_by_a_process_of_its_own(b" " * (LIMIT + 20 * MIB))

    assert grown > LIMIT
