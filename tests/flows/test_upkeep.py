"""Which runs upkeep takes for dead, on a real server; only the moment of looking is made up."""

from datetime import timedelta
from uuid import uuid4

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.states import Running, Suspended

from loop.values import utc_now
from tasks import upkeep
from tests.deployments.started import until

HOUR = timedelta(hours=1)


@flow
def work():
    """Never runs: the tests only tell the server that it does."""


@flow(name="upkeep")
def earlier_look():
    """Stands for an upkeep of a few minutes before."""


@pytest.fixture
def client(prefect_server):
    with get_client(sync_client=True) as made:
        yield made


def told_of(client, state, beat=None):
    """A run that has been in this state from now on, and the newest heartbeat that it sent."""
    run = client.create_flow_run(work, name=f"run-{uuid4().hex[:8]}")
    client.set_flow_run_state(run.id, state, force=True)
    if beat:
        send_beat(client, run, beat)
    return run


def send_beat(client, run, moment):
    name = f"prefect.flow-run.{run.id}"
    beat = {
        "id": str(uuid4()),
        "event": "prefect.flow-run.heartbeat",
        "resource": {"prefect.resource.id": name},
        "occurred": moment.isoformat(),
    }
    asked = {"filter": {"resource": {"id": [name]}, "event": {"name": [beat["event"]]}}}
    client.request("POST", "/events", json=[beat])

    def kept():
        return client.request("POST", "/events/filter", json=asked).json()["events"]

    until(kept, "the heartbeat is kept")


def state_of(client, run):
    return client.read_flow_run(run.id).state.name


def test_a_run_that_fell_silent_is_marked_as_crashed(client):
    run = told_of(client, Running(), beat=utc_now())

    assert run.name in upkeep.crash_silent(utc_now() + HOUR)
    assert state_of(client, run) == "Crashed"


def test_a_run_that_sends_heartbeats_is_left_alone(client):
    run = told_of(client, Running())
    then = utc_now()
    send_beat(client, run, utc_now())

    assert run.name not in upkeep.crash_silent(then + upkeep.SILENT_FOR)
    assert run.name in upkeep.crash_silent(then + HOUR)


@pytest.mark.parametrize(
    ("state", "beat", "later"),
    [
        pytest.param(Running(), -HOUR, timedelta(), id="its heartbeats are of before its wait"),
        pytest.param(Running(), None, HOUR, id="heartbeats are off"),
        pytest.param(Suspended(), -HOUR, HOUR, id="it waits for people"),
    ],
)
def test_a_run_that_lives_or_waits_is_left_alone(client, state, beat, later):
    run = told_of(client, state, beat if beat is None else utc_now() + beat)

    assert run.name not in upkeep.crash_silent(utc_now() + later)
    assert state_of(client, run) == state.name


def test_the_silence_of_a_machine_that_slept_says_nothing(client):
    assert not upkeep.was_awake(utc_now() + upkeep.SILENT_FOR / 2)

    client.set_flow_run_state(client.create_flow_run(earlier_look).id, Running(), force=True)
    assert upkeep.was_awake(utc_now() + upkeep.SILENT_FOR / 2)
    assert not upkeep.was_awake(utc_now())  # until a heartbeat could have come
    assert not upkeep.was_awake(utc_now() + HOUR)
