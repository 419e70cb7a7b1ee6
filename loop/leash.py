"""A leash for one command: whoever holds its standard input keeps it alive, whatever happens.

`python -m loop.leash [--grace SECONDS] -- COMMAND …` runs the command and ends with its status.
When its own standard input ends (its holder let go, or died) or it is told to stop, it stops the
command and everything that the command started: first politely, then with SIGKILL. A killed leash
takes the command with it. Standard library only, Linux only.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

GRACE = 10.0
"""Seconds between the polite signal and SIGKILL."""
TICK = 0.05
"""Seconds between two looks at what is left."""
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """The calling process is killed as soon as the thread that started it ends.

    For a child between fork and exec; it does not reach that child's own children.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """Every living process below `pid`, children before grandchildren; without `pid` itself."""
    children: dict[int, list[int]] = {}
    for child, parent in _parents():
        children.setdefault(parent, []).append(child)
    found = list(children.get(pid, ()))
    for process in found:  # grows while it is walked
        found.extend(children.get(process, ()))
    return found


def _parents() -> Iterator[tuple[int, int]]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                yield int(stat.parent.name), int(parent)


def run(command: Sequence[str], grace: float = GRACE) -> int:
    """Run a command until it ends or the leash is let go; leaves no descendant.

    Returns:
        Its exit status; 128 + n where signal n ended it, 127 where it cannot be started.
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # orphans below become ours instead of init's
    wake = _wake_on_signals()
    try:
        child = subprocess.Popen(  # noqa: S603 - the command is the whole purpose
            command, stdin=subprocess.DEVNULL, process_group=0, preexec_fn=_tied_to(os.getpid())
        )
    except OSError as error:
        sys.stderr.write(f"cannot start {command[0]}: {error.strerror}\n")
        return 127
    if not _ended_before_let_go(child, wake):
        _stop(child, grace)
    _kill_rest(child)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _wake_on_signals() -> int:
    """A descriptor that becomes readable when a child ends or somebody asks us to stop."""
    readable, writable = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, lambda _number, _frame: None)
    return readable


def _tied_to(leash: int) -> Callable[[], None]:
    def tie() -> None:
        die_with_parent()
        if os.getppid() != leash:  # the leash died before the line above
            os.kill(os.getpid(), signal.SIGKILL)

    return tie


def _ended_before_let_go(child: subprocess.Popen[bytes], wake: int) -> bool:
    watched = select.poll()
    for handle in (0, wake):
        watched.register(handle, select.POLLIN)
    while child.poll() is None:
        ready = {handle for handle, _ in watched.poll()}
        if wake in ready and set(os.read(wake, 512)) - {signal.SIGCHLD}:
            return child.poll() is not None
        if 0 in ready and not os.read(0, 512):
            return child.poll() is not None
    return True


def _stop(child: subprocess.Popen[bytes], grace: float) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        child.wait(grace)


def _kill_rest(child: subprocess.Popen[bytes]) -> None:
    """Kill every descendant until none is left; what is orphaned on the way becomes our child."""
    while left := descendants(os.getpid()):
        for process in left:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(TICK)
    child.wait()


def _prctl(option: int, value: int) -> None:
    if _LIBC.prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl {option} failed")


def main(arguments: Sequence[str]) -> int:
    """Read `[--grace SECONDS] -- COMMAND …` and run the command."""
    options, mark, command = list(arguments), "--", []
    if mark in options:
        at = options.index(mark)
        options, command = options[:at], options[at + 1 :]
    if not command or (options and options[0] != "--grace"):
        sys.stderr.write("usage: python -m loop.leash [--grace SECONDS] -- COMMAND …\n")
        return 2
    return run(command, float(options[1]) if options else GRACE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
