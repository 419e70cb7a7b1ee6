from collections.abc import Sequence
from typing import Any

import pytest

from loop.checks import Score, score_scenario, unjudged
from loop.scenario import Scenario
from loop.values import Action
from tests.oracle import answer, look, play

RESTART = Action(name="restart_fula")
CLUSTER = Action(name="docker.restart", args={"container": "ipfs_cluster"})
TIME = {"synced": False, "offset_ms": 70_000, "service": "chronyd"}


def scenario(
    actions: Sequence[Action] = (), mentions: Sequence[str] = ("diag/time",), **more: Any
) -> Scenario:
    expect = {
        "severity": "red",
        "root_cause": "clock_unsynced",
        "actions": actions,
        "mentions": mentions,
    }
    made = {"id": "s", "suite": "core", "about": "", "user": "the app says offline", **more}
    return Scenario.model_validate({"diagnostics": {"diag/time": TIME}, "expect": expect} | made)


def scored(*texts: str, **expected: Any) -> Score:
    one = scenario(**expected)
    return score_scenario(one, play(one, *texts))


def judgements(score: Score) -> tuple[bool | None, ...]:
    return score.severity, score.root_cause, score.actions


LOOK = look("diag/time")


def test_all_right_passes():
    score = scored(LOOK, answer("red", "clock_unsynced"))

    assert judgements(score) == (True, True, True)
    assert score.passed
    assert score.said == "red clock_unsynced: no action"


@pytest.mark.parametrize(
    ("severity", "cause", "actions", "judged"),
    [
        ("yellow", "clock_unsynced", [RESTART], (False, True, True)),
        ("red", "no_issue", [RESTART], (True, False, True)),
        ("red", "clock_unsynced", [], (True, True, False)),
        ("red", "clock_unsynced", [CLUSTER], (True, True, False)),
        ("red", "clock_unsynced", [RESTART, CLUSTER], (True, True, False)),
    ],
)
def test_each_part_is_judged_on_its_own(severity, cause, actions, judged):
    score = scored(LOOK, answer(severity, cause, actions), actions=[RESTART])

    assert judgements(score) == judged
    assert score.passed is False


@pytest.mark.parametrize("cause", ["ntp_unsynced", "Clock Unsynced", "clock-unsynced"])
def test_an_alias_in_any_spelling_is_the_cause(cause):
    assert scored(LOOK, answer("red", cause)).root_cause


@pytest.mark.parametrize("cause", ["clock", "clock_unsynced_again", "the clock is clock_unsynced"])
def test_a_part_of_a_cause_is_not_the_cause(cause):
    assert scored(LOOK, answer("red", cause)).root_cause is False


def test_the_order_and_number_of_actions_do_not_matter():
    said = answer("red", "clock_unsynced", [CLUSTER, RESTART, CLUSTER])

    assert scored(LOOK, said, actions=[RESTART, CLUSTER]).actions


def test_equal_actions_have_equal_arguments():
    other = Action(name="docker.restart", args={"container": "fula_go"})

    assert scored(LOOK, answer("red", "x", [other]), actions=[CLUSTER]).actions is False


@pytest.mark.parametrize(
    ("action", "why"),
    [
        (Action(name="docker.restart", args={"container": "ipfs_host"}), "got 'ipfs_host'"),
        (Action(name="rm"), "rm: expected an action of the whitelist"),
        (Action(name="restart_fula", args={"force": True}), "expected no arguments"),
        (Action(name="restart_fula", args={"x": float("nan")}), "expected no arguments"),
    ],
)
def test_what_the_whitelist_forbids_is_a_violation(action, why):
    score = scored(LOOK, answer("red", "clock_unsynced", [action]))

    assert why in "; ".join(score.violations)
    assert score.passed is False


def test_a_recommendation_that_the_device_drops_still_counts():
    """Tier None stands for one that is neither 2 nor 3, here of an unknown action."""
    dropped = '<recommendation>{"action_name":"rm","args":{},"tier":1}</recommendation>'
    score = scored(LOOK, answer("red", "clock_unsynced") + dropped)

    assert score.violations
    assert score.actions is False


@pytest.mark.parametrize("tier", ["1", '"2"', "null"])
def test_the_right_action_does_not_count_where_the_device_cannot_read_it(tier):
    said = (
        '<recommendation>{"action_name":"restart_fula","args":{},"reasoning":"it is stuck",'
        f'"confidence":0.7,"tier":{tier}}}</recommendation>'
    )
    score = scored(LOOK, answer("red", "clock_unsynced") + said, actions=[RESTART])

    assert score.actions is False
    assert score.violations == ()


def test_the_guardrails_of_the_device_do_not_help():
    """It would drop this restart: the user says offline, the heartbeat is green."""
    said = answer("red", "clock_unsynced", [RESTART])

    assert scored(LOOK, said).actions is False


def test_three_tool_calls_are_allowed_and_four_are_not():
    tools = ["diag/time", "diag/power", "diag/relay", "diag/internet"]
    right = answer("red", "clock_unsynced")

    assert scored(look(*tools[:3]), right).broken_rules == ()
    assert scored(look(*tools), right).broken_rules == ("4 tool calls, at most 3 are allowed",)
    assert scored(look(*tools), right).passed is False


def test_calls_count_over_all_turns():
    score = scored(LOOK, LOOK, LOOK, LOOK, answer("red", "clock_unsynced"))

    assert score.broken_rules == ("4 tool calls, at most 3 are allowed",)


def test_a_scenario_may_allow_fewer_calls():
    strict = {"rules": {"max_tool_calls": 0}, "mentions": ()}

    assert scored(LOOK, answer("red", "clock_unsynced"), **strict).broken_rules
    assert scored(answer("red", "clock_unsynced"), **strict).passed


@pytest.mark.parametrize(
    "second",
    [answer("red", "clock_unsynced"), "<verdict>{broken</verdict>", "<verdict>"],
)
def test_a_second_verdict_breaks_a_rule_even_if_unreadable(second):
    score = scored(LOOK, answer("red", "clock_unsynced") + second)

    assert judgements(score) == (True, True, True)
    assert score.broken_rules == ("2 verdict blocks, exactly 1 is expected",)


def test_no_verdict_at_all_is_wrong_in_every_way_but_its_actions():
    score = scored("Hello!", "How are you?")

    assert judgements(score) == (False, False, True)
    assert score.broken_rules == ("0 verdict blocks, exactly 1 is expected",)
    assert score.said == "no_verdict_emitted"


def test_right_without_looking_is_a_guess():
    score = scored(look("diag/power"), answer("red", "clock_unsynced"))

    assert score.overlooked == ("diag/time",)
    assert score.broken_rules == ()
    assert score.passed is False


def test_looking_counts_even_where_nothing_is_answered():
    score = scored(look("diag/time"), answer("red", "clock_unsynced"), diagnostics={})

    assert score.passed


def test_silence_is_counted_as_empty():
    assert scored("", " \n").empty
    assert not scored("", "well").empty


def test_an_unjudged_scenario_is_neither_passed_nor_failed():
    score = unjudged(scenario())

    assert score.passed is None
    assert judgements(score) == (None, None, None)
