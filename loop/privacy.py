"""Keeping identifiers out of the store: refuse what the phone promised to strip, redact the rest.

The rules are a table, loop/data/privacy_rules.yaml. A match is counted by its rule and never kept,
logged or shown.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cache, cached_property
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from loop.errors import FactsError, PrivacyError
from loop.upload import Upload, UploadV2, read_upload
from loop.values import Json, Value
from loop.written import read_written

VERSION = "1"
"""Stored with every record; to be raised with every change of the rules."""
TABLE = Path(__file__).parent / "data/privacy_rules.yaml"
_PLACEHOLDER = re.compile(r"<[A-Z]+>")
_AFTER_VERSION = re.compile(r" oid\b|-(?:alpha|beta|dev|pre|rc)")


class Rule(Value):
    """One kind of identifier, how it looks, and what must and must not look like it."""

    id: str
    tier: Literal["A", "B"]
    placeholder: str
    needs: tuple[str, ...]
    pattern: str
    group: int = 0
    check: Literal["ipv4", "ipv6", "network_name", "personal_name"] | None = None
    hits: Annotated[tuple[str, ...], Field(min_length=1)]
    clean: Annotated[tuple[str, ...], Field(min_length=1)]

    @cached_property
    def compiled(self) -> re.Pattern[str]:
        """The pattern with ASCII word boundaries, as the phone's JavaScript has them."""
        return re.compile(self.pattern, re.ASCII)

    def found(self, text: str) -> "Iterator[Span]":
        """Where the identifier stands in a text."""
        lower = text.lower()
        if not any(needed in lower for needed in self.needs):
            return
        for match in self.compiled.finditer(text):
            if self.check is None or _CHECKS[self.check](match):
                yield Span(*match.span(self.group))


class Span(NamedTuple):
    """From and up to, in characters."""

    start: int
    end: int


class Rules(Value):
    """The whole table."""

    rules: tuple[Rule, ...]
    keys: frozenset[str]
    known_ipv4: frozenset[str]
    version_words: frozenset[str]
    not_names: frozenset[str]
    shared_users: frozenset[str]

    def tier(self, tier: Literal["A", "B"]) -> Iterator[Rule]:
        """The rules of one tier, in the order of the table."""
        return (rule for rule in self.rules if rule.tier == tier)


@cache
def rules() -> Rules:
    """Today's rules."""
    return read_written(TABLE, Rules, FactsError)


def redact(upload: Upload) -> tuple[Upload, Counter[str]]:
    """The upload as it may be stored, and how often each rule replaced something.

    Raises:
        PrivacyError: Something stands there that the phone promised to strip.
    """
    sent = upload.as_json()
    texts: dict[str, Json] = {
        key: sent[key] for key in ("user_prompt", "user_comment") if key in sent
    }
    texts["payloads"] = [event.get("payload") for event in sent["events"]]
    if broken := _promised(texts) | _named(upload):
        raise PrivacyError(tuple(sorted(broken)))
    counts: Counter[str] = Counter()
    texts = _redacted(texts, counts)
    for event, payload in zip(sent["events"], texts.pop("payloads"), strict=True):
        if "payload" in event:
            event["payload"] = payload
    return read_upload({**sent, **texts}), counts


def redact_text(text: str, counts: Counter[str], *, tier_a: bool = False) -> str:
    """A text with every identifier of tier B replaced, and of tier A where asked.

    Tier B placeholders never make it longer, so that no length limit breaks.
    """
    for rule in rules().rules:
        if rule.tier == "B" or tier_a:
            text = _replaced(rule, text, counts)
    return text


def _replaced(rule: Rule, text: str, counts: Counter[str]) -> str:
    parts, done = [], 0
    for start, end in rule.found(text):
        parts += [text[done:start], rule.placeholder]
        done = end
        counts[rule.id] += 1
    return "".join([*parts, text[done:]])


# --- what the phone promised ---------------------------------------------------------------------


def _promised(value: Json, key: str = "") -> set[str]:
    """The tier A rules that hit in the texts of a value; its keys are not the phone's promise."""
    if isinstance(value, str):
        return _promised_text(value, key)
    if isinstance(value, list):
        return set().union(*(_promised(inner, key) for inner in value))
    if isinstance(value, dict):
        return set().union(*(_promised(inner, name) for name, inner in value.items()))
    return set()


def _promised_text(text: str, key: str) -> set[str]:
    hits = {rule.id for rule in rules().tier("A") if any(rule.found(text))}
    if key in rules().keys and text and not _PLACEHOLDER.fullmatch(text):
        hits.add("key_" + key)
    return hits


def _named(upload: Upload) -> set[str]:
    """Rules that hit in a model's name, which cannot hold a placeholder.

    A dotted quad there is a version.
    """
    name = upload.model_version if isinstance(upload, UploadV2) else None
    return {rule.id for rule in rules().rules if rule.id != "ipv4" and any(rule.found(name or ""))}


# --- what the phone never strips -----------------------------------------------------------------


def _redacted(value: Json, counts: Counter[str]) -> Json:
    if isinstance(value, str):
        return redact_text(value, counts)
    if isinstance(value, list):
        return [_redacted(inner, counts) for inner in value]
    if isinstance(value, dict):
        return _redacted_object(value, counts)
    return value


def _redacted_object(value: dict[str, Json], counts: Counter[str]) -> dict[str, Json]:
    kept: dict[str, Json] = {}
    for key, inner in value.items():
        kept[_free(redact_text(key, counts, tier_a=True), kept)] = _redacted(inner, counts)
    return kept


def _free(key: str, taken: Mapping[str, Json]) -> str:
    """Two keys may become the same placeholder; the later one gets a number."""
    number, free = 1, key
    while free in taken:
        number += 1
        free = f"{key}{number}"
    return free


# --- validators ----------------------------------------------------------------------------------


def _is_ipv4(match: re.Match[str]) -> bool:
    quad = match.group()
    if quad in rules().known_ipv4 or any(int(octet) > 255 for octet in quad.split(".")):
        return False
    return not (_is_version(match) or _identifies_nobody(quad))


def _identifies_nobody(quad: str) -> bool:
    address = IPv4Address(".".join(str(int(octet)) for octet in quad.split(".")))
    return address.is_loopback or address.is_unspecified


def _is_version(match: re.Match[str]) -> bool:
    before = match.string[max(0, match.start() - 16) : match.start()].lower().split()
    follows = before and before[-1] in rules().version_words
    return bool(follows or _AFTER_VERSION.match(match.string, match.end()))


def _is_ipv6(match: re.Match[str]) -> bool:
    try:
        address = IPv6Address(match.group())
    except ValueError:
        return False
    return not (address.is_reserved or address.is_loopback)


def _is_network_name(match: re.Match[str]) -> bool:
    return match.group(1).lower() not in rules().not_names


def _is_personal_name(match: re.Match[str]) -> bool:
    return match.group(1) not in rules().shared_users


_CHECKS: dict[str, Callable[[re.Match[str]], bool]] = {
    "ipv4": _is_ipv4,
    "ipv6": _is_ipv6,
    "network_name": _is_network_name,
    "personal_name": _is_personal_name,
}
