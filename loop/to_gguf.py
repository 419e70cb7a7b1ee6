"""Program: converts a folder of weights to one quantised GGUF file with llama.cpp's own tools.

`python -m loop.to_gguf job.json` runs the converter of the llama.cpp sources in this process, then
`llama-quantize` of the same version, and reads the result back. The bytes depend on the weights
and the tools alone, never on folder names, so equal models are equal files.
"""

import json
import os
import runpy
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import BaseModel

from loop import jobs, leash
from loop.errors import ConversionError
from loop.values import Json, digest_file

MODEL = "model.gguf"
UNQUANTISED = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
"""The converter's lossless output type for each type of weights."""


class GgufJob(BaseModel):
    """What to convert and with what."""

    folder: Path
    llama: Path
    """A llama.cpp with bin/ and source/."""
    name: str
    """Goes into the file as the model's name."""
    quantisation: str
    made: bool
    """Whether this project made the base, whose tokenizer no list of llama.cpp knows."""
    threads: int


def convert(job: GgufJob, out: Path) -> None:
    """Convert, quantise, read back, finish."""
    started = time.monotonic()
    form = out / "form"
    form.mkdir()
    jobs.report(0, 3, "reading weights")
    with TemporaryDirectory(dir=out.parent) as scratch:
        whole = Path(scratch) / "whole.gguf"
        run_converter(job, Path(scratch), whole)
        jobs.report(1, 3, f"quantising to {job.quantisation}")
        quantise(job, whole, form / MODEL)
    jobs.report(2, 3, "reading back")
    facts = read_back(job, form / MODEL)
    (form / MODEL).chmod(0o644)
    seconds = round(time.monotonic() - started, 1)
    jobs.finish(out, {**facts, "seconds": seconds, "sha256": digest_file(form / MODEL)})


def run_converter(job: GgufJob, scratch: Path, whole: Path) -> None:
    """Run convert_hf_to_gguf.py on the folder, in this process, without losing precision."""
    source = job.llama / "source"
    sys.path[:0] = [str(source), str(source / "gguf-py")]
    (scratch / "model").symlink_to(job.folder.resolve())  # the converter writes names into the file
    _name_tokenizer(job)
    precise = _precise_type(job.folder)
    options = ["--outfile", str(whole), "--outtype", precise, "--model-name", job.name]
    sys.argv = ["convert_hf_to_gguf.py", str(scratch / "model"), *options]
    runpy.run_path(str(source / "convert_hf_to_gguf.py"), run_name="__main__")


def _precise_type(folder: Path) -> str:
    config = json.loads((folder / "config.json").read_bytes())
    return UNQUANTISED[config.get("dtype") or config.get("torch_dtype") or "float32"]


def _name_tokenizer(job: GgufJob) -> None:
    """Make an unknown tokenizer Qwen2's where we made the base, else an error that says so."""
    from conversion.base import TextModel

    recognise = TextModel.get_vocab_base_pre

    def name(model: Any, tokenizer: Any) -> str:
        if job.made:
            return "qwen2"  # it has exactly Qwen2's pre-tokenizer
        try:
            return str(recognise(model, tokenizer))
        except NotImplementedError:
            # the converter would go on and fail with something misleading
            sys.exit(f"the tokenizer of {job.name} is none that this llama.cpp knows")

    TextModel.get_vocab_base_pre = name


def quantise(job: GgufJob, whole: Path, quantised: Path) -> None:
    """Run llama-quantize; its output goes to the log."""
    command = [job.llama / "bin" / "llama-quantize", whole, quantised, job.quantisation]
    subprocess.run(  # noqa: S603 - our own build
        [*map(str, command), str(job.threads)], check=True, preexec_fn=leash.die_with_parent
    )


def read_back(job: GgufJob, file: Path) -> dict[str, Json]:
    """What the finished file says of itself.

    Raises:
        ConversionError: It is not quantised as asked.
    """
    from gguf import GGUFReader, LlamaFileType

    reader = GGUFReader(file)
    found = LlamaFileType(reader.get_field("general.file_type").contents()).name
    if found != f"MOSTLY_{job.quantisation}":
        raise ConversionError(f"{file}: expected MOSTLY_{job.quantisation}, got {found}")
    types = [tensor.tensor_type.name for tensor in reader.tensors]
    return {
        "quantisation": job.quantisation,
        "bytes": file.stat().st_size,
        "tensors": {kind: types.count(kind) for kind in sorted(set(types))},
    }


if __name__ == "__main__":
    os.environ["NO_LOCAL_GGUF"] = "1"  # we have put the sources' own gguf on the path ourselves
    convert(*jobs.open_job(GgufJob))
