import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event, Lock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intake.shipper import (
    AT_ONCE,
    AWAY_AFTER,
    STUCK_S,
    Failure,
    Pace,
    Shipped,
    Shipper,
    failed_in_a_row,
    ship,
)
from intake.spool import ASIDE, Room, Spool
from loop.depot import FolderDepot
from loop.errors import DepotError
from loop.s3_depot import ATTEMPTS, CONNECT_S
from loop.settings import Settings
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


class NotingDepot(FolderDepot):
    """A depot that refuses the first of some keys, and notes which it was asked for."""

    def __init__(self, root, refuse):
        super().__init__(root)
        self.refuse, self.asked = refuse, []

    def put(self, key, data):
        self.asked.append(data)
        if len(self.asked) <= self.refuse:
            raise DepotError("not this one")
        return super().put(key, data)


def spool_with_bodies(root, *comments):
    """Several bodies of one id, and their bytes, the oldest first."""
    spool = spool_with(root)
    for at, comment in enumerate(comments):
        body = upload(1, user_comment=comment)
        spool.keep(Record(received="2026-03-01", privacy="1", redacted={}, upload=body))
        (path,) = [one.path for one in spool.waiting() if comment in one.path.read_text()]
        os.utime(path, (at, at))
    return spool, [one.path.read_bytes() for one in spool.waiting()]


def test_the_bodies_of_one_id_go_in_the_order_in_which_they_came(tmp_path):
    spool, bodies = spool_with_bodies(tmp_path, "third letter", "a second", "zero")
    depot = NotingDepot(tmp_path / "depot", refuse=0)

    assert ship(spool, depot) == (3, {})
    assert depot.asked == bodies


def test_a_later_body_of_an_id_waits_for_an_earlier_one(tmp_path):
    spool, bodies = spool_with_bodies(tmp_path, "first", "second")
    depot = NotingDepot(tmp_path / "depot", refuse=1)

    assert ship(spool, depot) == (0, {"refused": 1})
    assert ship(spool, depot) == (2, {})
    assert depot.asked == [bodies[0], *bodies]


def test_before_each_body_it_is_asked_whether_to_go_on(tmp_path):
    spool, _bodies = spool_with_bodies(tmp_path, "first", "second", "third")
    answers = [True, False]

    assert ship(spool, FolderDepot(tmp_path / "depot"), lambda: answers.pop(0)) == (1, {})
    assert answers == []
    assert len(list(spool.waiting())) == 2


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


def numbers(count):
    return range(1, count + 1)


def test_a_depot_that_is_away_is_not_asked_for_every_record(tmp_path):
    away = FailingDepot(tmp_path / "away")
    done, failed = ship(spool_with(tmp_path, *numbers(100)), away)

    assert done == 0
    assert AWAY_AFTER <= failed["other"] < AWAY_AFTER + AT_ONCE


class Refusing(FolderDepot):
    """A depot that takes no record, for what is in each of them."""

    def put(self, key, data):
        raise DepotError("holds other bytes already")


def test_a_depot_that_refuses_each_record_for_itself_is_not_away(tmp_path):
    spool = spool_with(tmp_path, *numbers(3 * AWAY_AFTER))

    assert ship(spool, Refusing(tmp_path / "depot")) == (0, {"refused": 3 * AWAY_AFTER})


class Meeting(FolderDepot):
    """A depot that answers nobody until so many ask at the same time."""

    def __init__(self, root, together):
        super().__init__(root)
        self.meeting, self.inside, self.most, self.lock = Barrier(together), 0, 0, Lock()

    def put(self, key, data):
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        self.meeting.wait(60)
        with self.lock:
            self.inside -= 1
        return super().put(key, data)


def test_records_go_side_by_side_and_never_more_than_allowed(tmp_path):
    meeting = Meeting(tmp_path / "depot", AT_ONCE)
    spool = spool_with(tmp_path, *numbers(5 * AT_ONCE))

    assert ship(spool, meeting) == (5 * AT_ONCE, {})
    assert meeting.most == AT_ONCE
    assert len(list(meeting.keys("raw/"))) == 5 * AT_ONCE


def test_two_shippers_over_one_spool_ship_each_record_once(tmp_path, depot):
    spool = spool_with(tmp_path, *numbers(60))
    other = Spool(spool.root, Room())
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda one: ship(one, depot), [spool, other]))

    assert [one.failed for one in both] == [{}, {}]
    assert len(list(depot.keys("raw/"))) == 60
    assert list(spool.waiting()) == []


