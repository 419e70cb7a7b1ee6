"""Disks that are full, read-only or broken: 503 and when to come back, until they work again."""

import errno
import os
import resource
import signal

import httpx
import pytest
from fastapi.testclient import TestClient

from intake.app import create_app
from intake.parts import make_parts
from tests.factories import event, upload
from tests.intake.ledger import kept_in
from tests.intake.served import NEAR, free_port, served, settings_in

KB = 1024
LARGE = {"events": [event("thought", "words " * 10_000) for _ in range(3)]}
"""Of an upload of 180 KB, which needs more of a disk than the counts of a few."""


def tried(url, number, **more):
    """The status of one upload; a refusal is the contract's."""
    answer = httpx.post(f"{url}/transcripts", json=upload(number, **more))
    if answer.status_code != 200:
        assert (answer.status_code, answer.json()) == (503, {"error": "storage_unavailable"})
        assert int(answer.headers["Retry-After"]) > 0
    return answer.status_code


def ids_kept(home):
    return sorted(one.upload_id for one in kept_in(home))


def ids(*numbers):
    return sorted(upload(number)["upload_id"] for number in numbers)


# ------------------------------------------------------------------ doubles, at each step


class FailingDisk:
    """Fails one of the syncs that an upload needs, once."""

    def __init__(self, code, step):
        self.code, self.left = code, step

    def sync(self, handle):
        """In place of `os.fsync`."""
        self.left -= 1
        if self.left == 0:
            raise OSError(self.code, os.strerror(self.code))
        os.fsync(handle)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("step", [1, 2], ids=["file", "folder"])
def test_a_sync_that_fails_is_no_200_and_the_same_upload_again_is_kept_once(tmp_path, code, step):
    parts = make_parts(settings_in(tmp_path))
    with TestClient(create_app(parts), client=NEAR) as client:
        parts.spool._sync = FailingDisk(code, step).sync
        refused = client.post("/transcripts", json=upload())
        taken = client.post("/transcripts", json=upload())

    assert (refused.status_code, refused.json()) == (503, {"error": "storage_unavailable"})
    assert int(refused.headers["Retry-After"]) > 0
    assert taken.status_code == 200
    assert ids_kept(tmp_path) == ids(1)
    assert list((tmp_path / "spool").iterdir()) == []


# ------------------------------------------------------------------ the real program, any machine


def limit(process, kind, most):
    """Let a process have no more of something; without `most`, as much as before."""
    _soft, hard = resource.prlimit(process.pid, kind)
    resource.prlimit(process.pid, kind, (hard if most is None else most, hard))


def test_files_that_may_not_grow_let_nothing_in_until_they_may_again(tmp_path):
    with served(tmp_path) as (url, process):
        before = tried(url, 1)
        limit(process, resource.RLIMIT_FSIZE, 0)  # not even the counts
        nothing = [tried(url, number) for number in (2, 3)]
        limit(process, resource.RLIMIT_FSIZE, 100 * KB)  # the counts, and small records
        some = [tried(url, 4), tried(url, 5, **LARGE)]
        limit(process, resource.RLIMIT_FSIZE, None)
        after = tried(url, 5, **LARGE)
        process.send_signal(signal.SIGTERM)
        process.wait()

    assert [before, *nothing, *some, after] == [200, 503, 503, 200, 503, 200]
    assert ids_kept(tmp_path) == ids(1, 4, 5)
    assert list((tmp_path / "spool").iterdir()) == []


def test_no_more_open_files_let_nothing_in_until_there_are_some_again(tmp_path):
    with served(tmp_path) as (url, process), httpx.Client(base_url=url) as phone:
        before = phone.post("/transcripts", json=upload(1)).status_code
        limit(process, resource.RLIMIT_NOFILE, 3)  # all that are new need a higher number
        refused = phone.post("/transcripts", json=upload(2))
        limit(process, resource.RLIMIT_NOFILE, None)
        after = phone.post("/transcripts", json=upload(2)).status_code
        process.send_signal(signal.SIGTERM)
        process.wait()

    assert (before, refused.status_code, after) == (200, 503, 200)
    assert refused.json() == {"error": "storage_unavailable"}
    assert ids_kept(tmp_path) == ids(1, 2)


def test_it_starts_on_a_full_disk_says_so_and_works_once_there_is_room(tmp_path):
    private, full = free_port(), ["sh", "-c", 'ulimit -S -f 0; exec "$@"', "sh"]
    with served(tmp_path) as (url, process):
        (tmp_path / "depot").write_text("away")
        assert tried(url, 1) == 200
        process.kill()
        process.wait()
    with served(tmp_path, private, inside=full) as (url, process):
        refused = tried(url, 2)
        unready = httpx.get(f"http://127.0.0.1:{private}/ready").json()["unready"]
        (tmp_path / "depot").unlink()
        limit(process, resource.RLIMIT_FSIZE, None)
        taken = tried(url, 2)
        process.send_signal(signal.SIGTERM)
        process.wait()

    assert (refused, unready, taken) == (503, ["limits"], 200)
    assert ids_kept(tmp_path) == ids(1, 2)
