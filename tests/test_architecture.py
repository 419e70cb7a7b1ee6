"""Who may know whom, said once more without a tool: by the direct imports of every file."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("deployments", "flows", "tasks", "loop", "intake", "labeller")
MAY_IMPORT = {
    "deployments": {"deployments", "flows", "tasks", "loop", "intake", "labeller"},
    "flows": {"flows", "tasks", "loop"},
    "tasks": {"tasks", "loop"},
    "intake": {"intake", "loop"},
    "labeller": {"labeller", "loop"},
    "loop": {"loop"},
}
ONLY_IN = {
    "prefect": {"deployments", "flows", "tasks"},
    "fastapi": {"deployments", "intake", "labeller"},
    "starlette": {"deployments", "intake", "labeller"},
}
HEAVY = {"torch", "transformers", "trl", "peft", "datasets", "matplotlib"}
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def imported(nodes):
    """The top packages that these statements import."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("file", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_knows_only_what_its_folder_may_know(file):
    tree, package = ast.parse(file.read_text()), file.relative_to(ROOT).parts[0]
    everywhere, at_once = set(imported(ast.walk(tree))), set(imported(tree.body))

    assert everywhere & set(PACKAGES) <= MAY_IMPORT[package]
    assert not [name for name in everywhere if package not in ONLY_IN.get(name, {package})]
    assert not at_once & HEAVY, "heavy libraries are imported inside functions"


def test_only_the_depot_in_an_object_store_knows_boto3():
    knowing = {
        file.relative_to(ROOT).as_posix()
        for file in FILES
        if {"boto3", "botocore"} & set(imported(ast.walk(ast.parse(file.read_text()))))
    }

    assert knowing == {"loop/s3_answers.py", "loop/s3_depot.py"}


def test_flows_hold_no_class():
    classes = [
        f"{file.name}: {node.name}"
        for file in FILES
        if file.relative_to(ROOT).parts[0] == "flows"
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ClassDef)
    ]

    assert classes == []


def test_no_file_accepts_everything_by_its_name():
    vague = ("utils", "util", "helper", "helpers", "manager", "handler", "common", "core", "misc")

    assert [str(file) for file in FILES if file.stem in vague] == []
