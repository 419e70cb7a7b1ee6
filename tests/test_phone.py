import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.factories import event, upload
from tests.invented import Invented
from tests.leaks import leaks, look_alikes
from tests.phone import KEYS, anonymise, anonymise_text
from tests.strategies import uploads

INVENTED = Invented("the phone's own tests")
PEER, CID, QUAD, MAC = (INVENTED[name] for name in ("peer", "legacy_cid", "quad", "mac"))
AFTER_CUT = re.compile(r"/(?:home|Users)/[\w.-]{33}|(?i:ssid)[:=][ \"']*[^\s\"',{}]{16}", re.ASCII)
"""A name that is, or may grow, longer than the 32 characters that one replacement takes."""
TOKENS = [
    *("ssid", "SSID", ":", "=", " ", "\n", '"', "{", ",", ".", "-", "/", "_", "::", "é", "地"),
    *("/home/", "/Users/", "2026-03-04T05:06:07", "Z", "+02:00", "1", "07", "255", "256", "ab"),
    *(PEER, CID, QUAD, MAC, MAC.replace(":", "-"), "12D3KooW", "Qm", "1.2.", "fe80::1", "a::"),
    *("<TS>", "<BSSID>", "<USER>", "<PEERID>", "<CID>", "<IP>", "<SSID>"),
]
glued = st.lists(st.sampled_from(TOKENS) | st.text(max_size=3), max_size=12).map("".join)


def sent(payload):
    return anonymise(upload(events=[event("tool_result", payload)]))["events"][0]["payload"]


def comment(text):
    return anonymise(upload(user_comment=text)).get("user_comment")


# ------------------------------------------------------------------ the eight steps, one by one


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("at 2026-03-04T05:06:07Z.", "at <TS>."),
        ("2026-03-04T05:06:07.891Z", "<TS>"),
        ("2026-03-04T05:06:07+02:00", "<TS>"),
        ("2026-03-04T05:06:07-0330 up", "<TS> up"),
        ("地2026-03-04T05:06:07Z地", "地<TS>地"),
        (MAC, "<BSSID>"),
        (MAC.upper().replace(":", "-"), "<BSSID>"),
        (f"{MAC}:00", "<BSSID>:00"),
        ("/home/maria/x", "/home/<USER>/x"),
        ("/home/maria", "/home/<USER>"),
        ("C:/Users/Anna.B-2_x/y", "C:/Users/<USER>/y"),
        ("/var/home/ola/", "/var/home/<USER>/"),
        ("/Users/Anna Berg/x", "/Users/<USER> Berg/x"),
        ("/home/" + "m" * 40, "/home/<USER>" + "m" * 8),
        (f"/p2p/{PEER}.", "/p2p/<PEERID>."),
        (f"{PEER}abc", "<PEERID>"),
        ("12D3KooW" + "a" * 40, "<PEERID>"),
        (f"/ipfs/{CID}/x", "/ipfs/<CID>/x"),
        ("Qm" + "a" * 40, "<CID>"),
        (f"{QUAD}:4001", "<IP>:4001"),
        ("0.0.0.0 255.255.255.255", "<IP> <IP>"),
        ("1.2.3.4.5", "<IP>.5"),
        (f"сервер{QUAD}там", "сервер<IP>там"),
        ("fe80::1%wlan0", "<IP>%wlan0"),
        ("[2001:db8::17]:443", "[<IP>]:443"),
        ("2001:db8:77::/48", "<IP>::/48"),
        ("::ffff:c000:201", "::<IP>"),
        ("::ffff:192.0.2.1", "::ffff:<IP>"),
        ("2026-03-04 05:06:07", "2026-03-04 <IP>"),
        ("ssid: Attic7 up", "ssid: <SSID> up"),
        ("wifi_ssid=Attic7,x", "wifi_ssid=<SSID>,x"),
        ('ESSID:"Attic7"', 'ESSID:"<SSID>"'),
        ('SSID="The Old Attic"', 'SSID="<SSID> Old Attic"'),
        ("ssid:  Attic7", "ssid:  <SSID>"),
        ("Ssid=海辺の家}", "Ssid=<SSID>}"),
        ("ssid:" + "n" * 40, "ssid:<SSID>" + "n" * 8),
        (f"bssid: {MAC}", "bssid: <SSID>"),
    ],
)
def test_a_step_replaces_as_far_as_it_reaches(text, found):
    assert anonymise_text(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-04",
        "2026-03-04T05:06:07",
        "2026-03-04t05:06:07z",
        "1999-03-04T05:06:07Z",
        MAC.replace(":", ""),
        MAC.replace(":", "_"),
        "02ab.c7d1.e2f3",
        "/homes/maria",
        "/HOME/maria",
        "C:\\Users\\Anna\\x",
        "~maria/x",
        "%2Fhome%2Fmaria",
        f"x{PEER}",
        f"{PEER[:20]}…",
        "12D3KooW" + "a" * 39,
        f"x{CID}",
        "Qm" + "a" * 39,
        "Qm" + "a" * 47,
        "256.1.2.3",
        f"v{QUAD}",
        f"host_{QUAD}_x",
        "1.2.3",
        "::1",
        "::",
        "2001:db8::/32",
        "std::vector",
        "12345::1",
        "the ssid is Attic7",
        "ssid : Attic7",
        '{"ssid": "Attic7"}',
        "ssid: , x",
    ],
)
def test_the_phone_leaves_what_no_step_reaches(text):
    assert anonymise_text(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "192.168.001.007",
        "2026-03-04T05:06:07Zulu",
        "02-ab-c7:d1-e2-f3",
        f"{PEER}0",
        "ssid: 'Attic7'",
        "ssid:\tAttic7",
        "ssid:\nAttic7",
    ],
)
def test_where_the_contract_is_open_the_double_leaves_more(text):
    assert anonymise_text(text) == text


