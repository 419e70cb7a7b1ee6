import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.errors import TranscriptError
from loop.repair import REFUSALS, repair
from loop.transcript import read_session, transcript_of
from loop.upload import REASONS
from loop.values import Severity
from tests.strategies import json_values

LABELLED = Path(__file__).parents[1] / "data/labelled"
FILES = {file.stem[3:]: file for file in sorted(LABELLED.glob("*.json"))}


def written(name):
    """One of our own records, to be changed by a test."""
    return json.loads(FILES[name].read_text())


def repaired(record):
    return repair(json.dumps(record).encode())


def codes_of(name):
    return repaired(written(name)).codes


def session_of(record):
    return read_session(transcript_of(repaired(record).upload))


def refusal_of(record):
    with pytest.raises(TranscriptError) as refusal:
        repaired(record)
    return refusal.value.reason


def events_of(record):
    return record["transcript"]["events"]


def first(record, kind):
    return next(event for event in events_of(record) if event["type"] == kind)


def test_a_record_without_faults_needs_no_repair():
    assert codes_of("nothing_to_repair") == ()


# ------------------------------------------------------------------ the wire form


def test_every_deviation_of_the_wire_form_has_its_code():
    assert codes_of("wire_form") == (
        "no_relative_ts",
        "protocol_3",
        "think_in_thought",
        "unknown_anonymizer",
        "wallclock",
        "wire_form",
    )


def test_missing_times_follow_the_order():
    events = repaired(written("wire_form")).upload.events

    assert [event.relative_ts for event in events] == [f"+{n}s" for n in range(len(events))]


def test_what_stood_beside_payload_is_in_it_except_what_must_stay_on_the_device():
    payloads = [event.payload for event in repaired(written("wire_form")).upload.events]

    assert payloads[0] == {"protocol_version": 3, "ttl_seconds": 1800}
    assert payloads[-1]["action_name"] == "ntp.resync"
    assert "approval_token" not in payloads[-1]
    assert "session_id" not in json.dumps(payloads)


def test_the_protocol_is_recorded():
    assert transcript_of(repaired(written("wire_form")).upload).protocol_version == 3


def test_calls_are_paired_by_number_instead_of_id():
    session = session_of(written("wire_form"))

    assert [call.tool for step in session.steps for call in step.calls] == [
        "diag/summary",
        "diag/time",
    ]
    assert all(call.ok for step in session.steps for call in step.calls)
    assert "call_id" not in json.dumps(repaired(written("wire_form")).upload.as_json())


def test_a_failed_call_reads_as_failed():
    (step,) = session_of(written("label_unusable")).steps

    assert [(call.tool, call.ok) for call in step.calls] == [("diag/power", False)]


def test_only_the_visible_text_of_a_thought_stays():
    session = session_of(written("wire_form"))

    assert [step.thought for step in session.steps] == ["I look at the summary first.", ""]


def test_clock_times_and_home_directories_become_placeholders():
    assert "2026-0" not in json.dumps(repaired(written("wire_form")).upload.as_json())
    assert "<TS>" in json.dumps(repaired(written("wire_form")).upload.as_json())
    assert session_of(written("home_path")).steps[0].thought.startswith("The file /home/<USER>/")


def test_placeholders_that_are_there_already_stay():
    found = repaired(written("nothing_to_repair")).upload.as_json()

    assert found["events"][3]["payload"]["generated_at"] == "<TS>"


# ------------------------------------------------------------------ what no device can have shown


def test_a_summary_is_scored_again_from_its_metrics():
    record = written("summary_rescored")

    (call,) = session_of(record).steps[0].calls

    assert codes_of("summary_rescored") == (
        "summary_impossible",
        "summary_rescored",
        "wire_form",
    )
    assert call.result["subsystems"]["wireguard"] == {
        "status": "yellow",
        "key_metrics": {"active": False, "last_handshake_age_sec": -1},
    }
    assert call.result["overall"] == "yellow"
    assert call.result["generated_at"] == "<TS>"


