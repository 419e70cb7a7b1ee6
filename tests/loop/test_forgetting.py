"""Forgetting an upload: on both stores, killed anywhere, and down to the bytes of the home."""

import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlmodel import Session, func, select

from intake.shipper import ship
from intake.spool import Room, Spool
from loop import cycles
from loop.cycles import Ending
from loop.depot import FolderDepot
from loop.derived import Derived
from loop.errors import CycleError, DatasetError, NotFound, StoreError
from loop.forgetting import Asked, check_upload_id, find_traces, forget
from loop.freezing import freeze_dataset
from loop.importing import import_labelled
from loop.ingest import ingest_uploads
from loop.labels import check_label
from loop.places import open_places
from loop.retention import retain
from loop.sessions import generate
from loop.settings import Settings
from loop.store import is_forgotten, keep, scrub, upload_digest
from loop.tables import (
    CycleEnd,
    CycleOutcome,
    CycleTranscript,
    Dataset,
    Decision,
    Forgotten,
    Label,
    ModelForm,
    OpenCycle,
    Quarantined,
    Transcript,
)
from loop.upload import Record
from loop.values import Form, digest_bytes, digest_json, utc_now
from tests.factories import empty_places, transcript_row
from tests.killed import dies, holding
from tests.labelled import cycle, labelled
from tests.late_depot import LateDepot

MARKER = "the purple walrus lamp blinks"
ASKED = Asked("asked", "ada")
PLANTED = next(one for one in generate(77, 20) if one.truth.decision != Decision.ACCEPT)
ID = PLANTED.upload["upload_id"]
IMPORTED = Path(__file__).parents[1] / "data/labelled/01_nothing_to_repair.json"


@pytest.fixture
def places(tmp_path, store_url):
    made = open_places(Settings(home=tmp_path / "home", database_url=store_url))
    yield made
    made.store.dispose()


@pytest.fixture
def at_home(tmp_path):
    """Places that keep everything in one folder, the store too."""
    made = empty_places(tmp_path / "home")
    yield made
    made.store.dispose()


def record(words):
    sent = PLANTED.upload | {"user_prompt": f"{MARKER}, {words}"}
    return Record(received=utc_now().date(), privacy="1", redacted={}, upload=sent)


def send(places, *words):
    """Bodies of the planted upload, through the spool into the depot."""
    spool = Spool(places.settings.spool, Room())
    spool.open()
    for said in words:
        spool.keep(record(said))
        ship(spool, places.depot)
    spool.close()


def leave_in_spool(places):
    """A third body that waits, and a copy that intake set aside."""
    data = record("a third time").to_bytes()
    (places.settings.spool / f"{ID}.{digest_bytes(data)}.json").write_bytes(data)
    places.settings.aside.mkdir(exist_ok=True)
    (places.settings.aside / f"{ID}.{digest_bytes(data)}.json.17").write_bytes(data)


def label_it(places):
    """An upload among 60 others that were labelled, with two bodies in the depot and two copies."""
    labelled(places, 1, 60)
    send(places, "and the light is out", "once more")
    ingest_uploads(places)
    leave_in_spool(places)
    note = PLANTED.truth.model_copy(update={"note": MARKER})
    keep(places.store, check_label(note, made_by="ada"))


def plant(places):
    """The same, frozen in a dataset, and a model that learnt from it: a trace everywhere."""
    label_it(places)
    found = freeze_dataset(places, ref := cycle(places, 1))
    adapter = ModelForm(
        inputs=digest_json("adapter"),
        form=Form.ADAPTER,
        digest=digest_json("weights"),
        sha256=digest_json("weights"),
        version="blox-tiny-1",
        facts={"dataset": found.digest},
    )
    keep(places.store, adapter)
    return ref, found


def count(places, table, *where):
    with Session(places.store) as session:
        return session.exec(select(func.count()).select_from(table).where(*where)).one()


def rows_of_it(places):
    """How many rows know the planted upload."""
    return (
        count(places, Transcript, Transcript.id == ID)
        + count(places, Label, Label.transcript_id == ID)
        + count(places, CycleTranscript, CycleTranscript.transcript_id == ID)
        + count(places, Quarantined, Quarantined.name.startswith(f"raw/{ID}/"))
    )


def test_everything_that_is_kept_of_an_upload_goes_and_is_counted(places):
    plant(places)
    gone = forget(places, [ID], ASKED)

    assert gone == {
        "files in the spool": 2,
        "objects in the depot": 2,
        "sessions in the store": 1,
        "labels": 1,
        "notes about objects that were set aside": 1,
        "datasets with them": 1,
    }
    assert rows_of_it(places) == 0
    assert not +find_traces(places, [ID]).counts()
    assert count(places, Transcript) == count(places, Label) == 60


