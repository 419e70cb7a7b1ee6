import re
import shutil
from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from random import Random

import pytest
import yaml

from loop.causes import causes
from loop.checks import score_scenario
from loop.dataset import SHARED_WORDS
from loop.errors import ScenarioError
from loop.examples import evidence_digest
from loop.faults import SUMMARY, faults
from loop.guardrails import shown
from loop.healthy import HEALTHY
from loop.scenario import SCENARIOS, Scenario, all_scenarios, read_suite, suite_digest
from loop.sessions import generate
from loop.transcript import user_words
from loop.values import Json, Severity
from tests.oracle import play_right

FILES = sorted(SCENARIOS.glob("*.yaml"))
CORE = read_suite("core")
FAULTS = {fault.cause: fault for fault in faults()}
EXAMPLE = re.findall(r"```yaml\n(.*?)```", (SCENARIOS / "README.md").read_text(), re.DOTALL)[0]
NAME = "clock_unsynced_at_the_cottage"

core = pytest.mark.parametrize("scenario", CORE, ids=lambda s: s.id)
every = pytest.mark.parametrize("scenario", read_suite("full"), ids=lambda s: s.id)


# --- each file -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_loads_on_its_own(path, tmp_path):
    shutil.copy(path, tmp_path)

    assert [s.id for s in all_scenarios(tmp_path)] == [path.stem]


@every
def test_the_right_answer_passes(scenario):
    score = score_scenario(scenario, play_right(scenario))

    assert score.passed


@every
def test_the_right_answer_reaches_the_user(scenario):
    """The guardrails of the device leave it as it is."""
    expect, device = scenario.expect, shown(play_right(scenario))

    assert (device.verdict.severity, device.verdict.root_cause) == (
        expect.severity,
        expect.root_cause,
    )
    assert [said.action for said in device.recommendations] == list(expect.actions)


@every
def test_a_scenario_decides_severities_as_the_vocabulary_does(scenario):
    assert scenario.expect.severity == causes()[scenario.expect.root_cause].severity


@every
def test_people_write_short(scenario):
    assert 3 <= len(scenario.user.split()) <= 20


@every
def test_the_evidence_that_must_be_seen_is_there(scenario):
    silent = scenario.expect.root_cause == "insufficient_data"

    assert silent or {SUMMARY, *scenario.expect.mentions} <= set(scenario.diagnostics)


@core
def test_core_holds_healthy_diagnostics_for_the_curious(scenario):
    assert set(scenario.diagnostics) - {SUMMARY, *scenario.expect.mentions}


@core
def test_core_evidence_is_that_of_the_fault_table(scenario):
    fault = FAULTS[scenario.expect.root_cause]

    assert fault.core
    assert {SUMMARY, *scenario.expect.mentions} == set(fault.path)
    assert list(scenario.expect.actions) == list(fault.actions)
    assert unlike(scenario) == []


def unlike(scenario: Scenario) -> list[str]:
    """Where a scenario's evidence differs from its fault's row."""
    evidence = FAULTS[scenario.expect.root_cause].evidence
    return [
        f"{tool}: {place}"
        for tool, changes in evidence.items()
        for place, wanted in changes.items()
        if not fits(found_at(tool, scenario.diagnostics[tool], place), wanted)
    ]


def found_at(tool: str, answer: Json, place: str) -> Json:
    """What stands at a place of the fault table, `services[fula.service].state` for example."""
    if place == "only":
        return answer
    if listed := re.fullmatch(r"(\w+)\[(.+)\]\.(\w+)", place):
        entries, name, field = listed.groups()
        return next(entry for entry in answer[entries] if entry["name"] == name)[field]
    if tool == SUMMARY:
        subsystem, metric = place.split(".")
        return answer["subsystems"][subsystem]["key_metrics"][metric]
    return answer[place]


def fits(found: Json, wanted: Json) -> bool:
    if isinstance(wanted, dict) and set(wanted) == {"pick"}:
        return found in wanted["pick"]
    if isinstance(wanted, dict) and set(wanted) == {"between"}:
        low, high = wanted["between"]
        return bool(low <= found <= high)
    return bool(found == wanted)


@core
def test_core_keys_stand_in_the_order_of_the_device(scenario):
    for tool in HEALTHY.keys() & scenario.diagnostics.keys():
        usual, found = list(HEALTHY[tool](Random(0))), list(scenario.diagnostics[tool])

        assert found == [key for key in usual if key in found]


# --- the words -----------------------------------------------------------------------------------

