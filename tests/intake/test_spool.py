import errno
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from intake.seen import Seen
from intake.spool import ASIDE, Room, Spool
from loop.errors import SpoolError
from loop.upload import Record
from tests.factories import upload
from tests.intake.forgetful import ForgetfulDisk


def record(number=1, **more):
    return Record(received="2026-03-01", privacy="1", redacted={}, upload=upload(number, **more))


def opened(root, **more):
    (root / "spool").mkdir(exist_ok=True)
    spool = Spool(root / "spool", room=Room(), **more)
    spool.open()
    return spool


def test_what_is_kept_is_waiting_under_its_upload_id(tmp_path):
    spool = opened(tmp_path)

    spool.keep(record())

    (waiting,) = spool.waiting()
    assert waiting.upload_id == upload()["upload_id"]
    assert Record.from_bytes(waiting.path.read_bytes()) == record()


def test_a_record_is_synced_then_named_and_its_folder_synced_before_keep_returns(tmp_path):
    """The order that a power cut at any point survives: bytes, name, folder."""
    seen = []

    def watch(handle):
        is_folder = stat.S_ISDIR(os.fstat(handle).st_mode)
        seen.append(("folder" if is_folder else "file", len(list(spool.waiting()))))

    spool = opened(tmp_path, sync=watch)
    spool.keep(record())

    assert seen == [("file", 0), ("folder", 1)]


def test_a_repeat_also_waits_until_the_folder_is_synced(tmp_path):
    kinds = []

    def watch(handle):
        kinds.append(stat.S_ISDIR(os.fstat(handle).st_mode))

    spool = opened(tmp_path, sync=watch)
    spool.keep(record())
    spool.keep(record())

    assert kinds[-1] is True


def test_the_same_upload_a_hundred_times_at_once_is_one_file(tmp_path):
    spool = opened(tmp_path)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(spool.keep, [record()] * 100))

    assert [path.name for path in spool.root.iterdir() if path.name != ASIDE] == [
        waiting.path.name for waiting in spool.waiting()
    ]
    assert len(list(spool.waiting())) == 1


def test_the_first_copy_stays_as_it_was(tmp_path):
    spool = opened(tmp_path)
    spool.keep(record())
    later = record().model_copy(update={"privacy": "2"})

    spool.keep(later)

    (waiting,) = spool.waiting()
    assert Record.from_bytes(waiting.path.read_bytes()).privacy == "1"


def test_another_body_under_one_id_is_kept_beside_the_first(tmp_path):
    spool = opened(tmp_path)

    spool.keep(record())
    spool.keep(record(user_comment="another"))

    assert len(list(spool.waiting())) == 2


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
def test_a_disk_that_fails_leaves_nothing_and_says_so(tmp_path, code):
    def fail(_handle):
        raise OSError(code, os.strerror(code))

    spool = opened(tmp_path, sync=fail)

    with pytest.raises(SpoolError):
        spool.keep(record())

    assert list(spool.root.iterdir()) == []


def test_without_its_folder_the_spool_is_unavailable_and_recovers_with_it(tmp_path):
    spool = Spool(tmp_path / "spool", Room())

    for attempt in (spool.check, lambda: spool.keep(record())):
        with pytest.raises(SpoolError):
            attempt()

    spool.open()
    spool.check()
    spool.keep(record())
    assert len(list(spool.waiting())) == 1


def test_a_nearly_full_disk_takes_nothing_more(tmp_path):
    spool = Spool(tmp_path, Room(free_bytes=1 << 62))

    with pytest.raises(SpoolError, match="bytes free"):
        spool.check()


def test_opening_drops_what_a_killed_process_left_and_nothing_else(tmp_path):
    spool = opened(tmp_path)
    spool.keep(record())
    (spool.root / ".new-abc").write_text("half")

    spool.open()

    assert not (spool.root / ".new-abc").exists()
    assert len(list(spool.waiting())) == 1


def test_what_waits_comes_in_the_order_in_which_it_arrived(tmp_path):
    spool = opened(tmp_path)
    for number in range(5):
        spool.keep(record(number))
    paths = [one.path for one in spool.waiting()]
    for path, second in zip(paths, (3, 1, 4, 0, 2), strict=True):
        os.utime(path, (second, second))

    assert [one.path for one in spool.waiting()] == [paths[n] for n in (3, 1, 4, 0, 2)]


def test_of_what_arrived_at_one_moment_the_name_decides(tmp_path):
    spool = opened(tmp_path)
    for number in (2, 1, 3):
        spool.keep(record(number))
    for path in spool.root.iterdir():
        os.utime(path, (1, 1))

    names = [one.path.name for one in spool.waiting()]
    assert names == sorted(names)


