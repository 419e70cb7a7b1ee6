"""Reading the YAML that people write: closed models, and errors with file and line.

YAML 1.1 reads an unquoted `no` as false and lets a key stand twice; both have broken evaluations
silently elsewhere, so here `no` stays a word and a repeated key is an error.
"""

import re
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from loop.errors import LoopError

T = TypeVar("T", bound=BaseModel)


class _Loader(yaml.CSafeLoader):
    """Safe, with words for words and no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping whose keys are all different."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for position, key in enumerate(keys):
            if key in keys[:position]:
                line = node.value[position][0].start_mark
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} stands twice", line)
        return super().construct_mapping(node, deep=deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))


def read_written(path: Path, model: type[T], error: type[LoopError]) -> T:
    """The file as a checked value.

    Raises:
        error: Not YAML, or not what `model` wants; the message has file, line, expected and got.
    """
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
        tree = loader.get_single_node()
        found = None if tree is None else loader.construct_document(tree)
    except FileNotFoundError as missing:
        raise error(f"{path}: no such file") from missing
    except (yaml.YAMLError, UnicodeDecodeError) as wrong:
        raise error(f"{path}: {wrong}") from wrong
    try:
        return model.model_validate(found)
    except ValidationError as wrong:
        raise error(_message(path, tree, wrong)) from wrong


def _message(path: Path, tree: yaml.Node | None, wrong: ValidationError) -> str:
    lines = [
        f"{path}:{_line(tree, fault['loc'])}: {'.'.join(map(str, fault['loc']))}: "
        f"{fault['msg']}, got {fault['input']!r:.80}"
        for fault in wrong.errors()
    ]
    return "\n".join(lines)


def _line(node: yaml.Node | None, place: tuple[int | str, ...]) -> int:
    line = node.start_mark.line if node else 0
    for step in place:
        node = _child(node, step)
        if node is None:
            break
        line = node.start_mark.line
    return line + 1


def _child(node: yaml.Node | None, step: int | str) -> yaml.Node | None:
    children: dict[int | str, yaml.Node] = {}
    if isinstance(node, yaml.MappingNode):
        children = {key.value: value for key, value in node.value}
    elif isinstance(node, yaml.SequenceNode):
        children = dict(enumerate(node.value))
    return children.get(step)
