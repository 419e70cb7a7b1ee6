from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop import cycles, store, waiting
from loop.cycles import CyclePlan
from loop.errors import CycleError
from loop.tables import Card, CycleTranscript, Dataset, Decision, Label, SignOff
from loop.values import Severity, digest_json
from loop.waiting import LabelWait
from tests.factories import empty_places, transcript_row

PLAN = CyclePlan(
    "blox-tiny", "tiny-cpu", digest_json("recipe"), "core", digest_json("suite"), 2, True
)


@pytest.fixture
def places(tmp_path):
    return empty_places(tmp_path)


@pytest.fixture
def cycle(places):
    return cycles.open_cycle(places, PLAN, "run", lambda run: True)


def add_transcript(places, number, labelled):
    row = transcript_row(number)
    store.keep(places.store, row)
    if labelled:
        label = Label(
            transcript_id=row.id,
            decision=Decision.ACCEPT,
            severity_correct=True,
            root_cause_correct=True,
            actions_correct=True,
            severity=Severity.RED,
            root_cause="clock_unsynced",
            actions=[],
            made_by="simulated-labeller",
        )
        store.keep(places.store, label)


def wait_of(places, cycle):
    with store.writing(places.store) as session:
        return waiting.label_wait(session, cycle)


def test_labels_are_waited_for_until_there_are_enough(places, cycle):
    add_transcript(places, 1, labelled=True)
    add_transcript(places, 2, labelled=False)
    before = wait_of(places, cycle)
    add_transcript(places, 3, labelled=True)
    after = wait_of(places, cycle)

    assert (before.labelled, before.unlabelled, before.over) == (1, 1, False)
    assert (after.labelled, after.unlabelled, after.over) == (2, 1, True)


def test_a_person_may_go_on_with_fewer(places, cycle):
    waiting.decide_label_wait(places, cycle, waiting.GO_ON, "Ann")

    assert wait_of(places, cycle).over
    assert not wait_of(places, cycle).stopped


def test_labels_that_another_models_cycle_froze_are_new_to_this_one(places, cycle):
    other = cycles.open_cycle(places, replace(PLAN, model="blox-big"), "run", lambda run: True)
    add_transcript(places, 1, labelled=True)
    frozen = CycleTranscript(cycle_id=other.id, transcript_id=transcript_row(1).id)
    store.keep(places.store, frozen)

    assert wait_of(places, other).labelled == 0
    assert wait_of(places, cycle).labelled == 1


def test_a_person_may_stop_the_cycle(places, cycle):
    waiting.decide_label_wait(places, cycle, waiting.STOP, "Ann")

    assert wait_of(places, cycle).stopped


@pytest.mark.parametrize(("decision", "name"), [("check again", "Ann"), ("go on", " ")])
def test_nothing_else_is_a_decision(places, cycle, decision, name):
    with pytest.raises(CycleError, match="expected 'go on' or 'stop'"):
        waiting.decide_label_wait(places, cycle, decision, name)

    assert wait_of(places, cycle).decision is None


def test_a_cycle_with_its_dataset_wants_no_more_labels(places, cycle):
    dataset = Dataset(cycle_id=cycle.id, digest=digest_json("d"), card={"train": 1})
    store.keep(places.store, dataset)
    waiting.decide_label_wait(places, cycle, waiting.STOP, "Ann")

    assert wait_of(places, cycle).over
    assert not wait_of(places, cycle).stopped


@given(labelled=st.integers(0, 99), wanted=st.integers(1, 99))
def test_without_a_decision_only_the_count_ends_the_wait(labelled, wanted):
    wait = LabelWait(labelled, wanted, 0, None, None, frozen=False)

    assert wait.over == (labelled >= wanted)


def test_the_sentence_says_how_many_how_old_and_where():
    wait = LabelWait(38, 50, 12, date(2026, 3, 1), None, frozen=False)

    sentence = wait.sentence(date(2026, 3, 3), "http://127.0.0.1:8020")

    assert sentence == "38 of 50 labelled, oldest 2 days, go to http://127.0.0.1:8020"


def test_only_the_newest_card_of_an_open_cycle_waits_for_a_sign_off(places, cycle):
    def unsigned():
        with store.writing(places.store) as session:
            return [card.digest for card in waiting.unsigned_cards(session)]

    old, new = (
        Card(digest=digest_json(name), cycle_id=cycle.id, sha256=digest_json("bytes"), card={})
        for name in ("old", "new")
    )
    store.keep(places.store, old)
    store.keep(places.store, new)
    before = unsigned()
    signed = SignOff(
        card=new.digest, sha256=new.sha256, decision="approve", made_by="Ann", via="command"
    )
    store.keep(places.store, signed)

    assert before == [digest_json("new")]
    assert unsigned() == []
