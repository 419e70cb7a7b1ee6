import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from loop.errors import TranscriptError
from loop.upload import (
    MAX_DEPTH,
    MAX_NODES,
    REASONS,
    Record,
    UploadV1,
    UploadV2,
    parse_json,
    parse_upload,
)
from tests.factories import event, upload
from tests.strategies import uploads

SHARED = Path(__file__).parents[2] / "../shared"
CANONICAL = (Path(__file__).parents[1] / "golden/canonical_upload.json").read_bytes()


def reason_of(sent):
    """Why an upload is refused; None: it is not."""
    data = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    try:
        parse_upload(data)
    except TranscriptError as error:
        return error.reason
    return None


def nested(depth):
    """A payload that makes an upload `depth` deep: upload, events and event are three."""
    value: dict[str, Any] = {}
    for _ in range(depth - 4):
        value = {"in": value}
    return upload(events=[event("tool_result", value)])


# ------------------------------------------------------------------ what is accepted


def test_the_output_of_the_first_anonymiser_is_accepted_for_ever():
    found = parse_upload(CANONICAL)

    assert isinstance(found, UploadV1)
    assert found.as_json() == json.loads(CANONICAL)


@given(uploads)
def test_an_upload_reads_as_what_was_sent_except_for_characters_that_cannot_be_stored(sent):
    storable = json.loads(json.dumps(sent).replace(r"\u0000", r"\ufffd"))

    assert parse_upload(json.dumps(sent).encode()).as_json() == storable


@given(uploads, st.integers(0, 3))
def test_reading_does_not_depend_on_how_the_json_is_written(sent, indent):
    compact = json.dumps(sent, separators=(",", ":"), ensure_ascii=False)

    assert parse_upload(json.dumps(sent, indent=indent).encode()) == parse_upload(compact.encode())


@pytest.mark.parametrize("field", ["user_comment", "user_prompt"])
def test_half_a_surrogate_pair_becomes_a_replacement_character(field):
    data = json.dumps(upload(**{field: "cut here: @"})).replace("@", r"\ud83d").encode()

    assert parse_upload(data).as_json()[field] == "cut here: \ufffd"


def test_nul_and_surrogates_are_mended_inside_payloads_and_keys_too():
    sent = upload(events=[event("tool_result", {"a\ud800": ["b\udfff\x00"]})])

    found = parse_upload(json.dumps(sent).encode()).as_json()

    assert found["events"][0]["payload"] == {"a\ufffd": ["b\ufffd\ufffd"]}


def test_a_pair_of_surrogates_is_one_character():
    data = json.dumps(upload(user_comment="@")).replace("@", r"\ud83d\ude00").encode()

    assert parse_upload(data).as_json()["user_comment"] == "\U0001f600"


@pytest.mark.parametrize("payload", [{}, {"a": [1]}, "text", 1, 1.5, True, None])
def test_a_payload_is_anything_but_an_array(payload):
    assert reason_of(upload(events=[event("thought", payload)])) is None
    assert reason_of(upload(events=[event("thought", [payload])])) == "schema_violation"


def test_an_absent_payload_stays_absent():
    found = parse_upload(
        json.dumps(upload(events=[{"type": "error", "relative_ts": "+0s"}])).encode()
    )

    assert "payload" not in found.as_json()["events"][0]


# ------------------------------------------------------------------ refused before the schema


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not_json"),
        (b"{} {}", "not_json"),
        (b"{}x", "not_json"),
        (b"null", "not_an_object"),
        (b"[]", "not_an_object"),
        (b'"text"', "not_an_object"),
        (b'{"a": 1, "a": 1}', "duplicate_key"),
        (rb'{"a\ud800": 1, "a\ud801": 1}', "duplicate_key"),
        (b'{"a": NaN}', "bad_number"),
        (b'{"a": -Infinity}', "bad_number"),
        (b'{"a": 1e999}', "bad_number"),
        (b'{"a": ' + b"9" * 33 + b"}", "bad_number"),
        (b'{"a": ' + b"9" * 5000 + b"}", "bad_number"),
        (b'{"a": "\xff"}', "not_utf8"),
        (b'{"a": "\xed\xa0\xbd"}', "not_utf8"),
        (b"\xef\xbb\xbf{}", "not_json"),
        ("{}".encode("utf-16"), "not_utf8"),
        ("{}".encode("utf-16-le"), "not_json"),
        ("{}".encode("utf-32-be"), "not_json"),
        (b"[" * 100_000, "too_deep"),
        (b"[" * 900 + b"]" * 900, "too_deep"),
        (b'{"a":' * 100_000, "too_deep"),
        (b"[" + b"0," * MAX_NODES + b"0]", "too_many_nodes"),
        (b'"' + b"x" * (64 * 1024 + 1) + b'"', "string_too_long"),
        ('"' + "é" * (32 * 1024 + 1) + '"', "string_too_long"),
        (b'{"' + b"x" * (64 * 1024 + 1) + b'": 1}', "string_too_long"),
        (b'{"a": "\n"}', "not_json"),
    ],
    ids=lambda value: value if isinstance(value, str) else repr(value[:12]),
)
def test_hostile_json_is_refused_by_name(data, reason):
    assert reason_of(data if isinstance(data, bytes) else data.encode()) == reason
    assert reason in REASONS


