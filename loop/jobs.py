"""Child processes: a job file in, lines of progress out, a complete output or a JobError.

The holder's side is `run_job` and `start_server`; a program (`loop.sft`, `loop.merge`, …) uses
`open_job`, `report` and `finish`. Every child runs on a leash (`loop.leash`): it cannot outlive the
process that started it.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Timer
from typing import IO, TypeVar

from pydantic import BaseModel

from loop import leash
from loop.errors import JobError
from loop.values import Digest, Json, OnProgress, Progress, digest_file, quiet

COMPLETE = "complete.json"
TAIL_BYTES = 4000
"""How much of a log an error carries."""
POLL_SECONDS = 0.2
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",  # fetching a model is never a side effect
    "OMP_WAIT_POLICY": "PASSIVE",  # spinning threads starve each other on a busy machine
    "PYTHONUNBUFFERED": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""What every child gets on top of ours."""
JobT = TypeVar("JobT", bound=BaseModel)


# A program's side


def open_job(kind: type[JobT]) -> tuple[JobT, Path]:
    """The job that the command line names, and the folder that its output belongs into."""
    file = Path(sys.argv[1]).resolve()
    return kind.model_validate_json(file.read_bytes()), file.parent / "out.partial"


def report(done: int, total: int, note: str = "") -> None:
    """Tell the holder how far the program is, as one line of JSON on standard output."""
    line = json.dumps({"done": done, "total": total, "note": note})
    sys.stdout.write(f"\n{line}\n")  # a library may have left its own line open
    sys.stdout.flush()


def finish(out: Path, facts: Mapping[str, Json]) -> None:
    """Declare the files in `out` complete: their digests, and what the making measured."""
    complete = {"files": _files(out), "facts": dict(facts)}
    (out / f".{COMPLETE}").write_text(json.dumps(complete, indent=1, sort_keys=True))
    (out / f".{COMPLETE}").rename(out / COMPLETE)


# The holder's side


def read_complete(out: Path) -> dict[str, Json]:
    """The facts of a finished output, after checking that its files are the ones declared.

    Raises:
        JobError: It was not finished, or files are missing, foreign or changed.
    """
    try:
        complete = json.loads((out / COMPLETE).read_bytes())
    except (OSError, ValueError) as error:
        raise JobError(str(out), 0, f"expected a readable {COMPLETE}, got: {error}") from error
    if (found := _files(out)) != complete["files"]:
        wrong = sorted(name for name, _ in found.items() ^ complete["files"].items())
        raise JobError(str(out), 0, f"missing, foreign or changed since it finished: {wrong}")
    facts: dict[str, Json] = complete["facts"]
    return facts


def run_job(
    program: str,
    job: BaseModel,
    work: Path,
    on_progress: OnProgress = quiet,
    timeout: float = 6 * 3600,
) -> Path:
    """Run `python -m loop.<program>` on a job; its finished output folder.

    `work` outlives a failed attempt, so a program may keep checkpoints there. The very same job
    finished in it before is not run again; another holder's running attempt is waited for.

    Args:
        program: A module of `loop`.
        job: What the program reads with `open_job`.
        work: The job's own folder: job.json, log.txt, out (finished) or out.partial (not yet).
        on_progress: Gets every reported line; may raise, which stops the program.
        timeout: Seconds of wall-clock time.

    Raises:
        JobError: The program failed, was stopped, or left an incomplete output.
    """
    command = [sys.executable, "-m", f"loop.{program}", str(work / "job.json")]
    return run_command(program, command, job, work, on_progress, timeout)


def run_command(
    program: str,
    command: Sequence[str],
    job: BaseModel,
    work: Path,
    on_progress: OnProgress,
    timeout: float,
) -> Path:
    """`run_job` for a program that another interpreter runs."""

    def follow(line: bytes) -> bool:
        if found := _progress_in(line):
            on_progress(found)
        return found is not None

    # the leash holds the lock too, so the dying child of a killed holder still counts
    with locked(work / ".lock", program, timeout) as lock:
        sent = job.model_dump_json(indent=1).encode()
        if _finished_before(work, sent):
            return work / "out"
        partial = _fresh(work, sent)
        run_logged(program, command, work / "log.txt", follow, timeout, (lock,))
        read_complete(partial)
        return partial.rename(work / "out")


def _finished_before(work: Path, sent: bytes) -> bool:
    if not (work / "out").is_dir() or (work / "job.json").read_bytes() != sent:
        return False
    with suppress(JobError):  # somebody touched it: made anew
        read_complete(work / "out")
        return True
    return False


