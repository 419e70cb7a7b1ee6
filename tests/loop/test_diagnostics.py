import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from loop.diagnostics import (
    METRICS,
    SUBSYSTEMS,
    TOOLS,
    check_result,
    rescored,
    subsystem_status,
    summary_problems,
    worst,
)
from loop.errors import FactsError
from loop.values import Json, Severity
from tests.mutations import near_misses, paths_of

SHARED = Path(__file__).parents[2] / "../shared"
RESULTS = yaml.safe_load((Path(__file__).parents[1] / "data/diagnostics.yaml").read_text())


def accepts(tool: str, result: Json) -> bool:
    try:
        check_result(tool, result)
    except FactsError:
        return False
    return True


def summary(**changed):
    """The example with some subsystem lines replaced, overall made to fit."""
    made = json.loads(json.dumps(RESULTS["diag/summary"]))
    made["subsystems"].update(changed)
    made["overall"] = worst(Severity(line["status"]) for line in made["subsystems"].values()).value
    return made


@pytest.mark.parametrize("tool", TOOLS)
def test_every_tool_accepts_its_full_result(tool):
    check_result(tool, RESULTS[tool])


def test_an_unknown_tool_is_an_error_that_lists_the_tools():
    with pytest.raises(FactsError, match="'diag/weather': expected one of diag/summary, diag/int"):
        check_result("diag/weather", {})


def test_a_wrong_field_is_named_by_its_path():
    with pytest.raises(
        FactsError, match=r"^diag/containers: containers\.0\.state: Input should be"
    ):
        check_result("diag/containers", {"containers": [{"name": "fula_go", "state": "up"}]})


def test_a_message_never_repeats_text_of_a_device():
    wrong = {"tools_present": {"ip": True, "iw": True}, "interfaces": "home network"}

    with pytest.raises(FactsError, match="got str of length 12") as refused:
        check_result("diag/network_interface", wrong)

    assert "home" not in str(refused.value)


def test_a_missing_key_and_null_are_not_the_same():
    assert accepts("diag/time", {"synced": True})
    assert not accepts("diag/time", {"synced": True, "offset_ms": None})
    assert accepts("diag/discovery_state", {"ok": None})


def test_a_whole_number_may_be_written_with_a_point_and_a_truth_value_is_no_number():
    assert accepts("diag/power", {"uptime_s": 60.0})
    assert not accepts("diag/power", {"uptime_s": 60.5})
    assert not accepts("diag/power", {"uptime_s": True})


@pytest.mark.parametrize(
    ("name", "metrics", "status"),
    [
        ("internet", {"discovery_https_ok": True}, "green"),
        ("internet", {"discovery_https_ok": False}, "red"),
        ("internet", {"captive_portal_likely": True}, None),
        ("relay", {"reservation_count": 1}, "green"),
        ("relay", {"reservation_count": 0}, "yellow"),
        ("relay", {"reservation_count": True}, None),
        ("time", {"synced": True}, "green"),
        ("time", {"synced": False}, "red"),
        ("time", {"synced": 1}, None),
        ("power", {"undervoltage_events_24h": 0}, "green"),
        ("power", {"undervoltage_events_24h": 1}, "yellow"),
        ("power", {"undervoltage_events_24h": 2}, "yellow"),
        ("power", {"undervoltage_events_24h": 3}, "red"),
        ("power", {"uptime_s": 9}, None),
        ("storage", {"ext4_errors": 0, "dmesg_io_errors_1h": 0}, "green"),
        ("storage", {"ext4_errors": 1, "dmesg_io_errors_1h": 0}, "red"),
        ("storage", {"dmesg_io_errors_1h": 1}, "red"),
        ("storage", {"dmesg_io_errors_1h": 0}, None),
        ("containers", {"running_count": 7, "oom_count": 0}, "green"),
        ("containers", {"running_count": 0, "oom_count": 0}, "yellow"),
        ("containers", {"running_count": 0, "oom_count": 1}, "red"),
        ("containers", {"running_count": 7}, None),
        ("wireguard", {"active": True, "last_handshake_age_sec": 180}, "green"),
        ("wireguard", {"active": True, "last_handshake_age_sec": 181}, "red"),
        ("wireguard", {"active": True, "last_handshake_age_sec": -1}, "green"),
        ("wireguard", {"active": True}, "green"),
        ("wireguard", {"active": False, "last_handshake_age_sec": 999}, "yellow"),
        ("wireguard", {"last_handshake_age_sec": 999}, None),
        ("heartbeat", {"http_status": 204}, "green"),
        ("heartbeat", {"http_status": 401}, "yellow"),
        ("heartbeat", {"http_status": 0}, "yellow"),
        ("heartbeat", {}, None),
        ("heartbeat", {"error": "TimeoutError"}, "red"),
    ],
)
def test_a_subsystem_scores_by_its_metrics(name, metrics, status):
    assert subsystem_status(name, metrics) == status


def test_an_unknown_subsystem_is_an_error():
    with pytest.raises(FactsError, match="'weather': expected one of internet"):
        subsystem_status("weather", {})


def test_a_summary_that_a_device_can_show_has_no_problem():
    assert summary_problems(RESULTS["diag/summary"]) == []
    assert summary_problems(summary(relay={"status": "red", "key_metrics": {"error": "x"}})) == []


