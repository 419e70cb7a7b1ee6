"""`make soak`: a real intake for an hour under kills, stops, slow clients and a depot that is away.

Half of the time goes to many short lives, each ended at a random moment, half to one long life that
must not grow. Then the phones' own ledger is compared with what is kept. SOAK_MINUTES says how
long, SOAK_TIMES how many times the expected rate.
"""

import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from subprocess import Popen
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from loop.values import utc_now
from tests.factories import event, upload
from tests.intake.ledger import Verdict, compared, kept_in
from tests.intake.phones import Phones
from tests.intake.served import connected, served
from tests.processes import until

EXPECTED_A_SECOND = 10_000 / 86_400
"""What all phones together may send on one day."""
PHONES, SLOW = 8, 20
CONNECTIONS = 2 * (PHONES + SLOW)
"""So many descriptors may come and go: those of now, and those that are not closed yet."""
ANSWERS = {200, 503}
MOST_GROWTH = 1.5
"""Of memory and of open descriptors over the long life, from when it is warm to its end."""
WARM = 0.2
"""The share of the long life after which it has loaded what it needs."""
HALF = b"POST /transcripts HTTP/1.1\r\nHost: intake\r\nContent-Length: 9999\r\n\r\n{"
MB = 1 << 20


@dataclass(frozen=True)
class Plan:
    """How long, and how hard."""

    seconds: float = 3600.0
    times: float = 100.0
    """The expected rate of uploads."""
    seed: int = 1


class Sample(NamedTuple):
    """What a process takes."""

    memory: int
    """Bytes resident."""
    descriptors: int


@dataclass(frozen=True)
class Outcome:
    """What a soak found."""

    lives: int
    kills: int
    acknowledged: int
    kept: int
    statuses: dict[int, int]
    verdict: Verdict
    samples: tuple[Sample, ...]
    """Of the long life, in order."""

    @property
    def warm(self) -> Sample:
        """What the long life took once it was warm."""
        return self.samples[int(len(self.samples) * WARM)]


def complaints(found: Outcome) -> list[str]:
    """What speaks against this intake, in sentences; empty where nothing does."""
    warm, last = found.warm, found.samples[-1]
    known = {
        "nothing was acknowledged, so nothing is shown": not found.acknowledged,
        "nothing was killed, so nothing is shown": not found.kills,
        f"lost: {', '.join(found.verdict.lost)}": found.verdict.lost,
        f"kept twice: {', '.join(found.verdict.doubled)}": found.verdict.doubled,
        f"answers other than {sorted(ANSWERS)}: {found.statuses}": set(found.statuses) - ANSWERS,
        f"memory grew from {warm.memory} to {last.memory} bytes": (
            last.memory > warm.memory * MOST_GROWTH
        ),
        f"descriptors grew from {warm.descriptors} to {last.descriptors}": (
            last.descriptors > warm.descriptors * MOST_GROWTH + CONNECTIONS
        ),
    }
    return [sentence for sentence, applies in known.items() if applies]


class Soak:
    """One soak in one folder."""

    def __init__(self, plan: Plan, home: Path, tell: Callable[[str], None]) -> None:
        self.phones = Phones(_twenty_kilobytes, PHONES / (plan.times * EXPECTED_A_SECOND))
        self._plan, self._home, self._tell = plan, home, tell
        self._moments, self._begun = random.Random(plan.seed), time.monotonic()
        self._lives = self._kills = 0

    def run(self) -> Outcome:
        """Short lives, a long one, and the comparison."""
        while (left := self._plan.seconds / 2 - self._gone()) > 0:
            by = self._moments.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
            self._live(min(left, self._moments.uniform(2, 20)), by)
        samples = self._live(self._plan.seconds - self._gone(), signal.SIGTERM)
        with served(self._home) as (_url, process):
            _end(process, signal.SIGTERM)
        return self._outcome(tuple(samples))

    def _live(self, seconds: float, by: signal.Signals) -> list[Sample]:
        """One life, and what it took each second; its depot is away for some of it."""
        self._lives += 1
        self._kills += by is signal.SIGKILL
        samples: list[Sample] = []
        with served(self._home) as (url, process), self.phones.uploading(url, PHONES):
            ends = time.monotonic() + seconds
            while not samples or time.monotonic() < ends:
                self._tell(self._progress())
                away = self._moments.random() < 0.3
                with _slow_clients(url), _depot_away(self._home, process, away):
                    samples += _sampled(process, min(ends, time.monotonic() + 30))
            _end(process, by)
        return samples

    def _gone(self) -> float:
        return time.monotonic() - self._begun

    def _progress(self) -> str:
        left = timedelta(seconds=max(0.0, self._plan.seconds - self._gone()))
        return (
            f"life {self._lives}, {self._gone() / 60:.0f} of {self._plan.seconds / 60:.0f} minutes,"
            f" {len(self.phones.acknowledged)} acknowledged;"
            f" ends about {utc_now() + left:%H:%M} UTC"
        )

    def _outcome(self, samples: tuple[Sample, ...]) -> Outcome:
        kept, known = kept_in(self._home), self.phones.acknowledged
        return Outcome(
            lives=self._lives,
            kills=self._kills,
            acknowledged=len(known),
            kept=len(kept),
            statuses=dict(self.phones.statuses),
            verdict=compared(known, kept),
            samples=samples,
        )


