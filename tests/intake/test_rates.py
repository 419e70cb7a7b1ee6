"""Limits by network over real files, across processes, restarts and midnights."""

import multiprocessing
import sqlite3
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient

from intake.app import create_app
from intake.parts import make_parts
from intake.rates import Allowance, Forgetter, Rates
from intake.refusals import Refused
from loop.errors import SpoolError
from tests.intake.served import NEAR, settings_in
from tests.processes import until

HOME, AWAY = "203.0.113.0/24", "198.51.100.0/24"
NOON = datetime(2026, 2, 28, 12, tzinfo=UTC)


class Clock:
    def __init__(self):
        self.now = NOON

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def rates_in(root, clock=lambda: NOON, of_one=3, of_all=5):
    return Rates(root, root / "keys", Allowance(of_one, of_all), clock)


def charged(rates, *networks):
    """How many of these uploads were let in."""
    count = 0
    for network in networks:
        try:
            rates.charge(network)
        except Refused:
            continue
        count += 1
    return count


def test_a_network_may_send_so_many_and_another_still_its_own(tmp_path):
    rates = rates_in(tmp_path)

    assert charged(rates, *[HOME] * 10) == 3
    assert charged(rates, AWAY) == 1


def test_all_together_may_send_so_many_whoever_they_are(tmp_path):
    assert charged(rates_in(tmp_path), *(f"10.0.{n}.0/24" for n in range(10))) == 5


def test_a_refused_upload_is_not_charged_to_all(tmp_path):
    rates = rates_in(tmp_path)

    assert charged(rates, *[HOME] * 100, AWAY, AWAY) == 5


def test_who_is_refused_is_told_the_seconds_to_midnight(tmp_path):
    rates = rates_in(tmp_path, of_one=0)
    with pytest.raises(Refused) as refused:
        rates.charge(HOME)

    assert (refused.value.reason, refused.value.retry_s) == ("rate_limit", 12 * 3600)


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [
        (datetime(2028, 2, 29, tzinfo=UTC), 86_400),
        (datetime(2028, 2, 28, 23, 59, 58, tzinfo=UTC), 2),
        (datetime(2027, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), 1),
        (datetime(2026, 3, 29, 0, 30, tzinfo=UTC), 84_600),  # a day of 23 hours in Europe
    ],
)
def test_a_phone_is_told_in_a_header_when_the_next_day_begins(tmp_path, moment, seconds):
    parts = make_parts(settings_in(tmp_path))
    spent = rates_in(tmp_path, lambda: moment, of_one=0)
    with TestClient(create_app(replace(parts, rates=spent)), client=NEAR) as phone:
        answer = phone.post("/transcripts", content=b"{}")

    assert (answer.status_code, answer.headers["Retry-After"]) == (429, str(seconds))


def test_a_restart_forgets_nothing(tmp_path):
    first = rates_in(tmp_path)
    charged(first, HOME, HOME)
    first.close()

    assert charged(rates_in(tmp_path), HOME, HOME) == 1


def charge_much(root, done):
    done.put(charged(rates_in(root, of_one=50, of_all=1000), *[HOME] * 40))


def test_several_processes_share_one_limit(tmp_path):
    fresh = multiprocessing.get_context("spawn")
    done = fresh.Queue()
    workers = [fresh.Process(target=charge_much, args=(tmp_path, done)) for _ in range(3)]
    for worker in workers:
        worker.start()
    let_in = sum(done.get() for _ in workers)
    for worker in workers:
        worker.join()

    assert let_in == 50


def test_at_midnight_key_and_counts_are_gone_and_everybody_may_send_again(tmp_path, clock):
    rates = rates_in(tmp_path, clock)
    charged(rates, *[HOME] * 3)
    before = files_of(tmp_path)
    clock.now += timedelta(hours=12)
    rates.forget()

    assert {"keys/key-2026-02-28", "rates-2026-02-28.db"} <= before
    assert files_of(tmp_path) == set()
    assert charged(rates, HOME) == 1


def files_of(root):
    found = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)) for path in found}


def test_forgetting_leaves_today_alone(tmp_path):
    rates = rates_in(tmp_path)
    charged(rates, *[HOME] * 3)
    rates.forget()

    assert charged(rates, HOME) == 0


@pytest.mark.parametrize("jump", [timedelta(days=365), timedelta(days=-365), timedelta(days=1)])
def test_a_clock_that_jumps_starts_another_day(tmp_path, clock, jump):
    rates = rates_in(tmp_path, clock)
    charged(rates, *[HOME] * 3)
    clock.now += jump

    assert charged(rates, *[HOME] * 5) == 3
    assert 0 < rates.until_midnight_s() <= 24 * 3600


def test_yesterdays_files_are_deleted_while_nobody_uploads(tmp_path):
    (tmp_path / "keys").mkdir(mode=0o700)
    (tmp_path / "keys/key-2020-01-01").write_bytes(b"old")
    forgetter = Forgetter(rates_in(tmp_path))
    forgetter.start()
    until(lambda: files_of(tmp_path) == set())

    forgetter.stop()


def test_the_key_is_for_this_user_alone_and_counts_hold_no_network(tmp_path):
    rates = rates_in(tmp_path)
    charged(rates, HOME)
    key = tmp_path / "keys/key-2026-02-28"
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("rates-*"))

    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "rates-2026-02-28.db").stat().st_mode) == 0o600
    assert len(key.read_bytes()) == 32
    assert b"203.0.113" not in kept
    assert key.read_bytes() not in kept


def test_the_same_network_has_another_name_under_another_key(tmp_path):
    rates = rates_in(tmp_path)
    charged(rates, *[HOME] * 3)
    (tmp_path / "keys/key-2026-02-28").unlink()

    assert charged(rates, HOME) == 1


def test_a_folder_that_others_can_read_holds_no_key(tmp_path):
    (tmp_path / "keys").mkdir(mode=0o755)

    with pytest.raises(SpoolError, match="nobody else can read"):
        rates_in(tmp_path).charge(HOME)


def test_a_link_to_a_folder_holds_no_key(tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "keys").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(SpoolError, match="expected a folder"):
        rates_in(tmp_path).charge(HOME)


def test_counts_that_cannot_be_read_let_nobody_in(tmp_path):
    (tmp_path / "rates-2026-02-28.db").write_bytes(b"no database" * 1000)

    with pytest.raises(SpoolError, match="counts of uploads") as refused:
        rates_in(tmp_path).charge(HOME)
    assert isinstance(refused.value.__cause__, sqlite3.DatabaseError)