def test_thirty_two_levels_are_deep_enough_and_one_more_is_not():
    assert reason_of(nested(MAX_DEPTH)) is None
    assert reason_of(nested(MAX_DEPTH + 1)) == "too_deep"


def test_a_string_of_exactly_64_kib_is_accepted():
    assert parse_json(b'"' + b"x" * 64 * 1024 + b'"') == "x" * 64 * 1024


@given(st.binary(max_size=200))
def test_any_bytes_are_an_upload_or_refused_with_a_reason(data):
    assert reason_of(data) in REASONS


def test_a_refusal_says_nothing_of_what_was_sent():
    sent = upload(events=[event("thought", "secret words")], **{"secret field": "secret value"})

    with pytest.raises(TranscriptError) as refusal:
        parse_upload(json.dumps(sent).encode())

    assert "secret value" not in str(refusal.value)
    assert "secret words" not in str(refusal.value)


# ------------------------------------------------------------------ the closed schema and its holes

CONSENT = {"explicit_opt_in": True, "preview_shown": True, "anonymizer_version": "0.1.0"}
VIOLATIONS: dict[str, dict[str, Any]] = {
    "an unknown field": {"extra": 1},
    "a null comment": {"user_comment": None},
    "a null scenario": {"scenario_id": None},
    "another scenario": {"scenario_id": "other"},
    "another device class": {"device_class": "rk3566"},
    "an id with a newline": {"upload_id": "00000000-0000-4000-8000-000000000001\n"},
    "an upper-case id": {"upload_id": "00000000-0000-4000-8000-00000000000A"},
    "an id with a path": {"upload_id": "../../00000000-0000-4000-8000-000000000001"},
    "another start": {"session_relative_start": "+1s"},
    "a rating of 1.0": {"user_rating": 1.0},
    "a rating of -0.0": {"user_rating": -0.0},
    "a rating of true": {"user_rating": True},
    "a rating of 2": {"user_rating": 2},
    "a rating in words": {"user_rating": "1"},
    "no event": {"events": []},
    "too many events": {"events": [event("thought", "x")] * 201},
    "events that are no array": {"events": {"0": event("thought", "x")}},
    "an event that is no object": {"events": ["thought"]},
    "an unknown event": {"events": [event("answer", "x")]},
    "an event with a sibling": {"events": [{**event("thought", "x"), "call_id": "a"}]},
    "an event without time": {"events": [{"type": "thought", "payload": "x"}]},
    "a long comment": {"user_comment": "x" * 2001},
    "consent not given": {"consent": {**CONSENT, "explicit_opt_in": False}},
    "consent as 1": {"consent": {**CONSENT, "preview_shown": 1}},
    "consent with more": {"consent": {**CONSENT, "more": True}},
    "consent without version": {"consent": {"explicit_opt_in": True, "preview_shown": True}},
    "a version in other digits": {"consent": {**CONSENT, "anonymizer_version": "\u0660.1.0"}},
    "a version with a newline": {"consent": {**CONSENT, "anonymizer_version": "0.1.0\n"}},
    "a field of schema 2": {"model_version": "m"},
}
TIMES = [
    "+1s\n",
    "+\u0663s",
    "+" + "1" * 400 + "s",
    "+1234567890s",
    "1s",
    "+1.s",
    "+-1s",
    "+1S",
    "",
    "+1s ",
]


@pytest.mark.parametrize("change", VIOLATIONS.values(), ids=VIOLATIONS)
def test_the_schema_is_closed(change):
    assert reason_of(upload(**change)) == "schema_violation"


@pytest.mark.parametrize("time", TIMES, ids=ascii)
def test_a_relative_time_is_plain_digits_and_nothing_more(time):
    sent = {"type": "thought", "relative_ts": time}

    assert reason_of(upload(events=[sent])) == "schema_violation"


