"""README's file map says of every file what its own first line says."""

import ast
import re
import subprocess
from pathlib import Path

from tests.golden import golden_block

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PACKAGES = ("flows", "tasks", "loop", "intake", "labeller", "deployments", "tests")
BESIDE = (".ci/run", "Makefile", "constraints.txt", "prefect.yaml", "pyproject.toml", "recipes")
"""What lies beside the packages: files, and folders of them."""
KINDS = (".py", ".yaml", ".html", ".css", ".js", ".svg", ".conf", "Caddyfile")
COMMENT = re.compile(r"^(?:#(?!!)|//|/\*|\{#|<!--) *(.*?)(?: *(?:\*/|#\}|-->))?$", re.MULTILINE)
UNLISTED = re.compile(r"(^|/)(__init__|test_\w+|0\d{3}_\w+)\.py$|^tests/(data|golden)/")
"""Packages stand above their files, tests beside what they test, migrations in their order."""


def test_the_file_map_has_one_true_line_for_every_file():
    kept, wanted = golden_block(README, "files", file_map())

    assert kept == wanted


def test_every_command_that_the_readme_names_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)", README.read_text()))

    assert named <= targets


def file_map() -> str:
    parts = [
        f"\n**{package}/** {first_line(ROOT / package / '__init__.py')}\n\n"
        + lines(files(package), package)
        for package in PACKAGES
    ]
    rest = [file for name in BESIDE for file in files(name)]
    return "".join([*parts, "\n**Beside them**\n\n", lines(rest, ".")]) + "\n"


def files(place: str) -> list[Path]:
    asked = ["git", "ls-files", "--cached", "--others", "--exclude-standard", place]
    listed = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = [name for name in sorted(set(listed.split())) if not UNLISTED.search(name)]
    wanted = [Path(name) for name in names if name.endswith(KINDS) or name in BESIDE]
    return [file for file in wanted if (ROOT / file).is_file()]


def lines(found: list[Path], below: str) -> str:
    return "".join(
        f"* [{file.relative_to(below)}]({file}) {first_line(ROOT / file)}\n" for file in found
    )


def first_line(path: Path) -> str:
    """The first line of a docstring, else the first sentence of a comment on top."""
    text = path.read_text()
    if path.suffix == ".py":
        return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    found = COMMENT.search("".join(text.splitlines(keepends=True)[:3]))
    assert found, f"{path}: expected a comment on top that says what it holds"
    return found[1].partition(". ")[0].rstrip(".") + "."
