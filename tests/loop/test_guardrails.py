import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.guardrails import shown
from loop.protocol import Conversation
from loop.values import Action, Json, Severity
from loop.whitelist import allowed_actions
from tests.oracle import RULES, answer, look

RESTART = Action(name="restart_fula")
CLUSTER = Action(name="docker.restart", args={"container": "ipfs_cluster"})


def summary(status: str = "green", http: int = 200) -> Json:
    beat = {"status": status, "key_metrics": {"http_status": http}}
    return {"subsystems": {"heartbeat": beat}}


def played(*texts: str, prompt: str = "it is slow", **results: Json) -> Conversation:
    """A conversation with a device whose diagnostics answer so; names without `diag/`."""
    found = {f"diag/{name}": result for name, result in results.items()}
    conversation = Conversation(prompt, found, RULES)
    for text in texts:
        conversation.take(text)
    return conversation


def names(conversation: Conversation) -> list[str]:
    return [said.action.name for said in shown(conversation).recommendations]


# --- no evidence, no diagnosis -------------------------------------------------------------------


@pytest.mark.parametrize(
    "texts", [[], [look("diag/time")], [look("diag/time"), look("diag/x", "diag/power")]]
)
def test_a_verdict_without_any_data_is_replaced(texts):
    device = shown(played(*texts, answer("red", "clock_unsynced", [CLUSTER]), summary=summary()))

    assert (device.verdict.severity, device.verdict.root_cause) == (
        Severity.YELLOW,
        "insufficient_data",
    )
    assert device.recommendations == ()


def test_one_tool_that_answered_is_evidence():
    texts = look("diag/time", "diag/power"), answer("red", "clock_unsynced", [CLUSTER])
    device = shown(played(*texts, power={"uptime_s": 1}))

    assert device.verdict.root_cause == "clock_unsynced"
    assert len(device.recommendations) == 1


def test_a_model_that_says_so_itself_is_left_alone():
    said = answer("red", "insufficient_data", [CLUSTER])

    assert shown(played(said)).verdict.severity == Severity.RED
    assert names(played(said)) == ["docker.restart"]


# --- no restart against the evidence -------------------------------------------------------------

LOST = (
    "my blox is offline",
    "shows DISCONNECTED",
    "it is not reachable",
    "unreachable since noon",
    "i can't see it",
    "cant see it",
    "i cannot see it",
    "we can't reach it",
    "cannot reach it",
)


@pytest.mark.parametrize("prompt", LOST)
def test_a_restart_is_dropped_where_the_heartbeat_contradicts_the_user(prompt):
    texts = look("diag/summary"), answer("red", "x", [RESTART, CLUSTER])

    assert names(played(*texts, prompt=prompt, summary=summary())) == ["docker.restart"]


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        ("my blox is slow", summary()),
        ("my blox is offline", summary("yellow", 401)),
        ("my blox is offline", summary("green", 204)),
        ("my blox is offline", {"subsystems": {}}),
        ("my blox is offline", {"subsystems": {"heartbeat": {"status": "green"}}}),
    ],
)
def test_a_restart_stays_where_nothing_contradicts_the_user(prompt, found):
    texts = look("diag/summary"), answer("red", "x", [RESTART])

    assert names(played(*texts, prompt=prompt, summary=found)) == ["restart_fula"]


def test_a_summary_that_nobody_asked_for_contradicts_nothing():
    texts = look("diag/time"), answer("red", "x", [RESTART])
    conversation = played(*texts, prompt=LOST[0], summary=summary(), time={"synced": True})

    assert names(conversation) == ["restart_fula"]


# --- no restart in full confidence ---------------------------------------------------------------

RESTART_CLASS = {"restart_fula", "reset", "wireguard.bounce", "docker.restart", "systemctl.restart"}
actions = st.sampled_from(
    [
        Action(name=each.name, args={each.argument: each.allowed[0]} if each.argument else {})
        for each in allowed_actions()
    ]
)


def sure(action: Action, confidence: float) -> str:
    body = {"action_name": action.name, "args": action.args, "confidence": confidence, "tier": 2}
    return f"<recommendation>{json.dumps(body)}</recommendation>"


@given(actions, st.floats(0, 1), st.sampled_from(Severity))
def test_a_confident_restart_is_toned_down_unless_the_verdict_is_red(action, confidence, severity):
    texts = look("diag/time"), answer(severity, "x") + sure(action, confidence)
    (said,) = shown(played(*texts, time={"synced": True})).recommendations
    capped = action.name in RESTART_CLASS and severity != Severity.RED and confidence > 0.7

    assert said.confidence == (0.6 if capped else confidence)


def test_a_restart_without_any_verdict_is_toned_down_too():
    texts = look("diag/time"), *[sure(RESTART, 0.9)] * 7
    device = shown(played(*texts, time={"synced": True}))

    assert {said.confidence for said in device.recommendations} == {0.6}


# --- what else the device makes of it ------------------------------------------------------------


def test_a_recommendation_of_another_tier_is_dropped():
    other = '<recommendation>{"action_name":"restart_fula","args":{},"tier":1}</recommendation>'
    texts = look("diag/time"), answer("red", "x", [CLUSTER]) + other

    assert names(played(*texts, time={"synced": True})) == ["docker.restart"]


def test_the_whitelist_is_not_consulted():
    forbidden = Action(name="docker.restart", args={"container": "ipfs_host"})
    texts = look("diag/time"), answer("red", "kubo_oom_killed", [forbidden])

    assert names(played(*texts, time={"synced": True})) == ["docker.restart"]


@pytest.mark.parametrize(
    ("texts", "cause"),
    [
        (["well", "well"], "no_verdict_emitted"),
        ([look("diag/time")] * 8, "max_turns_exceeded"),
    ],
)
def test_a_session_without_a_verdict_gets_one_from_the_device(texts, cause):
    device = shown(played(*texts, time={"synced": True}))

    assert (device.verdict.severity, device.verdict.root_cause) == (Severity.YELLOW, cause)
