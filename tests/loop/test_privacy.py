import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loop import privacy
from loop.errors import PrivacyError
from loop.privacy import found_in, redact, redact_text
from loop.privacy_rules import rules
from loop.sessions import generate
from loop.upload import parse_upload
from tests.factories import event, upload
from tests.leaks import structural
from tests.phone import anonymise
from tests.strategies import uploads

CANONICAL = (Path(__file__).parents[1] / "golden/canonical_upload.json").read_bytes()
ROWS = {rule.id: rule for rule in rules().rules}
HOME_SERVER = "peer at 192.168.1.7"
MAIL = "write to ola@example.org"


def scan(sent):
    found, counts = redact(parse_upload(json.dumps(sent).encode()))
    return found.as_json(), counts


def refused_by(**change):
    with pytest.raises(PrivacyError) as refusal:
        scan(upload(**change))
    return refusal.value.rules


def pieces(texts):
    """Texts glued together from parts, as a hostile phone or a careless user would."""
    return st.lists(st.sampled_from(texts) | st.text(max_size=6), max_size=6).map("".join)


# ------------------------------------------------------------------ what the phone promised


def test_the_output_of_the_first_anonymiser_passes_untouched():
    found, counts = redact(parse_upload(CANONICAL))

    assert found == parse_upload(CANONICAL)
    assert not counts


@pytest.mark.parametrize(
    "rule", [row for row in ROWS.values() if row.tier == "A"], ids=lambda rule: rule.id
)
def test_a_promised_identifier_refuses_the_upload_wherever_its_text_stands(rule):
    text = rule.hits[0]

    assert rule.id in refused_by(user_prompt=text)
    assert rule.id in refused_by(user_comment=text)
    assert rule.id in refused_by(events=[event("thought", text)])
    assert rule.id in refused_by(events=[event("tool_result", {"deep": [{"er": [text]}]})])


def test_a_refusal_names_rules_and_never_what_matched():
    with pytest.raises(PrivacyError) as refusal:
        scan(upload(user_comment=HOME_SERVER))

    assert "ipv4" in str(refusal.value)
    assert "192" not in str(refusal.value)


@pytest.mark.parametrize("key", sorted(rules().network_key.keys))
def test_a_network_name_under_its_key_refuses_whatever_it_looks_like(key):
    assert f"key_{key}" in refused_by(events=[event("tool_result", {"a": [{key: "Sea view"}]})])


@pytest.mark.parametrize("value", ["<SSID>", "<BSSID>", "", None, 3, True])
def test_a_network_key_may_hold_a_placeholder_or_no_text(value):
    _, counts = scan(upload(events=[event("tool_result", {"wifi_ssid": value})]))

    assert not counts


def test_an_identifier_in_a_key_was_never_promised_and_is_replaced():
    found, counts = scan(upload(events=[event("tool_result", {"192.168.1.7": {"up": True}})]))

    assert found["events"][0]["payload"] == {"<IP>": {"up": True}}
    assert counts == {"ipv4": 1}


def test_two_keys_with_one_placeholder_stay_two():
    payload = {"192.168.1.7": 1, "192.168.1.8": 2}

    found, _ = scan(upload(events=[event("tool_result", payload)]))

    assert found["events"][0]["payload"] == {"<IP>": 1, "<IP>2": 2}


@pytest.mark.parametrize("text", ["地址192.168.1.7号", "сервер192.168.1.7там"])  # noqa: RUF001
def test_a_letter_of_another_script_is_a_boundary_as_it_is_on_the_phone(text):
    assert refused_by(user_prompt=text) == ("ipv4",)


def test_a_model_name_cannot_carry_an_identifier():
    name = "12D3KooWAbCdEfGhJkLmNpQrStUvWxYz123456789AbCdEfGhJkL"

    assert refused_by(schema_version=2, model_version=name) == ("peer_id", "peer_id_part")


def test_a_model_name_may_look_like_a_dotted_quad():
    _, counts = scan(upload(schema_version=2, model_version="1.7.0.2"))

    assert not counts


# ------------------------------------------------------------------ what the phone never strips


@pytest.mark.parametrize(
    "rule", [row for row in ROWS.values() if row.tier == "B"], ids=lambda rule: rule.id
)
def test_what_was_never_promised_is_replaced_and_counted(rule):
    found, counts = scan(upload(user_comment=rule.hits[0]))

    assert rule.placeholder in found["user_comment"]
    assert not any(rule.found(found["user_comment"]))
    assert counts == {rule.id: 1}


def test_only_the_identifier_is_replaced():
    found, _ = scan(upload(user_comment=f"please {MAIL}, thanks"))

    assert found["user_comment"] == "please write to <MAIL>, thanks"


