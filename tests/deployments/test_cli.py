"""The `bloxloop` command against a real store and repository; Prefect is not running."""

import re

import pytest
from sqlmodel import select
from typer.testing import CliRunner

from deployments import cli
from loop import cycles, store
from loop.errors import ReleaseError, StoreError
from loop.freezing import freeze_dataset
from loop.places import get_places
from loop.repository import init_repository, read_fleet
from loop.settings import get_settings
from loop.tables import (
    Card,
    Cycle,
    CycleEnd,
    CycleTranscript,
    Forgotten,
    OpenCycle,
    Release,
    SignOff,
    Transcript,
)
from tests.candidates import released_places
from tests.factories import open_cycle, transcript_row
from tests.labelled import cycle, labelled
from tests.whole_cycles import released_cycle


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LOOP_HOME", str(tmp_path))
    forget()
    get_places()
    yield tmp_path
    get_places().store.dispose()
    forget()


def forget():
    get_settings.cache_clear()
    get_places.cache_clear()


def bloxloop(*words):
    return CliRunner().invoke(cli.app, list(words))


def test_status_is_a_table_of_what_waits(home):
    done = bloxloop("status")

    assert done.exit_code == 0
    assert "what to do next" in done.output
    assert f"here `bloxloop` is typed as LOOP_HOME={home} " in done.output


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A LOOP_HOME with a typo."""
    monkeypatch.setenv("LOOP_HOME", str(tmp_path / "typo"))
    forget()
    yield tmp_path / "typo"
    forget()


COMMANDS = [
    ["rescan"],
    ["forget", "00000000-0000-4000-8000-000000000001"],
    ["status"],
    ["card", "0123456789ab"],
    ["approve", "0123456789ab"],
    ["retry"],
    ["cancel", "--reason", "wrong recipe"],
    ["rollback", "--reason", "it talks nonsense"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_home_that_is_not_there_is_refused_and_not_made(nowhere, command):
    done = bloxloop(*command)

    assert isinstance(done.exception, StoreError)
    assert f"LOOP_HOME={nowhere}: expected a folder that `make run`" in str(done.exception)
    assert not nowhere.exists()


def test_a_store_elsewhere_needs_no_home(nowhere, tmp_path, monkeypatch):
    monkeypatch.setenv("LOOP_DATABASE_URL", f"sqlite:///{tmp_path / 'elsewhere.db'}")
    forget()
    done = bloxloop("status")
    get_places().store.dispose()

    assert done.exit_code == 0
    assert not nowhere.exists()


def test_a_home_may_begin_with_imported_labels(nowhere, tmp_path):
    (tmp_path / "records").mkdir()
    done = bloxloop("import-labelled", str(tmp_path / "records"))
    get_places().store.dispose()

    assert done.exit_code == 0
    assert (nowhere / "store.db").is_file()


def test_a_rescan_says_how_many_failed_and_by_which_rules(home):
    row = transcript_row(prompt="write to ola@example.org")
    store.keep(get_places().store, row)
    done = bloxloop("rescan")

    assert done.exit_code == 0
    assert "1 transcript: 1 quarantined now" in done.output
    assert re.search(r"mail +│? *1", done.output)


def test_a_rescan_goes_on_after_an_odd_session_names_it_and_fails_in_the_end(home):
    odd, leaking = transcript_row(1), transcript_row(2, prompt="write to ola@example.org")
    odd.body = odd.body | {"events": ["verdict"]}
    store.keep(get_places().store, odd, leaking)
    done = bloxloop("rescan")

    assert done.exit_code == 1
    assert "2 transcripts: 1 quarantined now" in done.output
    assert f"transcript {odd.id} cannot be read by this version: AttributeError" in done.output
    assert f"`bloxloop forget {odd.id}`" in done.output


def test_a_rescan_ends_the_open_cycle_that_learns_from_what_it_finds_and_stops_its_run(home):
    labelled(places := get_places(), 1, 30)
    freeze_dataset(places, ref := cycle(places, 1))
    with store.writing(places.store) as session:
        session.add(OpenCycle(model=ref.model, cycle_id=ref.id, flow_run_id="run"))
        row = session.exec(select(Transcript).limit(1)).one()
        row.body = row.body | {"user_prompt": "write to ola@example.org"}
    done = bloxloop("rescan")

    assert done.exit_code == 0
    assert "blox-tiny cycle 1 ended as cancelled: a rescan found something in a" in done.output
    assert "no Prefect server answers" in done.output
    assert not cycles.held_cycles(places)


def transcripts():
    with store.writing(get_places().store) as session:
        return [row.id for row in session.exec(select(Transcript))]


def test_an_upload_is_forgotten_once_a_person_says_yes(home):
    row = transcript_row(1)
    store.keep(get_places().store, row, transcript_row(2))
    refused = CliRunner().invoke(cli.app, ["forget", row.id], input="n\n")
    before = len(transcripts())
    done = CliRunner().invoke(cli.app, ["forget", row.id, "--name", "Ann"], input="y\n")

    assert (refused.exit_code, before) == (1, 2)
    assert done.exit_code == 0
    assert f"the very same session also came as {transcript_row(2).id}" in done.output
    assert re.search(r"sessions in the store +│? *1", done.output)
    assert "Not touched: backups" in done.output
    assert transcripts() == [transcript_row(2).id]
    with store.writing(get_places().store) as session:
        assert session.exec(select(Forgotten)).one().made_by == "Ann"


def test_who_says_yes_ahead_is_not_asked(home):
    store.keep(get_places().store, row := transcript_row(1))
    done = bloxloop("forget", row.id, "--yes")

    assert (done.exit_code, transcripts()) == (0, [])
    assert "Delete all" not in done.output


def test_what_is_no_upload_id_is_refused_with_a_sentence(home):
    done = bloxloop("forget", "../raw", "--yes")

    assert done.exit_code == 1
    assert "'../raw' is no upload id" in str(done.exception)


def test_what_learnt_from_an_upload_is_shown_before_and_its_open_cycle_ends(after_release):
    with store.writing(after_release.store) as session:
        cycle = session.exec(select(Cycle)).one()
        frozen = session.exec(select(CycleTranscript.transcript_id)).first() or ""
        released = session.exec(select(Release).where(Release.verb == "publish")).one()
        session.add(OpenCycle(model=cycle.model, cycle_id=cycle.id, flow_run_id="run"))
    done = bloxloop("forget", frozen, "--yes")

    assert done.exit_code == 0
    assert released.model_version in done.output
    assert re.search(r"open cycles that learn from them +│? *1", done.output)
    assert "no Prefect server answers" in done.output
    assert not cycles.held_cycles(after_release)


def test_a_card_that_nobody_made_cannot_be_approved(home):
    init_repository(get_places().releases, "rehearsal")
    done = bloxloop("approve", "0123456789ab", "--name", "Ann")

    assert done.exit_code == 1
    with store.writing(get_places().store) as session:
        assert not session.exec(select(SignOff)).all()


def test_cancel_ends_the_open_cycle_even_where_no_prefect_runs(home):
    cycle = open_cycle(get_places())
    with store.writing(get_places().store) as session:
        session.get_one(OpenCycle, cycle.model).flow_run_id = "00000000-0000-4000-8000-000000000001"
    done = bloxloop("cancel", "--reason", "wrong recipe", "--name", "Ann")

    with store.writing(get_places().store) as session:
        end = session.get_one(CycleEnd, cycle.id)
    assert done.exit_code == 0
    assert (end.outcome, end.reason) == ("cancelled", "wrong recipe (Ann)")
    assert not cycles.held_cycles(get_places())


@pytest.mark.parametrize("command", [["retry"], ["cancel", "--reason", "none open"]])
def test_without_an_open_cycle_there_is_nothing_to_retry_or_cancel(home, command):
    done = bloxloop(*command)

    assert done.exit_code == 1
    assert "expected one open cycle, found: none" in str(done.exception)


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A home with a release, whose repository is served."""
    with released_places(tmp_path_factory.mktemp("released")) as places:
        released_cycle(places)
        yield places


