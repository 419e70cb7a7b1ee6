"""ai-manifest.json: its closed shape, its one byte form, and what a device makes of it.

`device_reads` is our re-implementation of the device helper's reading rules; `check_manifest` are
the publisher's lints. What a manifest should say is decided in `loop.publishing`.
"""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints, ValidationError

from loop.errors import ManifestError
from loop.values import Digest, Json, Value

RUNTIME_VERSION = "1.2.3"
"""The rkllm runtime inside today's device image; other toolkits' files do not load there."""

LARGEST_BYTES = 20_000_000_000
LONGEST_URL = 2048

ModelVersion = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Moment = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
"""An RFC 3339 instant in UTC, to the second."""

PLAIN_URL = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~%+-]+)+")
"""No query, no character that a shell or a header could take for something else."""


class SizeFloors(Value):
    """The smallest model that each of a device's two programs takes."""

    helper: int
    """The program that reads the manifest."""
    download: int
    """The script that checks the downloaded file."""


class ManifestRules(Value):
    """The three points in which a rehearsal's manifest differs from production, and no other."""

    sizes: SizeFloors
    url_start: str
    """Regular expression for the start of an address."""
    file_name: str
    """Regular expression for an address's whole last segment."""


PRODUCTION = ManifestRules(
    sizes=SizeFloors(helper=1_000_000_000, download=1_900_000_000),
    url_start=r"https://",
    file_name=r"qwen3-1\.7b-rk3588-w8a8\.rkllm",
)
REHEARSAL = ManifestRules(
    sizes=SizeFloors(helper=1, download=1),
    url_start=r"http://(127\.0\.0\.1|localhost)(:\d+)?/",
    file_name=r"[A-Za-z0-9._-]+\.gguf",
)


class Entry(Value):
    """One model that devices can be told to run."""

    model_config = ConfigDict(strict=True)

    model_version: ModelVersion
    url: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_URL)]
    sha256: Digest
    """Of the whole model file."""
    size_bytes: int = Field(ge=1, le=LARGEST_BYTES)
    rkllm_version: Annotated[str, StringConstraints(max_length=32)] | None = None

    @property
    def file_name(self) -> str:
        """The address's last segment, under which a device stores the file."""
        return self.url.rpartition("/")[2]


class Manifest(Value):
    """The document devices read; nothing may ever be added to it."""

    model_config = ConfigDict(strict=True)

    schema_version: Literal[1] = 1
    current: Entry
    rollback: Entry
    rollback_required: bool
    manifest_version: int = Field(ge=1)
    published_at: Moment

    @property
    def effective(self) -> Entry:
        """The entry that devices follow."""
        return self.rollback if self.rollback_required else self.current


def moment(at: datetime) -> str:
    """An instant as manifests write it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def render_manifest(manifest: Manifest) -> bytes:
    """The one byte form of a manifest: ASCII JSON, sorted keys, no float, newline at the end."""
    plain = manifest.model_dump(mode="json", exclude_none=True)
    return (json.dumps(plain, sort_keys=True, indent=2, allow_nan=False) + "\n").encode("ascii")


def parse_manifest(data: bytes) -> Manifest:
    """The manifest that `render_manifest` made these bytes from.

    Raises:
        ManifestError: They are not such bytes: another shape, a float, a repeated key, a BOM, …
    """
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise ManifestError(f"manifest: {where}: {first['msg']}") from error
    if render_manifest(manifest) != data:
        raise ManifestError("manifest: expected the publisher's own byte form, got another")
    return manifest


class Source(StrEnum):
    """Where a device takes its model from after reading a manifest."""

    CURRENT = "manifest_current"
    ROLLBACK = "manifest_rollback"
    FALLBACK = "fallback"
    """There is no manifest: the model that the device's script names."""
    INVALID = "fallback_invalid"
    """Worse than no manifest: a device may end without any model."""
    FAILED = "helper exits 1"
    """Like no manifest, after deleting a model that came by manifest."""


@dataclass(frozen=True)
class DeviceReading:
    """The five values that the device's helper hands to its download script."""

    source: Source
    model_version: str = ""
    url: str = ""
    sha256: str = ""
    size_bytes: int = 0


def device_reads(data: bytes | None, rules: ManifestRules) -> DeviceReading:
    """What a device makes of a manifest file; None is a file that is not there.

    Source:
        functionland/fula-ota ea5209f, blox-ai/model_manifest.py, measured variant by variant.
    """
    if data is None:
        return DeviceReading(Source.FALLBACK)
    try:
        document = json.loads(data.decode())
    except json.JSONDecodeError:
        return DeviceReading(Source.INVALID)
    except (ValueError, RecursionError):  # not UTF-8; nested too deeply
        return DeviceReading(Source.FAILED)
    if not _helper_accepts(document, rules):
        return DeviceReading(Source.INVALID)
    if document["rollback_required"]:
        return _five_values(Source.ROLLBACK, document["rollback"])
    return _five_values(Source.CURRENT, document["current"])


