"""The real program on a real socket, and what no client library sends."""

import os
import re
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import httpx

from loop.settings import Settings
from tests.processes import until

NEAR = ("127.0.0.1", 50000)
"""A client on this machine, which needs no TLS."""


def settings_in(home, **more):
    """An intake that only its own folder can fill, and that says no to nobody."""
    usual = {"home": home, "rate_keys": home / "keys", "free_bytes": 0, "free_share": 0}
    many = {"uploads_per_source": 1_000_000, "uploads_per_day": 1_000_000}
    return Settings(**usual | many | more)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def served(home, private_port=None, options=(), inside=(), program="intake", **settings):
    """The URL and the process of an intake on `home`; killed at the end if it still runs.

    `inside` is a command that becomes the one that follows it.
    """
    port, private = free_port(), private_port or free_port()
    told = settings_in(home, **settings).model_dump(exclude_none=True)
    log = (home / "intake.log").open("ab")
    process = subprocess.Popen(
        [
            *(*inside, sys.executable, "-m", program),
            *("--port", str(port), "--private-port", str(private), *options),
        ],
        env=os.environ | {f"LOOP_{name.upper()}": str(value) for name, value in told.items()},
        stderr=log,
    )
    log.close()
    try:
        until(lambda: process.poll() is not None or _listens(port))
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.kill()
        process.wait()


def _listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def connected(url):
    """A bare connection to a service."""
    return socket.create_connection(("127.0.0.1", httpx.URL(url).port), timeout=60)


def rest_of(line):
    """All that the server says until it closes; a reset is an end, too."""
    said = b""
    try:
        while more := line.recv(65536):
            said += more
    except ConnectionResetError:
        return said
    return said


def measured(private_port):
    """The metrics' lines."""
    return httpx.get(f"http://127.0.0.1:{private_port}/metrics").text.splitlines()


def most_memory(process):
    """The most bytes that a process ever had in memory at once."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
    return int(kilobytes) * 1024
