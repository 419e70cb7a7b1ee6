import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeller.evidence import ABNORMAL, MOST_ROWS, read_evidence
from loop.diagnostics import TOOLS

anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


def abnormal(tool, result):
    return {row.path: row.text for row in read_evidence(tool, result).abnormal}


@pytest.mark.parametrize(
    ("tool", "result", "shown"),
    [
        ("diag/time", {"synced": False}, {"synced": "false"}),
        ("diag/time", {"synced": True, "offset_ms": -90000}, {"offset_ms": "-90000"}),
        (
            "diag/relay",
            {"relays": [], "reservation_count": 0},
            {"relays": "none", "reservation_count": "0"},
        ),
        ("diag/heartbeat", {"http_status": 401}, {"http_status": "401"}),
        ("diag/identity_health", {"pool_member": None}, {"pool_member": "unknown"}),
        ("diag/uniondrive", {"mount_options": "ro,relatime"}, {"mount_options": "ro,relatime"}),
        ("diag/storage", {"smartctl_health": "FAILED"}, {"smartctl_health": "FAILED"}),
        (
            "diag/containers",
            {"containers": [{"name": "fula_go", "state": "exited", "oom_killed": False}]},
            {"fula_go.state": "exited"},
        ),
        (
            "diag/image_versions",
            {"mismatched_containers": ["fula_go"]},
            {"mismatched_containers[0]": "fula_go"},
        ),
        (
            "diag/summary",
            {
                "subsystems": {
                    "relay": {"status": "yellow", "key_metrics": {"reservation_count": 0}}
                }
            },
            {"relay.status": "yellow", "relay.reservation_count": "0"},
        ),
        (
            "diag/summary",
            {"subsystems": {"power": {"status": "red", "key_metrics": {"error": "timed out"}}}},
            {"power.status": "red", "power.error": "timed out"},
        ),
    ],
)
def test_what_is_abnormal_is_marked(tool, result, shown):
    assert abnormal(tool, result) == shown


@pytest.mark.parametrize(
    ("tool", "result"),
    [
        ("diag/time", {"synced": True, "offset_ms": 12.5, "service": "chronyd"}),
        ("diag/wireguard", {"active": True, "last_handshake_age_sec": -1}),
        ("diag/heartbeat", {"http_status": 204, "error": ""}),
        ("diag/plugins", {"active": [], "installed": [{"name": "x", "active": False}]}),
        ("diag/power", {"undervoltage_events_24h": None, "uptime_s": 0}),
        ("diag/uniondrive", {"mount_options": "rw,errors=remount-ro"}),
    ],
)
def test_what_is_normal_or_unknown_is_not_marked(tool, result):
    assert abnormal(tool, result) == {}


def test_an_abnormal_value_behind_the_last_row_is_still_shown():
    many = [{"name": f"c{n}", "state": "running"} for n in range(MOST_ROWS)]
    evidence = read_evidence(
        "diag/containers", {"containers": [*many, {"name": "z", "state": "dead"}]}
    )

    assert len(evidence.rows) == MOST_ROWS
    assert evidence.hidden == MOST_ROWS + 2
    assert [row.text for row in evidence.abnormal] == ["dead"]


def test_every_rule_is_about_a_tool_that_exists():
    assert {f"diag/{tool}" for tool in ABNORMAL} <= set(TOOLS)


@given(st.sampled_from([f"diag/{tool}" for tool in ABNORMAL]), anything)
def test_no_answer_is_too_odd_to_show(tool, result):
    evidence = read_evidence(tool, result)

    assert len(evidence.rows) >= 1
