"""A spool that another version left: each version ships what it finds, as it is."""

import json
from datetime import date
from pathlib import Path

import pytest

from intake.shipper import ship
from intake.spool import Room, Spool
from loop.depot import FolderDepot
from loop.upload import Record
from loop.values import digest_bytes, digest_json
from tests.factories import upload
from tests.intake.test_spool import opened

FIRST = (Path(__file__).parents[1] / "data/spool_record.json").read_bytes().rstrip(b"\n")
"""A file of the spool as the first release writes it; a new format needs a file of its own."""
ID = upload()["upload_id"]


def left_by_another(root, data):
    """A spool that holds these bytes under the name that belongs to them."""
    digest = digest_json(json.loads(data)["upload"])
    spool = opened(root)
    (spool.root / f"{ID}.{digest}.json").write_bytes(data)
    return spool


def shipped(root, spool):
    """The bytes in the depot after a pass, by key."""
    depot = FolderDepot(root / "depot")
    ship(spool, depot)
    return {key: depot.get(key) for key in depot.keys("raw/")}


def test_a_record_still_has_the_form_that_the_first_version_reads():
    day = date(2026, 3, 1)

    assert (
        Record(received=day, privacy="1", redacted={"mail": 1}, upload=upload()).to_bytes() == FIRST
    )


def test_what_the_first_version_left_is_shipped_as_it_is(tmp_path):
    assert shipped(tmp_path, left_by_another(tmp_path, FIRST)) == {
        f"raw/{ID}/{digest_bytes(FIRST)}.json": FIRST
    }


@pytest.mark.parametrize(
    "change",
    [{"seal": {"of": 2027}}, {"upload": upload(schema_version=3, mood="new")}, {"privacy": "99"}],
    ids=["a field", "a schema", "an engine"],
)
def test_what_a_later_version_left_is_shipped_as_it_is(tmp_path, change):
    data = json.dumps({**json.loads(FIRST), **change}).encode()

    assert shipped(tmp_path, left_by_another(tmp_path, data)) == {
        f"raw/{ID}/{digest_bytes(data)}.json": data
    }


def test_what_a_later_version_names_otherwise_is_set_aside_and_not_lost(tmp_path):
    spool = opened(tmp_path)
    (spool.root / f"{ID}.{'0' * 64}.v2.json").write_bytes(b"another format")

    assert shipped(tmp_path, spool) == {}
    assert [path.read_bytes() for path in spool.root.glob("aside/*")] == [b"another format"]


def test_what_was_set_aside_is_shipped_once_it_is_put_back_under_a_version_that_knows_it(tmp_path):
    spool = opened(tmp_path)
    name = f"{ID}.{digest_json(json.loads(FIRST)['upload'])}.json"
    (spool.root / f"{name}.later").write_bytes(FIRST)
    assert shipped(tmp_path, spool) == {}

    (aside,) = spool.root.glob("aside/*")
    aside.rename(spool.root / name)
    assert len(shipped(tmp_path, Spool(spool.root, Room()))) == 1
