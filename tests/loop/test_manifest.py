import json
import re
from copy import deepcopy
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from loop.errors import ManifestError
from loop.manifest import (
    PRODUCTION,
    REHEARSAL,
    DeviceReading,
    Entry,
    Manifest,
    Source,
    check_manifest,
    device_reads,
    moment,
    parse_manifest,
    render_manifest,
)
from tests.manifests import FILE, GOOD, NEW, OLD, REHEARSED, manifest_of, production_entry


def test_a_rehearsal_differs_from_production_in_exactly_three_points():
    one, other = PRODUCTION.model_dump(), REHEARSAL.model_dump()

    assert set(one) == {"sizes", "url_start", "file_name"} == {k for k in one if one[k] != other[k]}


def in_production(manifest: dict[str, Any]) -> dict[str, Any]:
    """A rehearsal's variant moved to production: the three points replaced, the rest untouched."""
    moved = deepcopy(manifest)
    for key in ("current", "rollback"):
        if isinstance(entry := moved.get(key), dict):
            version = entry.get("model_version", "x")
            entry.update(url=f"https://m.example/models/{version}/{FILE}", size_bytes=2 * 10**9)
    return moved


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schema_version", 2),
        ("rollback_required", 0),
        ("rollback", None),
        ("current", []),
        ("current.model_version", "a/b"),
        ("current.model_version", "a" * 65),
        ("current.sha256", "A" * 64),
        ("rollback.sha256", "x"),
    ],
)
def test_every_other_rule_of_the_device_holds_in_a_rehearsal_too(path, value):
    document: dict[str, Any] = json.loads(render_manifest(REHEARSED))
    *folders, name = path.split(".")
    inside = document[folders[0]] if folders else document
    inside[name] = value

    assert device_reads(json.dumps(document).encode(), REHEARSAL).source == Source.INVALID
    moved = json.dumps(in_production(document)).encode()
    assert device_reads(moved, PRODUCTION).source == Source.INVALID


@pytest.mark.parametrize(
    "url",
    [
        "http://models.example/models/blox-tiny-1/m.gguf",
        "http://127.0.0.1.evil.example/models/blox-tiny-1/m.gguf",
        "http://127.0.0.1@evil.example/models/blox-tiny-1/m.gguf",
        "http://127.0.0.1:80@evil.example/models/blox-tiny-1/m.gguf",
        "https://127.0.0.1/models/blox-tiny-1/m.gguf",
    ],
)
def test_a_rehearsal_address_never_leaves_the_machine(url):
    entry = REHEARSED.current.model_copy(update={"url": url})
    data = render_manifest(REHEARSED.model_copy(update={"current": entry}))

    assert device_reads(data, REHEARSAL).source == Source.INVALID
    with pytest.raises(ManifestError):
        check_manifest(data, REHEARSAL)


def test_neither_kind_of_manifest_passes_for_the_other():
    with pytest.raises(ManifestError):
        check_manifest(render_manifest(REHEARSED), PRODUCTION)
    with pytest.raises(ManifestError):
        check_manifest(render_manifest(GOOD), REHEARSAL)


@pytest.mark.parametrize(("manifest", "rules"), [(GOOD, PRODUCTION), (REHEARSED, REHEARSAL)])
def test_a_good_manifest_passes_every_lint_of_the_publisher(manifest, rules):
    assert check_manifest(render_manifest(manifest), rules) == manifest


def at(folder: str, name: str = FILE) -> str:
    return f"https://models.example/models/{folder}/{name}"


LINTS: dict[str, tuple[dict[str, Any], str]] = {
    "space": ({"url": at("2026.03", "a b")}, "plain ASCII"),
    "quote": ({"url": at("it's")}, "plain ASCII"),
    "dollar": ({"url": at("$HOME")}, "plain ASCII"),
    "backtick": ({"url": at("`id`")}, "plain ASCII"),
    "backslash": ({"url": at("a\\b")}, "plain ASCII"),
    "control character": ({"url": at("a\x07")}, "plain ASCII"),
    "non-ASCII": ({"url": at("ä")}, "plain ASCII"),
    "query": ({"url": at("2026.03") + "?a=b"}, "plain ASCII"),
    "user": ({"url": f"https://a@b/models/2026.03/{FILE}"}, "plain ASCII"),
    "scheme": ({"url": at("2026.03").replace("https", "http")}, "to start with"),
    "file name": ({"url": at("2026.03", "model.rkllm")}, "last segment"),
    "folder": ({"url": at("latest")}, "folder named"),
    "too small for the download script": ({"size_bytes": 1_899_999_999}, "at least 1900000000"),
    "runtime": ({"rkllm_version": "1.1.4"}, "expected 1.2.3, got 1.1.4"),
    "no runtime": ({"rkllm_version": None}, "expected 1.2.3, got None"),
    "dot": ({"model_version": "..", "url": at("..")}, "folder link"),
    "same model": ({"sha256": OLD.sha256}, "two models"),
    "same version": ({"model_version": "2026.02", "url": at("2026.02")}, "two models"),
}