def test_no_byte_of_it_is_left_under_the_home_not_even_in_the_stores_file(at_home):
    home = at_home.settings.home
    _, dataset = plant(at_home)
    before = holding(home, MARKER)
    forget(at_home, [ID], ASKED)

    assert {path.split("/")[0] for path in before} >= {"depot", "spool", "store.db-wal"}
    assert f"depot/datasets/{dataset.digest}/" in "".join(before)
    assert holding(home, MARKER, ID) == set()
    assert holding(home, upload_digest(ID)) == {"store.db"}


def test_a_store_that_was_written_before_deleted_rows_were_overwritten_is_scrubbed_too(at_home):
    with at_home.store.connect() as connection:
        connection.exec_driver_sql("PRAGMA secure_delete=OFF")
    plant(at_home)
    forget(at_home, [ID], ASKED)

    assert holding(at_home.settings.home, MARKER) == set()


def test_the_next_dataset_is_another_and_the_old_one_is_only_known_to_have_been(places):
    _, before = plant(places)
    forget(places, [ID], ASKED)
    after = freeze_dataset(places, cycle(places, 2))

    assert after.digest != before.digest
    assert after.train + after.validation == before.train + before.validation - 1
    assert count(places, Dataset, Dataset.digest == before.digest) == 1
    with pytest.raises(NotFound, match=f"the depot has no datasets/{before.digest}"):
        places.depot.fetch_tree("datasets", before.digest)


def test_a_card_is_compared_with_the_last_dataset_that_is_still_kept(places):
    labelled(places, 1, 60)
    first = freeze_dataset(places, cycle(places, 1))
    send(places, "and the light is out")
    ingest_uploads(places)
    keep(places.store, check_label(PLANTED.truth, made_by="ada"))
    freeze_dataset(places, cycle(places, 2))
    forget(places, [ID], ASKED)
    freeze_dataset(places, third := cycle(places, 3))

    with Session(places.store) as session:
        card = session.get_one(Dataset, third.id).card
    assert (card["previous"], card["new"], card["gone"]) == (first.digest, 0, 0)


def test_whoever_is_killed_at_any_step_is_followed_by_one_who_ends_it(tmp_path):
    first = empty_places(tmp_path / "first")
    plant(first)
    first.store.dispose()
    for at in range(1, 100):
        shutil.copytree(tmp_path / "first", home := tmp_path / str(at))
        places = empty_places(home)
        whole = find_traces(places, [ID]).counts()
        died = dies(places, at, lambda broken: forget(broken, [ID], ASKED))
        left = find_traces(places, [ID])
        with Session(places.store) as session:
            buried = is_forgotten(session, ID)
        forget(places, [ID], ASKED)
        places.store.dispose()

        assert buried or left.counts() == whole
        assert holding(home, MARKER, ID) == set()
        assert tombstone(places).learnt == [LEARNT]
        if not died:
            break

    assert 20 < at < 99


LEARNT = {
    "cycle": "blox-tiny cycle 1",
    "transcripts": 1,
    "versions": ["blox-tiny-1"],
    "releases": [],
}


def tombstone(places):
    with Session(places.store) as session:
        return session.get_one(Forgotten, upload_digest(ID))


def test_what_cannot_be_unlearned_is_listed_and_the_tombstone_keeps_it(places):
    plant(places)
    before = find_traces(places, [ID]).learnt
    forget(places, [ID], ASKED)
    stone = tombstone(places)

    assert before == (Derived("blox-tiny cycle 1", 1, ("blox-tiny-1",), ()),)
    assert find_traces(places, [ID]).learnt == before
    assert (stone.why, stone.made_by, stone.learnt) == ("asked", "ada", [LEARNT])


def test_a_copy_that_arrives_later_is_deleted_unread_and_counted(places):
    plant(places)
    forget(places, [ID], ASKED)
    send(places, "and the light is out")

    counts = ingest_uploads(places)

    assert (counts.forgotten, counts.ingested, counts.known) == (1, 0, 0)
    assert rows_of_it(places) == 0
    assert list(places.depot.keys("raw/")) == []


class BuryingDepot(FolderDepot):
    """A depot in which the upload is forgotten right after its object was read."""

    def __init__(self, places):
        super().__init__(places.settings.depot_place)
        self.places = places

    def get(self, key):
        data = super().get(key)
        forget(self.places, [ID], ASKED)
        return data


def test_what_is_forgotten_while_ingest_reads_it_does_not_come_back(places):
    send(places, "and the light is out")
    counts = ingest_uploads(replace(places, depot=BuryingDepot(places)))

    assert (counts.forgotten, counts.ingested) == (1, 0)
    assert rows_of_it(places) == 0