def _helper_accepts(document: Json, rules: ManifestRules) -> bool:
    return (
        isinstance(document, dict)
        and document.get("schema_version") == 1  # also 1.0 and true, as Python compares
        and isinstance(document.get("rollback_required"), bool)
        and all(_helper_accepts_entry(document.get(key), rules) for key in ("current", "rollback"))
    )


def _helper_accepts_entry(entry: Json, rules: ManifestRules) -> bool:
    if not isinstance(entry, dict):
        return False
    version: Json = entry.get("model_version")
    url: Json = entry.get("url")
    return (
        # "$" also matches before a newline at the end; the helper then exits 1, see _five_values
        _matches(r"[A-Za-z0-9._-]+$", version)
        and len(version) <= 64
        and _matches(rules.url_start, url)
        and len(url) <= LONGEST_URL
        and _matches(r"[a-f0-9]{64}$", entry.get("sha256"))
        and type(entry.get("size_bytes")) is int
        and rules.sizes.helper <= entry["size_bytes"] <= LARGEST_BYTES
    )


def _matches(pattern: str, value: Json) -> bool:
    return isinstance(value, str) and re.match(pattern, value) is not None


def _five_values(source: Source, entry: dict[str, Json]) -> DeviceReading:
    texts = entry["model_version"], entry["url"], entry["sha256"]
    if any("'" in text or "\n" in text for text in texts):
        return DeviceReading(Source.FAILED)
    return DeviceReading(source, *texts, entry["size_bytes"])


def check_manifest(data: bytes, rules: ManifestRules) -> Manifest:
    """The manifest in these bytes, which every device reads as meant.

    Raises:
        ManifestError: A publisher lint fails; the message names the entry, what was expected and
            what was got.
    """
    manifest = parse_manifest(data)
    for position, entry in (("current", manifest.current), ("rollback", manifest.rollback)):
        _check_address(position, entry, rules)
        _check_facts(position, entry, rules)
    _check_entries_differ(manifest)
    for required in (False, True):
        _check_reading(manifest.model_copy(update={"rollback_required": required}), rules)
    return manifest


def _check_address(position: str, entry: Entry, rules: ManifestRules) -> None:
    expected = f"{position}.url {entry.url!r}: expected"
    if not PLAIN_URL.fullmatch(entry.url):
        raise ManifestError(f"{expected} a plain ASCII address without query")
    if not re.match(rules.url_start, entry.url):
        raise ManifestError(f"{expected} to start with {rules.url_start}")
    if not re.fullmatch(rules.file_name, entry.file_name):
        raise ManifestError(f"{expected} a last segment like {rules.file_name}")
    if entry.url.split("/")[-2] != entry.model_version:
        raise ManifestError(f"{expected} a folder named {entry.model_version}")


def _check_facts(position: str, entry: Entry, rules: ManifestRules) -> None:
    if entry.model_version in (".", ".."):
        raise ManifestError(f"{position}.model_version: {entry.model_version!r} is a folder link")
    floor = max(rules.sizes.helper, rules.sizes.download)
    if entry.size_bytes < floor:
        raise ManifestError(
            f"{position}.size_bytes: expected at least {floor}, got {entry.size_bytes}"
        )
    expected = RUNTIME_VERSION if entry.file_name.endswith(".rkllm") else None
    if entry.rkllm_version != expected:
        raise ManifestError(
            f"{position}.rkllm_version: expected {expected}, got {entry.rkllm_version}"
        )


def _check_entries_differ(manifest: Manifest) -> None:
    current, rollback = manifest.current, manifest.rollback
    if current.sha256 == rollback.sha256 or current.model_version == rollback.model_version:
        raise ManifestError(
            f"current and rollback: expected two models, got {current.model_version} "
            f"({current.sha256[:12]}) and {rollback.model_version} ({rollback.sha256[:12]})"
        )


def _check_reading(manifest: Manifest, rules: ManifestRules) -> None:
    entry = manifest.effective
    meant = DeviceReading(
        Source.ROLLBACK if manifest.rollback_required else Source.CURRENT,
        entry.model_version,
        entry.url,
        entry.sha256,
        entry.size_bytes,
    )
    if (read := device_reads(render_manifest(manifest), rules)) != meant:
        raise ManifestError(f"a device would read {read}, expected {meant}")