@pytest.mark.parametrize("field", sorted(set(upload()) - {"schema_version", "user_prompt"}))
def test_a_required_field_is_required(field):
    sent = upload()
    del sent[field]

    assert reason_of(sent) == "schema_violation"


@pytest.mark.parametrize("version", [0, 3, 1.0, 2.0, True, "1", None, [1]])
def test_only_versions_1_and_2_are_known(version):
    assert reason_of(upload(schema_version=version)) == "unknown_version"


def test_a_support_bundle_is_no_transcript():
    bundle = {"kind": "diagnostics", "upload_id": upload()["upload_id"], "phone": {}, "device": {}}

    assert reason_of(bundle) == "unknown_version"


# ------------------------------------------------------------------ schema 2

V2: dict[str, Any] = {
    "schema_version": 2,
    "model_version": "qwen3-1.7b_w8a8.3",
    "runbook_version": 1,
    "app_version": "2.1",
    "runtime_version": "0.9",
    "protocol_version": 4,
    "origin": "model",
    "locale": "de",
}


def test_schema_2_is_accepted_beside_schema_1():
    found = parse_upload(json.dumps(upload(**V2)).encode())

    assert isinstance(found, UploadV2)
    assert found.as_json() == upload(**V2)


def test_everything_new_in_schema_2_is_optional():
    assert reason_of(upload(schema_version=2)) is None


@pytest.mark.parametrize(
    "change",
    [
        {"model_version": ""},
        {"model_version": "x" * 65},
        {"model_version": "a b"},
        {"runbook_version": 1_000_001},
        {"runbook_version": 1.0},
        {"app_version": "1.2.3"},
        {"protocol_version": 0},
        {"protocol_version": True},
        {"origin": "synthetic"},
        {"origin": "unknown"},
        {"locale": "deu"},
        {"events": [event("recommended_action", {"approval_token": "a"})]},
        {"events": [event("session_started", {"session_id": "a"})]},
        {"events": [event("user_question", {"question_id": "a"})]},
        {"events": [event("user_reply_received", {"reply_text": "x" * 4001})]},
        {"events": [event("tool_call", {"tool": "diag/time", "call_index": "1"})]},
    ],
    ids=lambda change: ascii(change)[:60],
)
def test_schema_2_is_closed_too(change):
    assert reason_of(upload(**{**V2, **change})) == "schema_violation"


# ------------------------------------------------------------------ the record


@given(uploads)
def test_a_record_survives_its_bytes(sent):
    found = parse_upload(json.dumps(sent).encode()).as_json()
    record = Record(received="2026-03-01", privacy="1", redacted={"mail": 2}, upload=found)

    assert Record.from_bytes(record.to_bytes()) == record


def test_the_deepest_upload_still_fits_into_a_record():
    found = parse_upload(json.dumps(nested(MAX_DEPTH)).encode()).as_json()
    record = Record(received="2026-03-01", privacy="1", redacted={}, upload=found)

    assert Record.from_bytes(record.to_bytes()).upload == found


@pytest.mark.parametrize("data", [b"{}", b"", b'{"received": 1}', b"\xff"])
def test_other_bytes_are_no_record(data):
    with pytest.raises(TranscriptError):
        Record.from_bytes(data)


# ------------------------------------------------------------------ against the phone's own schema

if SHARED.is_dir():
    DATA = SHARED / "contracts/data"
    THEIRS = Draft202012Validator(
        json.loads((DATA / "anonymized_transcript.schema.json").read_text())
    )
    STRICTER = {  # where a literal reading of the schema leaves holes that are closed here
        "an id with a newline",
        "a rating of 1.0",
        "a rating of -0.0",
        "a version with a newline",
    }

    def test_the_kept_canonical_upload_is_the_phones():
        assert (DATA / "canonical_js_anonymizer_output.json").read_bytes() == CANONICAL

    @given(uploads)
    def test_what_is_generated_here_is_valid_there(sent):
        assert THEIRS.is_valid(sent)

    @pytest.mark.parametrize("name", VIOLATIONS)
    def test_a_violation_here_is_one_there_but_for_the_listed_holes(name):
        assert THEIRS.is_valid(upload(**VIOLATIONS[name])) == (name in STRICTER)


def test_a_record_keeps_the_order_in_which_the_device_named_things():
    sent = {"synced": False, "offset_ms": 9, "aaa": [{"z": 1, "b": 2}]}
    record = Record(received=date(2026, 3, 1), privacy="1", redacted={}, upload={"payload": sent})

    again = Record.from_bytes(record.to_bytes())

    assert list(again.upload["payload"]) == ["synced", "offset_ms", "aaa"]
    assert list(again.upload["payload"]["aaa"][0]) == ["z", "b"]
