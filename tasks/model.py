"""From a dataset to converted bytes, with a gate after each change of form."""

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from loop import converting, gating, merging, publishing, report, training
from loop.errors import JobError
from loop.forms import row_of
from loop.places import get_places
from loop.recipe import read_recipe
from loop.repository import read_fleet
from loop.values import CycleRef, DatasetRef, Form, FormRef, Outcome
from tasks import show

GATES = {Form.ADAPTER: "gate-adapter", Form.MERGED: "gate-merged"}
"""The stage that gates a form; converted bytes of any kind: `gate-artifact`."""


def died(_task: object, _run: object, state: State[Any]) -> bool:
    """Worth a second try: the child died, and not because its time was up or the job is wrong."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, JobError) and error.status is not None


@task(task_run_name="base-of-{cycle.recipe}", cache_policy=NO_CACHE, timeout_seconds=4 * 3600)
def ensure_base(cycle: CycleRef) -> FormRef:
    """The base that the recipe trains on; one that the project makes itself is made once."""
    places, recipe = get_places(), read_recipe(cycle.recipe)
    with show.stage(cycle, "base") as on_progress:
        base = training.ensure_base(places, recipe, on_progress)
    show.page("base", report.base_markdown(recipe, row_of(places, base).facts))
    return base


@task(task_run_name="factory-release", cache_policy=NO_CACHE, timeout_seconds=2 * 3600)
def ensure_incumbent(cycle: CycleRef, base: FormRef) -> FormRef:
    """What devices run now; where nothing was ever released, the converted base."""
    places, recipe = get_places(), read_recipe(cycle.recipe)
    with show.stage(cycle, "factory") as on_progress:
        converted = converting.convert_model(places, base, recipe, recipe.publish, on_progress)
        publishing.add_factory(places, converted)
    show.page("factory", report.factory_markdown(read_fleet(places.releases).last))
    return publishing.incumbent(places)


@task(
    task_run_name="train-{cycle.recipe}",
    cache_policy=NO_CACHE,
    retries=1,  # goes on from the newest complete checkpoint
    retry_condition_fn=died,
    retry_delay_seconds=10,
    timeout_seconds=24 * 3600,
)
def train_adapter(cycle: CycleRef, dataset: DatasetRef) -> FormRef:
    """Train one adapter; the same dataset and recipe are never trained twice."""
    places, recipe = get_places(), read_recipe(cycle.recipe)
    plan = report.training_plan_markdown(recipe, dataset, places.settings.scratch)
    show.page("training-plan", plan)
    with show.stage(cycle, "train") as on_progress:
        adapter = training.train_adapter(places, dataset, recipe, on_progress)
    show.page("training", report.training_markdown(row_of(places, adapter).facts))
    return adapter


@task(task_run_name="gate-{form.form}", cache_policy=NO_CACHE, timeout_seconds=12 * 3600)
def gate_form(cycle: CycleRef, form: FormRef, incumbent: FormRef) -> Outcome:
    """Judge one form of the model on the recipe's suite; a no is an answer."""
    name, recipe = GATES.get(form.form, "gate-artifact"), read_recipe(cycle.recipe)
    with show.stage(cycle, name) as on_progress:
        outcome = gating.gate_form(get_places(), form, recipe, on_progress, incumbent)
    show.gate(name, outcome)
    if name == "gate-artifact":  # now it is known what the conversion cost
        show.page("convert", report.conversion_page(get_places(), form, recipe.suite))
    return outcome


@task(task_run_name="merge-adapter", cache_policy=NO_CACHE, timeout_seconds=4 * 3600)
def merge_adapter(cycle: CycleRef, adapter: FormRef) -> FormRef:
    """Merge an adapter into its base."""
    places, recipe = get_places(), read_recipe(cycle.recipe)
    with show.stage(cycle, "merge") as on_progress:
        merged = merging.merge_adapter(places, adapter, recipe, on_progress)
    facts, size = row_of(places, merged).facts, report.form_bytes(places, merged)
    show.page("merge", report.merge_markdown(facts, size))
    return merged


@task(task_run_name="convert-model", cache_policy=NO_CACHE, timeout_seconds=6 * 3600)
def convert_model(cycle: CycleRef, merged: FormRef) -> FormRef:
    """Convert merged weights into the form that the recipe publishes."""
    places, recipe = get_places(), read_recipe(cycle.recipe)
    with show.stage(cycle, "convert") as on_progress:
        form = converting.convert_model(places, merged, recipe, recipe.publish, on_progress)
    show.page("convert", report.conversion_page(places, form, recipe.suite))
    return form


@task(task_run_name="measure-other-forms", cache_policy=NO_CACHE, timeout_seconds=12 * 3600)
def measure_forms(cycle: CycleRef, merged: FormRef) -> list[Outcome]:
    """Convert and judge the recipe's other forms; for the report only, nothing depends on it."""
    places, recipe = get_places(), read_recipe(cycle.recipe)
    with show.stage(cycle, "measure") as on_progress:
        forms = [
            converting.convert_model(places, merged, recipe, quantisation, on_progress)
            for quantisation in recipe.measure
        ]
        outcomes = [gating.gate_form(places, form, recipe, on_progress) for form in forms]
    for quantisation, outcome in zip(recipe.measure, outcomes, strict=True):
        show.gate(f"measure-{quantisation.lower().replace('_', '-')}", outcome)
    return outcomes
