"""Judging real answers of real models: random weights fail, and both forms of them fail alike."""

import pytest
from sqlmodel import Session, select

from loop.checks import Score
from loop.gating import gate_form, judge, play
from loop.recipe import read_recipe
from loop.scenario import read_suite
from loop.tables import GateReport
from loop.values import Form
from tests.factories import empty_places
from tests.oracle import play_right
from tests.tiny_models import keep_folder

RECIPE = read_recipe("tiny-cpu").model_copy(update={"max_new_tokens": 24})
CORE = read_suite("core")


@pytest.fixture
def places(tmp_path):
    made = empty_places(tmp_path)
    yield made
    made.store.dispose()


def test_random_weights_fail_and_are_asked_only_once(places, tiny_base):
    form = keep_folder(places, Form.BASE, tiny_base)

    first = gate_form(places, form, RECIPE)
    again = gate_form(places, form, RECIPE)

    assert not first.passed
    assert again == first
    with Session(places.store) as session:
        report = session.get_one(GateReport, first.inputs).report
    assert report["n"] == len(CORE)
    assert len(report["failures"]) == len(CORE)


def test_a_perfect_model_passes_and_is_compared_with_what_devices_run():
    right = [play_right(scenario) for scenario in CORE]
    before = [Score(scenario=s.id, severity=False, root_cause=False, actions=False) for s in CORE]

    report = judge("core", CORE, right, before)

    assert report.passed
    assert (report.gained, report.lost, report.failures) == (len(CORE), 0, ())


def test_the_adapter_answers_on_its_base(places, tiny_base, tiny_adapter):
    base = keep_folder(places, Form.BASE, tiny_base)
    adapter = keep_folder(places, Form.ADAPTER, tiny_adapter, base)

    alone = play(places, base, RECIPE, CORE[:2])
    adapted = play(places, adapter, RECIPE, CORE[:2])

    assert [c.texts for c in alone] != [c.texts for c in adapted]


def test_an_incumbent_that_was_never_asked_this_suite_is_asked_now(places, tiny_base, tiny_adapter):
    base = keep_folder(places, Form.BASE, tiny_base)
    adapter = keep_folder(places, Form.ADAPTER, tiny_adapter, base)

    judged = gate_form(places, adapter, RECIPE, incumbent=base)

    with Session(places.store) as session:
        of_base = session.exec(select(GateReport).where(GateReport.digest == base.digest)).one()
        report = session.get_one(GateReport, judged.inputs).report
    assert of_base.report["n"] == report["n"] == len(CORE)
    assert (report["lost"], report["gained"]) == (0, 0)  # both fail everywhere
