"""Watching a cycle: what a hiccup does to it, and what people are told."""

import json
from contextlib import ExitStack
from dataclasses import replace
from io import StringIO
from uuid import uuid4

import httpx
import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL, temporary_settings
from prefect.states import Completed, Running
from rich.console import Console
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from deployments import people, rehearsal, scheduler
from deployments.rehearsal import Rehearsal, Watch, plan_of
from deployments.services import Machine, ServiceError
from deployments.terminal import Terminal
from loop.store import keep
from loop.tables import OpenCycle
from loop.values import digest_json
from tests.candidates import serving
from tests.factories import empty_places
from tests.whole_cycles import open_cycle

RUN = uuid4()
HICCUP = JSONResponse({"exception_message": "database is locked"}, 500)


def state(made):
    """A flow run in a state, as Prefect's API shows it."""
    shown = FlowRun(id=RUN, flow_id=RUN, name="improve-1", state=made, parameters={})
    return JSONResponse(json.loads(shown.model_dump_json()))


@pytest.fixture
def places(tmp_path):
    made = empty_places(tmp_path)
    yield made
    made.store.dispose()


@pytest.fixture
def written():
    return StringIO()


@pytest.fixture
def terminal(written):
    return Terminal(Console(file=written, width=300))


@pytest.fixture
def watch(tmp_path, places, terminal, monkeypatch):
    monkeypatch.setattr(rehearsal, "TICK", 0.01)
    crowd = people.crowd_of(1, 20, real=False)
    with ExitStack() as stack:
        yield Watch(places, Machine(tmp_path, stack), terminal, crowd, "blox-tiny", 1)


def watched(watch, answers):
    """How watching ends where Prefect's wire carries these answers about the run."""
    left = list(answers)

    def read(request):
        return left.pop(0) if len(left) > 1 else left[0]

    wire = Starlette(routes=[Route("/api/flow_runs/{id}", read)])
    with serving(wire) as url, temporary_settings({PREFECT_API_URL: f"{url}/api"}):
        return watch.until_it_ends(FlowRun(id=RUN, flow_id=RUN, state=Running()))


def test_a_hiccup_of_prefect_does_not_end_the_watching(watch, written):
    ended = watched(watch, [HICCUP, state(Running()), HICCUP, HICCUP, state(Completed())])

    assert ended.state == "Completed"
    said = written.getvalue().splitlines()
    assert [line.partition(",")[0] for line in said] == [
        "no good answer",
        "it answers again",
    ] * 2
    assert "500" in said[0]


def test_a_prefect_that_stays_broken_ends_it_with_a_sentence(watch):
    watch.patience.seconds = 0.0

    with pytest.raises(ServiceError, match="`make run` continues where the facts end"):
        watched(watch, [HICCUP])


def test_what_prefect_refuses_for_good_is_not_tried_for_minutes(watch):
    with pytest.raises(httpx.HTTPStatusError, match="422"):
        watched(watch, [JSONResponse({"detail": "not a run"}, 422)])


@pytest.fixture
def opened(places):
    """The open first cycle of the tiny recipe's model."""
    cycle = open_cycle(places)
    keep(places.store, OpenCycle(model=cycle.model, cycle_id=cycle.id))
    return cycle


def test_an_open_cycle_says_what_of_the_wish_it_ignores(places, terminal, written, opened):
    plan = plan_of(places, Rehearsal("tiny-cpu", 1600, False), terminal)

    assert plan.labels_wanted == opened.labels_wanted
    assert written.getvalue() == (
        "blox-tiny cycle 1 is open and goes on as it was opened: "
        f"with LABELS={opened.labels_wanted}; LABELS=1600 is for the next one\n"
    )


def test_a_wish_that_is_what_the_open_cycle_does_needs_no_word(places, terminal, written, opened):
    plan_of(places, Rehearsal("tiny-cpu", opened.labels_wanted, False), terminal)

    assert written.getvalue() == ""


def test_an_approver_is_told_what_to_read_where_the_form_is_and_the_whole_command(places, opened):
    card = digest_json("card")
    with temporary_settings({PREFECT_UI_URL: "http://127.0.0.1:4200"}):
        page = scheduler.run_page(RUN)
    told = rehearsal.sign_off_request(places, opened, card, page)

    assert "http://127.0.0.1:8040/blox-tiny-cycle-1.html" in told
    assert f"http://127.0.0.1:4200/runs/flow-run/{RUN}" in told
    assert f"LOOP_HOME={places.settings.home.absolute()} " in told
    assert f"bloxloop approve {card[:12]} " in told


def test_a_labeller_is_told_both_pages(places):
    settings = places.settings.model_copy(update={"labeller_url": "http://127.0.0.1:9"})
    told = rehearsal.label_request(replace(places, settings=settings), "http://127.0.0.1:8/run")

    assert told.startswith("label: open http://127.0.0.1:9;")
    assert told.endswith("http://127.0.0.1:8/run")