def test_what_is_not_text_stays():
    payload = {"a": [1, 2.5, None, True, MAIL]}

    found, _ = scan(upload(events=[event("tool_result", payload)]))

    assert found["events"][0]["payload"] == {"a": [1, 2.5, None, True, "write to <MAIL>"]}


def test_a_clean_upload_comes_back_as_it_was():
    found, counts = scan(upload())

    assert (found, counts) == (upload(), Counter())


def test_nothing_in_two_hundred_clean_sessions_is_taken_for_an_identifier():
    counts: Counter[str] = Counter()
    for session in generate(seed=7, count=200):
        counts += scan(session.upload)[1]

    assert counts == {}


@given(pieces([text for row in ROWS.values() if row.tier == "B" for text in row.hits]))
def test_replacing_twice_changes_nothing(text):
    once = redact_text(text, Counter())

    assert redact_text(once, Counter()) == once


def test_a_text_that_never_comes_to_an_end_is_removed_as_a_whole(monkeypatch):
    monkeypatch.setattr(privacy, "MOST_PASSES", 1)  # one is enough to look, none to be sure
    counts: Counter[str] = Counter()

    assert redact_text(f"{MAIL} now", counts) == "<REMOVED>"
    assert redact_text("nothing to find", counts) == "nothing to find"
    assert counts == {"mail": 1, "endless": 1}


