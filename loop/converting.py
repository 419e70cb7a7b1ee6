"""Converting: a folder of weights becomes the one file that a target runs, GGUF or .rkllm."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from loop import rkllm_driver
from loop.errors import ConversionError, JobError
from loop.examples import Example, read_examples
from loop.forms import make_form, row_of
from loop.jobs import run_command, run_job
from loop.places import Places
from loop.protocol import Message, render_chat
from loop.recipe import Recipe
from loop.settings import Settings
from loop.to_gguf import GgufJob
from loop.values import Form, FormRef, Json, OnProgress, quiet, short

CODE = 1
"""Bump it when converting the same inputs with the same tools would give other bytes."""
SECONDS = 6 * 3600.0
PROBE_SECONDS = 120.0
INSTALL_LLAMA = (
    "build it with `python -m deployments.build_llama`, or point LOOP_LLAMA_CPP at a build"
)
INSTALL_RKLLM = (
    "make an environment of its own with Python 3.10 or 3.11 on x86_64 Linux, install the "
    "rkllm_toolkit wheel of release 1.3.0 from the rkllm-toolkit folder of "
    "https://github.com/airockchip/rknn-llm into it, and set LOOP_RKLLM_PYTHON to its interpreter"
)
NO_DEVICE = (
    "an .rkllm answers on a device only, and neither gate ③ nor the canary can reach one yet; "
    "let the recipe publish Q8_0, Q4_K_M or F16"
)
CALIBRATION = 24
"""Conversations that the quantiser measures activations on; Rockchip's own generator takes 22."""


def require_tools(settings: Settings, recipe: Recipe) -> None:
    """Nothing, if the form that a recipe publishes can be made and judged here.

    Asked before a cycle opens, so that nobody labels or trains for what cannot be published.

    Raises:
        ConversionError: It cannot; says everything that is missing, and what to install where.
    """
    if recipe.publish != "rkllm":
        read_toolchain(settings)
        return
    try:
        _, toolkit = find_toolkit(settings.rkllm_python)
    except ConversionError as error:
        raise ConversionError(f"{error}; even then, {NO_DEVICE}") from error
    raise ConversionError(f"rkllm-toolkit {toolkit} is here, but {NO_DEVICE}")


def convert_model(
    places: Places,
    merged: FormRef,
    recipe: Recipe,
    quantisation: str,
    on_progress: OnProgress = quiet,
) -> FormRef:
    """The one file of a folder of weights, in any form that a recipe may name.

    Args:
        places: Store, depot, and the settings that name the tools.
        merged: The weights, merged or base.
        recipe: Names the model and says who made its tokenizer.
        quantisation: Q8_0, Q4_K_M or F16 for a GGUF file; `rkllm`.
        on_progress: Told how far it is.

    Raises:
        ConversionError: The tools are missing, or left no usable file.
    """
    if quantisation == Form.RKLLM:
        return convert_rkllm(places, merged, read_calibration(places, merged), on_progress)
    return convert_gguf(places, merged, recipe, quantisation, on_progress)


def convert_gguf(
    places: Places,
    merged: FormRef,
    recipe: Recipe,
    quantisation: str,
    on_progress: OnProgress = quiet,
) -> FormRef:
    """The GGUF file of a folder of weights, by llama.cpp.

    Raises:
        ConversionError: There is no llama.cpp, or it left no usable file.
    """
    toolchain, source = read_toolchain(places.settings), row_of(places, merged)
    job = GgufJob(
        folder=places.depot.fetch_tree("forms", source.digest),
        llama=places.settings.llama_root,
        name=recipe.model,
        quantisation=quantisation,
        made=recipe.base.made is not None,
        threads=places.settings.threads,
    )
    made_from = job.model_dump(include={"name", "quantisation", "made"})
    made_from |= {"llama.cpp": toolchain["version"], "code": CODE}

    def run(work: Path) -> Path:
        return run_job("to_gguf", job, work, on_progress, SECONDS)

    try:
        return make_form(places, Form.GGUF, source, made_from, run, {"toolchain": toolchain})
    except JobError as error:
        raise ConversionError(f"{merged.form} {short(merged.digest)}: {error}") from error


