"""Real processes: nothing is patched, and every test leaves none behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from loop.leash import descendants
from tests.processes import PATIENCE, gone, until

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
DAEMON = (
    "import subprocess, sys, time;"
    "subprocess.Popen([sys.executable, '-c', sys.argv[1]], start_new_session=True);"
    "time.sleep(float(sys.argv[2]))"
)


@contextmanager
def leashed(*command: str, grace: str = "0.3") -> Iterator[Any]:
    started = [sys.executable, "-m", "loop.leash", "--grace", grace, "--", *command]
    with subprocess.Popen(started, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def python(pid: int, count: int) -> list[int]:
    """Descendants of the leash, once there are `count` and the last has begun to run Python."""

    def ready():
        found = descendants(pid)
        return found if len(found) == count and b"-c" in _cmdline(found[-1]) else None

    return until(ready)


def _cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize("status", [0, 3])
def test_a_leash_ends_with_the_status_of_its_command(status):
    with leashed(sys.executable, "-c", f"raise SystemExit({status})") as process:
        ended = process.wait(PATIENCE)

    assert ended == status


def test_a_command_that_cannot_be_started_is_status_127():
    with leashed("/nowhere/at/all") as process:
        ended = process.wait(PATIENCE)

    assert ended == 127


def test_output_passes_through_untouched():
    with leashed(sys.executable, "-c", "print('hello')") as process:
        said = process.stdout.read()

    assert said == b"hello\n"


def test_letting_go_stops_the_command():
    with leashed(sys.executable, "-c", "import time; time.sleep(600)", grace="30") as process:
        (child,) = python(process.pid, 1)
        process.stdin.close()
        status = process.wait(PATIENCE)

    assert status == 128 + signal.SIGTERM
    assert gone(child)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_leash_that_is_told_to_stop_stops_the_command(number):
    with leashed(sys.executable, "-c", "import time; time.sleep(600)") as process:
        (child,) = python(process.pid, 1)
        process.send_signal(number)
        process.wait(PATIENCE)

    assert gone(child)


def test_a_command_that_ignores_the_polite_signal_is_killed():
    with leashed(sys.executable, "-c", STUBBORN + "  # -c") as process:
        (child,) = python(process.pid, 1)
        time.sleep(0.2)  # long enough to have set its handler; either way it must end
        process.stdin.close()
        process.wait(PATIENCE)

    assert gone(child)


def test_what_the_command_started_in_a_session_of_its_own_is_killed_too():
    with leashed(sys.executable, "-c", DAEMON, STUBBORN, "600") as process:
        found = python(process.pid, 2)
        process.stdin.close()
        process.wait(PATIENCE)

    assert all(gone(pid) for pid in found)


def test_what_an_ended_command_left_behind_is_killed(tmp_path):
    parent = DAEMON.replace("time.sleep(float(sys.argv[2]))", "open(sys.argv[2]).read()")
    os.mkfifo(go := tmp_path / "go")
    with leashed(sys.executable, "-c", parent, STUBBORN, str(go)) as process:
        found = python(process.pid, 2)
        go.write_text("now")
        status = process.wait(PATIENCE)

    assert status == 0
    assert all(gone(pid) for pid in found)


def test_a_killed_leash_takes_the_command_with_it():
    with leashed(sys.executable, "-c", "import time; time.sleep(600)") as process:
        (child,) = python(process.pid, 1)
        os.kill(process.pid, signal.SIGKILL)
        until(lambda: gone(child))

    assert gone(child)


def test_a_leash_without_a_command_says_how_it_is_used():
    with leashed() as process:
        status = process.wait(PATIENCE)

    assert status == 2
