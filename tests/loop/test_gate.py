from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.checks import Score, score_scenario
from loop.gate import (
    THRESHOLDS,
    Report,
    decide,
    mcnemar_p,
    wilson_low,
    zero_failures_bound,
)
from loop.protocol import Conversation
from loop.scenario import Scenario, read_suite
from loop.values import Action
from tests.oracle import answer, look, looks, play, play_right, right_answer

SUITES = ("core", "full")


def scored(number: int, right: bool | None = True, **changes: Any) -> Score:
    judged = {"severity": right, "root_cause": right, "actions": right}
    return Score.model_validate({"scenario": f"s{number}", **judged, **changes})


def many(n: int, wrong: int = 0, part: str | None = None, **changes: Any) -> list[Score]:
    """`n` scores, the first `wrong` of them wrong in one part, or in all."""
    bad = {part: False} if part else dict.fromkeys(THRESHOLDS, False)
    return [scored(i, **(bad if i < wrong else {}), **changes) for i in range(n)]


# --- the arithmetic ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("passed", "n", "low"), [(10, 10, 0.722), (0, 10, 0.0), (45, 50, 0.786), (85, 100, 0.767)]
)
def test_wilsons_bound_is_the_one_in_the_tables(passed, n, low):
    assert wilson_low(passed, n) == pytest.approx(low, abs=0.001)


@given(st.integers(1, 500), st.data())
def test_wilsons_bound_stays_below_the_rate_and_rises_with_it(n, data):
    passed = data.draw(st.integers(0, n - 1))

    assert 0 <= wilson_low(passed, n) <= passed / n
    assert wilson_low(passed, n) < wilson_low(passed + 1, n)
    assert wilson_low(passed + 1, n) <= wilson_low(2 * (passed + 1), 2 * n)


@given(st.integers(1, 10_000))
def test_more_trials_without_a_failure_say_more(n):
    assert 0 < zero_failures_bound(n + 1) < zero_failures_bound(n) <= 0.95
    assert (1 - zero_failures_bound(n)) ** n == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("lost", "gained", "p"), [(5, 0, 0.0625), (6, 0, 0.03125), (8, 1, 0.0390625), (3, 3, 1.0)]
)
def test_mcnemars_p_is_the_exact_binomial_one(lost, gained, p):
    assert mcnemar_p(lost, gained) == pytest.approx(p)


@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemars_p_does_not_care_who_is_called_candidate(lost, gained):
    assert 0 < mcnemar_p(lost, gained) <= 1
    assert mcnemar_p(lost, gained) == mcnemar_p(gained, lost)


# --- the decision --------------------------------------------------------------------------------


def test_all_right_passes_and_says_so():
    report = decide("core", many(40))

    assert report.passed
    assert report.reason == "passed: no incumbent to compare with"
    assert (report.n, report.passed_all, report.suite) == (40, 40, "core")


@pytest.mark.parametrize(("part", "allowed"), [("severity", 6), ("root_cause", 4), ("actions", 8)])
def test_each_share_passes_at_its_threshold_and_is_held_below(part, allowed):
    at, below = (decide("core", many(40, wrong, part)) for wrong in (allowed, allowed + 1))
    (metric,) = [m for m in below.metrics if m.name == part]

    assert at.passed
    assert not below.passed
    assert [m.name for m in below.metrics if not m.passed] == [part]
    assert below.reason == (
        f"held: {part} {metric.rate:.1%} of 40, expected at least {THRESHOLDS[part]:.0%}"
    )


def test_the_thresholds_are_those_of_the_device_project():
    assert THRESHOLDS == {"severity": 0.85, "root_cause": 0.90, "actions": 0.80}


def test_an_unjudged_scenario_is_not_a_failed_one():
    report = decide("core", [*many(38), scored(38, None), scored(39, None)])

    assert report.passed
    assert (report.n, report.unjudged) == (38, 2)
    assert all((m.passed_n, m.n, m.rate) == (38, 38, 1.0) for m in report.metrics)


def test_too_much_unjudged_is_held():
    report = decide("core", [*many(37), *(scored(i, None) for i in (37, 38, 39))])

    assert report.reason == "held: 3 of 40 scenarios unjudged"


@pytest.mark.parametrize("scores", [[], [scored(0, None)]])
def test_nothing_judged_is_held(scores):
    assert not decide("core", scores).passed


def test_one_answer_against_the_whitelist_is_one_too_many():
    report = decide("core", [*many(99), scored(99, violations=("rm: expected …", "reset: …"))])

    assert report.reason == "held: 1 answers break the whitelist, expected none"
    assert (report.violations, report.violation_bound) == (1, 1.0)


def test_no_violation_leaves_a_bound():
    assert decide("core", many(59)).violation_bound == pytest.approx(0.0495, abs=0.0005)


def test_one_broken_rule_is_one_too_many():
    report = decide("core", [*many(99), scored(99, broken_rules=("4 tool calls, …",))])

    assert report.reason == "held: 1 answers break a rule of the conversation, expected none"


def test_all_problems_are_told_at_once():
    report = decide("core", many(40, 40, violations=("rm",), broken_rules=("4 tool calls",)))

    assert report.reason.count(";") == 4


def test_empty_answers_are_counted():
    assert decide("core", [*many(2), scored(2, False, empty=True)]).empty == 1