@pytest.fixture
def after_release(released, monkeypatch):
    monkeypatch.setenv("LOOP_HOME", str(released.settings.home))
    monkeypatch.setenv("LOOP_RELEASES_URL", released.settings.releases_url)
    forget()
    yield released
    forget()


def test_a_card_is_shown_and_signed_by_its_first_twelve_characters(after_release):
    with store.writing(after_release.store) as session:
        digest = session.exec(select(Card)).one().digest
    shown, signed = bloxloop("card", digest[:12]), bloxloop("approve", digest[:12], "--name", "Ann")

    assert f"# Sign-off card {digest[:12]}" in shown.output
    assert signed.output == f"approve of card {digest[:12]} by Ann is kept\n"


def test_rollback_points_devices_back_and_says_to_what(after_release):
    done = bloxloop("rollback", "--reason", "it talks nonsense", "--name", "Ann")

    assert done.exit_code == 0
    assert '"rollback_required": true' in done.output
    assert "devices go back to" in done.output
    assert read_fleet(after_release.releases).last.made_by == "Ann"


def test_a_rollback_can_be_undone(after_release):
    bloxloop("rollback", "--reason", "it talks nonsense", "--name", "Ann")
    done = bloxloop("rollback", "--undo", "--reason", "it was the home's clock", "--name", "Bo")
    last = read_fleet(after_release.releases).last

    assert done.exit_code == 0
    assert '"rollback_required": false' in done.output
    assert f"devices go forward to {last.effective.model_version}" in done.output
    assert (last.verb, last.made_by) == ("unrollback", "Bo")


def test_without_a_rollback_there_is_nothing_to_undo(home):
    init_repository(get_places().releases, "rehearsal")
    done = bloxloop("rollback", "--undo", "--reason", "none", "--name", "Ann")

    assert done.exit_code == 1
    assert isinstance(done.exception, ReleaseError)
