"""How loop.protocol reads what a model says; how it writes and goes on is test_protocol."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.protocol import Verdict, parse, visible
from loop.values import Action, Severity
from tests.oracle import look

CALL = '<tool_call>{"name":"diag/time","arguments":{}}</tool_call>'
GOOD = '{"summary":"s","severity":"red","root_cause":"clock_unsynced"}'
SAID = '{"action_name":"ntp.resync","args":{},"reasoning":"r","confidence":0.8,"tier":2}'
VERDICT = f"<verdict>{GOOD}</verdict>"
ADVICE = f"<recommendation>{SAID}</recommendation>"


def verdict_with(**changes: Any) -> str:
    body = {key: value for key, value in (json.loads(GOOD) | changes).items() if value is not ...}
    return f"<verdict>{json.dumps(body)}</verdict>"


def advice_with(**changes: Any) -> str:
    body = {key: value for key, value in (json.loads(SAID) | changes).items() if value is not ...}
    return f"<recommendation>{json.dumps(body)}</recommendation>"


def counts(text: str) -> tuple[int, int, int]:
    """How many calls, verdicts and recommendations the device reads."""
    turn = parse(text)
    return len(turn.calls), int(turn.verdict is not None), len(turn.recommendations)


# --- how tolerantly the device reads --------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "read"),
    [
        pytest.param(CALL, (1, 0, 0), id="closed call"),
        pytest.param(VERDICT, (0, 1, 0), id="closed verdict"),
        pytest.param(ADVICE, (0, 0, 1), id="closed recommendation"),
        pytest.param(f"Well. {CALL} Hm. {VERDICT} So: {ADVICE}!", (1, 1, 1), id="among prose"),
        pytest.param(f"<verdict>\n  {GOOD}\n</verdict>", (0, 1, 0), id="spaced out"),
        pytest.param(f"<verdict>{GOOD}", (0, 1, 0), id="unclosed at the end"),
        pytest.param(f"<verdict>{GOOD}\n", (0, 1, 0), id="unclosed before a newline"),
        pytest.param(f"<verdict>{GOOD} I think.", (0, 0, 0), id="unclosed, prose after it"),
        pytest.param(f"<verdict>{GOOD}{ADVICE}", (0, 1, 1), id="unclosed before another kind"),
        pytest.param(f"<verdict>{GOOD}\n{CALL}", (1, 1, 0), id="unclosed before a call"),
        pytest.param(
            f"<recommendation>{SAID}{ADVICE}", (0, 0, 1), id="unclosed eats the next of its kind"
        ),
        pytest.param(
            f"<recommendation>{SAID}{ADVICE}{ADVICE}", (0, 0, 2), id="and only the next one"
        ),
        pytest.param(
            f"<verdict>{GOOD}<user_question>{{}}</user_question>",
            (0, 0, 0),
            id="a question ends nothing",
        ),
        pytest.param(f"{CALL}{look('diag/power')}", (2, 0, 0), id="several calls"),
        pytest.param(f"{CALL}{CALL}", (1, 0, 0), id="identical calls run once"),
        pytest.param(
            CALL + CALL.replace("{}", '{"deep":true}'), (2, 0, 0), id="other arguments, other call"
        ),
        pytest.param('```json\n{"name":"diag/time"}\n```', (1, 0, 0), id="fenced call"),
        pytest.param('```\n{"name":"diag/time"}\n```', (1, 0, 0), id="fenced without a language"),
        pytest.param('```json\n{"name":"restart_fula"}\n```', (0, 0, 0), id="fenced other thing"),
        pytest.param(f"```json\n{GOOD}\n```", (0, 0, 0), id="fenced verdict"),
        pytest.param(CALL.replace('"', "'"), (0, 0, 0), id="single quotes"),
        pytest.param(CALL.replace("tool_call", "TOOL_CALL"), (0, 0, 0), id="upper-case tag"),
        pytest.param(CALL.replace("time", "x"), (1, 0, 0), id="unknown diagnostic"),
        pytest.param(CALL.replace("diag/time", "reboot"), (0, 0, 0), id="not a diagnostic"),
        pytest.param(CALL.replace("{}", "[1]"), (1, 0, 0), id="arguments are a list"),
        pytest.param(CALL.replace(',"arguments":{}', ""), (1, 0, 0), id="no arguments"),
        pytest.param("<tool_call>[]</tool_call>", (0, 0, 0), id="call is a list"),
        pytest.param('<user_question>{"question":"?"}</user_question>', (0, 0, 0), id="question"),
        pytest.param(verdict_with(root_cause=...), (0, 0, 0), id="no root cause"),
        pytest.param(verdict_with(root_cause="  "), (0, 0, 0), id="blank root cause"),
        pytest.param(verdict_with(root_cause=7), (0, 0, 0), id="root cause is a number"),
        pytest.param(verdict_with(severity="Red"), (0, 0, 0), id="upper-case severity"),
        pytest.param(verdict_with(severity="orange"), (0, 0, 0), id="unknown severity"),
        pytest.param(verdict_with(severity=["red"]), (0, 0, 0), id="severity is a list"),
        pytest.param(verdict_with(severity=...), (0, 0, 0), id="no severity"),
        pytest.param(verdict_with(summary=None), (0, 0, 0), id="summary is null"),
        pytest.param(verdict_with(summary=...), (0, 0, 0), id="no summary"),
        pytest.param(verdict_with(summary=""), (0, 1, 0), id="empty summary"),
        pytest.param(verdict_with(severity="x") + VERDICT, (0, 0, 0), id="bad verdict, then good"),
        pytest.param(VERDICT + verdict_with(severity="x"), (0, 1, 0), id="good verdict, then bad"),
        pytest.param(advice_with(action_name=...), (0, 0, 0), id="nameless action"),
        pytest.param(advice_with(action_name=["x"]), (0, 0, 0), id="name is a list"),
        pytest.param(verdict_with(summary="a } b"), (0, 1, 0), id="brace inside a string"),
        pytest.param(verdict_with(summary="}<verdict>"), (0, 0, 0), id="brace and tag in a string"),
        pytest.param(verdict_with(summary="<verdict>"), (0, 1, 0), id="tag inside a string"),
        pytest.param("<verdict>{", (0, 0, 0), id="cut short"),
        pytest.param("", (0, 0, 0), id="nothing"),
    ],
)
def test_the_parser_is_as_tolerant_as_the_device(text, read):
    assert counts(text) == read


@pytest.mark.parametrize(
    ("said", "confidence"),
    [
        ("0.9", 0.9),
        (9, 1.0),
        (-1, 0.0),
        (float("nan"), 1.0),
        (float("inf"), 1.0),
        (10**400, 0.5),
        (..., 0.5),
        (None, 0.5),
        ("high", 0.5),
        ([1], 0.5),
        (0, 0.0),
    ],
)
def test_a_confidence_is_made_to_fit(said, confidence):
    assert parse(advice_with(confidence=said)).recommendations[0].confidence == confidence


@pytest.mark.parametrize(
    ("said", "tier"), [(2, 2), (3, 3), (1, None), (4, None), ("2", None), (True, None), (..., None)]
)
def test_only_tiers_2_and_3_are_kept(said, tier):
    turn = parse(advice_with(tier=said))

    assert turn.recommendations[0].tier == tier
    assert turn.empty == (tier is None)


@pytest.mark.parametrize("said", [..., "", None, 7])
def test_a_missing_reason_is_said_to_be_missing(said):
    assert parse(advice_with(reasoning=said)).recommendations[0].reasoning == "(no reasoning)"


@pytest.mark.parametrize("said", [..., None, [1], "x"])
def test_arguments_that_are_no_object_are_none(said):
    assert parse(advice_with(args=said)).recommendations[0].action == Action(name="ntp.resync")


def test_long_strings_are_cut():
    long = "x" * 2000
    turn = parse(
        verdict_with(summary=long, root_cause=long) + advice_with(action_name=long, reasoning=long)
    )
    said = turn.recommendations[0]

    assert turn.verdict == Verdict(Severity.RED, "x" * 200, "x" * 500)
    assert (len(said.action.name), len(said.reasoning)) == (64, 1000)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_arguments_can_always_be_written_down_again(number):
    text = ADVICE.replace('"args":{}', f'"args":{{"x":{number}}}')

    assert '"x":"' in parse(text).recommendations[0].action.key()


def test_a_verdict_counts_when_it_is_opened():
    assert parse(f"<verdict>{GOOD}<verdict>oh</verdict>{VERDICT}").verdict_blocks == 3


tags = ["<verdict>", "</verdict>", "<tool_call>", "</tool_call>", "<recommendation>", "```json\n"]
bodies = ["```", GOOD, SAID, '{"name":"diag/time"}', "{", "}", '"', "\\", "[", "NaN", " ", "red"]
pieces = st.sampled_from(tags + bodies)


@given(st.lists(pieces | st.text(max_size=3), max_size=12).map("".join))
def test_whatever_a_model_says_is_read_without_an_error(text):
    turn = parse(text)

    assert turn.verdict_blocks == text.count("<verdict>")
    assert not turn.empty or turn.verdict is None
    assert all(said.action.key() for said in turn.recommendations)


@pytest.mark.parametrize("depth", [10, 100_000])
def test_deep_nesting_is_read_or_lost_but_no_error(depth):
    nested = CALL.replace("{}", "[" * depth + "]" * depth)

    assert len(parse(nested).calls) == (depth == 10)


# --- thinking ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (f"<think>hm</think>{VERDICT}", VERDICT),
        (f"hm</think>{VERDICT}</think>", f"{VERDICT}</think>"),
        (f"<think>hm {VERDICT}", ""),
        (VERDICT, ""),
    ],
)
def test_thinking_is_cut_and_one_that_never_ends_hides_everything(text, seen):
    assert visible(text, thinking=True) == seen


def test_a_model_that_does_not_think_is_seen_whole():
    assert visible("a</think>b", thinking=False) == "a</think>b"
