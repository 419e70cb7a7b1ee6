"""Leftovers: what nobody works on goes, and what a freeze is about to need stays."""

from dataclasses import replace
from datetime import timedelta
from threading import Thread

import pytest
from sqlmodel import Session, delete, select

from loop.freezing import freeze_dataset
from loop.places import open_places
from loop.retention import retain
from loop.settings import Settings
from loop.store import writing
from loop.tables import CycleTranscript, Dataset
from loop.values import digest_json, utc_now
from tests.factories import age_file
from tests.labelled import cycle, labelled
from tests.late_depot import LateDepot


@pytest.fixture
def places(tmp_path, store_url):
    made = open_places(Settings(home=tmp_path / "home", database_url=store_url))
    yield made
    made.store.dispose()


@pytest.mark.parametrize(("days", "left"), [(0, 3), (2, 0)])
def test_copies_that_killed_processes_left_go_once_nobody_can_be_at_them(places, days, left):
    (work := places.settings.scratch / "dataset-abc").mkdir(parents=True)
    (places.settings.scratch / "adapter-abc").mkdir()
    key = f"datasets/{digest_json('no row')}/train.jsonl"
    places.depot.put(key, b"{}")
    half = places.depot.root / "raw/x/.new-abc"
    half.parent.mkdir(parents=True)
    half.write_text("half")
    for path in (work, half, places.depot.root / key, places.settings.scratch / "adapter-abc"):
        age_file(path, days)
    retain(places, utc_now())

    assert sum(path.exists() for path in (work, half, places.depot.root / key)) == left
    assert (places.settings.scratch / "adapter-abc").is_dir()  # a training goes on from there


def test_a_dataset_that_a_cycle_knows_is_no_leftover(places):
    labelled(places, 1, 60)
    frozen = freeze_dataset(places, cycle(places, 1))
    retain(places, utc_now() + timedelta(days=7))

    assert places.depot.fetch_tree("datasets", frozen.digest).is_dir()


def left_by_a_killed_freeze(places):
    """The dataset that the labels of now make, written days ago by who died before its row."""
    labelled(places, 1, 60)
    digest = freeze_dataset(places, cycle(places, 1)).digest
    with writing(places.store) as session:
        session.exec(delete(CycleTranscript))
        session.exec(delete(Dataset))
    for key in places.depot.keys(f"datasets/{digest}/"):
        age_file(places.depot.path(key), 3)
    return digest


def test_a_dataset_that_is_frozen_again_just_as_it_goes_as_a_leftover_is_whole(places):
    left = left_by_a_killed_freeze(places)
    late = LateDepot(places, "put_tree", lambda: retain(places, utc_now()))
    frozen = freeze_dataset(replace(places, depot=late), cycle(places, 2))

    assert late.late is None
    assert frozen.digest == left
    assert places.depot.fetch_tree("datasets", left).is_dir()


def test_a_freeze_that_comes_between_the_look_and_the_deletion_waits_and_is_whole(places):
    left = left_by_a_killed_freeze(places)
    freezing = Thread(target=freeze_dataset, args=(places, cycle(places, 2)))

    def freeze_meanwhile():
        freezing.start()
        freezing.join(2)

    retain(replace(places, depot=LateDepot(places, "delete", freeze_meanwhile)), utc_now())
    freezing.join()

    with Session(places.store) as session:
        assert session.exec(select(Dataset.digest)).all() == [left]
    assert places.depot.fetch_tree("datasets", left).is_dir()
