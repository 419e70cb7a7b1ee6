"""Bench: uploads a second through the real intake program, beside what its disk could do.

Sixteen clients on this machine send sessions of 3 KB; everything is on: TLS's absence apart, each
upload is counted, checked, scanned, redacted, synced and shipped. Baselines of the same run: the
same writes by sixteen threads without a service, and the same program without scan and syncs.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import httpx
from rich.console import Console

from deployments.bench_result import ROUNDS, Result, percentile
from intake.commit import GroupCommit
from intake.serving import LOOPBACK
from loop.depot import FolderDepot
from loop.errors import JobError
from loop.sessions import generate
from loop.values import Json

CLIENTS, UPLOADS, BYTES = 16, 2000, 3000
SLOW_CLIENTS, SLOW_BYTES = 200, 128 * 1024
LEAST_OF_CEILING, LEAST_OF_TWIN = 0.12, 0.4
PUBLIC, PRIVATE = 18010, 18011
SPEECH = "The relay answers and both disks are fine, so I look at the pool next."
FIRST_LINES = (
    f"POST /transcripts HTTP/1.1\r\nHost: {LOOPBACK}\r\nContent-Type: application/json\r\n"
    "X-Anonymizer-Version: 0.1.0\r\n"
)


@dataclass(frozen=True)
class Load:
    """What sixteen clients saw."""

    seconds: float
    latencies_ms: list[float]

    @property
    def rate(self) -> float:
        """Uploads a second."""
        return len(self.latencies_ms) / self.seconds


def measure(console: Console) -> Result:
    """Measure the service and its baselines in turns, and judge the two ratios."""
    ceilings, loads, twins = [], [], []
    for number in range(ROUNDS):
        console.print(f"round {number + 1} of {ROUNDS}")
        requests = [_request(body) for body in _bodies(number)]
        ceilings.append(_ceiling(requests))
        loads.append(_load(requests, "intake"))
        twins.append(_load(requests, "deployments.bench_twin"))
    ceiling, twin = median(ceilings), median(load.rate for load in twins)
    service = sorted(loads, key=lambda load: load.rate)[ROUNDS // 2]
    of_ceiling, of_twin = service.rate / ceiling, service.rate / twin
    return Result(_text(service, ceiling, twin), tuple(_failures(of_ceiling, of_twin)))


def _text(service: Load, ceiling: float, twin: float) -> str:
    ms = [percentile(service.latencies_ms, share) for share in (0.5, 0.99)]
    rows = {
        "intake, everything on": f"{service.rate:.0f}",
        "the same writes and syncs by 16 threads, no service": f"{ceiling:.0f}",
        "intake without scan and syncs": f"{twin:.0f}",
    }
    return "\n".join(
        [
            f"{CLIENTS} clients in one process, {UPLOADS} sessions of {BYTES / 1000:.0f} KB, "
            f"{os.cpu_count()} cores shared with the clients; medians of {ROUNDS} rounds.",
            "",
            "| | a second |",
            "|---|---:|",
            *(f"| {name} | {rate} |" for name, rate in rows.items()),
            "",
            f"Answers came after {ms[0]:.0f} ms at the median and {ms[1]:.0f} ms at the 99th "
            f"percentile. The service takes {service.rate / ceiling:.2f} of what the disk gives "
            f"(under {LEAST_OF_CEILING:g} fails) and {service.rate / twin:.2f} of itself without "
            f"scan and syncs (under {LEAST_OF_TWIN:g} fails). With {SLOW_CLIENTS} slow clients, "
            f"each with {SLOW_BYTES // 1024} KiB sent of twice as much, it held "
            f"{_memory_of_slow_clients():.0f} MB at most.",
        ]
    )


def _failures(of_ceiling: float, of_twin: float) -> Iterator[str]:
    if of_ceiling < LEAST_OF_CEILING:
        yield f"intake takes {of_ceiling:.2f} of the disk's rate, expected {LEAST_OF_CEILING:g}"
    if of_twin < LEAST_OF_TWIN:
        yield f"intake takes {of_twin:.2f} of its twin's rate, expected {LEAST_OF_TWIN:g}"


# --- what is sent --------------------------------------------------------------------------------


def _bodies(number: int) -> Iterator[bytes]:
    """Sessions of one round, all under ids of their own."""
    sessions = generate(number, UPLOADS // 10)
    for at in range(UPLOADS):
        upload = dict(sessions[at % len(sessions)].upload)
        upload["upload_id"] = f"00000000-0000-4000-8000-{number:04x}{at:08x}"
        yield _filled(upload)


def _filled(upload: dict[str, Json]) -> bytes:
    """A session of at least `BYTES`, with some more of the device's thoughts."""
    body = json.dumps(upload).encode()
    missing = max(0, BYTES - len(body)) // len(SPEECH)
    thought = {"type": "thought", "relative_ts": "+60s", "payload": SPEECH * (missing + 1)}
    return json.dumps({**upload, "events": [*_events(upload), thought]}).encode()


