from loop.canary import Measured, Report, Trial, decide
from loop.checks import Score
from loop.comparison import all_measures

COST = Measured(tokens_per_s=41.5, first_token_s=0.12, peak_mb=310.0)


def report(candidate: Trial) -> Report:
    right = Score(scenario="a", severity=True, root_cause=True, actions=True)
    return decide(candidate, Trial(scores=(right,), measured=COST))


def test_both_sides_are_written_in_units_that_people_read():
    slow = Measured(tokens_per_s=1234.5, first_token_s=2.04, peak_mb=2400.0)
    wrong = Score(scenario="a", severity=True, root_cause=False, actions=True)
    found = [
        (m.name, *m.texts()) for m in all_measures(report(Trial(scores=(wrong,), measured=slow)))
    ]

    assert found == [
        ("passed of 1", "0", "1"),
        ("empty answers", "0", "0"),
        ("whitelist violations", "0", "0"),
        ("tokens/s", "1,234", "41.5"),
        ("first token", "2.0 s", "120 ms"),
        ("peak memory", "2.4 GB", "310.0 MB"),
    ]


def test_a_candidate_that_could_not_be_served_has_no_costs():
    texts = {m.name: m.texts() for m in all_measures(report(Trial(error="no such file")))}

    assert texts["tokens/s"] == ("-", "41.5")
    assert texts["passed of 1"] == ("0", "1")
