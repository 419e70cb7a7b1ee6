import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.transcript import (
    Call,
    Recommended,
    Step,
    Transcript,
    Verdict,
    read_session,
    transcript_of,
    user_words,
)
from loop.upload import parse_upload
from loop.values import Action, Origin, Severity
from tests.factories import event, upload
from tests.strategies import uploads

CANONICAL = (Path(__file__).parents[1] / "golden/canonical_upload.json").read_bytes()
ACTION = {
    "action_name": "docker.restart",
    "args": {"container": "fula_go"},
    "reasoning": "It is not running.",
    "confidence": 0.6,
    "tier": 2,
}


def transcript(*events, version=1, **more):
    sent = upload(events=list(events), schema_version=version, **more)
    return transcript_of(parse_upload(json.dumps(sent).encode()))


def session(*events, version=1):
    return read_session(transcript(*events, version=version))


def call(tool="diag/time", **more):
    return event("tool_call", {"tool": tool, "args": {}, **more})


# ------------------------------------------------------------------ content


def test_the_same_session_under_two_ids_has_one_digest():
    one, other = (
        transcript_of(parse_upload(json.dumps(upload(number)).encode())) for number in (1, 2)
    )

    assert one.digest() == other.digest()


@pytest.mark.parametrize(
    "change", [{"user_rating": 1}, {"user_comment": "x"}, {"events": [event("thought", "x")]}]
)
def test_another_content_has_another_digest(change):
    one, other = (
        transcript_of(parse_upload(json.dumps(sent).encode()))
        for sent in (upload(), upload(**change))
    )

    assert one.digest() != other.digest()


@given(uploads)
def test_a_transcript_read_from_the_store_is_the_one_written(sent):
    kept = transcript_of(parse_upload(json.dumps(sent).encode()))

    again = Transcript.model_validate(json.loads(json.dumps(kept.as_json())))

    assert again == kept
    assert again.digest() == kept.digest()


def test_schema_1_does_not_say_who_answered():
    assert transcript(event("thought", "x")).origin is Origin.UNKNOWN
    assert transcript(event("thought", "x"), version=2).origin is Origin.UNKNOWN


def test_schema_2_says_who_answered():
    kept = transcript(event("thought", "x"), version=2, origin="tree", model_version="m.1")

    assert (kept.origin, kept.model_version) == (Origin.TREE, "m.1")


# ------------------------------------------------------------------ steps


def test_the_canonical_upload_reads_as_one_step_and_a_verdict():
    found = read_session(transcript_of(parse_upload(CANONICAL)))

    result = {"dns_ok": True, "https_discovery_ok": False}
    call = Call("diag/internet", {}, result, ok=True)
    assert found.steps == (Step("checking discovery; saw peer at <IP>", (call,)),)
    assert found.verdict == Verdict(Severity.YELLOW, "", "discovery unreachable")
    assert found.actions == ()


def test_a_thought_begins_a_step():
    found = session(
        event("thought", "a"), call(), event("tool_result", {"b": 1}), event("thought", "c")
    )

    assert [(step.thought, len(step.calls)) for step in found.steps] == [("a", 1), ("c", 0)]


def test_a_call_after_an_answer_is_a_new_step_and_calls_before_are_one():
    answer = event("tool_result", {"a": 1})

    one_by_one = session(call(), answer, call("diag/power"), answer)
    together = session(call(), call("diag/power"), answer, answer)

    assert [len(step.calls) for step in one_by_one.steps] == [1, 1]
    assert [len(step.calls) for step in together.steps] == [2]


def test_without_ids_results_answer_calls_in_order():
    found = session(
        call("diag/time"),
        call("diag/power"),
        event("tool_result", {"synced": True}),
        event("tool_result", {"uptime_s": 1}),
    )

    assert [(c.tool, c.result) for c in found.steps[0].calls] == [
        ("diag/time", {"synced": True}),
        ("diag/power", {"uptime_s": 1}),
    ]


