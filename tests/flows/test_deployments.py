"""prefect.yaml is the only source of deployments; what it names must be there."""

import re
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL

from deployments.scheduler import ALWAYS_ON, IMPROVE, INGEST, Schedule, ensure_pool
from deployments.services import deploy_all
from loop.dataset import MIN_EXAMPLES
from loop.recipe import recipe_names

WRITTEN = yaml.safe_load((Path(__file__).parents[2] / "prefect.yaml").read_text())
DEPLOYMENTS = {deployment["name"]: deployment for deployment in WRITTEN["deployments"]}


def flow_of(deployment):
    module, _, name = deployment["entrypoint"].rpartition(".")
    return getattr(import_module(module), name)


@pytest.mark.parametrize("deployment", DEPLOYMENTS.values(), ids=list(DEPLOYMENTS))
def test_every_entrypoint_is_a_flow_named_by_its_module(deployment):
    flow = flow_of(deployment)

    assert isinstance(flow, Flow)
    assert deployment["entrypoint"].startswith("flows.")
    assert set(deployment.get("parameters", ())) <= set(flow.parameters.properties)


@pytest.mark.parametrize("deployment", DEPLOYMENTS.values(), ids=list(DEPLOYMENTS))
def test_every_schedule_starts_paused(deployment):
    assert not [one for one in deployment["schedules"] if one["active"] is not False]


def test_the_names_that_make_run_uses_are_deployed():
    names = {f"{flow_of(one).name}/{name}" for name, one in DEPLOYMENTS.items()}

    assert {IMPROVE, INGEST} <= names


def test_the_schedules_that_are_always_on_are_there():
    there = {
        Schedule(name, one["slug"]) for name, d in DEPLOYMENTS.items() for one in d["schedules"]
    }

    assert there >= ALWAYS_ON


def test_retention_runs_each_day_and_really_deletes():
    daily = DEPLOYMENTS["daily"]
    (schedule,) = daily["schedules"]

    assert re.fullmatch(r"\d+ \d+ \* \* \*", schedule["cron"])
    assert "parameters" not in daily | schedule
    assert flow_of(daily).parameters.properties["dry_run"]["default"] is False


def test_one_cycle_runs_at_a_time():
    assert DEPLOYMENTS["monthly"]["concurrency_limit"] == {
        "limit": 1,
        "collision_strategy": "ENQUEUE",
    }


def test_an_operator_can_start_a_cycle_without_a_parameter_and_changes_nothing_outside():
    parameters = flow_of(DEPLOYMENTS["monthly"]).parameters

    assert not parameters.required
    assert parameters.properties["dry_run"]["default"] is True


@pytest.fixture(scope="module")
def client(prefect_server):
    """A client of a real server to which everything in prefect.yaml was deployed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_API_URL", PREFECT_API_URL.value())
        ensure_pool()
        deploy_all()
    with get_client(sync_client=True) as made:
        yield made


@pytest.fixture
def monthly(client):
    return client.read_deployment_by_name(IMPROVE)


def test_the_form_that_starts_a_cycle_offers_the_recipes_there_are(monthly):
    form = monthly.parameter_openapi_schema["properties"]

    assert form["recipe"]["enum"] == recipe_names()
    assert form["labels_wanted"]["minimum"] == MIN_EXAMPLES


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"recipe": "tiny-cup"}, "'tiny-cup' is not one of"),
        ({"labels_wanted": 19}, "19 is less than the minimum of 20"),
    ],
)
def test_a_typo_in_the_form_is_refused_and_makes_no_run(client, monthly, wrong, told):
    with pytest.raises(PrefectHTTPStatusError, match=told):
        client.create_flow_run_from_deployment(monthly.id, parameters=wrong)


def test_a_run_without_a_word_names_its_model_and_releases_nothing(client, monthly):
    made = client.create_flow_run_from_deployment(monthly.id)

    assert made.parameters["model"] == "blox-tiny"
    assert "dry_run" not in made.parameters


def test_the_monthly_cycle_may_release_what_a_person_signs(monthly):
    (schedule,) = monthly.schedules

    assert schedule.parameters == {"dry_run": False}
    assert flow_of(DEPLOYMENTS["monthly"]).validate_parameters(
        monthly.parameters | schedule.parameters
    )


def test_a_rollback_needs_a_name_and_a_reason():
    assert flow_of(DEPLOYMENTS["rollback"]).parameters.required == ["made_by", "reason"]