def _events(upload: dict[str, Json]) -> list[Json]:
    events = upload["events"]
    return list(events) if isinstance(events, list) else []


def _request(body: bytes) -> bytes:
    return f"{FIRST_LINES}Content-Length: {len(body)}\r\n\r\n".encode() + body


# --- what the disk could do ----------------------------------------------------------------------


def _ceiling(contents: Sequence[bytes]) -> float:
    """Files a second, written as intake's spool does, by as many threads as there are clients."""
    with _folder() as folder, ThreadPoolExecutor(CLIENTS) as pool:
        commit = GroupCommit(lambda: _sync(folder))
        began = time.perf_counter()
        list(pool.map(partial(_write, folder, commit), range(len(contents)), contents))
        return len(contents) / (time.perf_counter() - began)


def _write(folder: Path, commit: GroupCommit, number: int, data: bytes) -> None:
    temporary = folder / f".new-{number}"
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.link(temporary, folder / f"{number}.json")
    temporary.unlink()
    commit()


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# --- the service ---------------------------------------------------------------------------------


def _load(requests: Sequence[bytes], module: str) -> Load:
    """What clients see of a fresh service; everything it acknowledged must be kept."""
    with _folder() as home:
        with _served(home, module):
            load = asyncio.run(_sent_by_all(requests))
        kept = sum(1 for _ in FolderDepot(home / "depot").keys("raw/"))
        if kept != len(requests):
            raise JobError(module, 0, f"expected {len(requests)} uploads in the depot, got {kept}")
        return load


async def _sent_by_all(requests: Sequence[bytes]) -> Load:
    waiting, latencies = list(requests), list[float]()
    began = time.perf_counter()
    await asyncio.gather(*(_send(waiting, latencies) for _ in range(CLIENTS)))
    return Load(time.perf_counter() - began, latencies)


async def _send(waiting: list[bytes], latencies: list[float]) -> None:
    """Send what nobody has sent yet, one after the other over one connection."""
    answers, line = await asyncio.open_connection(LOOPBACK, PUBLIC)
    while waiting:
        began = time.perf_counter()
        line.write(waiting.pop())
        head = await answers.readuntil(b"\r\n\r\n")
        await answers.readexactly(2)  # {}
        latencies.append((time.perf_counter() - began) * 1000)
        if b" 200 " not in head.partition(b"\r\n")[0]:
            raise JobError("intake", 0, head.decode())
    line.close()


def _memory_of_slow_clients() -> float:
    """The most memory, in MB, while many clients have sent half of a large body."""
    with _folder() as home, _served(home, "intake") as process:
        asyncio.run(_half_sent())
        status = Path(f"/proc/{process.pid}/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) / 1024


async def _half_sent() -> None:
    half = f"{FIRST_LINES}Content-Length: {SLOW_BYTES * 2}\r\n\r\n".encode() + b" " * SLOW_BYTES
    lines = [(await asyncio.open_connection(LOOPBACK, PUBLIC))[1] for _ in range(SLOW_CLIENTS)]
    for line in lines:
        line.write(half)
    await asyncio.gather(*(line.drain() for line in lines))
    await asyncio.sleep(1)
    for line in lines:
        line.close()


@contextmanager
def _served(home: Path, module: str) -> Iterator[subprocess.Popen[bytes]]:
    many = {"LOOP_UPLOADS_PER_SOURCE": "1000000", "LOOP_UPLOADS_PER_DAY": "1000000"}
    many |= {"LOOP_FREE_SHARE": "0", "LOOP_SOURCE_SHARE": "1"}
    places = {"LOOP_HOME": str(home), "LOOP_RATE_KEYS": str(home / "keys")}
    command = [sys.executable, "-m", module, "--port", str(PUBLIC), "--private-port", str(PRIVATE)]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, env=os.environ | many | places, stderr=log)  # noqa: S603  (our own)
    try:
        _wait_until_ready(process, home / "log")
        yield process
    finally:
        process.terminate()
        process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        if process.poll() is not None:
            raise JobError("intake", process.returncode, log.read_text())
        if _is_ready():
            return
        time.sleep(0.1)
    raise JobError("intake", 0, f"not ready after 20 s: {log.read_text()}")


def _is_ready() -> bool:
    try:
        return httpx.get(f"http://{LOOPBACK}:{PRIVATE}/ready").is_success
    except httpx.TransportError:
        return False


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder on the disk that the project is on: a temporary one may be memory."""
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=Path(__file__).parents[1]) as folder:
        yield Path(folder)
