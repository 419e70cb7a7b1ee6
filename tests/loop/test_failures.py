from typing import Any

from loop.checks import Score
from loop.failures import failures_of, worst_first
from loop.gate import Case, Report, decide


def score(name: str, **wrong: Any) -> Score:
    return Score(
        **{"scenario": name, "severity": True, "root_cause": True, "actions": True} | wrong
    )


def case(name: str, said: str = "", problems: tuple[str, ...] = ()) -> Case:
    return Case(scenario=name, wanted="", said=said, shown="", problems=problems)


def report(*failures: tuple[Case, Score]) -> Report:
    decided = decide("core", [score for _, score in failures])
    return decided.model_copy(update={"failures": tuple(case for case, _ in failures)})


def test_broken_rules_come_before_wrong_answers_and_many_wrongs_before_few():
    found = report(
        (case("few"), score("few", actions=False)),
        (case("many"), score("many", actions=False, severity=False)),
        (case("broken", problems=("reboots",)), score("broken", violations=("reboots",))),
    )

    assert [one.scenario for one in worst_first(found)] == ["broken", "many", "few"]


def test_a_scenario_that_several_forms_fail_stands_there_once_with_all_their_names():
    first = report((case("a", "early"), score("a", actions=False)))
    last = report(
        (case("b"), score("b", actions=False)), (case("a", "late"), score("a", actions=False))
    )
    found = failures_of([("adapter", first), ("gguf", last)])

    assert [(one.case.scenario, one.forms) for one in found] == [
        ("a", ("adapter", "gguf")),
        ("b", ("gguf",)),
    ]
    assert found[0].case.said == "late"


def test_without_failures_there_is_nothing_to_show():
    assert failures_of([("adapter", report()), ("merged", report())]) == []
