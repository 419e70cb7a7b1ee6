import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from loop.errors import FactsError
from loop.events import RecommendedAction, check_event
from loop.values import Json
from tests.mutations import near_misses, paths_of

SHARED = Path(__file__).parents[2] / "../shared"
EVENTS = yaml.safe_load((Path(__file__).parents[1] / "data/events.yaml").read_text())
KINDS = sorted({event["type"] for event in EVENTS})


def accepts(event: Json) -> bool:
    try:
        check_event(event)
    except FactsError:
        return False
    return True


def test_there_are_ten_kinds_of_events():
    assert len(KINDS) == 10


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event["type"])
def test_an_event_read_and_written_again_is_the_same(event):
    assert check_event(event).model_dump(mode="json", exclude_unset=True) == event


def test_an_event_is_read_as_its_own_kind():
    action = next(event for event in EVENTS if event["type"] == "recommended_action")

    assert isinstance(check_event(action), RecommendedAction)


@pytest.mark.parametrize("wrong", [None, [], "thought", {}, {"type": 1}, {"type": ["thought"]}])
def test_what_has_no_type_is_no_event(wrong):
    with pytest.raises(FactsError, match="event: expected an object with a type"):
        check_event(wrong)


def test_an_unknown_type_is_an_error_that_lists_the_types():
    with pytest.raises(FactsError, match=r"event: .*'session_started', 'thought', 'tool_call'"):
        check_event({"type": "song"})


def test_a_result_carries_an_error_exactly_when_it_failed():
    result = {"type": "tool_result", "call_id": "rk-0-0", "payload": None}

    assert accepts({**result, "ok": True})
    assert accepts({**result, "ok": False, "error": ""})
    assert not accepts({**result, "ok": True, "error": "late"})
    assert not accepts({**result, "ok": False})


def test_a_wrong_field_is_named_by_its_path():
    with pytest.raises(FactsError, match=r"^event: verdict\.payload\.severity: .*'red'"):
        check_event(
            {
                "type": "verdict",
                "payload": {"summary": "x", "severity": "Red", "root_cause": "x"},
            }
        )


if SHARED.is_dir():
    CONTRACT = json.loads((SHARED / "contracts/data/sse_events.schema.json").read_text())
    JUDGE = Draft202012Validator(CONTRACT)

    def keys_of(schema: dict[str, Any]) -> set[str]:
        found = set(schema.get("properties", {}))
        inner = schema.get("properties", {}).get("payload", {}).get("properties", {})
        return found | {f"payload.{key}" for key in inner}

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_examples_show_every_key_of_the_contract(kind):
        shown = [paths_of(event) for event in EVENTS if event["type"] == kind]

        assert keys_of(CONTRACT["$defs"][kind]) <= set().union(*shown)

    def test_the_contract_has_exactly_our_kinds():
        assert sorted(CONTRACT["$defs"]) == KINDS

    @pytest.mark.parametrize("event", EVENTS, ids=lambda event: event["type"])
    def test_our_shape_and_the_contract_agree_on_every_near_miss(event):
        judged = [(case, JUDGE.is_valid(case), accepts(case)) for case in near_misses(event)]

        assert [case for case, their, our in judged if their != our] == []
        assert {their for _, their, _ in judged} == {True, False}

    def test_of_the_labelled_events_only_the_old_protocol_number_is_refused():
        files = sorted((SHARED / "real/labelled").glob("*.json"))
        found = [e for f in files for e in json.loads(f.read_text())["transcript"]["events"]]

        refused = [event for event in found if not accepts(event)]

        assert len(found) == 1524
        assert [event["type"] for event in refused] == ["session_started"] * 174
        assert all(accepts(event | {"protocol_version": 4}) for event in refused)
