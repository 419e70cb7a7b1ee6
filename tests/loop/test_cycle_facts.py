from typing import Any

import pytest
from sqlmodel import Session

from loop.cycle_facts import read_cycle_facts
from loop.places import Places
from loop.store import current_labels, keep
from loop.tables import Decision, Label
from loop.values import CycleRef, Form, Severity
from tests.factories import empty_places
from tests.whole_cycles import GATED, gate, keep_forms, learn, open_cycle


@pytest.fixture(scope="module")
def facts(released):
    places, cycle = released
    return read_cycle_facts(places, cycle)


@pytest.fixture
def learning(tmp_path):
    """A cycle that has its dataset and nothing more."""
    places = empty_places(tmp_path)
    cycle = open_cycle(places)
    yield places, cycle, learn(places, cycle, 60)
    places.store.dispose()


def test_the_forms_are_those_of_the_cycle_and_no_other(facts):
    forms = [(form.form, form.facts.get("quantisation")) for form in facts.forms]

    assert forms == [
        (Form.ADAPTER, None),
        (Form.MERGED, None),
        (Form.GGUF, "Q8_0"),
        (Form.GGUF, "Q4_K_M"),
    ]
    assert {form.version for form in facts.forms} == {facts.version}
    assert facts.artifact.sha256 == facts.release.sha256


def test_the_gates_stand_in_the_order_of_the_forms_and_only_three_decide(facts):
    names = [(gate.name, gate.decides) for gate in facts.gates]

    assert names == [
        ("adapter", True),
        ("merged", True),
        ("gguf Q8_0", True),
        ("gguf Q4_K_M", False),
        ("incumbent", False),
    ]
    assert [len(gate.report.failures) for gate in facts.gates[:3]] == [
        len(wrong) for wrong in GATED.values()
    ]


def test_the_incumbent_is_what_devices_ran_before_the_cycle_published(facts):
    assert facts.release.number == 2
    assert facts.incumbent.number == 1
    assert facts.canary_report.passed
    assert facts.sign_off.made_by == "simulated-approver"


def test_corrections_and_agreements_by_cause_add_up_to_the_card(facts):
    learnt, card = facts.dataset.learnt, facts.dataset.card

    assert sum(one.corrections for one in learnt) == card.corrections
    assert sum(one.agreements for one in learnt) == card.agreements
    assert {one.cause: one.examples for one in learnt} == card.causes


def read(places: Places, cycle: CycleRef) -> Any:
    return read_cycle_facts(places, cycle)


def test_before_training_there_are_no_forms(learning):
    places, cycle, _ = learning
    facts = read(places, cycle)

    assert facts.dataset is not None
    assert (facts.forms, facts.gates, facts.artifact, facts.adapter) == ((), (), None, None)


def test_an_adapter_without_a_card_is_found_by_the_dataset_it_was_trained_on(learning):
    places, cycle, dataset = learning
    forms = keep_forms(places, cycle, dataset)
    gate(places, forms["adapter"], wrong=range(20))
    facts = read(places, cycle)

    assert facts.version == forms["adapter"].version
    assert [gate.report.passed for gate in facts.gates] == [False]


def test_an_adapter_of_another_dataset_is_not_the_cycles(learning):
    places, cycle, _ = learning
    keep_forms(places, cycle, "f" * 64)

    assert read(places, cycle).forms == ()


def test_without_a_card_the_form_converted_first_is_the_one_that_ships(learning):
    places, cycle, dataset = learning
    keep_forms(places, cycle, dataset)
    facts = read(places, cycle)

    assert facts.artifact.facts["quantisation"] == "Q8_0"


def test_a_label_given_after_the_freeze_is_not_what_the_cycle_learnt_from(learning):
    places, cycle, _ = learning
    before = read(places, cycle)
    late = Label(
        transcript_id=some_labelled(places),
        decision=Decision.ACCEPT,
        severity_correct=True,
        root_cause_correct=True,
        actions_correct=True,
        severity=Severity.RED,
        root_cause="clock_unsynced",
        actions=[],
        made_by="latecomer",
    )
    keep(places.store, late)

    assert read(places, cycle).dataset.labels == before.dataset.labels
    assert sum(before.dataset.labels.values()) == 60


def test_a_dataset_whose_bytes_are_gone_keeps_its_card(learning):
    places, cycle, dataset = learning
    folder = places.depot.fetch_tree("datasets", dataset)
    folder.rename(folder.with_name("gone"))
    facts = read(places, cycle)

    assert facts.dataset.learnt == ()
    assert facts.dataset.card.train > 0


def some_labelled(places):
    with Session(places.store) as session:
        return next(iter(current_labels(session)))
