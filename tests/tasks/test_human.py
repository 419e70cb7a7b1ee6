import pytest
from pydantic import ValidationError

from loop.values import CardRef, CycleRef, digest_json
from tasks import human
from tasks.human import LabelsForm, SignOffForm

CARD = CardRef(digest_json("card"), digest_json("bytes"))
CYCLE = CycleRef("id", "blox-tiny", 3, "tiny-cpu", 50, True)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"name": "Ann"},
        {"decision": "stop the cycle"},
        {"name": "", "decision": "stop the cycle"},
        {"name": "Ann", "decision": "go"},
        {"name": "Ann", "decision": "stop the cycle", "more": 1},
    ],
)
def test_a_labels_form_without_a_name_and_a_known_decision_is_no_answer(answer):
    with pytest.raises(ValidationError):
        LabelsForm(**answer)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"name": "Ann", "decision": "approve"},
        {"name": "Ann", "card": CARD.digest[:12]},
        {"name": "Ann", "decision": "yes", "card": CARD.digest[:12]},
        {"name": "Ann", "decision": "approve", "card": CARD.digest[:11]},
        {"name": "Ann", "decision": "approve", "card": "the newest card"},
    ],
)
def test_a_sign_off_form_names_a_person_a_decision_and_twelve_characters_of_a_card(answer):
    with pytest.raises(ValidationError):
        SignOffForm(**answer)


@pytest.mark.parametrize("form", [LabelsForm, SignOffForm])
def test_the_form_that_people_see_keeps_every_rule_and_prefills_nothing(form):
    shown = form.with_initial_data(description="what waits").model_json_schema()

    assert shown["required"] == list(form.model_fields)
    assert shown["additionalProperties"] is False
    assert not any("default" in field for field in shown["properties"].values())
    assert shown["properties"]["name"]["minLength"] == 1
    assert shown["properties"]["decision"]["enum"]


def test_what_upkeep_answers_fits_the_form_and_decides_nothing():
    labels = LabelsForm(**human.nothing_new(human.labels_key(CYCLE, 2)))
    sign_off = SignOffForm(**human.nothing_new(human.sign_off_key(CARD, 1)))

    assert labels.decision not in human.DECISIONS
    assert sign_off.decision == "check again"
    assert CARD.digest.startswith(sign_off.card)


def test_each_asking_has_a_key_of_its_own_and_so_has_each_cycle():
    keys = [human.labels_key(CYCLE, turn) for turn in (1, 2)]
    other = human.labels_key(CycleRef("id", "blox-tiny", 4, "tiny-cpu", 50, True), 1)

    assert len({*keys, other}) == 3
