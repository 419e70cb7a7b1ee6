"""`make run` on a real Prefect server with a real worker; the dear stages are quick doubles."""

import pytest
from sqlmodel import select

from deployments import people
from loop import store
from loop.repository import read_fleet
from loop.sessions import generate
from loop.tables import Card, CycleEnd, Label, OpenCycle, Release, SignOff
from tests.deployments.started import Started, until
from tests.flows.doubles import HANG, HELD, calls

pytestmark = pytest.mark.slow
FIRST_PORT = 24200
LABELS = 60
"""Fewer do not make a dataset."""


@pytest.fixture
def started(tmp_path):
    made = Started(tmp_path / "home", FIRST_PORT)
    yield made
    made.stop()


def rows(places, table):
    with store.writing(places.store) as session:
        return session.exec(select(table)).all()


def published(places):
    return [release for release in rows(places, Release) if release.verb == "publish"]


def test_people_decide_by_form_and_no_button_walks_past_them(started):
    started.up("--people", "real", "--labels", str(LABELS))
    run = started.wait_paused("labels-1-1")
    places = started.places

    # a form without its required fields, or with another decision, is refused
    assert started.resume(run) == "REJECT"
    assert started.resume(run, name="Ann", decision="maybe") == "REJECT"
    assert started.paused("labels-1-1")

    # a resume that brought no decision asks again
    assert started.resume(run, name="Ann", decision="check again") == "ACCEPT"
    run = started.wait_paused("labels-1-2")

    # so does a run that was cancelled and is retried by force; nobody watches it any more
    started.cancel_and_retry_by_force(run)
    started.wait_paused("labels-1-3")

    # the deployed upkeep resumes it once the store has the labels
    everybody = people.Crowd(generate(1, LABELS), left_to_people=0)
    while people.label(places, everybody):
        continue
    run = started.wait_paused("sign-off-")
    (card,) = rows(places, Card)
    assert {label.made_by for label in rows(places, Label)} == {people.LABELLER}

    # no force publishes without a sign-off
    started.cancel_and_retry_by_force(run)
    run = started.wait_paused(f"sign-off-{card.digest[:12]}-2")
    assert not published(places)

    # an answer to another card is not taken
    other = "0123456789ab"
    assert started.resume(run, name="Ann", decision="approve", card=other) == "ACCEPT"
    run = started.wait_paused(f"sign-off-{card.digest[:12]}-3")
    assert not rows(places, SignOff)

    # the right one is; the run publishes
    begins = card.digest[:12]
    assert started.resume(run, name="Ann", decision="approve", card=begins) == "ACCEPT"
    until(lambda: rows(places, CycleEnd), "the cycle ended")
    (signed,) = rows(places, SignOff)
    assert (signed.made_by, signed.via) == ("Ann", "form")
    assert len(published(places)) == 1


def test_a_killed_cycle_continues_and_does_nothing_twice(started):
    # while people label
    started.up("--people", "real", "--labels", str(LABELS))
    started.wait_paused("labels-1-1")
    started.kill_everything()

    # while it trains
    (started.home / HANG).write_text("sft")
    started.up("--labels", str(LABELS), "--keep", "0")
    until(lambda: calls(started.home, "began sft"), "training")
    started.kill_everything()

    # after the model's bytes, before its manifest
    (started.home / HANG).write_text("publish")
    started.up("--labels", str(LABELS), "--keep", "0")
    until(lambda: calls(started.home, "began publish"), "publishing")
    places = started.places
    assert [key for key in places.releases.keys("models/") if "factory" not in key]
    assert read_fleet(places.releases).number == 0
    started.kill_everything()

    (started.home / HANG).unlink()
    started.up("--labels", str(LABELS), "--keep", "0")

    assert started.ended() == 0
    done = calls(started.home, "did")
    assert len(done) == len({*done})  # no form made, gated or tried twice
    assert len(calls(started.home, "began sft")) == 2  # the first was killed
    assert len(calls(started.home, "did sft")) == 1
    assert len(calls(started.home, "did publish")) == 1
    assert len(published(places)) == 1
    assert len(rows(places, SignOff)) == 1
    assert [end.outcome for end in rows(places, CycleEnd)] == ["released"]
    crashed = [line for line in started.log.read_text().splitlines() if "marked as crashed" in line]
    cycles = [line for line in crashed if line.startswith("improve-")]  # upkeep may run or not
    assert len(cycles) == 2  # the suspended run lived on
    assert not started.left()


def test_ctrl_c_leaves_no_process_and_the_next_start_goes_on_waiting(started):
    started.up("--people", "real", "--labels", str(LABELS))
    started.wait_paused("labels-1-1")

    assert started.interrupt() == 130
    assert not started.left()

    started.up("--people", "real", "--labels", str(LABELS))
    run = started.wait_paused("labels-1-1")
    assert started.resume(run, name="Ann", decision="stop the cycle") == "ACCEPT"
    until(lambda: rows(started.places, CycleEnd), "the cycle ended")
    assert not rows(started.places, OpenCycle)
    assert started.interrupt() == 130
    assert not started.left()

    # while nothing runs, somebody ends the next cycle; its suspended run holds up nobody
    started.up("--people", "real", "--labels", str(LABELS))
    started.wait_paused("labels-2-1")
    started.switch_on("hourly")
    assert started.interrupt() == 130
    assert "ended as cancelled" in started.bloxloop("cancel", "--reason", "the wrong recipe")
    started.up("--people", "real", "--labels", str(LABELS))
    started.wait_paused("sign-off-")  # the labels of the two before are enough
    assert started.is_on("hourly")


def test_the_command_retries_a_run_so_that_its_wait_asks_again_and_cancels_for_good(started):
    started.up("--people", "real", "--labels", str(LABELS))
    run = started.wait_paused("labels-1-1")
    assert "expected one that has ended, it is Suspended" in started.bloxloop("retry")
    started.cancel(run)

    until(lambda: "its run is Cancelled" in started.bloxloop("status"), "status tells of it")
    assert "AwaitingRetry" in started.bloxloop("retry")
    run = started.wait_paused("labels-1-1")
    assert started.resume(run, decision="stop the cycle") == "REJECT"

    assert "its run is Cancelled now" in started.bloxloop("cancel", "--reason", "wrong recipe")
    (end,) = rows(started.places, CycleEnd)
    assert end.outcome == "cancelled"
    assert not rows(started.places, OpenCycle)


def test_a_held_gate_ends_the_command_with_one_and_later_runs_find_their_people(started):
    (started.home / HELD).write_text("adapter")
    started.up("--labels", str(LABELS), "--keep", "0")

    assert started.ended() == 1
    assert "the cycle ended as rejected: held: " in started.log.read_text()

    # while everything is kept running, a run from the UI gets phones and labellers, too
    started.up("--labels", str(LABELS))
    until(lambda: "everything keeps running" in started.log.read_text(), "the second cycle ended")
    started.start_improve(labels_wanted=LABELS)
    until(lambda: len(rows(started.places, CycleEnd)) == 3, "the third cycle ended")
    labels = rows(started.places, Label)
    assert len(labels) == 3 * LABELS
    assert {label.made_by for label in labels} == {people.LABELLER}
    assert {end.outcome for end in rows(started.places, CycleEnd)} == {"rejected"}
    until(lambda: started.log.read_text().count("ended as rejected") == 3, "that is told, too")
    assert started.interrupt() == 130
    assert not started.left()