def _fresh(work: Path, sent: bytes) -> Path:
    for name in ("out", "out.partial"):
        shutil.rmtree(work / name, ignore_errors=True)
    (work / "out.partial").mkdir()
    (work / "job.json").write_bytes(sent)
    return work / "out.partial"


def run_logged(
    program: str,
    command: Sequence[str],
    log: Path,
    on_line: Callable[[bytes], bool],
    timeout: float,
    keep_open: tuple[int, ...] = (),
) -> None:
    """Run a command on a leash to its end and keep what it says.

    Args:
        program: Its name in errors.
        command: What to run.
        log: Gets every line that is not taken.
        on_line: Takes a line (True) or leaves it to the log; may raise, which stops the command.
        timeout: Seconds of wall-clock time.
        keep_open: Descriptors that the leash holds until the command has ended.

    Raises:
        JobError: It failed or took too long.
    """
    both = subprocess.PIPE, subprocess.STDOUT  # one stream, so the log keeps the order of events
    late = Event()
    with log.open("ab", 0) as kept, _leashed(command, *both, keep_open) as process:
        timer = Timer(timeout, _expire, (late, process))
        timer.start()
        try:
            for line in process.stdout or ():
                if not on_line(line) and line.strip():
                    kept.write(line)
            status = process.wait()
        finally:
            timer.cancel()
    if late.is_set():
        raise JobError(program, None, f"not finished after {timeout:.0f} s; see {log}")
    if status:
        raise JobError(program, status, tail_of(log))


def _expire(late: Event, process: subprocess.Popen[bytes]) -> None:
    late.set()
    _let_go(process)


def _progress_in(line: bytes) -> Progress | None:
    """What a line reports; None for what a library printed."""
    try:
        return Progress(**json.loads(line))
    except (ValueError, TypeError):
        return None


@dataclass(frozen=True)
class Server:
    """A long-lived process on its leash."""

    process: subprocess.Popen[bytes]
    """The leash; the command is below it."""
    log: Path

    @property
    def running(self) -> bool:
        """False as soon as it has ended, for whatever reason."""
        return self.process.poll() is None

    def peak_bytes(self) -> int:
        """The most memory that its processes have held so far: the sum of their VmHWM."""
        return sum(_peak_of(pid) for pid in leash.descendants(self.process.pid))


@contextmanager
def start_server(command: Sequence[str], log: Path) -> Iterator[Server]:
    """A process that runs until the block ends, however it ends; its output goes to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output, _leashed(command, output, output) as process:
        yield Server(process, log)


def tail_of(log: Path) -> str:
    """The end of a log, for an error message."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        return file.read().decode(errors="replace")


@contextmanager
def _leashed(
    command: Sequence[str],
    stdout: IO[bytes] | int,
    stderr: IO[bytes] | int,
    keep_open: tuple[int, ...] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """A command on a leash that we hold; let go and waited for at the end of the block.

    A session of its own: Ctrl-C in a terminal reaches us alone, and we let go.
    """
    with subprocess.Popen(  # noqa: S603 - commands of our own
        [sys.executable, "-m", "loop.leash", "--", *command],
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        env={**os.environ, **ENVIRONMENT},
        start_new_session=True,
        pass_fds=keep_open,
    ) as process:
        try:
            yield process
        finally:
            _let_go(process)
            _wait_for_end(process)


def _let_go(process: subprocess.Popen[bytes]) -> None:
    if process.stdin:
        process.stdin.close()


def _wait_for_end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(leash.GRACE + 20)
    except subprocess.TimeoutExpired:
        process.kill()


@contextmanager
def locked(file: Path, name: str, timeout: float) -> Iterator[int]:
    """The lock that a file stands for, held by this process and whoever inherits the descriptor.

    Raises:
        JobError: `name` was still locked by others after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w") as lock:
            if _taken(lock) and _still_there(lock, file):
                yield lock.fileno()
                return
        time.sleep(POLL_SECONDS)
    raise JobError(name, None, f"{file.parent} is still in use after {timeout:.0f} s")


def _still_there(lock: IO[str], file: Path) -> bool:
    """False where the last holder has deleted the folder meanwhile."""
    return file.exists() and os.path.samestat(os.fstat(lock.fileno()), file.stat())


def _taken(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _peak_of(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def _files(out: Path) -> dict[str, Digest]:
    return {
        path.relative_to(out).as_posix(): digest_file(path)
        for path in sorted(out.rglob("*"))
        if path.is_file() and path != out / COMPLETE
    }