class Buggy(FolderDepot):
    """A depot with a bug."""

    def put(self, key, data):
        raise ZeroDivisionError


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_ends_the_shipper_and_that_is_seen(tmp_path):
    shipper = Shipper(spool_with(tmp_path, 1), Buggy(tmp_path / "depot"), QUICK)
    shipper.start()
    shipper.join()

    assert shipper.is_stuck()


class Hanging(FolderDepot):
    """A depot that answers only when it is let go."""

    def __init__(self, root):
        super().__init__(root)
        self.asked, self.let_go = Event(), Event()

    def put(self, key, data):
        self.asked.set()
        self.let_go.wait()
        return super().put(key, data)


def test_a_shipper_whose_depot_hangs_is_stuck_and_still_ends_in_time(tmp_path):
    hanging, spool = Hanging(tmp_path / "depot"), spool_with(tmp_path, *numbers(20))
    shipper = Shipper(spool, hanging, QUICK)
    shipper.start()
    hanging.asked.wait()
    until(lambda: shipper.is_stuck(after_s=0.1))
    shipper.stop(within_s=0.1)
    still_there = len(list(spool.waiting()))
    hanging.let_go.set()
    shipper.join()

    assert still_there == 20
    assert len(list(hanging.keys("raw/"))) + len(list(spool.waiting())) == 20
    assert len(list(hanging.keys("raw/"))) == AT_ONCE  # after the end nothing more is begun


def test_a_shipper_that_rests_between_two_attempts_is_not_stuck(tmp_path):
    long = Pace(every_s=600, first_s=600, longest_s=600)
    shipper = Shipper(spool_with(tmp_path, 1), FailingDepot(tmp_path / "away"), long)
    shipper.start()
    until(lambda: not shipper.is_stuck(after_s=-1))
    resting = shipper.is_stuck(after_s=0)
    shipper.stop()

    assert not resting


def test_an_answer_of_an_object_store_takes_less_time_than_a_stuck_shipper():
    slowest = Settings.model_fields["s3_seconds"].metadata[1].le

    assert ATTEMPTS * (CONNECT_S + slowest) < STUCK_S


@given(failed=st.integers(min_value=0, max_value=10_000))
def test_pauses_grow_to_their_longest_and_no_two_are_the_same(failed):
    pace = Pace(every_s=1, first_s=10, longest_s=300)
    longest = min(300, 10 * 2 ** min(failed - 1, 10)) if failed else 1

    assert longest / 2 <= pace.after(failed) <= longest
    assert len({pace.after(failed) for _ in range(10)}) > 1 or not failed


def test_a_depot_that_is_away_is_asked_more_and_more_seldom_and_one_success_ends_that():
    passes: list[tuple[int, Counter[Failure]]] = [
        (0, Counter(["unavailable"] * 8)),
        (0, Counter(["refused"] * 3)),
        (0, Counter(["refused"] * 300)),
        (5, Counter(["unavailable"])),
        (5, Counter()),
    ]

    assert [failed_in_a_row(4, Shipped(*one)) for one in passes] == [5, 1, 5, 1, 0]


def test_the_shipper_ships_while_it_runs_and_once_more_when_stopped(tmp_path, depot):
    spool = spool_with(tmp_path, 1)
    shipper = Shipper(spool, depot, QUICK)
    shipper.start()
    until(lambda: len(list(depot.keys("raw/"))) == 1)

    spool_with(tmp_path, 2)
    shipper.stop()

    assert len(list(depot.keys("raw/"))) == 2
    assert not shipper.is_alive()


class AlwaysBusy:
    """A door through which somebody always goes."""

    def __init__(self):
        self.asked = 0

    def __call__(self):
        self.asked += 1
        return True


def test_records_give_way_to_uploads_and_go_even_if_those_never_end(tmp_path, depot):
    busy = AlwaysBusy()
    shipper = Shipper(spool_with(tmp_path, *range(12)), depot, QUICK, busy)
    shipper.start()
    until(lambda: len(stored_in(depot)) == 12)
    shipper.stop()

    assert busy.asked > 12


def stored_in(depot):
    return list(depot.keys("raw/"))


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