def read_toolchain(settings: Settings) -> dict[str, Json]:
    """What build.json says about the llama.cpp that the settings name.

    Raises:
        ConversionError: There is none.
    """
    file = settings.llama_root / "build.json"
    try:
        toolchain: dict[str, Json] = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ConversionError(f"{file}: {error}; {INSTALL_LLAMA}") from error
    return toolchain


class CalibrationPair(BaseModel):
    """One conversation that the quantiser measures activations on."""

    input: str
    """The whole rendered prompt."""
    target: str


def read_calibration(places: Places, merged: FormRef) -> list[CalibrationPair]:
    """Conversations from all over what the merged adapter learnt from, never held-out ones.

    Raises:
        ConversionError: They are not the merged weights of a trained adapter.
    """
    row = row_of(places, merged)
    if merged.form != Form.MERGED or row.parent is None:
        raise ConversionError(
            f"{merged.form} {short(merged.digest)}: expected merged weights, whose dataset "
            "calibrates an .rkllm"
        )
    adapter = row_of(places, FormRef(Form.ADAPTER, row.parent, row.version, row.parent))
    file = places.depot.fetch_tree("datasets", adapter.facts["dataset"]) / "train.jsonl"
    learnt = read_examples(file.read_text())
    return [_pair(one) for one in learnt[:: max(1, len(learnt) // CALIBRATION)][:CALIBRATION]]


def _pair(example: Example) -> CalibrationPair:
    *before, last = example.messages
    turns = [Message(role=turn["role"], content=turn["content"]) for turn in before]
    return CalibrationPair(input=render_chat(turns), target=last["content"])


class RkllmJob(BaseModel):
    """What `rkllm_driver` reads."""

    folder: Path
    calibration: list[CalibrationPair]
    dtype: str = "float32"
    quantised_dtype: str = "W8A8"
    platform: str = "RK3588"
    npu_cores: int = 3
    optimization_level: int = 1
    context: int = 4096


def convert_rkllm(
    places: Places,
    merged: FormRef,
    calibration: Sequence[CalibrationPair],
    on_progress: OnProgress = quiet,
) -> FormRef:
    """The .rkllm file of merged weights, made in the toolkit's own environment.

    Args:
        places: Store, depot, and the settings that name the toolkit's interpreter.
        merged: The weights.
        calibration: From the training part of the dataset, never from what is held out.
        on_progress: Told how far it is.

    Raises:
        ConversionError: The toolkit is missing, or left no usable file.
    """
    python, toolkit = find_toolkit(places.settings.rkllm_python)
    source = row_of(places, merged)
    folder = places.depot.fetch_tree("forms", source.digest)
    job = RkllmJob(folder=folder, calibration=list(calibration))
    made_from = {**job.model_dump(exclude={"folder"}), "toolkit": toolkit, "code": CODE}

    def run(work: Path) -> Path:
        command = [str(python), "-I", str(rkllm_driver.__file__), str(work / "job.json")]
        return run_command("rkllm_driver", command, job, work, on_progress, SECONDS)

    try:
        return make_form(places, Form.RKLLM, source, made_from, run)
    except JobError as error:
        raise ConversionError(f"{merged.form} {short(merged.digest)}: {error}") from error


def find_toolkit(python: Path | None) -> tuple[Path, str]:
    """The toolkit's interpreter and version.

    Raises:
        ConversionError: No interpreter is named, or it cannot import the toolkit; says what to
            install where.
    """
    if python is None:
        raise ConversionError(f"LOOP_RKLLM_PYTHON is not set: {INSTALL_RKLLM}")
    probe = (
        "import rkllm.api, importlib.metadata as m; print('version', m.version('rkllm-toolkit'))"
    )
    try:
        tried = subprocess.run(  # noqa: S603 - the operator's own interpreter
            [str(python), "-I", "-c", probe], capture_output=True, text=True, timeout=PROBE_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConversionError(f"{python} does not run: {error}; {INSTALL_RKLLM}") from error
    last = ((tried.stdout if tried.returncode == 0 else tried.stderr).splitlines() or [""])[-1]
    if tried.returncode or not last.startswith("version "):
        raise ConversionError(f"{python} has no usable rkllm-toolkit ({last}): {INSTALL_RKLLM}")
    return python, last.removeprefix("version ")
