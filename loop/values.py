"""Frozen values that every layer speaks: digests, days and references to stored things."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, StringConstraints

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A sha256 as 64 lower-case hex digits."""

Json: TypeAlias = Any
"""Anything `json.loads` can return."""


class Value(BaseModel):
    """A frozen, closed pydantic model: an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Severity(StrEnum):
    """How bad the device says it is."""

    GREEN = "green"
    YELLOW = "yellow"
    RED = "red"


class Origin(StrEnum):
    """Who gave the verdict in a transcript; v1 uploads do not say, so they are `unknown`."""

    MODEL = "model"
    TREE = "tree"
    MOCK = "mock"
    UNKNOWN = "unknown"
    SYNTHETIC = "synthetic"


class Form(StrEnum):
    """The forms one model version takes on its way to a device."""

    BASE = "base"
    ADAPTER = "adapter"
    MERGED = "merged"
    GGUF = "gguf"
    RKLLM = "rkllm"


class Action(Value):
    """A repair the model may recommend: a name and its arguments.

    >>> Action(name="docker.restart", args={"container": "fula_go"}).key()
    'docker.restart {"container":"fula_go"}'
    """

    name: str
    args: dict[str, Json] = {}

    def key(self) -> str:
        """The same text for equal actions: name, then the arguments as canonical JSON."""
        return f"{self.name} {canonical_json(self.args).decode()}"


def canonical_json(value: Json) -> bytes:
    """The one byte form of a JSON value: sorted keys, no spaces, ASCII, no NaN."""
    plain = json.dumps(
        value,
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=True,
        allow_nan=False,
        default=_plain,
    )
    return plain.encode()


def _plain(value: Any) -> Json:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, date | datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def digest_bytes(data: bytes) -> Digest:
    """The sha256 of some bytes."""
    return hashlib.sha256(data).hexdigest()


def digest_json(value: Json) -> Digest:
    """The sha256 of a value's canonical JSON; equal values have equal digests."""
    return digest_bytes(canonical_json(value))


def digest_file(path: Path) -> Digest:
    """The sha256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_tree(files: Mapping[str, Digest]) -> Digest:
    """The name of a folder: the digest of its relative file names and their digests."""
    return digest_json(dict(files))


def short(digest: Digest) -> str:
    """The first 12 characters, which people compare and type."""
    return digest[:12]


def utc_now() -> datetime:
    """Now, in UTC, with its zone."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class CycleRef:
    """One cycle and the digests it was opened with."""

    id: str
    model: str
    number: int
    recipe: str
    labels_wanted: int
    dry_run: bool


@dataclass(frozen=True)
class DatasetRef:
    """One frozen dataset: the depot folder datasets/<digest>."""

    digest: Digest
    train: int
    """Examples to learn from."""
    validation: int


@dataclass(frozen=True)
class FormRef:
    """One form of one model version: the depot folder forms/<digest> (a tree digest)."""

    form: Form
    digest: Digest
    version: str
    sha256: Digest
    """Of the one file of converted bytes; of other forms, the tree digest again."""


@dataclass(frozen=True)
class CardRef:
    """One sign-off card and the bytes it speaks of."""

    digest: Digest
    sha256: Digest


@dataclass(frozen=True)
class Outcome:
    """What a judging stage decided: the row that holds the numbers, and one sentence."""

    inputs: Digest
    """Primary key of the GateReport or CanaryReport."""
    passed: bool
    reason: str


@dataclass(frozen=True)
class Progress:
    """How far a long piece of work is."""

    done: int
    total: int
    note: str = ""


OnProgress: TypeAlias = Callable[[Progress], None]


def quiet(progress: Progress) -> None:
    """Nobody watches."""