def test_placeholders_never_make_a_text_too_long_to_be_kept():
    home = "~o/ "
    long = (home * 500, home * 1000, home * (64 * 1024 // len(home)))
    payload = {"reply_text": long[1], "stdout": long[2]}
    sent = upload(user_comment=long[0], schema_version=2, events=[event("tool_result", payload)])
    found, counts = scan(sent)

    assert parse_upload(json.dumps(found).encode()).as_json() == found
    assert len(found["user_comment"]) == 2000
    assert counts["other_home"] > 1000


def test_what_was_cut_off_hides_nothing_from_a_rescan():
    comment = "~o/ " * 180 + "x" * 369 + " " + "17000000012345678901"
    found, counts = scan(upload(user_comment=comment))

    assert found_in(found) == []
    assert len(found["user_comment"]) <= 2000
    assert counts["epoch"] == 1


HITS_AND_MORE = [text for row in ROWS.values() for text in (*row.hits, *row.clean)]
SAID = pieces([*HITS_AND_MORE, "it's ", '"', "\u00a0", '{"lat": 59.91390, "lon": 10.75220}'])


VALUES = st.recursive(
    SAID
    | st.none()
    | st.floats(-200, 200)
    | st.sampled_from([1_772_600_767, "12", "3.4", "@b.co"]),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(SAID | st.sampled_from([*sorted(rules().telling)]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(VALUES)
@example(["tskey-auth-", "\0"])
def test_what_a_first_look_passes_a_closer_one_passes_too(value):
    counts: Counter[str] = Counter()
    if privacy._is_clean(value):
        assert (privacy._redacted([value], counts, [True]), counts) == ([value], {})
        assert privacy._promised(value) == set()


@pytest.mark.parametrize("leak", structural(), ids=lambda leak: leak.template[:40])
def test_no_leak_by_structure_passes_a_first_look(leak):
    assert not privacy._is_clean(leak.value)


def test_clean_sessions_pass_at_a_first_look():
    payloads = [event.get("payload") for one in generate(7, 50) for event in one.upload["events"]]

    assert all(map(privacy._is_clean, payloads))


@given(uploads, SAID, st.lists(SAID, max_size=4))
def test_what_a_sound_phone_sends_is_kept_so_that_a_rescan_finds_nothing(sent, text, texts):
    sent["events"][0]["payload"] = {"a": texts, "b": text, text: {"currentSSID": texts}}
    found, _ = scan(anonymise({**sent, "user_comment": text[:2000]}))

    assert found_in(found) == []


@pytest.mark.parametrize("space", ["\u00a0", "\u3000", "\u2009"])
def test_what_javascript_takes_for_a_space_is_no_network_name(space):
    found, _ = scan(anonymise(upload(user_comment=f"ssid:{space}Attic7 is weak")))

    assert "Attic7" not in found["user_comment"]


def test_what_only_the_phones_cut_made_an_address_is_replaced_and_not_refused():
    found, _ = scan(anonymise(upload(user_comment="a" * 1991 + " 1.2.3.4567")))

    assert found["user_comment"].endswith("a <IP>")


@pytest.mark.parametrize(
    ("payload", "kept"),
    [
        ({"password": "hunter2hunter2"}, {"password": "<KEY>"}),
        ({"api_key": "a1bcdefghij2345678k9"}, {"api_key": "<SECRET>"}),
        ({"Authorization": "Basic b2xhOmh1bnRlcg=="}, {"Authorization": "Basic <SECRET>"}),
        ({"serial_number": "S3Z9NB0K123456X"}, {"serial_number": "<ID>"}),
        ({"essid": "Seaview7"}, {"essid": "<SSID>"}),
        ({"imei": "490154203237518"}, {"imei": "<ID>"}),
    ],
)
def test_a_text_is_read_with_its_key_in_front(payload, kept):
    found, counts = scan(upload(events=[event("tool_result", {"deep": [payload]})]))

    assert found["events"][0]["payload"] == {"deep": [kept]}
    assert counts.total() == 1
    assert found_in(found) == []


@pytest.mark.parametrize(
    "payload",
    [
        {"password": "required", "token": "none", "auth": "ok", "serial": "console"},
        {"token_valid": True, "key": "value", "phone": "offline", "psk": "<KEY>", "ssid": "<SSID>"},
    ],
)
def test_a_key_that_introduces_an_ordinary_word_leaves_it(payload):
    assert found_in(upload(events=[event("tool_result", payload)])) == []


@pytest.mark.parametrize(
    "payload",
    [
        {"l": ["192.0", ".2.17 "] * 9000},
        {f"ssid=n{number:05}": 1 for number in range(9000)},
        {f"k{number}": ("192.0", ".2.17 ")[number % 2] for number in range(9000)},
        {"ssid=a," * 9000: 1},
        {"k" * 65529 + " a@b.co": 1, "k" * 65529 + " a@b.cc": 2},
        {"stdout": json.dumps({"m": "a@b.co", "l": [12] * 15000, "last": "END"})},
    ],
    ids=[
        "split texts",
        "equal keys",
        "split over an object",
        "a long key",
        "two long keys",
        "JSON in a text",
    ],
)
def test_a_payload_of_full_size_comes_to_its_end_and_stays_one_that_can_be_kept(payload):
    """What is not linear would need minutes here."""
    found, counts = scan(upload(events=[event("tool_result", payload)]))

    assert parse_upload(json.dumps(found).encode()).as_json() == found
    assert counts
    assert ("END" in json.dumps(payload)) == ("END" in json.dumps(found))


@given(uploads, pieces([text for row in ROWS.values() for text in (*row.hits, *row.clean)]))
def test_a_valid_upload_is_refused_or_stays_valid(sent, text):
    sent["events"][0]["payload"] = {text: [text]}
    try:
        found, _ = scan({**sent, "user_comment": text[:2000]})
    except PrivacyError:
        return

    assert parse_upload(json.dumps(found).encode()).as_json() == found


# ------------------------------------------------------------------ hostile texts of full size

FULL = 64 * 1024
UNITS = [
    "a", "1", "a:", "1:", "1.", "1.1.1.1.", "::", "(", "((((", "+", "+1", "+1 ", "@", "a@", "a@a.",
    "-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "BEGIN ", "eyJ", "eyJaaaaaaaa.", "ghp_", "hf_a",
    "12D3KooW", "16Uiu2HA", "Qm", "0x", "0xa", "bc1q", "baf", "bafy", "k51", "ssid:", "ssid: ",
    "1-", "1_", "1[.]", "a dot ", "a at ", "abcdefgh ", "moon ", "%31", "\\u0031", "\uff11",
    "\u200b", "~a", "~a/", "/root/", "/dns4/a.", '"ssid":"', "psk=a", "1.000,", "1\u00b0", "Mar ",
    "1 Mar ", "serial ", "a-", "a._tcp", ".local", "dyn.", "2001:db8:", "::ffff:", "...a", "f" * 63,
    "/home/", "/home/a", "2026-01-01T", "02:", "02-aa-", "call ", "call 1 ", "A", "AKIA", " ", "=",
]  # fmt: skip


@pytest.mark.parametrize("unit", UNITS)
def test_a_hostile_text_of_full_size_is_scanned_to_its_end(unit):
    """A rule that is not linear would need hours here, not the second that all need together."""
    text = (unit * (FULL // len(unit) + 1))[: FULL - len(MAIL) - 1]

    redacted = redact_text(f"{text} {MAIL}", Counter())

    assert redacted.endswith("<MAIL>")


@given(st.lists(st.sampled_from(UNITS), min_size=1, max_size=4).map("".join))
@example("a.local~a/")
def test_a_hostile_mixture_of_full_size_is_scanned_to_its_end(unit):
    text = (unit * (FULL // len(unit) + 1))[: FULL // 8]

    redacted = redact_text(f"{text} {MAIL}", Counter())

    assert redacted.endswith("<MAIL>") or redacted == "<REMOVED>"  # each cut uncovers another
