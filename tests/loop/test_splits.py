"""What is split over texts is cut out of each of them, and the words beside it stay."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.privacy import found_in, redact
from loop.upload import parse_upload
from tests.factories import event, upload

KEY = "7f3KxQpLmNrStUvWxYzAbCdEfGhJkLmNpQrStUvWxYz9"
GITHUB = "ghp_0123456789abcdefghijABCDEFGHIJ012345"
WORDS = st.sampled_from(
    ["ok", "green", "eth0", "", "clock_unsynced", "restart the relay", "0.29.0"]
)


def scan(sent):
    found, counts = redact(parse_upload(json.dumps(sent).encode()))
    return found.as_json(), counts


def told(*payloads, **more):
    """What is kept of payloads, and what was counted."""
    found, counts = scan(upload(events=[event("tool_result", one) for one in payloads], **more))
    assert found_in(found) == []
    return [one["payload"] for one in found["events"]], counts


@pytest.mark.parametrize(
    "texts",
    [
        ["0.5", "0.1", "0.2"],
        ["3000", "443", "443"],
        ["17", "72", "60", "07", "67"],
        ["", "dial", "", "203", "0", "113", ""],
    ],
)
def test_neighbours_that_only_look_like_something_when_joined_stay(texts):
    found, counts = scan(upload(events=[event("tool_result", {"load": texts})]))

    assert (found["events"][0]["payload"]["load"], counts) == (texts, {})


def test_what_was_split_over_many_neighbours_is_cut_out_of_each():
    texts = ["", "dial ", "203.0", ".", "113", ".9 refused", "", "then 198.51.", "100.7", ""]
    found, counts = scan(upload(events=[event("tool_result", {"log": texts})]))

    kept = ["", "dial ", "<IP>", "", "", " refused", "", "then <IP>", "", ""]
    assert (found["events"][0]["payload"]["log"], counts) == (kept, {"ipv4": 2})


def test_what_was_split_over_successive_events_is_cut_out_of_each():
    payloads = ["dial 203.0.", {"more": "113.9", "up": False}, "eth0 is up"]
    found, counts = scan(upload(events=[event("thought", one) for one in payloads]))

    kept = [event["payload"] for event in found["events"]]
    assert (kept, counts) == (["dial <IP>", {"more": "", "up": False}, "eth0 is up"], {"ipv4": 1})
    assert found_in(found) == []


def test_a_long_text_is_no_part_of_a_split_identifier():
    texts = ["dddd " * 13 + "203.0.", "113.9"]
    found, counts = scan(upload(events=[event("tool_result", {"log": texts})]))

    assert (found["events"][0]["payload"]["log"], counts) == (texts, {})


@pytest.mark.parametrize(
    ("texts", "kept"),
    [
        (["/home/", "maria/x"], ["/home/", "<USER>/x"]),
        (["ssid=", "Seaview7"], ["ssid=", "<SSID>"]),
        (["/dns4/", "home.example.net/tcp"], ["/dns4/", "<HOST>/tcp"]),
    ],
)
def test_what_stands_before_a_mark_tells_what_stands_behind_it(texts, kept):
    assert told({"parts": texts})[0] == [{"parts": kept}]


@pytest.mark.parametrize(
    ("whole", "cut", "rule"),
    [
        (KEY, 22, "base58_key"),
        ("0x00112233445566778899aAbBcCdDeEfF00112233", 20, "wallet"),
        ("xoxb-0123456789-abcdefghij", 2, "chat_token"),
        ("3f2b8a10-9c1d-4e2f-8a3b-00112233aabb", 17, "uuid"),
        (GITHUB, 12, "access_token"),
    ],
)
@given(before=WORDS, behind=WORDS)
def test_what_a_beginning_or_a_form_tells_is_found_whatever_stands_around_it(
    whole, cut, rule, before, behind
):
    payload = {"n": before, "a": whole[:cut], "b": whole[cut:], "status": behind}
    [kept], counts = told(payload, user_prompt="help me", user_comment="please")

    assert [kept["n"], kept["b"], kept["status"]] == [before, "", behind]
    assert counts == {rule: 1}


@pytest.mark.parametrize(
    "payloads",
    [
        [{"peers": [{"id": "<PEERID>", "state": "connected"}, {"id": "x", "state": "error"}]}],
        [{"locale": "sk-SK", "model": "blox-tiny-20b-instruct"}],
        [{"a": "d41d8cd98f00b204e9800998ecf8427e", "b": "d41d8cd98f00b204e9800998ecf8427f"}],
        [{"from": "/root/", "to": "/mnt/data"}],
        [{"mounts": ["/", "/home", "/var"]}, {"HOME": "/root", "PATH": "/usr/bin"}],
        [{"dirs": ["/media/ssd", "/media/backup"], "fs": "/dev/sda1"}],
        [{"power": "AC", "boot_id": "d41d8cd98f00b204e9800998ecf8427e"}],
        [{"state": "Reconnected", "id": "d41d8cd98f11b214e9811998ecf8427e"}],
        [{"log": ["See the log.", "local time is off", "password:", "accepted"]}],
        ["checking the relay.", {"version": "0.29.0", "state": "ok"}],
    ],
)
def test_words_that_follow_one_another_make_up_nothing(payloads):
    assert told(*payloads) == (payloads, {})


@pytest.mark.parametrize(
    "texts",
    [
        ["ssid = foo ssid =", '"Sea view"'],
        ["192.168.001.007 Mar 4 192.168.001.", "008"],
        ["psk=abcd1234-", "efgh5678", "then 203.0.", "113.9"],
    ],
)
def test_what_one_look_uncovers_the_next_one_finds(texts):
    [kept], _ = told({"log": texts})

    assert kept != {"log": texts}


def test_what_stands_whole_in_one_text_takes_no_word_of_the_next_with_it():
    verdict = {"severity": "red", "root_cause": "clock_unsynced"}
    short = {"peers": [{"id": "12D3KooWAbCd", "state": "connected"}]}

    assert told({"tok": GITHUB}, verdict)[0] == [{"tok": "<SECRET>"}, verdict]
    assert told(short)[0] == [{"peers": [{"id": "<PEERID>", "state": "connected"}]}]