def test_what_is_frozen_while_it_is_forgotten_is_forgotten_too(places):
    label_it(places)
    late = cycle(places, 1)
    keep(places.store, OpenCycle(model=late.model, cycle_id=late.id, flow_run_id="run"))
    freezing = LateDepot(places, "delete", lambda: freeze_dataset(places, late))
    forget(replace(places, depot=freezing), [ID], ASKED)
    with Session(places.store) as session:
        end = session.get_one(CycleEnd, late.id)

    assert holding(places.depot.root / "datasets", MARKER) == set()
    assert rows_of_it(places) == 0
    assert end.outcome == CycleOutcome.CANCELLED


def test_what_is_forgotten_while_it_is_frozen_makes_no_dataset_and_a_retry_does(places):
    label_it(places)
    forgetting = LateDepot(places, "put_tree", lambda: forget(places, [ID], ASKED))
    with pytest.raises(DatasetError, match=r"a session in it was deleted, .* retry the cycle"):
        freeze_dataset(replace(places, depot=forgetting), first := cycle(places, 1))
    unfinished = holding(places.depot.root / "datasets", MARKER)
    freeze_dataset(places, first)
    retain(places, utc_now() + timedelta(days=2))  # the unfinished one is a leftover

    assert unfinished
    assert rows_of_it(places) == 0
    assert holding(places.depot.root, MARKER, ID) == set()


def test_a_record_of_a_forgotten_upload_is_not_imported_again(places, tmp_path):
    (folder := tmp_path / "records").mkdir()
    shutil.copy(IMPORTED, folder)
    import_labelled(places, folder)
    with Session(places.store) as session:
        row = session.exec(select(Transcript)).one()
    gone = forget(places, [row.id], ASKED)
    again = import_labelled(places, folder)

    assert gone["objects in the depot"] == gone["sessions in the store"] == 1
    assert again.rejected["forgotten"] == 1
    assert list(places.depot.keys(f"imports/{row.id}/")) == []


def held(places):
    """The planted upload, frozen by a cycle that is open."""
    ref, _ = plant(places)
    keep(places.store, OpenCycle(model=ref.model, cycle_id=ref.id, flow_run_id="run"))
    return ref


def test_an_open_cycle_that_froze_it_is_cancelled_and_its_next_stage_says_why(places):
    ref = held(places)
    forget(places, [ID], ASKED)

    assert cycles.held_cycles(places) == []
    with (
        pytest.raises(CycleError, match="ended as cancelled: an upload that it learnt from was"),
        cycles.stage(places, ref, "train"),
    ):
        pass


def test_an_open_cycle_that_never_saw_it_goes_on(places):
    ref = held(places)
    keep(places.store, transcript_row(1))
    forget(places, [transcript_row(1).id], ASKED)

    assert cycles.held_cycles(places) == [(ref, "run")]
    assert cycles.end_cycle(places, ref, Ending(CycleOutcome.REHEARSED, "")).outcome == "rehearsed"


def test_the_same_session_under_another_id_is_named(places):
    keep(places.store, transcript_row(1), transcript_row(2), transcript_row(3, prompt="else"))

    assert find_traces(places, [transcript_row(1).id]).twins == (transcript_row(2).id,)


def test_an_upload_of_which_nothing_came_yet_is_forgotten_ahead(places):
    assert not +forget(places, [ID], ASKED)
    send(places, "and the light is out")
    assert ingest_uploads(places).forgotten == 1


@pytest.mark.parametrize("written", ["", "*", "../x", ID.upper(), ID + "\n", ID[:-1]])
def test_what_no_phone_writes_is_no_upload_id(written):
    with pytest.raises(NotFound, match="is no upload id"):
        check_upload_id(written)

    assert check_upload_id(ID) == ID


def hurried(connection, _record):
    connection.execute("PRAGMA busy_timeout=50")


@pytest.mark.parametrize(
    ("busy", "said"), [("BEGIN IMMEDIATE", "not written anew"), ("BEGIN", "still in its log")]
)
def test_a_store_that_others_use_all_the_time_is_told_apart_from_a_clean_one(at_home, busy, said):
    at_home.store.dispose()
    event.listen(at_home.store, "connect", hurried)
    with at_home.store.connect() as other:
        other.exec_driver_sql(busy)
        other.exec_driver_sql("SELECT * FROM transcript")
        if busy == "BEGIN":  # a reader of what was there before the next row
            keep(at_home.store, transcript_row(1))
        with pytest.raises(StoreError, match=said):
            scrub(at_home.store)
        other.rollback()

    scrub(at_home.store)