def _twenty_kilobytes(number: int) -> dict[str, Any]:
    told = "the clock was wrong and the tool said so, twice; "
    return upload(number, events=[event("thought", told * 4) for _ in range(90)])


@contextmanager
def _slow_clients(url: str) -> Iterator[None]:
    """Half of them send nothing, half a part of a body; the service closes them all in time."""
    lines = [connected(url) for _ in range(SLOW)]
    for line in lines[::2]:
        line.sendall(HALF)
    try:
        yield
    finally:
        for line in lines:
            line.close()


@contextmanager
def _depot_away(home: Path, process: Popen[bytes], away: bool) -> Iterator[None]:
    """Where it is away, a file has its name."""
    depot, elsewhere = home / "depot", home / "depot-away"
    if not away or not depot.exists():
        yield
        return
    with _paused(process):
        depot.rename(elsewhere)
        depot.touch()
    try:
        yield
    finally:
        with _paused(process):
            depot.unlink()
            elsewhere.rename(depot)


@contextmanager
def _paused(process: Popen[bytes]) -> Iterator[None]:
    """Two changes are one to a process that stands still meanwhile, or has ended."""
    process.send_signal(signal.SIGSTOP)
    until(lambda: process.poll() is not None or _state_of(process) == "T")
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def _state_of(process: Popen[bytes]) -> str:
    stat = Path(f"/proc/{process.pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0]


def _sampled(process: Popen[bytes], ends: float) -> list[Sample]:
    samples = [_sample(process)]
    while (left := ends - time.monotonic()) > 0:
        time.sleep(min(1.0, left))
        samples.append(_sample(process))
    return samples


def _sample(process: Popen[bytes]) -> Sample:
    proc = Path(f"/proc/{process.pid}")
    pages = int((proc / "statm").read_text().split()[1])
    return Sample(pages * os.sysconf("SC_PAGE_SIZE"), len(list((proc / "fd").iterdir())))


def _end(process: Popen[bytes], by: signal.Signals) -> None:
    process.send_signal(by)
    process.wait()


def table_of(found: Outcome) -> Table:
    """What a person reads at the end."""
    table = Table("", "found", title="soak of intake")
    warm, last = found.warm, found.samples[-1]
    most = Sample(*(max(each) for each in zip(*found.samples, strict=True)))
    rows = {
        "lives, of them killed": f"{found.lives}, {found.kills}",
        "answers by status": ", ".join(f"{n} of {s}" for s, n in sorted(found.statuses.items())),
        "acknowledged, kept": f"{found.acknowledged}, {found.kept}",
        "lost, kept twice": f"{len(found.verdict.lost)}, {len(found.verdict.doubled)}",
        "memory warm, most, last": " ".join(f"{s.memory // MB} MB" for s in (warm, most, last)),
        "descriptors warm, most, last": " ".join(str(s.descriptors) for s in (warm, most, last)),
    }
    for row in rows.items():
        table.add_row(*row)
    return table


def main() -> int:
    """1 where something speaks against this intake."""
    minutes = float(os.environ.get("SOAK_MINUTES", "60"))
    times = float(os.environ.get("SOAK_TIMES", "100"))
    console = Console()
    with tempfile.TemporaryDirectory(prefix="soak-") as home:
        found = Soak(Plan(minutes * 60, times), Path(home), console.print).run()
    console.print(table_of(found))
    for sentence in complaints(found):
        console.print(f"[red]{sentence}[/red]")
    return 1 if complaints(found) else 0


if __name__ == "__main__":
    sys.exit(main())
