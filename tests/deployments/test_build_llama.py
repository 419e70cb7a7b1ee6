import json
import tarfile
from pathlib import Path

import pytest

from deployments import build_llama
from deployments.build_llama import (
    BINARIES,
    INSIDE,
    SOURCES,
    BuildError,
    check,
    check_replaceable,
    find_tool,
    install,
    is_built,
    unpack,
)
from loop.settings import Settings
from loop.values import digest_bytes, quiet


def compiled(tmp_path: Path) -> tuple[Path, Path]:
    """What a compilation leaves: sources, and programs that say their version."""
    source, binaries = tmp_path / "source", tmp_path / "bin"
    for name in SOURCES:
        (source / name).mkdir(parents=True)
        (source / name / "file").write_text(name)
    binaries.mkdir()
    for name in BINARIES:
        (binaries / name).write_text(f"#!/bin/sh\necho {name} 1.0\n")
        (binaries / name).chmod(0o755)
    return source, binaries


def test_an_installed_build_is_known_again(tmp_path):
    root = tmp_path / "llama.cpp"
    before = is_built(root)
    install(*compiled(tmp_path), root)

    assert not before
    assert is_built(root)
    assert {path.name for path in root.iterdir()} == {"bin", "source", "build.json"}
    assert json.loads((root / "build.json").read_text())["says"] == ["llama-server 1.0"]


@pytest.mark.parametrize("key", ["version", "machine", "options"])
def test_a_build_of_another_version_machine_or_with_other_options_is_not_taken(tmp_path, key):
    root = tmp_path / "llama.cpp"
    install(*compiled(tmp_path), root)
    facts = json.loads((root / "build.json").read_text())
    (root / "build.json").write_text(json.dumps({**facts, key: "another"}))
    taken = is_built(root)
    install(tmp_path / "source", tmp_path / "bin", root)

    assert not taken
    assert is_built(root)


def test_a_build_that_is_there_is_returned_at_once(tmp_path):
    settings = Settings(home=tmp_path / "home", llama_cpp=tmp_path / "llama.cpp")
    install(*compiled(tmp_path), settings.llama_root)
    said: list[str] = []

    assert build_llama.build_llama(settings, said.append, quiet) == settings.llama_root
    assert said == []


def test_a_folder_that_holds_anything_else_is_never_replaced(tmp_path):
    settings = Settings(home=tmp_path / "home", llama_cpp=tmp_path / "documents")
    settings.llama_root.mkdir()
    (settings.llama_root / "letter.txt").write_text("dear")

    said: list[str] = []
    with pytest.raises(BuildError, match="expected no folder or an earlier build"):
        build_llama.build_llama(settings, said.append, quiet)
    with pytest.raises(BuildError):
        install(*compiled(tmp_path), settings.llama_root)
    assert (settings.llama_root / "letter.txt").read_text() == "dear"


def test_an_empty_or_missing_folder_may_be_filled(tmp_path):
    (tmp_path / "empty").mkdir()
    check_replaceable(tmp_path / "empty")
    check_replaceable(tmp_path / "missing")


def test_a_download_with_another_digest_is_refused(tmp_path):
    (tmp_path / "archive").write_bytes(b"other bytes")
    check(tmp_path / "archive", digest_bytes(b"other bytes"))

    with pytest.raises(BuildError, match="expected sha256 832db0699007"):
        check(tmp_path / "archive", build_llama.SHA256)


def test_only_llama_cpp_is_unpacked_and_an_interrupted_unpacking_starts_anew(tmp_path):
    (tmp_path / "file").write_text("x")
    with tarfile.open(tmp_path / "archive.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "file", arcname=f"{INSIDE}CMakeLists.txt")
        tar.add(tmp_path / "file", arcname="llama_cpp_python-0.3.36/setup.py")
        tar.add(tmp_path / "file", arcname="../outside")
    work = tmp_path / "work"
    (work / "source.partial/half").mkdir(parents=True)
    source = unpack(tmp_path / "archive.tar.gz", work)

    assert [path.name for path in source.iterdir()] == ["CMakeLists.txt"]
    assert not (tmp_path / "outside").exists()
    assert not (work / "source.partial/half").exists()


def test_a_missing_tool_says_how_to_install_it():
    with pytest.raises(BuildError, match="pip install no-such-tool"):
        find_tool("no-such-tool")
