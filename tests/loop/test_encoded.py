import json
from base64 import b64encode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.encoded import runs

WORDS = st.from_regex(r"[ -~]{12,60}", fullmatch=True)


@given(WORDS)
def test_what_was_encoded_is_read(words):
    data = words.encode()
    for written in (b64encode(data), urlsafe_b64encode(data).rstrip(b"="), data.hex().encode()):
        run = written.decode()
        ((span, meant),) = runs(f"see {run}, please")

        assert (f"see {run}, please"[slice(*span)], meant) == (run, words)


@pytest.mark.parametrize("said", ["gateway 192.0.2.17\n", "gw\t192.0.2.17\r\nssid\tours\n"])
def test_lines_and_columns_are_read_as_tools_print_them(said):
    for run in (b64encode(said.encode()).decode(), said.encode().hex()):
        assert [meant for _, meant in runs(run)] == [said]


def test_bytes_that_are_no_text_are_no_encoded_text():
    assert list(runs(b64encode(bytes(range(24))).decode())) == []


@pytest.mark.parametrize(
    "text",
    [
        "a" * 15,
        "00112233445566778899aabbccddeeff",
        "the-subsystems-of-a-blox-are-eight",
        json.dumps({"reservation_count": 1, "captive_portal_likely": False}),
        "/var/lib/docker/containers/heartbeat/status/last",
    ],
)
def test_words_paths_and_digests_are_no_encoded_text(text):
    assert list(runs(text)) == []