def test_a_summary_that_its_metrics_do_not_explain_stays_impossible():
    assert "summary_rescored" not in codes_of("summary_impossible")
    assert "summary_impossible" in codes_of("summary_impossible")


def test_a_result_of_another_shape_is_refused():
    record = written("wire_form")
    first(record, "tool_result")["payload"]["more"] = 1

    assert refusal_of(record) == "result_impossible"


def test_a_result_of_an_unknown_tool_is_refused():
    record = written("home_path")
    first(record, "tool_call")["payload"]["tool"] = "diag/magic"

    assert refusal_of(record) == "result_impossible"


# ------------------------------------------------------------------ actions


def test_an_action_that_the_whitelist_forbids_is_refused():
    assert refusal_of(written("action_not_in_whitelist")) == "action_not_in_whitelist"


@pytest.mark.parametrize("args", [{}, {"container": "fula_go", "more": 1}, {"unit": "fula"}])
def test_the_arguments_are_judged_too(args):
    record = written("action_not_in_whitelist")
    first(record, "recommended_action")["args"] = args

    assert refusal_of(record) == "action_not_in_whitelist"


def test_a_confidence_above_the_cap_is_what_the_device_would_have_shown():
    (action,) = session_of(written("confidence_above_cap")).actions

    assert action.confidence == 0.6
    assert "confidence_above_cap" in codes_of("confidence_above_cap")


def test_a_red_verdict_lifts_the_cap():
    record = written("confidence_above_cap")
    first(record, "verdict")["payload"]["severity"] = Severity.RED

    assert "confidence_above_cap" not in repaired(record).codes


def test_a_recommendation_that_a_phone_lost_stays_lost():
    record = written("nothing_to_repair")
    first(record, "recommended_action")["payload"] = {}

    assert session_of(record).actions is None


# ------------------------------------------------------------------ everything else


def test_a_block_that_no_runtime_parses_is_refused():
    assert refusal_of(written("block_unsupported_by_runtime")) == "block_unsupported_by_runtime"


def test_a_severity_on_which_the_sources_disagree_is_flagged_under_any_alias():
    assert "label_disputed" in codes_of("label_disputed")

    record = written("label_disputed")
    first(record, "verdict")["payload"]["severity"] = "yellow"
    assert "label_disputed" not in repaired(record).codes


def without(record, *path):
    inner = record
    for step in path[:-1]:
        inner = inner[step]
    del inner[path[-1]]
    return record


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (without(written("wire_form"), "label_decision"), "bad_record"),
        (without(written("wire_form"), "transcript", "events"), "bad_record"),
        (without(written("wire_form"), "transcript", "consent"), "bad_record"),
        ({**written("wire_form"), "upload_id": "another"}, "bad_record"),
        ({**written("wire_form"), "more": 1}, "bad_record"),
        (without(written("wire_form"), "transcript", "events", 0, "type"), "bad_event"),
        (without(written("wire_form"), "transcript", "events", 2), "bad_event"),
        (without(written("wire_form"), "transcript", "session_relative_start"), "schema_violation"),
        ([], "bad_record"),
    ],
)
def test_a_record_that_cannot_be_read_is_refused_by_name(record, reason):
    assert refusal_of(record) == reason


def test_an_unknown_field_beside_payload_is_refused():
    record = written("wire_form")
    first(record, "verdict")["confidence"] = 1

    assert refusal_of(record) == "bad_event"


def test_another_protocol_is_refused():
    record = written("wire_form")
    first(record, "session_started")["protocol_version"] = 5

    assert refusal_of(record) == "bad_event"


@given(json_values, st.integers(0, 7), st.sampled_from(["payload", "call_id", "ok", "args"]))
def test_odd_values_are_repaired_or_refused_with_a_known_reason(value, number, key):
    record = written("wire_form")
    events_of(record)[number][key] = value
    try:
        repaired(record)
    except TranscriptError as refusal:
        reason = refusal.reason
    else:
        return

    assert reason in (*REFUSALS, *REASONS)
