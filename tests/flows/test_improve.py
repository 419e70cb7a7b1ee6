import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.sorting import ArtifactSort, FlowRunSort
from sqlmodel import select

from flows.improve import improve
from flows.release import rollback
from loop import signing, store
from loop.cycles import STAGES
from loop.places import get_places
from loop.repository import read_fleet
from loop.tables import Card, Cycle, CycleEnd, CycleOutcome, OpenCycle, Release, StageMark
from tasks import upkeep
from tests.deployments.started import until
from tests.flows.conftest import label_some
from tests.flows.doubles import DYING, HELD, calls

LABELS = 60


def run(**asked):
    """One plain run of the flow, which is told what to return instead of raising."""
    return improve(**{"labels_wanted": LABELS, "return_state": True, **asked})


def rows(table):
    with store.writing(get_places().store) as session:
        return session.exec(select(table)).all()


def published():
    return [release for release in rows(Release) if release.verb == "publish"]


@contextmanager
def approver(decision="approve"):
    """Somebody who answers every card by the command, and the upkeep that resumes the run."""
    over = threading.Event()

    def answer():
        while not over.wait(0.3):
            for card in rows(Card):
                signing.sign(get_places(), card.digest, decision, "simulated-approver", "command")
            upkeep.resume_settled()

    with ThreadPoolExecutor(1) as aside:
        answering = aside.submit(answer)
        try:
            yield
        finally:
            over.set()
    answering.result()  # or what ended it early


@pytest.fixture
def labelled(places):
    """Places in which enough is labelled, so that the first wait is over."""
    label_some(places, LABELS)
    return places


@pytest.mark.parametrize("held", ["adapter", "merged", "gguf", "canary"])
def test_a_no_of_gate_or_canary_ends_the_cycle_as_rejected_and_not_as_an_error(labelled, held):
    (labelled.settings.home / HELD).write_text(held)

    state = run(dry_run=False)

    assert (state.type.value, state.name) == ("COMPLETED", "Rejected")
    assert [end.outcome for end in rows(CycleEnd)] == [CycleOutcome.REJECTED]
    assert not rows(OpenCycle)
    assert not published()


def test_a_signed_cycle_publishes_and_one_that_makes_the_same_bytes_again_does_not(labelled):
    with approver():
        first = run(dry_run=False)
        label_some(labelled, LABELS, seed=2)
        second = run(dry_run=False)

    assert (first.name, second.name) == ("Released", "Unchanged")
    assert read_fleet(labelled.releases).number == 1
    assert len(published()) == 1


def test_a_dry_run_goes_as_far_as_the_sign_off_and_publishes_nothing(labelled):
    with approver():
        state = run()

    assert state.name == "Rehearsed"
    assert not published()


def test_a_rejected_card_ends_the_cycle_as_rejected(labelled):
    with approver("reject"):
        state = run(dry_run=False)

    assert state.name == "Rejected"
    assert not published()


def test_a_training_that_died_is_tried_once_more(labelled):
    (labelled.settings.home / DYING).write_text("sft 137")
    with approver():
        state = run(dry_run=False)

    assert state.name == "Released"
    assert len(calls(labelled.settings.home, "began sft")) == 2


def test_a_training_whose_time_is_up_is_not_given_it_again(labelled):
    (labelled.settings.home / DYING).write_text("sft late")

    state = run(dry_run=False)

    assert state.type.value == "FAILED"
    assert len(calls(labelled.settings.home, "began sft")) == 1
    assert rows(OpenCycle)  # a person may retry it


def test_a_rollback_by_its_form_points_devices_back_and_says_so(labelled):
    with approver():
        run(dry_run=False)
    number = rollback("Ann", "it restarts too much")

    assert number == read_fleet(labelled.releases).number == 2
    page = pages()["release"]
    assert "Manifest 2: devices run factory-" in page
    assert "it restarts too much" in page


def test_a_waiting_runs_page_follows_the_labels(places):
    def shows(words):
        return words in pages().get("waiting-labels", "")

    def label_the_rest():
        for done in (LABELS - 2, LABELS - 1):  # the second is written by nobody but upkeep
            until(partial(shows, f"**{done} of {LABELS} labelled"), f"{done} are shown")
            label_some(places, 1, seed=done)

    label_some(places, LABELS - 2)
    with approver(), ThreadPoolExecutor(1) as aside:
        labelling = aside.submit(label_the_rest)
        state = run()

    labelling.result()
    assert state.name == "Rehearsed"


def test_nothing_opens_where_the_tools_of_the_published_form_are_missing(places):
    (places.settings.llama_root / "build.json").unlink()

    state = run()

    assert state.type.value == "FAILED"
    assert "python -m deployments.build_llama" in state.message
    assert not rows(Cycle)


def test_every_stage_leaves_its_marks_and_a_page_that_people_read(labelled):
    with approver():
        run(dry_run=False)

    finished = {mark.stage for mark in rows(StageMark) if mark.mark == "finished"}
    assert finished == {*STAGES}
    assert {*PAGES} <= {*pages()}
    assert "gate ③, converted" in pages()["convert"]
    assert "Before devices were told" in pages()["release"]


PAGES = (
    *("ingest", "waiting-labels", "dataset", "base", "factory", "training-plan"),
    *("training", "gate-adapter"),
    *("merge", "gate-merged", "convert", "gate-artifact", "measure-q4-k-m", "canary"),
    *("waiting-sign-off", "release", "summary", "report"),
)


def pages():
    """The newest text of every artifact that this test's run left."""
    with get_client(sync_client=True) as client:
        (newest,) = client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=1)
        asked = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[newest.id]))
        found = client.read_artifacts(artifact_filter=asked, sort=ArtifactSort.CREATED_DESC)
    return {artifact.key: str(artifact.data) for artifact in reversed(found)}