def test_what_another_process_ships_or_clears_away_meanwhile_is_passed_over(tmp_path):
    spool = opened(tmp_path)
    for number in range(3):
        spool.keep(record(number))
    (spool.root / "notes.txt").write_text("foreign")
    waiting = spool.waiting()
    first = next(waiting)
    for path in spool.root.glob("*.*"):
        path.unlink()

    assert first.path.name.startswith(upload(0)["upload_id"])
    assert list(waiting) == []
    assert spool.set_aside_by == {}


def names_and_bytes(spool):
    return {one.path.name: one.path.read_bytes() for one in spool.waiting()}


def test_after_a_power_cut_at_any_moment_everything_kept_before_is_there_and_whole(tmp_path):
    disk = ForgetfulDisk(tmp_path / "spool")
    spool = opened(tmp_path, sync=disk.sync)
    for number in range(5):
        spool.keep(record(number))
        assert disk.after_power_cut() == names_and_bytes(spool)

    assert [len(cut) for cut in disk.cuts] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert b"" not in [data for cut in disk.cuts for data in cut.values()]


def test_a_name_whose_sync_failed_is_acknowledged_after_one_of_its_own_alone(tmp_path):
    disk, troubles = ForgetfulDisk(tmp_path / "spool"), [None, OSError(errno.EIO, "broken")]

    def sync(handle):
        if trouble := troubles.pop(0) if troubles else None:
            raise trouble
        disk.sync(handle)

    spool = opened(tmp_path, sync=sync)
    with pytest.raises(SpoolError):
        spool.keep(record())
    assert len(list(spool.waiting())) == 1
    assert disk.after_power_cut() == {}

    spool.keep(record())
    assert disk.after_power_cut() == names_and_bytes(spool)


def test_what_was_kept_by_many_at_once_survives_a_power_cut_too(tmp_path):
    disk = ForgetfulDisk(tmp_path / "spool")
    spool = opened(tmp_path, sync=disk.sync)

    def keep(number):
        spool.keep(record(number))
        return any(upload(number)["upload_id"] in name for name in disk.after_power_cut())

    with ThreadPoolExecutor(8) as pool:
        survived = list(pool.map(keep, range(100)))

    assert all(survived)
    assert disk.after_power_cut() == names_and_bytes(spool)


def test_a_disk_double_that_is_not_synced_forgets(tmp_path):
    disk = ForgetfulDisk(tmp_path / "spool")
    spool = opened(tmp_path, sync=lambda handle: None)
    spool.keep(record())

    assert disk.after_power_cut() == {}


def test_the_first_the_same_again_and_another_body_under_one_id_are_told_apart(tmp_path):
    spool = opened(tmp_path)
    sent = [record(), record(), record(user_comment="another"), record(2), record()]

    assert [spool.keep(one) for one in sent] == [
        "accepted",
        "duplicate",
        "divergent",
        "accepted",
        "duplicate",
    ]


def test_what_waits_is_remembered_over_a_restart(tmp_path):
    opened(tmp_path).keep(record())
    spool = opened(tmp_path)

    assert spool.keep(record()) == "duplicate"
    assert spool.keep(record(user_comment="another")) == "divergent"


def test_only_the_last_ids_are_remembered():
    seen = Seen(remembered=2)
    for upload_id in "abc":
        assert seen.add(upload_id, "1") == "accepted"

    assert seen.add("c", "2") == "divergent"
    assert seen.add("a", "2") == "accepted"


def test_too_many_that_wait_let_nothing_more_in_until_some_are_gone(tmp_path, monkeypatch):
    monkeypatch.setattr("intake.spool.COUNTED_EVERY_S", 0.0)
    monkeypatch.setattr("intake.seldom.TIMES", 0)
    spool = Spool(tmp_path / "spool", Room(uploads=2))
    spool.open()
    for number in range(2):
        spool.check()
        spool.keep(record(number))
    with pytest.raises(SpoolError, match="under 2 to wait"):
        spool.check()

    next(spool.waiting()).path.unlink()
    spool.check()


def test_a_share_of_the_disk_must_stay_free_too(tmp_path):
    with pytest.raises(SpoolError, match="bytes free"):
        Spool(tmp_path, Room(free_share=1.0)).check()


def test_a_process_that_opens_a_spool_in_use_drops_nothing_of_the_other(tmp_path):
    first, second = opened(tmp_path), Spool(tmp_path / "spool", Room())
    half = first.root / ".new-abc"
    half.write_text("being written")
    second.open()
    assert half.exists()

    first.close()
    second.open()
    assert not half.exists()


def test_a_new_folder_and_those_above_it_are_durable_before_it_is_open(tmp_path):
    synced = []

    def watch(handle):
        synced.append(str(Path(f"/proc/self/fd/{handle}").readlink()))

    Spool(tmp_path / "home/spool", Room(), sync=watch).open()

    assert synced == [str(tmp_path), str(tmp_path / "home")]