@pytest.mark.parametrize("lint", LINTS)
def test_each_lint_of_the_publisher_has_a_manifest_that_fails_it(lint):
    changes, message = LINTS[lint]
    bad = manifest_of(NEW.model_copy(update=changes), OLD)

    with pytest.raises(ManifestError, match=message):
        check_manifest(render_manifest(bad), PRODUCTION)


@pytest.mark.parametrize("lint", ["quote", "file name", "runtime"])
def test_the_entry_that_is_not_active_is_linted_too(lint):
    changes, message = LINTS[lint]
    bad = manifest_of(OLD, NEW.model_copy(update=changes))

    with pytest.raises(ManifestError, match=f"rollback.*{message}"):
        check_manifest(render_manifest(bad), PRODUCTION)


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + render_manifest(GOOD),
        render_manifest(GOOD)[:-1],
        render_manifest(GOOD).replace(b"{", b'{"schema_version": 1,', 1),
        render_manifest(GOOD).replace(b"2375021452", b"2375021452.0"),
        render_manifest(GOOD).replace(b'"schema_version": 1', b'"schema_version": 1.0'),
        render_manifest(GOOD).replace(b'"schema_version": 1', b'"schema_version": true'),
        render_manifest(GOOD).replace(b"\n", b"\r\n"),
        json.dumps(json.loads(render_manifest(GOOD))).encode(),
    ],
)
def test_other_bytes_for_the_same_manifest_are_refused(data):
    with pytest.raises(ManifestError):
        check_manifest(data, PRODUCTION)


versions = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,20}", fullmatch=True)
shas = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).map(  # noqa: DTZ001
    lambda at: moment(at.replace(tzinfo=UTC))
)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    version = draw(versions)
    return production_entry(
        version,
        "0",
        sha256=draw(shas),
        size_bytes=draw(st.integers(1_900_000_000, 20_000_000_000)),
    )


manifests = st.builds(
    Manifest,
    current=entries(),
    rollback=entries(),
    rollback_required=st.booleans(),
    manifest_version=st.integers(1, 10**9),
    published_at=moments,
).filter(
    lambda m: (
        m.current.sha256 != m.rollback.sha256
        and m.current.model_version != m.rollback.model_version
    )
)


def no_float(text: str) -> None:
    raise AssertionError(f"a float was emitted: {text}")


def in_order(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]

    assert all(one < other for one, other in pairwise(names)), "unsorted or repeated keys"
    return dict(pairs)


@given(manifests)
def test_a_rendered_manifest_is_ascii_with_sorted_unique_keys_and_no_float(manifest):
    data = render_manifest(manifest)

    assert data.isascii()
    assert data.startswith(b"{")
    assert data.endswith(b"}\n")
    json.loads(data, object_pairs_hook=in_order, parse_float=no_float, parse_constant=no_float)


@given(manifests)
def test_what_is_rendered_is_parsed_again_and_read_by_devices_as_meant(manifest):
    data = render_manifest(manifest)
    source = Source.ROLLBACK if manifest.rollback_required else Source.CURRENT
    entry = manifest.effective

    assert parse_manifest(data) == check_manifest(data, PRODUCTION) == manifest
    assert device_reads(data, PRODUCTION) == DeviceReading(
        source, entry.model_version, entry.url, entry.sha256, entry.size_bytes
    )


@given(manifests, st.integers(0, 10_000), st.integers(0, 255))
def test_a_changed_byte_is_never_another_form_of_the_same_manifest(manifest, place, byte):
    data = bytearray(render_manifest(manifest))
    data[place % len(data)] = byte
    if bytes(data) == render_manifest(manifest):
        return
    try:
        parsed = parse_manifest(bytes(data))
    except ManifestError:
        return

    assert parsed != manifest


@given(st.one_of(st.floats(), st.booleans(), st.text(), st.none()))
def test_a_size_that_is_not_an_integer_never_enters_an_entry(size):
    with pytest.raises(ValidationError):
        production_entry("v", "a", size_bytes=size)


@given(st.text().filter(lambda text: not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", text)))
def test_a_version_that_devices_refuse_never_enters_an_entry(version):
    with pytest.raises(ValidationError):
        production_entry("v", "a", model_version=version)


@given(st.binary(max_size=200))
def test_no_bytes_break_our_reading_of_them(data):
    assert device_reads(data, PRODUCTION).source in Source


@pytest.mark.parametrize("name", ["chunks", "signature"])
def test_nothing_can_be_added_to_a_manifest(name):
    with pytest.raises(ValidationError):
        manifest_of(NEW, OLD, **{name: "x"})
