"""What a machine needs before anything is started; a problem is a sentence that says what to do.

Standard library only: `make` asks before it makes the virtual environment, by
`python -m deployments.preflight`, with `--ports` where services will be started.
"""

import argparse
import fcntl
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from loop.errors import LoopError

LOCAL = "127.0.0.1"
PORTS = {
    "prefect": 4200,
    "intake": 8010,
    "intake_private": 8011,
    "labeller": 8020,
    "releases": 8030,
    "reports": 8040,
}
"""The usual port of each service; intake has one for phones and one for its operator."""
ADDRESSES, LOCK = "addresses.json", "up.lock"
"""In LOOP_HOME: where its services listened last, and what a running `make run` holds."""
PYTHON = (3, 11)
FREE_DISK = 4 * 1024**3
FREE_MEMORY = 3 * 1024**3
PORTS_TRIED = 50
SETTLING = 15.0
"""Seconds that the processes of a start that was killed may hold their ports."""


class Unfit(LoopError):
    """A machine that cannot run the loop as it is; `problems` are sentences."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(self.problems)


def check_machine(home: Path, llama_built: bool) -> None:
    """Nothing, if this machine can run the loop.

    Args:
        home: LOOP_HOME, which need not exist yet.
        llama_built: There is a llama.cpp; to build one, a compiler is needed.

    Raises:
        Unfit: It cannot; all the reasons together.
    """
    if problems := tuple(_problems(home, llama_built)):
        raise Unfit(problems)


def _problems(home: Path, llama_built: bool) -> Iterator[str]:
    if sys.version_info[:2] != PYTHON:
        found = ".".join(map(str, sys.version_info[:2]))
        yield f"Python: expected 3.11, this is {found}; make PYTHON=/path/to/python3.11"
    if (free := shutil.disk_usage(_existing(home)).free) < FREE_DISK:
        yield f"disk: expected {_gib(FREE_DISK)} free for {home}, found {_gib(free)}"
    if (memory := _free_memory()) < FREE_MEMORY:
        yield f"memory: expected {_gib(FREE_MEMORY)} available, found {_gib(memory)}"
    if not llama_built:
        yield from _missing_compilers()


def _existing(path: Path) -> Path:
    path = path.absolute()
    return path if path.exists() else _existing(path.parent)


def some_llama_built(llama: Path) -> bool:
    """Whether some llama.cpp was built there; whether it is today's, only an installed loop knows.

    `make run` asks again once it is installed, by `deployments.build_llama.is_built`.
    """
    return (llama / "build.json").is_file()


def _missing_compilers() -> Iterator[str]:
    for variable, names in (("CC", ("cc", "gcc", "clang")), ("CXX", ("c++", "g++", "clang++"))):
        named = os.environ.get(variable)
        if not any(shutil.which(name) for name in ([named] if named else names)):
            yield (
                f"compiler: expected one of {', '.join(names)} to build llama.cpp once, found "
                "none; on Debian: apt-get install build-essential"
            )


def _free_memory() -> int:
    """Bytes that programs can still get, without pushing others out."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return FREE_MEMORY


def _gib(count: int) -> str:
    return f"{count / 1024**3:.1f} GiB"


def choose_ports(
    wanted: Mapping[str, int], say: Callable[[str], None], settling: float = SETTLING
) -> dict[str, int]:
    """The wanted port of each service, or where that is taken the next free one.

    Args:
        wanted: The ports of the last start, or the usual ones.
        say: Told of every port that is not the wanted one.
        settling: Seconds to wait for ports that a killed start may still hold.

    Raises:
        Unfit: No free port is near.
    """
    _wait_until_free(list(wanted.values()), settling)
    chosen: dict[str, int] = {}
    for service, port in wanted.items():
        chosen[service] = _next_free(port, set(chosen.values()))
        if chosen[service] != port:
            say(f"port {port} is taken: {service} listens on {chosen[service]}")
    return chosen


def _wait_until_free(ports: list[int], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not all(is_free(port) for port in ports):
        time.sleep(0.5)


def _next_free(port: int, ours: set[int]) -> int:
    for candidate in range(port, port + PORTS_TRIED):
        if candidate not in ours and is_free(candidate):
            return candidate
    raise Unfit((f"port {port}: it and the next {PORTS_TRIED - 1} are taken",))


def is_free(port: int) -> bool:
    """Whether a service could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOCAL, port))
        except OSError:
            return False
    return True


def announce_ports(home: Path, say: Callable[[str], None]) -> None:
    """Say which usual ports are taken, and which take their place; nothing is written.

    Raises:
        Unfit: No free port is near.
    """
    if is_locked(home):
        return  # what listens there is ours, and `make run` says by itself that it runs already
    known = known_ports(home)
    choose_ports(PORTS | known, say, SETTLING if known else 0.0)


def is_locked(home: Path) -> bool:
    """Whether a `make run` works in this home now."""
    try:
        with (home / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def known_ports(home: Path) -> dict[str, int]:
    """Where the services of this home listened last; nothing where that cannot be read."""
    try:
        found = json.loads((home / ADDRESSES).read_bytes())
        return {name: int(found[name]) for name in PORTS}
    except (OSError, ValueError, LookupError, TypeError):
        return {}


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def main(arguments: Sequence[str]) -> int:
    """Check this machine for the home and build that the environment names."""
    parser = argparse.ArgumentParser(prog="python -m deployments.preflight")
    parser.add_argument("--ports", action="store_true", help="services will be started, too")
    sent = parser.parse_args(arguments)
    home = Path(os.environ.get("LOOP_HOME") or ".loop")
    llama = Path(os.environ.get("LOOP_LLAMA_CPP") or home / "llama.cpp")
    try:
        check_machine(home, some_llama_built(llama))
        if sent.ports:
            announce_ports(home, _say)
    except Unfit as unfit:
        sys.stderr.write(f"{unfit}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
