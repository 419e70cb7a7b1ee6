"""Clocks that jump, leap and lie in another zone: limits go by UTC days, and lock nobody out."""

import os
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intake.rates import Allowance, Rates
from tests.intake.test_rates import HOME, Clock, charged, files_of, rates_in
from tests.intake.test_spool import opened, record

LEAP = datetime(2028, 2, 28, 23, 59, 59, tzinfo=UTC)
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)


@pytest.fixture
def clock():
    return Clock()


def names_of(day):
    """The files of a day; SQLite's own beside the counts are left out."""
    return {f"keys/key-{day}", f"rates-{day}.db"}


def test_the_leap_day_is_a_day_of_its_own(tmp_path, clock):
    clock.now = LEAP
    rates = rates_in(tmp_path, clock, of_all=100)
    for day in ("2028-02-28", "2028-02-29", "2028-03-01"):
        assert charged(rates, *[HOME] * 5) == 3
        rates.forget()
        assert names_of(day) <= files_of(tmp_path)
        assert len(list(tmp_path.glob("keys/*"))) == 1
        clock.now += DAY


def test_the_last_second_of_a_day_waits_one_second(tmp_path, clock):
    clock.now = LEAP
    rates = rates_in(tmp_path, clock)

    assert rates.until_midnight_s() == 1
    clock.now += SECOND
    assert rates.until_midnight_s() == 24 * 3600


@pytest.mark.parametrize("jump", [-DAY, DAY, timedelta(days=-366), timedelta(days=366)])
def test_a_clock_that_jumps_and_is_set_right_again_locks_nobody_out(tmp_path, clock, jump):
    rates = rates_in(tmp_path, clock)
    charged(rates, *[HOME] * 5)
    clock.now += jump
    rates.forget()
    elsewhen = charged(rates, *[HOME] * 5)
    clock.now -= jump
    rates.forget()

    assert elsewhen == 3
    assert files_of(tmp_path) == set()
    assert charged(rates, *[HOME] * 5) == 3


def test_a_clock_that_jumps_in_one_process_keeps_another_from_nothing(tmp_path, clock):
    ahead, right = rates_in(tmp_path, clock, of_all=100), rates_in(tmp_path, of_all=100)
    assert charged(right, HOME) == 1
    clock.now += DAY
    assert charged(ahead, HOME) == 1
    ahead.forget()

    assert charged(right, HOME) == 1
    assert charged(ahead, HOME) == 1


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_days_are_utcs_whatever_the_machines_zone(tmp_path, monkeypatch, zone):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    days = [datetime.now(UTC).date()]
    charged(Rates(tmp_path, tmp_path / "keys", Allowance(3, 5)), HOME)
    days.append(datetime.now(UTC).date())
    monkeypatch.undo()
    time.tzset()

    assert any(names_of(day) <= files_of(tmp_path) for day in days)


FIRST = datetime(2024, 1, 1, tzinfo=UTC)
moments = st.integers(0, 6 * 366 * 24 * 3600).map(lambda second: FIRST + second * SECOND)


@settings(max_examples=30)
@given(st.lists(moments, min_size=1, max_size=6))
def test_whatever_the_clock_says_next_a_new_day_is_open_and_only_its_files_stay(
    tmp_path_factory, times
):
    root, clock = tmp_path_factory.mktemp("clock"), Clock()
    rates, before = rates_in(root, clock), None
    for moment in times:
        clock.now = moment
        let_in = charged(rates, *[HOME] * 4)
        rates.forget()

        assert let_in == (0 if moment.date() == before else 3)
        assert {path.name[4:14] for path in root.glob("keys/*")} <= {str(moment.date())}
        assert 1 <= rates.until_midnight_s() <= 24 * 3600
        before = moment.date()


def test_what_a_killed_process_left_of_a_key_goes_with_its_day(tmp_path, clock):
    rates = rates_in(tmp_path, clock)
    charged(rates, HOME)
    left = tmp_path / f"keys/key-{clock.now.date()}.new-abc"
    left.write_bytes(b"half a key")
    rates.forget()
    assert left.exists()

    clock.now += DAY
    rates.forget()
    assert files_of(tmp_path) == set()


def test_a_spool_file_from_the_future_waits_for_no_time(tmp_path):
    spool = opened(tmp_path)
    spool.keep(record())
    os.utime(next(spool.waiting()).path, (time.time() + 1e6,) * 2)

    assert spool.backlog() == (1, 0.0, 0)