EARN = {"earn", "earning", "earnings", "earned", "reward", "rewards"}
JOIN = {"join", "joining", "joined", "pool"}


def family(scenario: Scenario) -> set[str]:
    words = set(user_words(scenario.user).split())
    return {name for name, said in (("earn", EARN), ("join", JOIN)) if said & words}


@pytest.mark.parametrize(
    "scenario", [s for s in CORE if "words-decide" in s.tags], ids=lambda s: s.id
)
def test_where_words_decide_they_name_exactly_one_family_of_the_fault(scenario):
    named = family(scenario)

    assert len(named) == 1
    assert named <= set(FAULTS[scenario.expect.root_cause].symptoms)


@core
def test_who_does_not_need_the_pool_does_not_speak_of_it(scenario):
    decided = "diag/identity_health" in scenario.expect.mentions

    assert decided == ("words-decide" in scenario.tags)
    assert "join" not in family(scenario) or decided
    assert scenario.expect.root_cause != "no_issue" or not family(scenario)


def test_no_two_scenarios_say_the_same():
    words = Counter(user_words(scenario.user) for scenario in read_suite("full"))

    assert words.most_common(1)[0][1] == 1


def test_no_scenario_is_copied_from_the_words_of_generated_users():
    path = Path(__file__).parents[2] / "loop/data/user_words.yaml"
    words = yaml.safe_load(path.read_text())
    lines = [line for said in words["symptoms"].values() for line in said]
    filling = {"box": "blox", **{name: fills[0] for name, fills in words["slots"].items()}}
    told = {user_words(line.format_map(filling)) for line in lines}

    assert [s.id for s in read_suite("full") if user_words(s.user) in told] == []


# --- held out from what is generated -------------------------------------------------------------


def runs(words: str) -> set[tuple[str, ...]]:
    said = words.split()
    return {tuple(said[i : i + SHARED_WORDS]) for i in range(len(said) - SHARED_WORDS + 1)}


def choices(diagnostics: dict[str, Json]) -> Iterator[tuple[tuple[str, Json], ...]]:
    """Whatever part of the diagnostics a session may have looked at."""
    for size in range(1, len(diagnostics) + 1):
        yield from combinations(diagnostics.items(), size)


def looked_at(upload: dict[str, Json]) -> list[tuple[str, Json]]:
    said = upload["events"]
    tools = [event["payload"]["tool"] for event in said if event["type"] == "tool_call"]
    results = [event["payload"] for event in said if event["type"] == "tool_result"]
    return list(zip(tools, results, strict=True))


def test_generated_sessions_share_neither_words_nor_evidence_with_a_scenario():
    scenarios = read_suite("full")
    words = {user_words(s.user) for s in scenarios}
    said_runs = {run for said in words for run in runs(said)}
    pairs = {
        (s.expect.root_cause, evidence_digest(part))
        for s in scenarios
        for part in choices(s.diagnostics)
    }
    shared: Counter[str] = Counter()
    for made in (made for seed in (1, 2, 3) for made in generate(seed, 2000)):
        said = user_words(made.upload["user_prompt"])
        shared["words"] += said in words or bool(runs(said) & said_runs)
        shared["evidence"] += (
            made.truth.root_cause,
            evidence_digest(looked_at(made.upload)),
        ) in pairs

    assert shared == {"words": 0, "evidence": 0}


# --- the suites ----------------------------------------------------------------------------------


def test_core_has_the_shape_that_the_gate_needs():
    by_severity = Counter(scenario.expect.severity for scenario in CORE)
    second_tool = [s for s in CORE if set(s.expect.mentions) - {SUMMARY}]

    assert len(CORE) >= 40
    assert all(by_severity[severity] >= 8 for severity in Severity)
    assert len({scenario.expect.root_cause for scenario in CORE}) >= 8
    assert sum(not scenario.expect.actions for scenario in CORE) >= 10
    assert len(second_tool) >= 5


def test_core_covers_every_core_fault_at_least_twice():
    covered = Counter(scenario.expect.root_cause for scenario in CORE)

    assert {cause for cause, n in covered.items() if n >= 2} == {
        fault.cause for fault in faults() if fault.core
    }


def test_full_is_everything():
    full = {scenario.id for scenario in read_suite("full")}

    assert full == {path.stem for path in FILES}
    assert {scenario.id for scenario in CORE} < full


