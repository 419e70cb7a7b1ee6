import json
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from loop.values import Action, Severity
from loop.whitelist import (
    AllowedAction,
    Confidence,
    Whitelist,
    allowed_actions,
    confidence_cap,
    shown_confidence,
    tier_of,
    violation,
    whitelist,
)

SHARED = Path(__file__).parents[2] / "../shared"
RESTART_CLASS = {"restart_fula", "reset", "wireguard.bounce", "docker.restart", "systemctl.restart"}

names = st.sampled_from([action.name for action in allowed_actions()])
severities = st.sampled_from([*Severity, None])


def legal() -> list[Action]:
    """Every action that the table allows, with every argument value."""
    return [
        Action(name=one.name, args={one.argument: value} if one.argument else {})
        for one in allowed_actions()
        for value in one.allowed or ("",)
    ]


@pytest.mark.parametrize("action", legal(), ids=Action.key)
def test_what_the_table_names_is_allowed(action):
    assert violation(action) is None


@pytest.mark.parametrize(
    ("name", "args", "why"),
    [
        ("docker.restart", {"container": "ipfs_host"}, "; got 'ipfs_host'"),
        ("docker.restart", {}, "; got none"),
        ("docker.restart", {"container": ["fula_go"]}, "; got ['fula_go']"),
        ("docker.restart", {"container": True}, "; got True"),
        ("docker.restart", {"name": "fula_go"}, "; got none"),
        ("systemctl.restart", {"unit": "docker.service"}, "; got 'docker.service'"),
        ("systemctl.restart", {"unit": "fula-readiness-check-recover.service"}, "got 'fula-read"),
        ("diag/time", {}, "diag/time: expected an action of the whitelist"),
        ("restart_Fula", {}, "expected an action of the whitelist"),
        ("", {}, "expected an action of the whitelist"),
    ],
)
def test_what_the_table_does_not_name_is_forbidden_with_a_reason(name, args, why):
    action = Action(name=name, args=args)

    assert why in str(violation(action))
    assert why in str(violation(action, exact=False))


@pytest.mark.parametrize("action", legal(), ids=Action.key)
def test_superfluous_arguments_pass_the_executor_but_not_our_labels(action):
    more = Action(name=action.name, args={**action.args, "force": True})

    assert violation(more, exact=False) is None
    assert str(violation(more)).endswith("; got force")


@given(
    names, st.text(), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text())
)
def test_no_argument_value_outside_the_table_is_ever_allowed(name, key, value):
    action = Action(name=name, args={key: value})

    assert (violation(action) is None) == (action in legal())


def test_the_tier_comes_from_the_table():
    assert tier_of("ntp.resync") == 2
    assert tier_of("node_delete") == 3
    assert tier_of("diag/summary") is None
    assert tier_of("nothing") is None


@given(names, severities, st.floats(0, 1))
def test_the_device_never_shows_a_restart_above_its_ceiling_unless_red(name, severity, confidence):
    shown = shown_confidence(name, severity, confidence)

    assert shown <= confidence
    if name in RESTART_CLASS and severity != Severity.RED:
        assert shown <= 0.7
    else:
        assert shown == confidence


@given(names, severities)
def test_a_confidence_at_the_cap_is_shown_as_it_is(name, severity):
    cap = confidence_cap(name, severity)

    assert shown_confidence(name, severity, cap) == cap


def test_a_name_twice_is_an_error():
    same = AllowedAction(name="a", tier=2, about="x")

    with pytest.raises(ValidationError, match="expected each name once, got a again"):
        Whitelist(
            read_only=(),
            confidence=Confidence(ceiling=0.7, lowered_to=0.6),
            actions=(same, same),
        )


def test_an_argument_without_values_is_an_error():
    with pytest.raises(ValidationError, match="expected argument and allowed together"):
        AllowedAction(name="a", tier=2, about="x", argument="unit")


if SHARED.is_dir():
    CONTRACT = json.loads((SHARED / "contracts/data/action_whitelist.json").read_text())

    def plain(part: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in part.items() if key != "_notes"}

    def test_the_table_equals_the_contract_name_by_name_and_value_by_value():
        ours = whitelist()
        theirs = [
            (tier, name, entry["maps_to_core"])
            for tier, key in ((2, "tier_2_idempotent"), (3, "tier_3_destructive"))
            for name, entry in CONTRACT[key]["actions"].items()
        ]

        assert CONTRACT["schema_version"] == 1
        assert list(ours.read_only) == CONTRACT["tier_1_read"]["actions"]
        assert [(one.tier, one.name, one.flag_file) for one in ours.actions] == theirs
        assert {
            one.name: {one.argument: list(one.allowed)} for one in ours.actions if one.argument
        } == {
            name: plain(limits) for name, limits in plain(CONTRACT["argument_constraints"]).items()
        }

    def test_the_labelled_set_breaks_the_whitelist_ten_times_and_only_with_kubo():
        files = sorted((SHARED / "real/labelled").glob("*.json"))
        found = [
            Action(name=event["action_name"], args=event["args"])
            for file in files
            for event in json.loads(file.read_text())["transcript"]["events"]
            if event["type"] == "recommended_action"
        ]

        broken = [action for action in found if violation(action)]

        assert len(found) == 60
        assert broken == [Action(name="docker.restart", args={"container": "ipfs_host"})] * 10


def test_no_probe_is_an_action():
    probes = whitelist().read_only

    assert not any(fnmatch(one.name, probe) for one in allowed_actions() for probe in probes)
