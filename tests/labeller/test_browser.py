"""The page in a real browser, by keyboard as people use it."""

import json
import threading
import time
from datetime import date

import pytest
import uvicorn
from playwright.sync_api import expect, sync_playwright
from sqlmodel import Session, col, select

from labeller.app import create_app
from loop.store import keep
from loop.tables import Label
from tests.conftest import needs_program
from tests.factories import answer_events, event, open_cycle, tool_events, transcript_row

expect.set_options(timeout=30_000)
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]


@pytest.fixture(scope="module")
def browser():
    path = needs_program("chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def site(places):
    """The address of a labeller that serves these places."""
    server = uvicorn.Server(
        uvicorn.Config(create_app(places, person="ann"), port=0, ws="none", log_level="warning")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def page(browser, site):
    context = browser.new_context(base_url=site, viewport={"width": 1200, "height": 800})
    opened = context.new_page()
    broken = []
    opened.on("pageerror", lambda error: broken.append(str(error)))
    opened.on("dialog", lambda dialog: broken.append(dialog.message))
    opened.on("console", lambda said: broken.append(said.text) if "Policy" in said.text else None)
    yield opened
    context.close()

    assert broken == []


def labels(places):
    with Session(places.store) as session:
        return list(session.exec(select(Label).order_by(col(Label.made_at))).all())


def rows(*numbers, **more):
    return [transcript_row(number, prompt=f"session {number}", **more) for number in numbers]


def start(page, words="session 1"):
    page.goto("/")
    page.keyboard.press("Enter")
    shows(page, words)


def shows(page, words):
    """The session with these words is on the screen and takes keys."""
    expect(page.locator("blockquote")).to_have_text(words)
    expect(page.locator("#save")).to_be_enabled()


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


def test_two_keys_agree_and_go_on(places, page):
    open_cycle(places, wanted=2)
    keep(places.store, *rows(1, 2))
    start(page)
    press(page, "1", "Enter")
    shows(page, "session 2")

    expect(page.locator(".bar")).to_contain_text("1 of 2")
    expect(page.locator("#status")).to_have_text("saved")
    assert [(label.decision, label.made_by) for label in labels(places)] == [("accept", "ann")]


def test_twenty_sessions_are_judged_without_a_mouse(places, page):
    keep(places.store, *rows(*range(1, 21)))
    start(page)
    for number in range(1, 21):
        shows(page, f"session {number}")
        press(page, "1", "Enter")
    expect(page.locator(".empty")).to_have_text("No session waits for a label.")

    assert len(labels(places)) == 20


def test_a_correction_is_made_by_keys_alone(places, page):
    keep(places.store, *rows(1, 2))
    start(page)
    press(page, "s", "y", "c")
    page.keyboard.type("tunnel")
    press(page, "Enter")
    expect(page.locator("#root_cause")).to_have_value("wireguard_handshake_stale")
    press(page, "a")
    page.keyboard.type("bounce")
    press(page, "Enter")
    expect(page.locator("#chosen li")).to_contain_text("wireguard.bounce")
    press(page, "Enter", "Enter")
    shows(page, "session 2")
    (label,) = labels(places)

    assert (label.decision, label.severity) == ("reject", "yellow")
    assert label.root_cause == "wireguard_handshake_stale"
    assert label.actions == [{"name": "wireguard.bounce", "args": {}}]


def test_marking_one_part_wrong_makes_the_answer_partly_right(places, page):
    keep(places.store, *rows(1, 2))
    start(page)
    press(page, "a", "Escape", "0", "t", "Enter")
    shows(page, "session 2")
    (label,) = labels(places)

    assert (label.decision, label.actions, label.tools_correct) == ("partial", [], False)
    assert (label.severity_correct, label.root_cause_correct) == (True, True)


def test_the_same_letter_with_shift_takes_the_mark_back(places, page):
    keep(places.store, *rows(1))
    start(page)
    press(page, "s", "Shift+S")

    expect(page.locator("input[name=decision][value=accept]")).to_be_checked()
    expect(page.locator(".correction[data-of=severity]")).to_be_hidden()


def test_partly_right_asks_what_is_wrong(places, page):
    keep(places.store, *rows(1))
    start(page)
    press(page, "2", "Enter")

    expect(page.locator("#problem-decision")).to_contain_text("mark it with s, c, a or t")
    assert labels(places) == []


def test_all_wrong_opens_every_correction_empty(places, page):
    keep(places.store, *rows(1))
    start(page)
    press(page, "3")

    for part in ("severity", "root_cause", "actions"):
        expect(page.locator(f".correction[data-of={part}]")).to_be_visible()
    expect(page.locator("#root_cause")).to_have_value("")
    expect(page.locator("input[name=severity]:checked")).to_have_count(0)
    expect(page.locator("#chosen li")).to_have_count(0)


def test_letters_are_no_keys_while_typing(places, page):
    keep(places.store, *rows(1))
    start(page)
    press(page, "1", "w")
    page.keyboard.type("sca 123 xu?")
    page.keyboard.press("Enter")

    expect(page.locator("#summary")).to_have_value("sca 123 xu?\n")
    expect(page.locator("input[name=decision][value=accept]")).to_be_checked()
    assert labels(places) == []


def test_a_missing_correction_is_told_beside_its_field(places, page):
    keep(places.store, *rows(1))
    start(page)
    press(page, "s", "c", "Escape", "a", "Escape", "Enter")

    expect(page.locator("#problem-severity")).to_have_text("Choose the severity it should be.")
    expect(page.locator("#problem-root_cause")).to_contain_text("Choose a root cause")
    expect(page.locator("#problem-actions")).to_contain_text("Choose an action")
    expect(page.locator("#root_cause")).to_be_focused()


def test_what_the_server_refuses_is_told_beside_its_field_and_nothing_is_lost(places, page):
    keep(places.store, *rows(1, 2))
    start(page)
    press(page, "c")
    page.keyboard.type("wireguard handshaek")
    press(page, "Enter", "w")
    page.keyboard.type("My own words.")
    press(page, "Escape", "Enter")

    expect(page.locator("#problem-root_cause")).to_contain_text(
        "nearest: wireguard_handshake_stale"
    )
    expect(page.locator("#status")).to_contain_text("not saved")
    expect(page.locator("#summary")).to_have_value("My own words.")
    expect(page.locator("#root_cause")).to_have_value("wireguard handshaek")
    expect(page.locator("#root_cause")).to_be_focused()

    page.locator("#root_cause").fill("wireguard_handshake_stale")
    press(page, "Enter", "Enter")
    shows(page, "session 2")

    assert [label.summary for label in labels(places)] == ["My own words."]


def test_a_draft_survives_leaving_the_page_and_ends_with_saving(places, page):
    keep(places.store, *rows(1, 2))
    start(page)
    press(page, "a")
    page.keyboard.type("restart_fula")
    press(page, "Enter", "w")
    page.keyboard.type("Because.")
    page.reload()

    expect(page.locator("#status")).to_have_text("draft restored")
    expect(page.locator("#chosen li")).to_contain_text("restart_fula")
    expect(page.locator("#summary")).to_have_value("Because.")

    press(page, "Enter")
    shows(page, "session 2")

    assert page.evaluate("localStorage.length") == 0


def test_when_the_labeller_is_gone_nothing_is_lost_and_enter_tries_again(places, page):
    keep(places.store, *rows(1, 2))
    start(page)
    page.context.set_offline(True)
    press(page, "1", "Enter")
    expect(page.locator("#status")).to_contain_text("does not answer")
    page.context.set_offline(False)
    press(page, "Enter")
    shows(page, "session 2")

    assert len(labels(places)) == 1


def test_skip_leaves_no_label_and_comes_back(places, page):
    keep(places.store, *rows(1, 2))
    start(page)
    press(page, "x")
    shows(page, "session 2")
    press(page, "1", "Enter")
    shows(page, "session 1")

    assert len(labels(places)) == 1


def test_undo_goes_back_to_ones_own_judgement_and_saving_again_adds_a_row(places, page):
    keep(places.store, *rows(1, 2))
    start(page)
    press(page, "s", "g", "Enter")
    shows(page, "session 2")
    press(page, "u")
    shows(page, "session 1")

    expect(page.locator("input[name=severity][value=green]")).to_be_checked()

    press(page, "1", "Enter")
    shows(page, "session 2")

    assert [label.decision for label in labels(places)] == ["partial", "accept"]


def test_another_persons_judgement_is_not_shown(places, page):
    row = transcript_row(1)
    keep(places.store, row)
    answer = {
        "transcript_id": row.id,
        "decision": "partial",
        "severity_correct": False,
        "root_cause_correct": True,
        "actions_correct": True,
        "severity": "green",
        "root_cause": "clock_unsynced",
        "actions": [{"name": "ntp.resync", "args": {}}],
    }
    headers = {"X-Simulated-Person": "simulated-bo", "Content-Type": "application/json"}
    page.request.post("/api/labels", data=json.dumps(answer), headers=headers)
    page.goto(f"/transcripts/{row.id}")

    expect(page.locator(".banner")).to_contain_text("Judged before by simulated-bo")
    expect(page.locator("input:checked")).to_have_count(0)


def test_what_the_upload_lost_is_written_down_and_is_no_correction(places, page):
    lost = [*answer_events(actions=()), event("recommended_action")]
    keep(places.store, *rows(1, 2, events=lost))
    start(page)
    expect(page.locator(".lost")).to_contain_text("what the device recommended")
    press(page, "1", "a")
    page.keyboard.type("ntp.resync")
    press(page, "Enter", "Enter")
    shows(page, "session 2")
    (label,) = labels(places)

    assert (label.decision, label.actions_correct) == ("accept", True)
    assert label.actions == [{"name": "ntp.resync", "args": {}}]


def test_a_session_without_a_verdict_is_completed(places, page):
    keep(places.store, *rows(1, 2, events=tool_events({"diag/time": {"synced": False}})))
    start(page)
    press(page, "3", "r", "c")
    page.keyboard.type("clock_unsynced")
    press(page, "Enter", "a")
    page.keyboard.type("ntp.resync")
    press(page, "Enter", "Enter")
    shows(page, "session 2")
    (label,) = labels(places)

    assert (label.decision, label.severity, label.root_cause) == ("reject", "red", "clock_unsynced")


def test_a_cause_in_the_devices_own_words_is_named_when_it_is_right(places, page):
    keep(places.store, *rows(1, 2, events=answer_events(root_cause="its clock runs off")))
    start(page)
    press(page, "1", "Enter")
    expect(page.locator("#problem-root_cause")).to_contain_text("Choose a root cause")
    page.keyboard.type("clock_unsynced")
    press(page, "Enter", "Enter")
    shows(page, "session 2")

    assert [label.root_cause for label in labels(places)] == ["clock_unsynced"]


def test_a_long_answer_is_collapsed_and_its_abnormal_values_are_visible(places, page):
    names = ["ipfs_host", "ipfs_cluster", "fula_go", "fula_pinning", "fula_gateway"]
    states = [
        {"name": name, "state": "exited" if name == "fula_go" else "running", "oom_killed": False}
        for name in names
    ]
    long = [*tool_events({"diag/containers": {"containers": states}}), *answer_events()]
    keep(places.store, *rows(1, events=long))
    start(page)

    expect(page.locator(".call")).not_to_have_attribute("open", "")
    expect(page.locator(".call summary")).to_contain_text("fula_go.state exited")
    expect(page.locator(".rows")).to_be_hidden()

    press(page, "e")

    expect(page.locator(".rows")).to_be_visible()


def test_a_mouse_click_before_enter_is_not_undone_by_it(places, page):
    keep(places.store, *rows(1, 2))
    start(page)
    page.get_by_role("radio", name="All right").click()
    press(page, "Enter")
    shows(page, "session 2")

    assert [label.decision for label in labels(places)] == ["accept"]


def test_hostile_words_do_not_run(places, page):
    hostile = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    keep(places.store, transcript_row(1, prompt=hostile, events=answer_events(summary=hostile)))
    start(page, words=hostile)

    expect(page.locator("blockquote img")).to_have_count(0)


@pytest.mark.parametrize("width", [900, 700])
def test_a_narrow_window_needs_no_sideways_scrolling(places, page, width):
    unbroken = answer_events(root_cause="x" * 200, summary="y" * 300)
    keep(places.store, *rows(1, received=date(2026, 3, 1), events=unbroken))
    page.set_viewport_size({"width": width, "height": 700})
    start(page)
    press(page, "3")

    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_keys_are_listed_on_demand(places, page):
    keep(places.store, *rows(1))
    start(page)
    press(page, "?")
    expect(page.locator("#help")).to_be_visible()
    press(page, "1", "Escape")
    expect(page.locator("#help")).to_be_hidden()

    expect(page.locator("input[name=decision]:checked")).to_have_count(0)
