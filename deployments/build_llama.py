"""Builds llama.cpp: server, quantiser and converter of one version from one pinned source.

`python -m deployments.build_llama` downloads the source distribution of llama-cpp-python, which
holds the whole of llama.cpp, with pip (PIP_ARGS and pip's own settings choose from where), checks
its sha256, and installs `bin/`, `source/` and `build.json` where the settings say. A build of this
version with these options is not made again; one that was interrupted goes on.
"""

import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from loop.errors import JobError, LoopError
from loop.jobs import run_logged
from loop.settings import Settings, get_settings
from loop.values import Digest, OnProgress, Progress, digest_file, utc_now

PACKAGE = "llama-cpp-python"
VERSION = "0.3.36"
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
ARCHIVE = f"llama_cpp_python-{VERSION}.tar.gz"
INSIDE = f"llama_cpp_python-{VERSION}/vendor/llama.cpp/"
BINARIES = ("llama-server", "llama-quantize")
SOURCES = ("convert_hf_to_gguf.py", "conversion", "gguf-py", "LICENSE")
"""What the converter needs of the source, and the licence it comes under (MIT)."""
OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "BUILD_SHARED_LIBS": "OFF",
    "GGML_NATIVE": "OFF",  # it would use AMX, which some virtual machines name but do not run
    "GGML_AVX2": "ON",
    "GGML_FMA": "ON",
    "GGML_F16C": "ON",
    "GGML_OPENMP": "OFF",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_BUILD_COMMIT": f"{PACKAGE}-{VERSION}",  # else that of any repository around the folder
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_NUMBER": "0",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_CURL": "OFF",
    "LLAMA_LLGUIDANCE": "OFF",
    "LLAMA_OPENSSL": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",  # it would be downloaded
}
DOWNLOAD_SECONDS = 1800.0
BUILD_SECONDS = 2 * 3600.0


class BuildError(LoopError):
    """A llama.cpp that cannot be built here, and what to do about it."""


def build_llama(settings: Settings, say: Callable[[str], None], on_progress: OnProgress) -> Path:
    """A built llama.cpp of the pinned version; at once if it is there.

    Args:
        settings: Say where to, and where scratch is.
        say: Told what begins.
        on_progress: Told how many files are compiled.

    Raises:
        BuildError: The folder holds something else, a tool is missing, or the download is not the
            pinned one.
        JobError: A step failed; the whole log is in the scratch folder.
    """
    if is_built(settings.llama_root):
        return settings.llama_root
    check_replaceable(settings.llama_root)
    cmake, ninja = find_tool("cmake"), find_tool("ninja")
    work = settings.scratch / f"llama.cpp-{VERSION}"
    work.mkdir(parents=True, exist_ok=True)
    say(f"downloading {PACKAGE} {VERSION} (77 MB)")
    source = unpack(download(work), work)
    say("configuring")
    log, made = work / "log.txt", work / "build"
    options = [f"-D{name}={value}" for name, value in OPTIONS.items()]
    where = ["-S", str(source), "-B", str(made), "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"]
    run_logged("cmake", [cmake, *where, *options], log, _untaken, BUILD_SECONDS)
    say("compiling")
    compile_targets(cmake, made, log, on_progress)
    install(source, made / "bin", settings.llama_root)
    shutil.rmtree(work)
    return settings.llama_root


def is_built(root: Path) -> bool:
    """Whether a folder holds the pinned version, built with the present options."""
    try:
        found = json.loads((root / "build.json").read_bytes())
    except (OSError, ValueError):
        return False
    return bool({name: found.get(name) for name in identity()} == identity())


def identity() -> dict[str, object]:
    """What tells one build from another."""
    return {
        "version": f"{PACKAGE} {VERSION}",
        "source_sha256": SHA256,
        "machine": platform.machine(),
        "options": OPTIONS,
    }


def check_replaceable(root: Path) -> None:
    """Nothing, if installing may replace a folder: it is missing, empty, or an earlier build.

    Raises:
        BuildError: It holds anything else, which nobody asked us to delete.
    """
    if root.exists() and not (root.is_dir() and (is_a_build(root) or not any(root.iterdir()))):
        raise BuildError(f"{root}: expected no folder or an earlier build; see LOOP_LLAMA_CPP")


def is_a_build(root: Path) -> bool:
    """Whether a folder looks like one that this program installed."""
    return {path.name for path in root.iterdir()} == {"bin", "source", "build.json"}


def find_tool(name: str) -> str:
    """A build tool beside this interpreter, or on the path.

    Raises:
        BuildError: It is in neither.
    """
    beside = str(Path(sys.executable).parent)
    if found := shutil.which(name, path=os.pathsep.join([beside, os.environ.get("PATH", "")])):
        return found
    raise BuildError(f"{name}: not found; `pip install {name}` into this environment")