@pytest.mark.parametrize(
    ("name", "line", "problem"),
    [
        (
            "relay",
            {"status": "red", "key_metrics": {"reservation_count": 0}},
            "relay: expected yellow for its metrics, got red",
        ),
        (
            "time",
            {"status": "red", "key_metrics": {"synced": False, "offset_ms": 9}},
            "time.offset_ms: expected only synced",
        ),
        (
            "heartbeat",
            {"status": "green"},
            "heartbeat: expected metrics that tell its status (http_status), got too few",
        ),
        (
            "relay",
            {"status": "red", "key_metrics": {"error": "x", "peer_count": 1}},
            "relay: expected error alone, got peer_count beside it",
        ),
    ],
)
def test_an_impossible_line_is_named(name, line, problem):
    assert summary_problems(summary(**{name: line})) == [problem]


def test_overall_is_the_worst_and_every_subsystem_is_shown():
    told = summary() | {"overall": "green"}
    del told["subsystems"]["time"]

    problems = summary_problems(told)

    assert problems == [
        "time: expected this subsystem",
        "overall: expected the worst, yellow, got green",
    ]


def test_what_is_no_summary_at_all_is_an_error():
    with pytest.raises(FactsError, match="diag/summary: "):
        summary_problems({"overall": "green"})


metrics = st.fixed_dictionaries(
    {
        "internet": st.fixed_dictionaries({"discovery_https_ok": st.booleans()}),
        "relay": st.fixed_dictionaries({"reservation_count": st.integers(0, 3)}),
        "time": st.fixed_dictionaries({"synced": st.booleans(), "offset_ms": st.integers()}),
        "power": st.fixed_dictionaries({"undervoltage_events_24h": st.integers(0, 9)}),
        "storage": st.fixed_dictionaries(
            {"ext4_errors": st.integers(0, 2), "dmesg_io_errors_1h": st.integers(0, 2)}
        ),
        "containers": st.fixed_dictionaries(
            {"running_count": st.integers(0, 7), "oom_count": st.integers(0, 2)}
        ),
        "wireguard": st.fixed_dictionaries(
            {"active": st.booleans(), "last_handshake_age_sec": st.integers(-1, 400)}
        ),
        "heartbeat": st.fixed_dictionaries({"http_status": st.integers(0, 599)}),
    }
)


@given(metrics, st.sampled_from([s.value for s in Severity]))
def test_a_rescored_summary_is_one_that_a_device_can_show(told, claimed):
    lines = {name: {"status": claimed, "key_metrics": told[name]} for name in SUBSYSTEMS}

    made = rescored(
        {"overall": claimed, "generated_at": "2026-01-02T03:04:05Z", "subsystems": lines}
    )

    assert summary_problems(made) == []
    assert rescored(made) == made


def test_every_subsystem_has_metrics_and_a_line_in_the_example():
    assert set(METRICS) == set(SUBSYSTEMS) == set(RESULTS["diag/summary"]["subsystems"])


def keys_of(schema: dict[str, Any]) -> set[str]:
    """Every key path that a schema names, list positions left out."""
    found = {""}
    for key, part in schema.get("properties", {}).items():
        found |= {f"{key}.{inner}".strip(".") for inner in keys_of(part)}
    return found | keys_of(schema["items"]) if "items" in schema else found


if SHARED.is_dir():
    CONTRACT = json.loads((SHARED / "contracts/data/diag_responses.schema.json").read_text())
    DEFS = CONTRACT["$defs"]

    def judge(tool):
        return Draft202012Validator({**DEFS[tool.removeprefix("diag/")], "$defs": DEFS})

    def test_the_contract_has_exactly_our_tools():
        assert {f"diag/{name}" for name in DEFS} - set(TOOLS) == {
            "diag/severity",
            "diag/iso8601_datetime",
            "diag/subsystem_name",
        }
        assert {tool.removeprefix("diag/") for tool in TOOLS} <= set(DEFS)
        assert list(SUBSYSTEMS) == DEFS["subsystem_name"]["enum"]

    @pytest.mark.parametrize("tool", TOOLS)
    def test_the_example_shows_every_key_of_the_contract(tool):
        assert keys_of(DEFS[tool.removeprefix("diag/")]) <= paths_of(RESULTS[tool])

    @pytest.mark.parametrize("tool", TOOLS)
    def test_our_shape_and_the_contract_agree_on_every_near_miss(tool):
        theirs = judge(tool)
        full = RESULTS[tool]
        least = {key: full[key] for key in DEFS[tool.removeprefix("diag/")]["required"]}

        cases = [*near_misses(full), *near_misses(least)]
        judged = [(case, theirs.is_valid(case), accepts(tool, case)) for case in cases]

        assert [case for case, their, our in judged if their != our] == []
        assert {their for _, their, _ in judged} == {True, False}

    LABELLED = sorted((SHARED / "real/labelled").glob("*.json"))

    def results():
        for path in LABELLED:
            calls = {}
            for event in json.loads(path.read_text())["transcript"]["events"]:
                if event["type"] == "tool_call":
                    calls[event["call_id"]] = event["payload"]["tool"]
                elif event["type"] == "tool_result":
                    yield calls[event["call_id"]], event["payload"]

    def test_every_labelled_tool_result_has_our_shape():
        found = list(results())

        assert len(found) == 314
        assert all(accepts(tool, result) for tool, result in found)

    def test_labelled_summaries_fail_exactly_where_they_were_measured_to():
        problems = [summary_problems(told) for tool, told in results() if tool == "diag/summary"]

        assert len(problems) == 166
        assert sum(any("for its metrics" in line for line in one) for one in problems) == 132
        assert sum(any("overall:" in line for line in one) for one in problems) == 30
        assert sum(any("expected only" in line for line in one) for one in problems) == 48
        assert sum(not one for one in problems) == 24
