"""Program: converts a folder of weights to one .rkllm file with Rockchip's toolkit.

Standard library only: it runs in the toolkit's own environment (Python 3.10 or 3.11), as
`PYTHON -I rkllm_driver.py job.json`, and speaks as our other programs do: lines of progress, then
complete.json. Parameters as in the toolkit's own examples (airockchip/rknn-llm, release 1.3.0);
it has not yet been run against the real toolkit.
"""

import hashlib
import json
import sys
import time
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

MODEL = "model.rkllm"


def main(file: Path) -> None:
    """Load, build and export as the job says; every step must return 0."""
    job, out, started = json.loads(file.read_text()), file.parent / "out.partial", time.monotonic()
    form = out / "form"
    form.mkdir()
    rkllm = _toolkit()
    _report(0, "loading weights")
    _step(
        "load_huggingface",
        rkllm.load_huggingface(
            model=job["folder"],
            model_lora=None,
            device="cpu",
            dtype=job["dtype"],
            custom_config=None,
            load_weight=True,
        ),
    )
    _report(1, "quantising")
    _step(
        "build",
        rkllm.build(
            do_quantization=True,
            optimization_level=job["optimization_level"],
            quantized_dtype=job["quantised_dtype"],
            quantized_algorithm="normal",
            target_platform=job["platform"],
            num_npu_core=job["npu_cores"],
            extra_qparams=None,
            dataset=_calibration_file(job, file.parent),
            hybrid_rate=0,
            max_context=job["context"],
        ),
    )
    _report(2, "exporting")
    _step("export_rkllm", rkllm.export_rkllm(str(form / MODEL)))
    _finish(out, form / MODEL, job, round(time.monotonic() - started, 1))


def _toolkit() -> Any:
    return import_module("rkllm.api").RKLLM()


def _step(name: str, status: int) -> None:
    if status != 0:
        sys.exit(f"rkllm-toolkit: {name} returned {status}, expected 0; the log has its reason")


def _calibration_file(job: dict[str, Any], work: Path) -> str:
    path = work / "calibration.json"
    path.write_text(json.dumps(job["calibration"], ensure_ascii=False))
    return str(path)


def _finish(out: Path, model: Path, job: dict[str, Any], seconds: float) -> None:
    if not model.is_file() or not model.stat().st_size:
        sys.exit(f"rkllm-toolkit left no {model.name}")
    sha256 = hashlib.sha256()
    with model.open("rb") as opened:
        while block := opened.read(1 << 20):
            sha256.update(block)
    facts = {
        "quantisation": job["quantised_dtype"],
        "bytes": model.stat().st_size,
        "sha256": sha256.hexdigest(),
        "seconds": seconds,
        "toolkit": _toolkit_version(),
    }
    files = {model.relative_to(out).as_posix(): sha256.hexdigest()}
    (out / "complete.json").write_text(json.dumps({"files": files, "facts": facts}, indent=1))


def _toolkit_version() -> str:
    try:
        return version("rkllm-toolkit")
    except PackageNotFoundError:
        return "unknown"


def _report(done: int, note: str) -> None:
    sys.stdout.write("\n" + json.dumps({"done": done, "total": 3, "note": note}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
