"""A good manifest for production and one for a rehearsal."""

from typing import Any

from loop.manifest import Entry, Manifest

FILE = "qwen3-1.7b-rk3588-w8a8.rkllm"


def production_entry(version: str, digit: str, **changes: Any) -> Entry:
    facts: dict[str, Any] = {
        "model_version": version,
        "url": f"https://models.example/models/{version}/{FILE}",
        "sha256": digit * 64,
        "size_bytes": 2_375_021_452,
        "rkllm_version": "1.2.3",
    }
    return Entry(**(facts | changes))


def manifest_of(current: Entry, rollback: Entry, **changes: Any) -> Manifest:
    facts: dict[str, Any] = {
        "rollback_required": False,
        "manifest_version": 7,
        "published_at": "2026-03-01T10:00:00Z",
    }
    return Manifest(current=current, rollback=rollback, **(facts | changes))


NEW, OLD = production_entry("2026.03", "a"), production_entry("2026.02", "b")
GOOD = manifest_of(NEW, OLD)
REHEARSED = manifest_of(
    Entry(
        model_version="blox-tiny-1",
        url="http://127.0.0.1:8030/models/blox-tiny-1/blox-tiny-Q8_0.gguf",
        sha256="c" * 64,
        size_bytes=900_000,
    ),
    Entry(
        model_version="factory-1",
        url="http://127.0.0.1:8030/models/factory-1/factory.gguf",
        sha256="d" * 64,
        size_bytes=800_000,
    ),
)
