import json
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from loop.errors import JobError
from loop.jobs import COMPLETE, finish, locked, read_complete, run_command, start_server
from loop.leash import descendants
from loop.values import OnProgress, Progress, quiet
from tests.processes import PATIENCE, gone, until

TOY = """
import os, sys, time
from pydantic import BaseModel
from loop.jobs import finish, open_job, report

class Toy(BaseModel):
    do: str

job, out = open_job(Toy)
(out.parent / "runs").open("a").write("x")
print("a library speaks")
report(1, 2, "half")
(out / "made.txt").write_text("made")
if job.do == "fail":
    sys.exit("the disk is full")
if job.do == "forget":
    sys.exit(0)
if job.do == "hang":
    time.sleep(600)
finish(out, {"size": 4})
report(2, 2)
"""


class Toy(BaseModel):
    do: str = "work"


def toy(
    tmp_path: Path, do: str = "work", on_progress: OnProgress = quiet, timeout: float = PATIENCE
) -> Path:
    program = tmp_path / "toy.py"
    program.write_text(TOY)
    work = tmp_path / "work"
    command = [sys.executable, str(program), str(work / "job.json")]
    return run_command("toy", command, Toy(do=do), work, on_progress, timeout)


def test_a_finished_job_leaves_its_files_and_facts(tmp_path):
    out = toy(tmp_path)

    assert (out / "made.txt").read_text() == "made"
    assert read_complete(out) == {"size": 4}


def test_progress_arrives_and_other_output_goes_to_the_log(tmp_path):
    seen: list[Progress] = []

    toy(tmp_path, on_progress=seen.append)

    assert seen == [Progress(1, 2, "half"), Progress(2, 2, "")]
    assert "a library speaks" in (tmp_path / "work/log.txt").read_text()


def test_the_same_finished_job_is_not_run_twice(tmp_path):
    toy(tmp_path)
    toy(tmp_path)

    assert (tmp_path / "work/runs").read_text() == "x"


def test_another_job_in_the_same_folder_starts_anew(tmp_path):
    toy(tmp_path)
    with pytest.raises(JobError):
        toy(tmp_path, do="fail")

    assert (tmp_path / "work/runs").read_text() == "xx"
    assert not (tmp_path / "work/out").exists()


def test_a_failed_program_is_an_error_with_its_last_words(tmp_path):
    with pytest.raises(JobError, match="toy exited 1, expected 0: the disk is full"):
        toy(tmp_path, do="fail")


def test_a_program_that_ends_without_finishing_has_made_nothing(tmp_path):
    with pytest.raises(JobError, match="left no complete output"):
        toy(tmp_path, do="forget")

    assert not (tmp_path / "work/out").exists()


def test_a_program_that_takes_too_long_is_stopped(tmp_path):
    with pytest.raises(JobError, match="toy was stopped: not finished after 3 s"):
        toy(tmp_path, do="hang", timeout=3)


def test_a_watcher_that_raises_stops_the_program(tmp_path, no_child_left):
    def give_up(progress):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        toy(tmp_path, do="hang", on_progress=give_up)


def test_a_killed_holder_leaves_no_program_and_the_next_one_waits_for_its_end(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)])
    until(lambda: (tmp_path / "work/out.partial/made.txt").exists())
    below = descendants(holder.pid)
    holder.kill()
    holder.wait()

    out = toy(tmp_path)

    assert len(below) == 2
    assert all(gone(pid) for pid in below)
    assert read_complete(out) == {"size": 4}


HOLDER = """
import sys
from pathlib import Path
from tests.loop.test_jobs import toy
toy(Path(sys.argv[1]), do="hang")
"""


def test_a_lock_whose_folder_its_holder_deletes_passes_to_the_next(tmp_path):
    with ThreadPoolExecutor(1) as pool:
        with locked(tmp_path / "work/.lock", "toy", PATIENCE):
            waiting = pool.submit(toy, tmp_path)
            until(waiting.running)
            shutil.rmtree(tmp_path / "work")
        out = waiting.result()

    assert read_complete(out) == {"size": 4}


def test_a_lock_that_stays_taken_is_an_error(tmp_path):
    with (
        locked(tmp_path / "work/.lock", "toy", PATIENCE),
        pytest.raises(JobError, match="still in use after 1 s"),
    ):
        toy(tmp_path, timeout=1)


def test_a_server_runs_inside_its_block_only(tmp_path, no_child_left):
    command = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
    with start_server(command, tmp_path / "log.txt") as server:
        until(lambda: "up" in server.log.read_text())
        running, peak = server.running, server.peak_bytes()

    assert running
    assert peak > 2**20
    assert not server.running


def test_a_server_that_died_is_not_running(tmp_path):
    with start_server(
        [sys.executable, "-c", "raise SystemExit(4)"], tmp_path / "log.txt"
    ) as server:
        until(lambda: not server.running)

    assert server.process.returncode == 4


def test_a_killed_holder_of_a_server_leaves_no_server(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", SERVER_HOLDER, str(tmp_path)])
    until(lambda: len(descendants(holder.pid)) == 2)
    below = descendants(holder.pid)
    holder.send_signal(signal.SIGKILL)
    holder.wait()

    assert until(lambda: all(gone(pid) for pid in below))


SERVER_HOLDER = """
import sys, time
from pathlib import Path
from loop.jobs import start_server
with start_server(["sleep", "600"], Path(sys.argv[1]) / "log.txt"):
    time.sleep(600)
"""

names = st.sampled_from(["a.txt", "b/c.bin", "d"])


@given(st.dictionaries(names, st.binary(max_size=20), min_size=1), st.data())
def test_any_change_after_the_finish_is_noticed(tmp_path_factory, files, data):
    out = tmp_path_factory.mktemp("out")
    for name, content in files.items():
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_bytes(content)
    finish(out, {"n": 1})
    whole = read_complete(out)
    name = data.draw(st.sampled_from(sorted(files)))
    change = data.draw(st.sampled_from(["missing", "changed", "foreign", "torn"]))
    if change == "missing":
        (out / name).unlink()
    elif change == "changed":
        (out / name).write_bytes(files[name] + b"!")
    elif change == "foreign":
        (out / "foreign").write_text("")
    else:
        (out / COMPLETE).write_bytes((out / COMPLETE).read_bytes()[:-3])

    assert whole == {"n": 1}
    with pytest.raises(JobError):
        read_complete(out)


def test_facts_survive_as_json(tmp_path):
    finish(tmp_path, {"loss": [1.5, 0.5], "of": "adapter"})

    assert json.loads((tmp_path / COMPLETE).read_text())["facts"]["loss"] == [1.5, 0.5]