@pytest.mark.parametrize("look_alike", look_alikes(), ids=lambda look_alike: look_alike.text)
def test_look_alikes_become_what_was_measured(look_alike):
    assert anonymise_text(look_alike.text) == look_alike.phone


# ------------------------------------------------------------------ the upload


@pytest.mark.parametrize("key", KEYS)
def test_a_text_under_a_network_key_is_replaced_whatever_it_is(key):
    assert sent({"a": [{key: "The Old Attic"}]}) == {"a": [{key: KEYS[key]}]}


def test_the_keys_of_names_and_of_addresses_have_their_own_placeholder():
    assert {KEYS["wifiSSID"], KEYS["wifiBSSID"]} == {"<SSID>", "<BSSID>"}
    assert len(KEYS) == 8


@pytest.mark.parametrize("value", [None, 3, 1.5, True])
def test_what_is_no_text_stays_under_a_network_key(value):
    assert sent({"ssid": value}) == {"ssid": value}


def test_what_lies_deeper_under_a_network_key_is_an_ordinary_value():
    assert sent({"ssid": ["Attic7", QUAD]}) == {"ssid": ["Attic7", "<IP>"]}


def test_keys_numbers_and_booleans_are_never_touched():
    payload = {QUAD: 1772600767, "lat": 59.91, "up": True, MAC: None}

    assert sent(payload) == payload


def test_texts_are_replaced_at_any_depth():
    assert sent({"a": [[{"b": f"to {QUAD}"}]]}) == {"a": [[{"b": "to <IP>"}]]}
    assert sent(f"to {QUAD}") == "to <IP>"


def test_only_payloads_and_the_users_words_are_read():
    same = upload(device_class="rk3588", scenario_id="freeform")

    assert anonymise(same) == same


def test_an_event_without_a_payload_stays_without():
    bare = {"type": "error", "relative_ts": "+1s"}

    assert anonymise(upload(events=[bare]))["events"] == [bare]


def test_the_upload_that_came_in_is_not_changed():
    before = upload(user_comment=QUAD, events=[event("thought", QUAD)])
    anonymise(before)

    assert before == upload(user_comment=QUAD, events=[event("thought", QUAD)])


# ------------------------------------------------------------------ the user's words


def test_line_breaks_become_one_space_and_ends_are_trimmed():
    assert comment("\n a\r\n\r\nb\tc \ufeff") == "a b\tc"


def test_a_name_behind_a_line_break_is_reached_in_the_users_words():
    assert comment("ssid:\nAttic7") == "ssid: <SSID>"


@pytest.mark.parametrize("text", ["", " \r\n "])
def test_no_words_are_left_out(text):
    assert comment(text) is None


def test_the_cut_comes_after_the_replacement():
    assert comment("a" * 1998 + f" {QUAD}") == "a" * 1998 + " <"


def test_the_cut_counts_utf_16_units_and_may_halve_a_pair():
    assert comment("\U0001f600" * 1001) == "\U0001f600" * 1000
    assert comment("a" + "\U0001f600" * 1000) == "a" + "\U0001f600" * 999 + "\ud83d"


# ------------------------------------------------------------------ twice


@given(glued)
def test_a_second_run_changes_nothing(text):
    assume(not AFTER_CUT.search(text))
    once = anonymise_text(text)

    assert anonymise_text(once) == once


def test_a_second_run_changes_nothing_in_any_leak():
    for leak in leaks():
        once = anonymise_text(leak.value)

        assert anonymise_text(once) == once


@pytest.mark.parametrize(
    ("text", "once", "twice"),
    [
        ("ssid:" + "n" * 40, "ssid:<SSID>" + "n" * 8, "ssid:<SSID>"),
        (
            "/home/" + "m" * 32 + "02-ab-c7-d1-e2-f3",
            "/home/<USER>02-ab-c7-d1-e2-f3",
            "/home/<USER><BSSID>",
        ),
    ],
)
def test_behind_a_name_of_more_than_32_characters_a_second_run_finds_more(text, once, twice):
    assert (anonymise_text(text), anonymise_text(anonymise_text(text))) == (once, twice)


@given(uploads, glued)
def test_a_second_run_changes_nothing_in_an_upload(made, text):
    assume(not AFTER_CUT.search(" ".join(text.split())))
    made["events"][0]["payload"] = {text: [text], "ssid": text}
    once = anonymise({**made, "user_comment": text})

    assert anonymise(once) == once