def test_full_asks_for_what_core_leaves_out():
    tags = Counter(tag for s in read_suite("full") if s.suite == "full" for tag in s.tags)
    actions = {a.name for s in read_suite("full") if s.suite == "full" for a in s.expect.actions}

    assert min(tags[tag] for tag in ("numbers", "unknown-is-data", "contradicts-user")) >= 3
    assert "wireguard.bounce" in actions
    assert any(not scenario.diagnostics for scenario in read_suite("full"))


def test_an_unknown_suite_is_an_error():
    with pytest.raises(ScenarioError, match="suite 'nightly': expected core or full"):
        read_suite("nightly")


def test_a_suite_is_named_by_its_scenarios():
    assert suite_digest("core") == suite_digest("core")
    assert suite_digest("core") != suite_digest("full")


# --- what a person can write wrongly -------------------------------------------------------------


def read_one(text: str, folder: Path, name: str = NAME) -> Scenario:
    (folder / f"{name}.yaml").write_text(text)
    (found,) = all_scenarios(folder)
    return found


def test_the_example_of_the_manual_loads(tmp_path):
    assert read_one(EXAMPLE, tmp_path).expect.mentions == ("diag/time",)


RESYNC = "{name: ntp.resync, args: {}}"
TIME = "{status: red, key_metrics: {synced: false}}"


@pytest.mark.parametrize(
    ("right", "wrong", "line", "why"),
    [
        ("tags: [", "tag: [", "tag: [", "tag: Extra inputs are not permitted"),
        ("  severity: red", "  severty: red", "  severty", "expect.severty: Extra inputs"),
        ("severity: red", "severity: amber", "severity: amber", "expect.severity: Input should be"),
        ("suite: core", "suite: nightly", "suite: nightly", "suite: Input should be 'core'"),
        ("root_cause: clock_unsynced ", "root_cause: no ", "root_cause: no", "got 'no'"),
        ("root_cause: clock_unsynced ", "root_cause: clock ", "root_cause: clock", "id or alias"),
        (RESYNC, "{name: ntp.sync}", "actions:", "ntp.sync: expected an action of the whitelist"),
        (
            RESYNC,
            "{name: docker.restart, args: {container: ipfs_host}}",
            "actions:",
            "expected one of ipfs_cluster",
        ),
        (RESYNC, "{name: ntp.resync, args: {now: 1}}", "actions:", "expected no arguments"),
        ("mentions: [diag/time]", "mentions: [diag/tme]", "mentions:", "expected one of diag/sum"),
        ("{max_tool_calls: 3}", "{max_tool_calls: -1}", "rules:", "greater than or equal to 0"),
        ("{synced: false, offset", "{synced: 0, offset", "diag/summary:", "diag/time: synced"),
        ("  diag/time:", "  diag/tme:", "diag/summary:", "tool 'diag/tme': expected one of"),
        ('"2026-03-28T10:15:02Z"', "2026-03-28T10:15:02Z", "diag/summary:", "generated_at"),
        ("      time: {status: red", "      time: {status: green", "diag/summary:", "expected red"),
        ("    overall: red", "    overall: yellow", "diag/summary:", "overall: expected the worst"),
        ("{synced: false}}", "{synced: false, offset_ms: 9}}", "diag/summary:", "time.offset_ms"),
        (f"      time: {TIME}\n", "", "diag/summary:", "time: expected this subsystem"),
        ("  root_cause: clock_unsynced", "  #", "  severity:", "expect.root_cause: Field required"),
    ],
)
def test_a_wrong_scenario_is_an_error_with_file_and_line(right, wrong, line, why, tmp_path):
    text = EXAMPLE.replace(right, wrong, 1)
    number = next(n for n, found in enumerate(text.splitlines(), 1) if line in found)
    with pytest.raises(ScenarioError) as caught:
        read_one(text, tmp_path)

    assert text != EXAMPLE
    assert f"{NAME}.yaml:{number}: " in str(caught.value)
    assert why in str(caught.value)


def test_a_key_that_stands_twice_is_an_error_with_its_line(tmp_path):
    with pytest.raises(ScenarioError, match=r"(?s)cottage\.yaml.*'suite' stands twice.*line 3"):
        read_one(EXAMPLE.replace("about:", "suite: full\nabout:", 1), tmp_path)


def test_the_id_is_the_name_of_the_file(tmp_path):
    with pytest.raises(ScenarioError, match=r"other\.yaml: expected id other"):
        read_one(EXAMPLE, tmp_path, name="other")


def test_an_alias_is_kept_as_the_cause_it_names(tmp_path):
    found = read_one(EXAMPLE.replace("clock_unsynced ", "ntp_unsynced ", 1), tmp_path)

    assert found.expect.root_cause == "clock_unsynced"
