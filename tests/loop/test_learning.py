"""The tiny model really learns from labels, and only from them: the gate tells it from controls."""

import dataclasses

import pytest
from sqlmodel import Session, select

from loop.freezing import freeze_dataset
from loop.gating import gate_form
from loop.places import open_places
from loop.recipe import read_recipe
from loop.settings import Settings
from loop.store import keep
from loop.tables import GateReport, ModelForm
from loop.training import ensure_base, train_adapter
from loop.values import Form
from tests.labelled import cycle, labelled

pytestmark = pytest.mark.slow
RECIPE = read_recipe("tiny-cpu")
LABELS = 1600
"""As many as `make run` asks for."""


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    made = open_places(Settings(home=tmp_path_factory.mktemp("learning")))
    yield made
    made.store.dispose()


@pytest.fixture(scope="module")
def base(places):
    return ensure_base(places, RECIPE)


def report_of(places, form):
    outcome = gate_form(places, form, RECIPE)
    with Session(places.store) as session:
        return session.get_one(GateReport, outcome.inputs).report


def test_the_base_fails_because_it_never_saw_a_verdict(places, base):
    report = report_of(places, base)

    assert not report["passed"]
    assert report["passed_all"] == 0


def test_the_model_that_learnt_from_labels_passes(places, base):
    labelled(places, 1, LABELS)
    dataset = freeze_dataset(places, cycle(places, 1))

    report = report_of(places, train_adapter(places, dataset, RECIPE))

    assert report["passed"], report["reason"]


def test_the_model_that_learnt_from_shuffled_labels_fails(places, base, tmp_path):
    aside = Settings(home=tmp_path, depot=places.settings.depot_place)
    shuffled = dataclasses.replace(open_places(aside), depot=places.depot)
    with Session(places.store) as session:
        made = session.exec(select(ModelForm).where(ModelForm.form == Form.BASE)).one()
        keep(shuffled.store, ModelForm(**made.model_dump()))
    labelled(shuffled, 1, LABELS, shuffled=True)
    dataset = freeze_dataset(shuffled, cycle(shuffled, 1))

    report = report_of(shuffled, train_adapter(shuffled, dataset, RECIPE))
    shuffled.store.dispose()

    assert not report["passed"]
    rates = {metric["name"]: metric["rate"] for metric in report["metrics"]}
    assert rates["root_cause"] < 0.5  # chance, and nothing near the threshold
