"""A real disk that is full or read-only, under the real program; the doubles are in test_disk."""

import signal

import pytest

from tests.intake.ledger import Verdict, compared, kept_in
from tests.intake.phones import Phones
from tests.intake.served import served
from tests.intake.small_disk import fill_bytes, fill_inodes, on_small_disk, remount, seen_by
from tests.intake.test_disk import ids, ids_kept, tried
from tests.processes import until

FINE = Verdict([], [])


def shipped(home, count):
    """So many are in the depot, and nothing is on its way that would make room."""
    there = len(list(home.glob("depot/raw/*/*.json")))
    return there == count and not list(home.glob("spool/*")) and not list(home.rglob(".new-*"))


@pytest.mark.parametrize("fill", [fill_bytes, fill_inodes])
def test_a_full_disk_lets_nothing_in_until_there_is_room_again(tmp_path, fill):
    home, keys = tmp_path / "home", tmp_path / "keys"
    disk = on_small_disk(home, "size=4m", "nr_inodes=400")
    with served(home, inside=disk, rate_keys=keys) as (url, process):
        seen = seen_by(process, home)
        before = [tried(url, number) for number in range(5)]
        until(lambda: len(kept_in(seen)) == 5)
        filler = fill(seen)
        during = {tried(url, number) for number in range(5, 10)}
        for path in filler:
            path.unlink()
        after = [tried(url, number) for number in range(5, 10)]
        kept = kept_in(seen)

    assert (before, during, after) == ([200] * 5, {503}, [200] * 5)
    assert sorted(one.upload_id for one in kept) == ids(*range(10))


def test_a_disk_that_turns_read_only_lets_nothing_in_until_it_is_mended(tmp_path):
    spool = tmp_path / "spool"
    with served(tmp_path, inside=on_small_disk(spool)) as (url, process):
        before = tried(url, 1)
        until(lambda: not list(seen_by(process, spool).glob("*.json")))
        remount(process, spool, "ro")
        during = tried(url, 2)
        remount(process, spool, "rw")
        after = tried(url, 2)
        process.send_signal(signal.SIGTERM)
        process.wait()

    assert (before, during, after) == (200, 503, 200)
    assert ids_kept(tmp_path) == ids(1, 2)


def more_of(phones, status):
    """Wait until so many more uploads got this status."""
    before = phones.statuses[status]
    until(lambda: phones.statuses[status] > before + 20)


def test_a_disk_that_fills_and_empties_under_load_loses_nothing(tmp_path):
    home, phones = tmp_path / "home", Phones()
    disk = on_small_disk(home, "size=24m")
    with (
        served(home, inside=disk, rate_keys=tmp_path / "keys") as (url, process),
        phones.uploading(url, 8),
    ):
        for _ in range(3):
            more_of(phones, 200)
            (filler,) = fill_bytes(seen_by(process, home))
            more_of(phones, 503)
            filler.unlink()
        more_of(phones, 200)
        process.send_signal(signal.SIGSTOP)
        kept = kept_in(seen_by(process, home))
        process.kill()

    assert compared(phones.acknowledged, kept) == FINE
    assert set(phones.statuses) == {200, 503}