@pytest.mark.parametrize("key", ["call_index", "call_id"])
def test_with_an_index_or_an_id_results_answer_their_own_call(key):
    found = session(
        call("diag/time", **{key: 0}),
        call("diag/power", **{key: 1}),
        event("tool_result", {"uptime_s": 1, key: 1}),
        event("tool_result", {"synced": True, key: 0}),
        version=1 if key == "call_id" else 2,
    )

    assert [c.result for c in found.steps[0].calls] == [{"synced": True}, {"uptime_s": 1}]


@pytest.mark.parametrize("payload", [None, {}])
def test_in_schema_1_an_empty_result_is_a_failed_call(payload):
    found = session(call(), event("tool_result", payload))

    assert found.steps[0].calls == (Call("diag/time", {}, None, ok=False),)


def test_a_call_without_any_result_failed_too():
    assert session(call()).steps[0].calls == (Call("diag/time", {}, None, ok=False),)


def test_a_result_without_a_call_belongs_to_nobody():
    assert session(event("tool_result", {"a": 1})).steps == ()


def test_former_siblings_in_a_result_are_not_the_tools_answer():
    payload = {"synced": True, "ok": True, "call_index": 0}

    found = session(call(call_index=0), event("tool_result", payload), version=2)

    assert found.steps[0].calls[0] == Call("diag/time", {}, {"synced": True}, ok=True)


def test_a_result_that_says_it_is_not_ok_is_a_failed_call():
    payload = {"ok": False, "error": "timed out", "call_index": 0}

    found = session(call(call_index=0), event("tool_result", payload), version=2)

    assert found.steps[0].calls[0] == Call("diag/time", {}, None, ok=False)


def test_ok_is_the_answer_of_a_tool_that_has_such_a_field():
    payload = {"ok": False, "error": "refused", "latency_ms": 3}

    found = session(call("diag/discovery_state"), event("tool_result", payload))

    assert found.steps[0].calls[0] == Call("diag/discovery_state", {}, payload, ok=True)


# ------------------------------------------------------------------ verdict and actions


def test_the_last_verdict_counts():
    first = {"severity": "green", "root_cause": "a", "summary": "b"}
    last = {"severity": "red", "root_cause": "c", "summary": "d"}

    found = session(event("verdict", first), event("verdict", last))

    assert found.verdict == Verdict(Severity.RED, "c", "d")


@pytest.mark.parametrize("payload", [None, {}, "red", {"severity": "RED"}, {"severity": ["red"]}])
def test_without_a_known_severity_there_is_no_verdict(payload):
    assert session(event("verdict", payload)).verdict is None


def test_an_empty_recommendation_means_that_the_upload_lost_it():
    assert session(event("recommended_action", {})).actions is None
    assert session({"type": "recommended_action", "relative_ts": "+0s"}).actions is None


def test_one_lost_recommendation_means_that_the_set_is_not_known():
    found = session(event("recommended_action", ACTION), event("recommended_action", {}))

    assert found.actions is None


def test_without_any_recommendation_nothing_was_recommended():
    assert session(event("thought", "x")).actions == ()


def test_schema_2_keeps_what_was_recommended():
    action = Action(name="docker.restart", args={"container": "fula_go"})

    found = session(event("recommended_action", ACTION), version=2)

    assert found.actions == (Recommended(action, "It is not running.", 0.6, 2),)


def test_what_a_recommendation_leaves_out_is_not_invented():
    found = session(event("recommended_action", {"action_name": "ntp.resync", "confidence": True}))

    assert found.actions == (Recommended(Action(name="ntp.resync"), "", None, None),)


@given(uploads)
def test_no_payload_however_odd_breaks_the_reading(sent):
    found = read_session(transcript_of(parse_upload(json.dumps(sent).encode())))

    events = [event["type"] for event in sent["events"]]
    assert sum(len(step.calls) for step in found.steps) <= events.count("tool_call")


# ------------------------------------------------------------------ words


@pytest.mark.parametrize(
    "prompt", ["My Blox is OFFLINE!", " my  blox\nis offline", "\uff2dy blox \u2014 is offline"]
)
def test_case_spaces_punctuation_and_width_do_not_make_other_words(prompt):
    assert user_words(prompt) == "my blox is offline"


@given(st.text())
def test_the_words_of_words_are_the_same_words(prompt):
    assert user_words(user_words(prompt)) == user_words(prompt)