def download(work: Path) -> Path:
    """The pinned archive, checked.

    Raises:
        BuildError: It has another digest.
        JobError: pip could not download it.
    """
    archive = work / ARCHIVE
    if not archive.is_file():
        wanted = ["--no-deps", "--no-binary", PACKAGE, f"{PACKAGE}=={VERSION}"]
        command = [sys.executable, "-m", "pip", "download", *wanted, "-d", str(work / "fetched")]
        chosen = shlex.split(os.environ.get("PIP_ARGS", ""))
        run_logged("pip", [*command, *chosen], work / "log.txt", _untaken, DOWNLOAD_SECONDS)
        check(work / "fetched" / ARCHIVE, SHA256)
        (work / "fetched" / ARCHIVE).rename(archive)
    return archive


def _untaken(_line: bytes) -> bool:
    return False


def check(archive: Path, sha256: Digest) -> None:
    """Nothing, if a file has the expected digest.

    Raises:
        BuildError: It has another.
    """
    if (found := digest_file(archive)) != sha256:
        raise BuildError(f"{archive}: expected sha256 {sha256}, got {found}")


def unpack(archive: Path, work: Path) -> Path:
    """The folder of llama.cpp in the archive; half an unpacked one is never taken for it."""
    source, partial = work / "source", work / "source.partial"
    if not source.is_dir():
        shutil.rmtree(partial, ignore_errors=True)
        with tarfile.open(archive) as tar:
            inside = [member for member in tar if member.name.startswith(INSIDE)]
            tar.extractall(partial, inside, filter="data")
        (partial / INSIDE).rename(source)
    return source


def compile_targets(cmake: str, made: Path, log: Path, on_progress: OnProgress) -> None:
    """Compile the two programs and report each finished file."""

    def follow(line: bytes) -> bool:
        if found := re.match(rb"\[(\d+)/(\d+)\]", line):
            on_progress(Progress(int(found[1]), int(found[2]), "compiling"))
        return False  # a failed step prints its reason below its own line

    threads = str(len(os.sched_getaffinity(0)))
    command = [cmake, "--build", str(made), "--target", *BINARIES, "-j", threads]
    run_logged("cmake --build", command, log, follow, BUILD_SECONDS)


def install(source: Path, binaries: Path, root: Path) -> None:
    """Put programs, converter and build.json in place, all or nothing."""
    fresh = root.with_name(f"{root.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    for name in SOURCES:
        (fresh / "source").mkdir(parents=True, exist_ok=True)
        _copy(source / name, fresh / "source" / name)
    (fresh / "bin").mkdir()
    for name in BINARIES:
        _copy(binaries / name, fresh / "bin" / name)
    (fresh / "build.json").write_text(json.dumps(_facts(fresh), indent=1, sort_keys=True))
    check_replaceable(root)
    if root.exists():
        shutil.rmtree(root)
    fresh.rename(root)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy2(source, target)


def _facts(root: Path) -> dict[str, object]:
    said = subprocess.run(  # noqa: S603 - what was just built; it must run here
        [root / "bin" / "llama-server", "--version"], capture_output=True, text=True, check=True
    )
    return {
        **identity(),
        "binaries": {name: digest_file(root / "bin" / name) for name in BINARIES},
        "says": [line for line in (said.stdout + said.stderr).splitlines() if line][:2],
        "at": utc_now().isoformat(timespec="seconds"),
    }


class Shown:
    """Progress for people: one changing line on a screen, a line per tenth elsewhere."""

    def __init__(self, console: Console) -> None:
        self.console, self._tenth = console, -1

    def say(self, text: str) -> None:
        """One line that stays."""
        self.console.print(f"llama.cpp: {text}", highlight=False, soft_wrap=True)

    def progress(self, progress: Progress) -> None:
        """How far it is."""
        line = f"llama.cpp: {progress.note} {progress.done}/{progress.total}"
        if self.console.is_terminal:
            self.console.print(line, end="\r", highlight=False, soft_wrap=True)
        elif (tenth := 10 * progress.done // progress.total) != self._tenth:
            self._tenth = tenth
            self.console.print(line, highlight=False, soft_wrap=True)


def main() -> int:
    """Build, and say where it is or what went wrong."""
    shown = Shown(Console())
    try:
        root = build_llama(get_settings(), shown.say, shown.progress)
    except (BuildError, JobError) as error:
        shown.say(f"{error}\n{getattr(error, 'tail', '')}")
        return 1
    shown.say(f"ready in {root}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