# --- against the incumbent -----------------------------------------------------------------------


def test_losing_significantly_is_held():
    report = decide("core", many(100, 6, "actions"), incumbent=many(100))

    assert (report.lost, report.gained) == (6, 0)
    assert report.reason == "held: worse than the incumbent: 6 lost, 0 gained"


def test_losing_by_chance_passes():
    report = decide("core", many(100, 5, "actions"), incumbent=many(100))

    assert report.reason == "passed: 5 lost, 0 gained, p=0.062"


def test_gaining_is_no_loss_however_significant():
    report = decide("core", many(100), incumbent=many(100, 50))

    assert (report.lost, report.gained, report.passed) == (0, 50, True)


def test_only_what_both_were_judged_on_is_compared():
    before = [*many(90)[:80], *(scored(i, None) for i in range(80, 90)), scored(777)]
    report = decide("core", [scored(i, False) for i in range(100)], incumbent=before)

    assert (report.lost, report.gained) == (80, 0)


def test_a_broken_rule_loses_a_scenario_to_the_incumbent():
    assert decide("core", many(9, broken_rules=("x",)), incumbent=many(9)).lost == 9


judgements = st.fixed_dictionaries(
    {
        "severity": st.booleans(),
        "root_cause": st.booleans(),
        "actions": st.booleans(),
        "violations": st.sampled_from([(), ("rm",)]),
        "broken_rules": st.sampled_from([(), ("4 tool calls",)]),
        "overlooked": st.sampled_from([(), ("diag/time",)]),
    }
) | st.just(dict.fromkeys(THRESHOLDS))
suites = st.lists(judgements, max_size=40).map(
    lambda found: [Score.model_validate({"scenario": f"s{i}", **j}) for i, j in enumerate(found)]
)


@given(suites)
def test_a_model_never_loses_to_itself(same):
    report = decide("core", same, incumbent=same)

    assert (report.lost, report.gained, report.p) == (0, 0, 1.0)
    assert report.passed == decide("core", same).passed


@given(suites, suites)
def test_what_one_model_loses_the_other_gains(ours, theirs):
    there, back = decide("core", ours, theirs), decide("core", theirs, ours)

    assert (there.lost, there.gained) == (back.gained, back.lost)


@given(suites)
def test_a_report_adds_up(scores):
    report = decide("core", scores)

    assert report.n + report.unjudged == len(scores)
    assert report.passed == report.reason.startswith("passed: ")
    assert all(m.low <= m.rate <= 1 and m.n == report.n for m in report.metrics)
    assert Report.model_validate_json(report.model_dump_json()) == report


# --- the suites, as negative controls ------------------------------------------------------------


def verdict_on(scenarios: list[Scenario], played: list[Conversation]) -> Report:
    pairs = zip(scenarios, played, strict=True)
    return decide("suite", [score_scenario(s, c) for s, c in pairs])


@pytest.mark.parametrize("suite", SUITES)
def test_a_perfect_model_passes(suite):
    scenarios = list(read_suite(suite))
    report = verdict_on(scenarios, [play_right(s) for s in scenarios])

    assert report.passed
    assert report.passed_all == report.n == len(scenarios)


def constants(suite: str) -> list[tuple[str, str, tuple[Action, ...]]]:
    """Every answer that is right somewhere in a suite."""
    rights = [s.expect for s in read_suite(suite)]
    found = {(r.severity.value, r.root_cause, tuple(a.key() for a in r.actions)): r for r in rights}
    return [(r.severity, r.root_cause, r.actions) for r in found.values()]


CONSTANTS = [pytest.param(s, *c, id=f"{s} {c[1]}") for s in SUITES for c in constants(s)]


@pytest.mark.parametrize(("suite", "severity", "cause", "actions"), CONSTANTS)
def test_no_constant_answer_passes(suite, severity, cause, actions):
    """Not even one that looks at all the evidence first."""
    scenarios, same = list(read_suite(suite)), answer(severity, cause, actions)
    report = verdict_on(scenarios, [play(s, *looks(s), same) for s in scenarios])

    assert not report.passed
    assert {m.name for m in report.metrics if m.passed} == set()


@pytest.mark.parametrize("suite", SUITES)
def test_the_severity_of_the_summary_is_not_enough(suite):
    """Right wherever the colour of diag/summary is the answer, and else nothing."""
    scenarios = list(read_suite(suite))
    colours = [
        s.diagnostics.get("diag/summary", {"overall": "yellow"})["overall"] for s in scenarios
    ]
    played = [
        play(s, look("diag/summary"), answer(colour, "no_issue"))
        for s, colour in zip(scenarios, colours, strict=True)
    ]

    assert not verdict_on(scenarios, played).passed


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("suite", SUITES)
def test_shuffled_answers_fail(suite, seed):
    scenarios = list(read_suite(suite))
    others = Random(seed).sample(scenarios, len(scenarios))
    played = [
        play(s, *looks(s), right_answer(other)) for s, other in zip(scenarios, others, strict=True)
    ]

    assert not verdict_on(scenarios, played).passed


@pytest.mark.parametrize("suite", SUITES)
def test_a_model_that_says_nothing_fails(suite):
    scenarios = list(read_suite(suite))
    report = verdict_on(scenarios, [play(s, "", "") for s in scenarios])

    assert not report.passed
    assert report.empty == report.n
