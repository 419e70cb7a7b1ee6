"""The key of the day: whole, for one user, in memory, and gone with its day."""

from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from fastapi.testclient import TestClient

from intake.app import create_app
from intake.day_key import day_key, is_in_memory
from intake.parts import make_parts
from loop.errors import SpoolError
from tests.intake.served import NEAR, settings_in

TODAY = date(2028, 2, 29)


def test_a_day_has_one_key_and_another_day_another(tmp_path):
    key = day_key(tmp_path, TODAY)

    assert len(key) == 32
    assert day_key(tmp_path, TODAY) == key
    assert day_key(tmp_path, date(2028, 3, 1)) != key
    assert {path.name for path in tmp_path.iterdir()} == {"key-2028-02-29", "key-2028-03-01"}


@pytest.mark.parametrize("left", [b"", b"short"])
def test_a_key_that_would_hide_nobody_is_not_used(tmp_path, left):
    (tmp_path / f"key-{TODAY}").write_bytes(left)

    with pytest.raises(SpoolError, match=rf"expected 32 bytes, got {len(left)}; delete it"):
        day_key(tmp_path, TODAY)


@pytest.fixture
def in_memory():
    with TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def test_memory_and_no_memory_are_told_apart(in_memory):
    assert is_in_memory(in_memory)
    assert not is_in_memory(Path("/proc"))


def warned(home, keys, caplog):
    """Whether the log of a start warns of where the key lies."""
    caplog.clear()
    with TestClient(create_app(make_parts(settings_in(home, rate_keys=keys))), client=NEAR):
        return "LOOP_RATE_KEYS: " in caplog.text


def test_a_key_that_a_disk_may_keep_is_warned_of_at_the_start(tmp_path, in_memory, caplog):
    beside = tmp_path / "keys"

    assert warned(tmp_path, beside, caplog) == (not is_in_memory(beside))
    assert not warned(tmp_path, in_memory, caplog)
