import pytest

from intake.shipper import AT_ONCE, AWAY_AFTER, Pace, Shipper, ship
from intake.spool import ASIDE, Room, Spool
from loop.depot import FolderDepot
from loop.upload import Record
from loop.values import digest_bytes
from tests.factories import upload
from tests.processes import until


QUICK = Pace(every_s=0.01, first_s=0.01, longest_s=0.01)


class FailingDepot(FolderDepot):
    """A depot that refuses keys with some text in them."""

    def __init__(self, root, refused=""):
        super().__init__(root)
        self.refused = refused

    def put(self, key, data):
        if self.refused in key:
            raise ConnectionError("the depot is away")
        return super().put(key, data)


def spool_with(root, *numbers):
    spool = Spool(root / "spool", Room())
    spool.open()
    for number in numbers:
        spool.keep(Record(received="2026-03-01", privacy="1", redacted={}, upload=upload(number)))
    return spool


@pytest.fixture
def depot(tmp_path):
    return FolderDepot(tmp_path / "depot")


def test_a_record_lies_under_its_upload_id_and_the_digest_of_its_bytes(tmp_path, depot):
    spool = spool_with(tmp_path, 1)
    (waiting,) = spool.waiting()
    data = waiting.path.read_bytes()

    assert ship(spool, depot) == (1, {})
    assert list(depot.keys("raw/")) == [f"raw/{upload(1)['upload_id']}/{digest_bytes(data)}.json"]
    assert list(spool.waiting()) == []


def test_what_a_newer_version_kept_is_shipped_as_it_is(tmp_path, depot):
    spool = spool_with(tmp_path, 1)
    (waiting,) = spool.waiting()
    newer = waiting.path.read_bytes().replace(b'{"received"', b'{"seal":"of 2027","received"')
    waiting.path.write_bytes(newer)

    assert ship(spool, depot) == (1, {})
    assert [depot.get(key) for key in depot.keys("raw/")] == [newer]


def test_shipping_what_the_depot_has_already_only_empties_the_spool(tmp_path, depot):
    ship(spool_with(tmp_path, 1), depot)

    assert ship(spool_with(tmp_path, 1), depot) == (1, {})
    assert len(list(depot.keys("raw/"))) == 1


def test_one_record_that_the_depot_refuses_waits_and_holds_up_no_other(tmp_path):
    refusing = FailingDepot(tmp_path / "depot", refused="000000000002")
    spool = spool_with(tmp_path, 1, 2, 3)

    assert ship(spool, refusing) == (2, {"other": 1})
    assert [one.upload_id[-1] for one in spool.waiting()] == ["2"]


def test_a_depot_that_is_away_loses_nothing_and_drains_without_repeats(tmp_path, depot):
    spool = spool_with(tmp_path, 1, 2)

    assert ship(spool, FailingDepot(tmp_path / "away")) == (0, {"other": 2})
    assert ship(spool, depot) == (2, {})
    assert len(list(depot.keys("raw/"))) == 2


@pytest.mark.parametrize("spoil", [lambda data: data[:-9], lambda data: b"", lambda data: b"{}"])
def test_a_spoilt_file_is_set_aside_and_the_rest_goes_on(tmp_path, depot, spoil):
    spool = spool_with(tmp_path, 1, 2)
    first = next(spool.waiting()).path
    first.write_bytes(spoil(first.read_bytes()))

    assert ship(spool, depot) == (1, {})
    assert len(list((spool.root / ASIDE).glob(f"{first.name}.*"))) == 1
    assert spool.set_aside_by == {"corrupt": 1}


def test_a_file_with_another_upload_inside_is_set_aside(tmp_path, depot):
    spool = spool_with(tmp_path, 1, 2)
    first, second = (one.path for one in spool.waiting())
    first.write_bytes(second.read_bytes())

    assert ship(spool, depot) == (1, {})
    assert len(list((spool.root / ASIDE).glob(f"{first.name}.*"))) == 1
    assert spool.set_aside_by == {"corrupt": 1}


def test_the_shipper_ships_while_it_runs_and_once_more_when_stopped(tmp_path, depot):
    spool = spool_with(tmp_path, 1)
    shipper = Shipper(spool, depot, QUICK)
    shipper.start()
    until(lambda: len(list(depot.keys("raw/"))) == 1)

    spool_with(tmp_path, 2)
    shipper.stop()

    assert len(list(depot.keys("raw/"))) == 2
    assert not shipper.is_alive()


def test_a_spool_that_cannot_be_read_for_a_while_delays_and_loses_nothing(tmp_path, depot):
    spool = spool_with(tmp_path, 1)
    spool.root.rename(tmp_path / "away")
    shipper = Shipper(spool, depot, QUICK)
    shipper.start()
    until(lambda: shipper.troubles > 2)
    (tmp_path / "away").rename(spool.root)

    until(lambda: list(depot.keys("raw/")))
    shipper.stop()
    assert list(spool.waiting()) == []
