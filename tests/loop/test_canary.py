from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlmodel import Session, select

from loop.canary import SCENARIOS, Measured, Trial, choose, decide, run_canary
from loop.checks import Score
from loop.errors import EndpointError
from loop.places import Places, open_places
from loop.recipe import read_recipe
from loop.scenario import read_suite
from loop.settings import Settings
from loop.tables import CanaryReport
from loop.values import Form, FormRef, Progress, digest_bytes

RECIPE = read_recipe("tiny-cpu").model_copy(update={"max_new_tokens": 8})
COST = Measured(tokens_per_s=100.0, first_token_s=0.1, peak_mb=500.0)


def score(name: int, right: bool, **more: Any) -> Score:
    return Score(scenario=str(name), severity=right, root_cause=right, actions=right, **more)


def trial(passed: int, failed: int = 0, cost: Measured = COST) -> Trial:
    """The first `passed` scenarios right, the next `failed` wrong."""
    rights = [True] * passed + [False] * failed
    return Trial(scores=tuple(score(i, right) for i, right in enumerate(rights)), measured=cost)


scores = st.lists(st.booleans(), min_size=1, max_size=30).map(
    lambda rights: tuple(score(i, right) for i, right in enumerate(rights))
)


@given(scores)
def test_a_file_is_never_worse_than_itself(same):
    one = Trial(scores=same, measured=COST)
    report = decide(one, one)

    assert report.passed
    assert (report.lost, report.gained) == ((), ())


def test_a_better_candidate_passes():
    report = decide(trial(17, 2), trial(0, 19))

    assert report.passed
    assert report.reason == "passed: 17 of 19 scenarios, incumbent 0 of 19"
    assert len(report.gained) == 17


def test_a_candidate_that_lost_what_the_incumbent_could_fails():
    report = decide(trial(5, 14), trial(19))

    assert not report.passed
    assert report.reason == "failed: worse than the incumbent: 14 lost, 0 gained"


def test_one_scenario_lost_is_chance():
    assert decide(trial(18, 1), trial(19)).passed


def test_one_whitelist_violation_is_too_many():
    bad = score(99, False, violations=("docker.restart: ipfs_host is not allowed",))
    now = Trial(scores=(*trial(18).scores, bad), measured=COST)
    before = Trial(scores=(*trial(18).scores, score(99, False)), measured=COST)

    assert decide(now, before).reason == "failed: 1 answers break the whitelist, expected none"
    assert decide(before, now).passed


def test_one_empty_answer_is_too_many():
    now = Trial(scores=(*trial(18).scores, score(99, False, empty=True)), measured=COST)
    before = Trial(scores=(*trial(18).scores, score(99, False)), measured=COST)

    assert "1 empty answers" in decide(now, before).reason


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"peak_mb": 751.0}, "751 MB, expected at most 1.5 x incumbent"),
        ({"tokens_per_s": 29.0}, "29.0 tokens/s, expected at least 0.3 x incumbent"),
    ],
)
def test_a_file_that_costs_too_much_fails(change, says):
    report = decide(trial(19, cost=COST.model_copy(update=change)), trial(19))

    assert report.reason == f"failed: {says}"


def test_a_file_that_costs_somewhat_more_passes():
    dearer = Measured(tokens_per_s=31.0, first_token_s=9.0, peak_mb=749.0)

    assert decide(trial(19, cost=dearer), trial(19)).passed


def test_a_candidate_that_could_not_be_served_fails_with_its_reason():
    report = decide(Trial(error="llama-server ended while loading"), trial(19))

    assert report.reason == "failed: not served: llama-server ended while loading"
    assert report.scenarios["candidate"].n == 0
    assert list(report.speed) == ["incumbent"]


def test_the_chosen_scenarios_have_every_cause_of_the_suite_and_do_not_depend_on_order():
    suite = read_suite("core")
    chosen = choose(suite)

    assert {s.expect.root_cause for s in chosen} == {s.expect.root_cause for s in suite}
    assert len(chosen) >= SCENARIOS
    assert choose(suite[::-1]) == chosen


def test_a_suite_with_few_causes_still_gives_enough_scenarios():
    suite = [s for s in read_suite("full") if s.expect.root_cause in ("no_issue", "captive_portal")]
    few = [*suite, *(s.model_copy(update={"id": f"{s.id}-again"}) for s in suite)]

    assert len(choose(few)) == SCENARIOS


def keep_file(places: Places, folder: Path, data: bytes) -> FormRef:
    folder.mkdir()
    (folder / "model.gguf").write_bytes(data)
    digest = places.depot.put_tree("forms", folder)
    return FormRef(Form.GGUF, digest, "1", digest_bytes(data))


@pytest.fixture
def places(tmp_path, llama_settings):
    return open_places(Settings(home=tmp_path / "home", llama_cpp=llama_settings.llama_root))


def reports(places: Places) -> list[CanaryReport]:
    with Session(places.store) as session:
        return list(session.exec(select(CanaryReport)))


def test_two_files_are_served_asked_measured_and_kept_once(
    places, tiny_gguf, tmp_path, no_child_left
):
    candidate = keep_file(places, tmp_path / "a", tiny_gguf.read_bytes())
    seen: list[Progress] = []
    outcome = run_canary(places, candidate, candidate, RECIPE, seen.append)
    again = run_canary(places, candidate, candidate, RECIPE)
    (row,) = reports(places)
    candidate_side = row.report["scenarios"]["candidate"]

    assert again == outcome
    assert outcome.inputs == row.inputs
    assert (row.sha256, row.incumbent) == (candidate.sha256, candidate.sha256)
    assert candidate_side["n"] == len(choose(read_suite("core")))
    assert candidate_side["passed"] == 0
    assert row.report["speed"]["incumbent"]["peak_mb"] > 1
    assert seen[-1].done == seen[-1].total


def test_a_broken_candidate_is_an_answer_and_a_broken_incumbent_an_error(
    places, tiny_gguf, tmp_path, no_child_left
):
    good = keep_file(places, tmp_path / "good", tiny_gguf.read_bytes())
    broken = keep_file(places, tmp_path / "broken", tiny_gguf.read_bytes()[:5000])

    with pytest.raises(EndpointError):
        run_canary(places, good, broken, RECIPE)
    assert reports(places) == []

    outcome = run_canary(places, broken, good, RECIPE)

    assert not outcome.passed
    assert outcome.reason.startswith("failed: not served: llama-server ended while loading")
