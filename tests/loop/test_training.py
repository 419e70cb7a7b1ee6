"""Training in real child processes: small, but nothing is a double."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from loop.examples import make_example
from loop.jobs import read_complete, run_job
from loop.recipe import Lora, Training
from loop.sft import SftJob
from loop.values import Progress, digest_file
from tests.loop.test_dataset import RULES, many

pytestmark = pytest.mark.slow
LORA = Lora(r=4, alpha=8, dropout=0.0)
TRAINING = Training(steps=30, batch=2, learning_rate=1e-3, warmup=0.1, max_tokens=2000, minutes=30)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dataset")
    lines = [make_example(one, RULES).model_dump_json() for one in many(16)]
    (folder / "train.jsonl").write_text("\n".join(lines[:12]))
    (folder / "validation.jsonl").write_text("\n".join(lines[12:]))
    return folder


@pytest.fixture(scope="module")
def job(dataset, tiny_base):
    return SftJob(base=tiny_base, dataset=dataset, lora=LORA, training=TRAINING, threads=1)


@pytest.fixture(scope="module")
def trained(job, tmp_path_factory):
    return run_job("sft", job, tmp_path_factory.mktemp("whole") / "work")


def weights(out):
    return digest_file(out / "form/adapter_model.safetensors")


def test_a_killed_training_goes_on_to_the_very_same_weights(job, trained, tmp_path):
    work = tmp_path / "work"
    command = [sys.executable, "-c", HOLDER, job.model_dump_json(), str(work)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        next(line for line in holder.stdout if int(line) >= 20)
        os.kill(holder.pid, signal.SIGKILL)
    seen: list[Progress] = []

    again = run_job("sft", job, work, seen.append)

    assert min(progress.done for progress in seen) > 10
    assert weights(again) == weights(trained)


HOLDER = """
import sys
from pathlib import Path
from loop.jobs import run_job
from loop.sft import SftJob
job = SftJob.model_validate_json(sys.argv[1])
run_job("sft", job, Path(sys.argv[2]), lambda progress: print(progress.done, flush=True))
"""


def test_the_facts_hold_the_loss_curve_and_what_was_left_out(job, trained, tmp_path):
    facts = read_complete(trained)
    short = job.training.model_copy(update={"max_tokens": 1100, "steps": 10})
    cut = read_complete(run_job("sft", job.model_copy(update={"training": short}), tmp_path / "w"))

    assert [step for step, _ in facts["loss_curve"]] == [10, 20, 30]
    assert facts["validation_loss"] > 0
    assert facts["examples"] == 12
    assert cut["too_long"] + cut["examples"] == 12
    assert cut["too_long"] > 0


def test_an_adapter_names_no_path_of_the_machine_that_made_it(trained):
    config = json.loads((trained / "form/adapter_config.json").read_text())

    assert config["base_model_name_or_path"] is None
    assert config["target_modules"] == sorted(config["target_modules"])
    assert not list((trained / "form").glob("README*"))


def test_an_example_of_weight_zero_teaches_nothing(job, dataset, tmp_path):
    from safetensors.numpy import load_file

    silent = tmp_path / "silent"
    silent.mkdir()
    examples = [json.loads(line) for line in (dataset / "train.jsonl").read_text().splitlines()]
    lines = [json.dumps({**example, "weight": 0.0}) for example in examples]
    (silent / "train.jsonl").write_text("\n".join(lines))
    (silent / "validation.jsonl").write_text("")
    short = job.training.model_copy(update={"steps": 10})

    def moved(folder: Path, work: str) -> bool:
        asked = job.model_copy(update={"dataset": folder, "training": short})
        out = run_job("sft", asked, tmp_path / work)
        tensors = load_file(out / "form/adapter_model.safetensors")
        return any(tensors[name].any() for name in tensors if "lora_B" in name)

    assert moved(dataset, "weighted")
    assert not moved(silent, "silenced")
