"""Killed and stopped at random moments, many times over, while many phones upload."""

import random
import signal

import httpx

from intake.spool import ASIDE, Room, Spool
from loop.upload import Record
from loop.values import digest_json
from tests.factories import upload
from tests.intake.ledger import Verdict, compared, kept_in
from tests.intake.phones import Phones
from tests.intake.served import served
from tests.processes import until

ROUNDS, AT_ONCE = 12, 24
FINE = Verdict([], [])


def end_while_uploading(home, phones, by, after):
    """End the service once so many more uploads were answered."""
    before = len(phones.acknowledged)
    with served(home) as (url, process), phones.uploading(url, AT_ONCE):
        until(lambda: len(phones.acknowledged) >= before + after)
        process.send_signal(by)
        process.wait()


def broken_in_spool(home):
    """Names of uploads whose bytes are not what the name says."""
    waiting = Spool(home / "spool", Room()).waiting()
    return [
        one.path.name
        for one in waiting
        if digest_json(Record.from_bytes(one.path.read_bytes()).upload) != one.digest
    ]


def test_every_200_is_kept_once_over_many_kills_at_random_moments(tmp_path):
    phones, moments = Phones(), random.Random("moments")
    for number in range(ROUNDS):
        by = signal.SIGTERM if number % 4 == 3 else signal.SIGKILL
        end_while_uploading(tmp_path, phones, by, moments.randint(1, 150))
        assert broken_in_spool(tmp_path) == []
    again = sorted(phones.acknowledged)[:50]
    with served(tmp_path) as (url, process):
        answers = [httpx.post(f"{url}/transcripts", json=upload(int(one[-12:]))) for one in again]
        process.send_signal(signal.SIGTERM)
        process.wait()

    assert {answer.status_code for answer in answers} == {200}
    assert compared(phones.acknowledged, kept_in(tmp_path)) == FINE
    assert len(phones.acknowledged) > 200
    assert set(phones.statuses) <= {200, 503}
    assert [path.name for path in (tmp_path / "spool").iterdir() if path.name != ASIDE] == []
    assert list((tmp_path / "spool").glob(f"{ASIDE}/*")) == []


def test_a_spool_that_loses_one_file_does_not_pass(tmp_path):
    phones = Phones()
    end_while_uploading(tmp_path, phones, signal.SIGTERM, 10)
    next((tmp_path / "depot/raw").rglob("*.json")).unlink()

    assert len(compared(phones.acknowledged, kept_in(tmp_path)).lost) == 1
