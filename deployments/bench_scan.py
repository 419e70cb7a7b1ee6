"""Bench: how fast privacy rules look through sessions, beside the same rules one by one and JSON.

All on one core, in processor time. Sessions are generated and clean, so that nothing ends early.
"""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

from rich.console import Console

from deployments.bench_result import Result, cpu_seconds, percentile
from loop import privacy
from loop.plain import as_read, is_plain
from loop.privacy_rules import rules
from loop.sessions import generate
from loop.upload import Upload, parse_upload
from loop.values import Json

SESSIONS, SEED = 400, 11
MB = 1e6
LONG_BYTES = 20_000
"""A long session, as devices with verbose tools send them."""
LONG_TIMES = 300
LEAST_GAIN = 4.0
"""So many times faster at least than the rules one by one."""
MOST_OF_JSON = 20.0
"""So many times longer at most than Python's JSON parser takes for the same bytes."""


def measure(_console: Console) -> Result:
    """Measure on generated sessions, and judge the two ratios."""
    uploads = [generated.upload for generated in generate(SEED, SESSIONS)]
    bodies = [json.dumps(upload, ensure_ascii=False).encode() for upload in uploads]
    rates = {name: sum(map(len, bodies)) / MB / s for name, s in _seconds(uploads, bodies).items()}
    gain = rates["all rules in one pass"] / rates["the same rules one by one"]
    json_times = rates["JSON parsing alone"] / rates["all rules in one pass"]
    long_ms = percentile(_long_milliseconds(uploads), 0.99)
    return Result(
        "\n".join([*_table(bodies, rates), "", _sentence(gain, json_times, long_ms)]),
        tuple(_failures(gain, json_times)),
    )


def _table(bodies: list[bytes], rates: dict[str, float]) -> Iterator[str]:
    kilobytes = sum(map(len, bodies)) / len(bodies) / 1000
    yield (
        f"{len(bodies)} generated sessions, {kilobytes:.1f} KB each, {len(rules().rules)} rules, "
        "one core."
    )
    yield from ("", "| | MB/s |", "|---|---:|")
    yield from (f"| {name} | {rate:.1f} |" for name, rate in rates.items())


def _sentence(gain: float, json_times: float, long_ms: float) -> str:
    return (
        f"One pass is {gain:.1f} times as fast as one by one (under {LEAST_GAIN:g} fails), "
        f"and takes {json_times:.1f} times as long as parsing the JSON (over "
        f"{MOST_OF_JSON:g} fails). A session of {LONG_BYTES / 1000:.0f} KB: "
        f"{long_ms:.2f} ms at the 99th percentile of {LONG_TIMES}."
    )


def _failures(gain: float, json_times: float) -> Iterator[str]:
    if gain < LEAST_GAIN:
        yield f"one pass is {gain:.1f} times as fast as one by one, expected {LEAST_GAIN:g}"
    if json_times > MOST_OF_JSON:
        yield f"one pass takes {json_times:.1f} times JSON parsing, expected {MOST_OF_JSON:g}"


def _seconds(uploads: list[dict[str, Any]], bodies: list[bytes]) -> dict[str, float]:
    """Processor seconds for all sessions, by what is done with them."""
    checked = [parse_upload(body) for body in bodies]
    leaky = [parse_upload(json.dumps(_with_mail(upload)).encode()) for upload in uploads]
    every = {
        "all rules in one pass": partial(_each, privacy.found_in, uploads),
        "the same rules one by one": partial(_each, _one_by_one, uploads),
        "JSON parsing alone": partial(_each, json.loads, bodies),
        "reading and checking a body": partial(_each, parse_upload, bodies),
        "redacting, nothing found": partial(_each, privacy.redact, checked),
        "redacting, a mail address in each": partial(_each, privacy.redact, leaky),
    }
    return {name: cpu_seconds(work) for name, work in every.items()}


def _each(work: Any, items: list[Any]) -> None:
    for item in items:
        work(item)


def _one_by_one(session: dict[str, Any]) -> None:
    """What the rules cost without a pass in front of them."""
    said = [session.get("user_prompt"), session.get("user_comment")]
    for value in [*said, *(event.get("payload") for event in session["events"])]:
        for text in (read for written in _texts(value) for read in _readings(written)):
            for rule in rules().rules:
                if rule.compiled.search(text) and any(rule.found(text)):
                    raise ValueError(f"expected a clean session; {rule.id} finds something")


def _readings(text: str) -> list[str]:
    return [text] if is_plain(text) else [text, as_read(text)]


def _texts(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _with_mail(upload: dict[str, Any]) -> dict[str, Any]:
    return {**upload, "user_comment": "still the same, write to ola@example.org please"}


def _long_milliseconds(uploads: list[dict[str, Any]]) -> list[float]:
    long = _long(uploads)
    return [cpu_seconds(lambda: privacy.redact(long), rounds=1) * 1000 for _ in range(LONG_TIMES)]


def _long(uploads: list[dict[str, Any]]) -> Upload:
    """One session with the events of many."""
    events: list[Json] = []
    for upload in uploads:
        events += upload["events"]
        if len(json.dumps(events)) > LONG_BYTES:
            break
    return parse_upload(json.dumps({**uploads[0], "events": events}).encode())
