"""What a device makes of a manifest: the measured table of the device's contract, row by row."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from loop.errors import ManifestError
from loop.manifest import (
    PRODUCTION,
    DeviceReading,
    Source,
    check_manifest,
    device_reads,
    render_manifest,
)
from tests.manifests import FILE, GOOD, NEW, OLD, REHEARSED

SHARED = Path(__file__).parents[2] / "../shared"
GOOD_JSON: dict[str, Any] = json.loads(render_manifest(GOOD))


def changed(path: str, value: Any) -> bytes:
    """The good manifest with one value changed; `path` like `current.url`."""
    document = deepcopy(GOOD_JSON)
    *folders, name = path.split(".")
    inside = document
    for folder in folders:
        inside = inside[folder]
    inside[name] = value
    return json.dumps(document).encode()


def without(*names: str) -> bytes:
    return json.dumps(
        {
            key: {k: v for k, v in value.items() if k not in names}
            if isinstance(value, dict)
            else value
            for key, value in GOOD_JSON.items()
            if key not in names
        }
    ).encode()


def inserted(text: str) -> bytes:
    """The good manifest with a text before its closing brace."""
    return (json.dumps(GOOD_JSON)[:-1] + text + "}").encode()


PLAIN = json.dumps(GOOD_JSON).encode()
QUOTED = f"https://models.example/it's/{FILE}"
CURRENT, ROLLBACK, INVALID, FAILED = (
    Source.CURRENT,
    Source.ROLLBACK,
    Source.INVALID,
    Source.FAILED,
)
VALID, WRONG, UNREADABLE = "valid", "invalid", "not JSON"

TABLE: dict[str, tuple[bytes, Source, str]] = {
    "base": (PLAIN, CURRENT, VALID),
    "pretty-printed and newline": (render_manifest(GOOD), CURRENT, VALID),
    "optional fields absent": (
        without("manifest_version", "published_at", "rkllm_version"),
        CURRENT,
        VALID,
    ),
    "rkllm_version": (changed("current.rkllm_version", "1.2.3"), CURRENT, VALID),
    "smallest size": (changed("current.size_bytes", 10**9), CURRENT, VALID),
    "largest size": (changed("current.size_bytes", 2 * 10**10), CURRENT, VALID),
    "rollback_required": (changed("rollback_required", True), ROLLBACK, VALID),
    "current equals rollback": (changed("rollback", GOOD_JSON["current"]), CURRENT, VALID),
    "schema_version 1.0": (changed("schema_version", 1.0), CURRENT, VALID),
    "lower manifest_version": (changed("manifest_version", 1), CURRENT, VALID),
    "version ..": (changed("current.model_version", ".."), CURRENT, VALID),
    "non-ASCII url": (changed("current.url", "https://models.example/ä"), CURRENT, VALID),
    "url with space": (changed("current.url", "https://models.example/a b"), CURRENT, VALID),
    "url with $(…)": (changed("current.url", "https://models.example/$(id)"), CURRENT, VALID),
    "schema_version true": (changed("schema_version", True), CURRENT, WRONG),
    "extra key on top": (changed("signature", "x"), CURRENT, WRONG),
    "extra key in an entry": (changed("current.chunks", []), CURRENT, WRONG),
    "rkllm_version of 33": (changed("current.rkllm_version", "1" * 33), CURRENT, WRONG),
    "manifest_version 0": (changed("manifest_version", 0), CURRENT, WRONG),
    "published_at yesterday": (changed("published_at", "yesterday"), CURRENT, WRONG),
    "extra NaN field": (inserted(', "x": NaN'), CURRENT, WRONG),
    "repeated rollback_required": (inserted(', "rollback_required": true'), ROLLBACK, VALID),
    "size as a float": (changed("current.size_bytes", 2.0e9), INVALID, VALID),
    "BOM": (b"\xef\xbb\xbf" + PLAIN, INVALID, VALID),
    "size below": (changed("current.size_bytes", 999_999_999), INVALID, WRONG),
    "size above": (changed("current.size_bytes", 2 * 10**10 + 1), INVALID, WRONG),
    "size true": (changed("current.size_bytes", True), INVALID, WRONG),
    "size a string": (changed("current.size_bytes", "2000000000"), INVALID, WRONG),
    "upper-case sha": (changed("current.sha256", "A" * 64), INVALID, WRONG),
    "http": (changed("current.url", f"http://models.example/{FILE}"), INVALID, WRONG),
    "HTTPS": (changed("current.url", f"HTTPS://models.example/{FILE}"), INVALID, WRONG),
    "url of 2049": (changed("current.url", "https://" + "a" * 2041), INVALID, WRONG),
    "version with slash": (changed("current.model_version", "a/b"), INVALID, WRONG),
    "version of 65": (changed("current.model_version", "a" * 65), INVALID, WRONG),
    "rollback null": (changed("rollback", None), INVALID, WRONG),
    "entry a list": (changed("current", []), INVALID, WRONG),
    "document a list": (b"[]", INVALID, WRONG),
    "missing rollback_required": (without("rollback_required"), INVALID, WRONG),
    "rollback_required a string": (changed("rollback_required", "true"), INVALID, WRONG),
    "rollback_required 0": (changed("rollback_required", 0), INVALID, WRONG),
    "schema_version 2": (changed("schema_version", 2), INVALID, WRONG),
    "schema_version a string": (changed("schema_version", "1"), INVALID, WRONG),
    "repeated current ending in null": (inserted(', "current": null'), INVALID, WRONG),
    "bad sha in the other entry": (changed("rollback.sha256", "x"), INVALID, WRONG),
    "http in the other entry": (changed("rollback.url", "http://a/b"), INVALID, WRONG),
    "truncated": (PLAIN[:-9], INVALID, UNREADABLE),
    "empty": (b"", INVALID, UNREADABLE),
    "HTML": (b"<!doctype html><title>404</title>", INVALID, UNREADABLE),
    "trailing garbage": (PLAIN + b"x", INVALID, UNREADABLE),
    "quote in the active url": (changed("current.url", QUOTED), FAILED, VALID),
    "newline after version": (changed("current.model_version", "a\n"), FAILED, VALID),
    "newline after sha": (changed("current.sha256", "a" * 64 + "\n"), FAILED, VALID),
    "newline in url": (changed("current.url", "https://models.example/\na"), FAILED, VALID),
    "quote in the other url": (changed("rollback.url", QUOTED), CURRENT, VALID),
    "not UTF-8": (PLAIN + b"\xff", FAILED, UNREADABLE),
    "UTF-16": (PLAIN.decode().encode("utf-16"), FAILED, UNREADABLE),
    "nested too deeply": (b"[" * 100_000, FAILED, UNREADABLE),
}


@pytest.mark.parametrize("variant", TABLE)
def test_a_device_reads_each_variant_as_the_measured_table_says(variant):
    data, source, _ = TABLE[variant]

    assert device_reads(data, PRODUCTION).source == source


@pytest.mark.parametrize(
    "variant", [name for name in TABLE if name != "pretty-printed and newline"]
)
def test_the_publisher_takes_none_of_the_variants_but_its_own_bytes(variant):
    with pytest.raises(ManifestError):
        check_manifest(TABLE[variant][0], PRODUCTION)


def test_a_device_without_a_manifest_runs_the_model_its_script_names():
    assert device_reads(None, PRODUCTION) == DeviceReading(Source.FALLBACK)


def test_a_quote_in_the_other_url_fails_on_the_day_it_becomes_active():
    document = json.loads(TABLE["quote in the other url"][0]) | {"rollback_required": True}

    assert device_reads(json.dumps(document).encode(), PRODUCTION).source == FAILED


def test_a_device_follows_the_rollback_entry_only_when_told_to():
    told = GOOD.model_copy(update={"rollback_required": True})

    assert device_reads(render_manifest(GOOD), PRODUCTION).url == NEW.url
    assert device_reads(render_manifest(told), PRODUCTION).url == OLD.url


if SHARED.is_dir():
    SCHEMA = json.loads((SHARED / "contracts/data/ai_manifest.schema.json").read_text())

    @pytest.mark.parametrize("variant", [name for name in TABLE if TABLE[name][2] != UNREADABLE])
    def test_our_table_agrees_with_the_schema_of_the_device(variant):
        data, _, verdict = TABLE[variant]
        document = json.loads(data)  # from bytes: takes a BOM

        assert Draft202012Validator(SCHEMA).is_valid(document) == (verdict == VALID)

    def test_a_production_manifest_is_valid_by_the_schema_of_the_device():
        Draft202012Validator(SCHEMA).validate(json.loads(render_manifest(GOOD)))

    def test_a_rehearsal_manifest_breaks_the_schema_in_size_and_scheme_only():
        errors = Draft202012Validator(SCHEMA).iter_errors(json.loads(render_manifest(REHEARSED)))

        assert {(error.path[-1], error.validator) for error in errors} == {
            ("size_bytes", "minimum"),
            ("url", "pattern"),
        }
