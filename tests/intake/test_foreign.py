"""What does not belong into a spool, and ids that would leave it: it escapes and blocks nothing."""

import os
import shutil

import pytest
from fastapi.testclient import TestClient

from intake.app import create_app
from intake.parts import make_parts
from intake.shipper import ship
from intake.spool import ASIDE, Room, Spool
from loop.depot import FolderDepot
from loop.errors import SpoolError
from tests.factories import upload
from tests.intake.served import NEAR, settings_in
from tests.intake.test_spool import opened, record


def test_foreign_files_and_links_are_set_aside_and_block_nothing(tmp_path):
    spool = opened(tmp_path)
    spool.keep(record())
    (waiting,) = spool.waiting()
    (spool.root / "notes.txt").write_text("foreign")
    (spool.root / waiting.path.name.replace("1.", "2.", 1)).symlink_to("/etc/hostname")

    assert [one.path for one in spool.waiting()] == [waiting.path]
    assert len(list((spool.root / ASIDE).iterdir())) == 2


def test_two_foreign_files_of_one_name_are_both_set_aside(tmp_path):
    spool = opened(tmp_path)
    for text in ("one", "two"):
        (spool.root / "notes.txt").write_text(text)
        list(spool.waiting())

    assert {path.read_text() for path in (spool.root / ASIDE).iterdir()} == {"one", "two"}
    assert spool.set_aside_by == {"foreign": 2}


def test_a_link_a_folder_and_a_pipe_by_an_uploads_name_are_no_uploads(tmp_path):
    spool = opened(tmp_path)
    spool.keep(record())
    (waiting,) = spool.waiting()
    name = waiting.path.name
    (spool.root / name.replace("1.", "2.", 1)).symlink_to(waiting.path)
    (spool.root / name.replace("1.", "3.", 1)).mkdir()
    os.mkfifo(spool.root / name.replace("1.", "4.", 1))

    assert [one.path for one in spool.waiting()] == [waiting.path]
    assert spool.set_aside_by == {"not_a_file": 3}


def test_an_operator_may_delete_the_folder_of_what_was_set_aside(tmp_path):
    spool = opened(tmp_path)
    for _ in range(2):
        assert spool.backlog() == (0, 0.0, 0)
        (spool.root / "notes.txt").write_text("foreign")
        assert list(spool.waiting()) == []
        assert spool.backlog().aside == 1
        shutil.rmtree(spool.root / ASIDE)


def in_the_way(path, kind):
    """Put something there that is no file."""
    made = {
        "a folder": path.mkdir,
        "a pipe": lambda: os.mkfifo(path),
        "a dangling link": lambda: path.symlink_to("nowhere"),
        "a link to a file": lambda: path.symlink_to("/etc/hostname"),
        "a link to a folder": lambda: path.symlink_to(".."),
        "a file": path.touch,
    }
    made[kind]()


KINDS = ["a folder", "a pipe", "a dangling link", "a link to a file", "a link to a folder"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_has_an_uploads_name_is_no_copy_of_it(tmp_path, kind):
    spool = opened(tmp_path)
    spool.keep(record())
    (waiting,) = spool.waiting()
    waiting.path.unlink()
    in_the_way(waiting.path, kind)
    with pytest.raises(SpoolError, match="something else"):
        spool.keep(record())

    assert list(spool.waiting()) == []  # it is set aside
    spool.keep(record())
    assert [one.path for one in spool.waiting()] == [waiting.path]


class SwappingSpool(Spool):
    """Somebody puts another thing in a file's place just before it is read."""

    kind = ""

    def waiting(self):
        for spooled in super().waiting():
            spooled.path.unlink()
            in_the_way(spooled.path, self.kind)
            yield spooled


@pytest.mark.parametrize("kind", KINDS)
def test_what_takes_a_files_place_is_neither_waited_for_nor_followed(tmp_path, kind):
    opened(tmp_path).keep(record())
    swapping, depot = SwappingSpool(tmp_path / "spool", Room()), FolderDepot(tmp_path / "depot")
    swapping.kind = kind

    assert ship(swapping, depot).done == 0
    assert ship(opened(tmp_path), depot) == (0, {})
    assert list(depot.keys("raw/")) == []
    assert len(list((tmp_path / "spool" / ASIDE).iterdir())) == 1


@pytest.mark.parametrize("kind", ["a file", *KINDS[1:]])
def test_a_foreign_file_that_cannot_be_set_aside_stays_and_blocks_nothing(tmp_path, kind):
    spool, depot = opened(tmp_path), FolderDepot(tmp_path / "depot")
    spool.keep(record())
    foreign = spool.root / "0-comes-first"
    foreign.write_text("foreign")
    in_the_way(spool.root / ASIDE, kind)

    assert ship(spool, depot) == (1, {})
    assert foreign.exists()
    assert opened(tmp_path).set_aside_by == {}


def test_a_half_written_thing_that_is_no_file_keeps_no_spool_shut(tmp_path):
    (tmp_path / "spool/.new-folder").mkdir(parents=True)
    (tmp_path / "spool/.new-half").write_text("half")
    spool = opened(tmp_path)
    spool.keep(record())

    assert not (tmp_path / "spool/.new-half").exists()
    assert len(list(spool.waiting())) == 1


def test_an_operator_may_put_the_spool_elsewhere_by_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "spool").symlink_to(tmp_path / "disk")
    spool = Spool(tmp_path / "spool", Room())
    spool.open()
    spool.keep(record())

    assert len(list((tmp_path / "disk").glob("*.json"))) == 1
    assert ship(spool, FolderDepot(tmp_path / "depot")) == (1, {})


@pytest.mark.parametrize(
    "upload_id",
    [
        "../../../../tmp/planted",
        "/etc/planted",
        "..",
        "",
        "." * 36,
        "00000000-0000-4000-8000-00000000000\n",
        "00000000-0000-4000-8000-000000000001\n",
        "00000000-0000-4000-8000-000000000001/..",
        "00000000-0000-4000-8000-00000000000\u0000",
        "00000000-0000-4000-8000-00000000000\u0661",
        "00000000\u20100000\u20104000\u20108000\u2010000000000001",
    ],
    ids=ascii,
)
def test_an_id_that_is_a_path_is_refused_and_writes_nothing(tmp_path, upload_id):
    with TestClient(create_app(make_parts(settings_in(tmp_path))), client=NEAR) as client:
        answer = client.post("/transcripts", json=upload(upload_id=upload_id))

    kept = [path for name in ("spool", "depot") for path in (tmp_path / name).rglob("*.json")]
    assert (answer.status_code, answer.json()) == (400, {"error": "body_invalid"})
    assert kept == []
