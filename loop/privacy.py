"""Keeping identifiers out of the store: refuse what the phone promised to strip, redact the rest.

A match is counted by its rule and never kept, logged or shown. Texts are read three ways: as they
are written, as a reader sees them (`plain`), and what their base64 and hex runs mean (`encoded`).
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import compress
from typing import Any, NamedTuple

from loop import encoded
from loop.errors import PrivacyError, TranscriptError
from loop.neighbours import leaves
from loop.plain import Span, as_read, is_plain, plain
from loop.privacy_rules import Finding, apart, findings, introduces, rules
from loop.splits import EDGE, cut_split, joined_at_marks, may_be_joined
from loop.upload import (
    MAX_STRING_BYTES,
    MOST_REPLY,
    MOST_TEXT,
    Upload,
    UploadV2,
    parse_json,
    read_upload,
)
from loop.values import Json

VERSION = "4"
"""Stored with every record; to be raised with every change of the rules."""
MOST_PASSES, REMOVED = 8, "<REMOVED>"
_PLACEHOLDER = re.compile(r"<[A-Z]+>")
_WRITTEN_NUMBER = re.compile(r"-?[0-9]{1,19}(?:\.[0-9]{1,12})?")


def redact(upload: Upload) -> tuple[Upload, Counter[str]]:
    """The upload as it may be stored, and how often each rule replaced something.

    Raises:
        PrivacyError: Something stands there that the phone promised to strip.
    """
    sent, counts = upload.as_json(), Counter[str]()
    suspects = _suspects(sent)
    if broken := _named(upload).union(*map(_promised, compress(_said(sent), suspects))):
        raise PrivacyError(tuple(sorted(broken)))
    kept = _kept(sent, suspects, counts) if suspects else sent
    return read_upload(kept) if counts else upload, counts


def found_in(session: Mapping[str, Any]) -> list[str]:
    """The rules that hit in a kept session, as JSON; none where today's would have kept it so."""
    counts: Counter[str] = Counter()
    if suspects := _suspects(session):
        _kept(session, suspects, counts)
    return sorted(counts)


def _said(session: Mapping[str, Any]) -> list[Json]:
    """What may hold an identifier: the payloads of its events and its user's texts."""
    return [*_payloads(session), *_own_words(session).values()]


def _payloads(session: Mapping[str, Any]) -> list[Json]:
    return [event.get("payload") for event in session["events"]]


def _own_words(session: Mapping[str, Any]) -> dict[str, str]:
    return {key: text for key in ("user_prompt", "user_comment") if (text := session.get(key))}


def _suspects(session: Mapping[str, Any]) -> list[bool]:
    """Which parts of what was said need a closer look; empty where none do, not even together."""
    if all(map(_is_clean, (_payloads(session), *_own_words(session).values()))):
        return []
    return [not _is_clean(value) for value in _said(session)]


def _kept(
    session: Mapping[str, Any], suspects: Sequence[bool], counts: Counter[str]
) -> dict[str, Any]:
    """The session without identifiers, in the room that each of its parts has."""
    texts = {
        key: _fitted(_redacted_text(text, counts), MOST_TEXT, counts)
        for key, text in _own_words(session).items()
    }
    payloads = _redacted(_payloads(session), counts, suspects[: len(session["events"])])
    events = [
        event | {"payload": _fit_reply(payload, counts)} if "payload" in event else event
        for event, payload in zip(session["events"], payloads, strict=True)
    ]
    return {**session, **texts, "events": events}


def redact_text(text: str, counts: Counter[str]) -> str:
    """A text with every identifier replaced, those of both tiers.

    A replacement may uncover what stood too close to it, so this goes on until nothing more is
    found; a text that takes too many passes is not worth its risk.
    """
    for _ in range(MOST_PASSES):
        if (cleaned := _pass(text, counts)) == text:
            return text
        text = cleaned
    counts["endless"] += 1
    return REMOVED


def _pass(text: str, counts: Counter[str]) -> str:
    """All rules on the text as written, as read, and as decoded."""
    for rule in rules().likely(text):
        text = _cut(text, ((span, rule) for span in rule.found(text)), counts)
    if not is_plain(text) and rules().likely(as_read(text)):
        read = plain(text)
        text = _cut(text, ((read.source(span), rule) for span, rule in findings(read.text)), counts)
    return _cut_encoded(text, counts)


def _cut(text: str, found: Iterable[Finding], counts: Counter[str]) -> str:
    """The text with a placeholder for each finding."""
    parts, done = [], 0
    for (start, end), rule in apart(found):
        parts += [text[done:start], rule.placeholder]
        done = end
        counts[rule.id] += 1
    return "".join([*parts, text[done:]])


def _cut_encoded(text: str, counts: Counter[str]) -> str:
    """The text without the base64 and hex runs in which some rule finds something."""
    parts, done = [], 0
    for (start, end), meant in encoded.runs(text):
        if any(findings(meant)):
            parts += [text[done:start], encoded.PLACEHOLDER]
            done = end
            counts["encoded"] += 1
    return "".join([*parts, text[done:]])


# --- a first look --------------------------------------------------------------------------------


def _is_clean(value: Json) -> bool:
    """Whether no rule can find anything in a value, known in one pass; else nobody knows yet."""
    texts: list[str] = []
    if not _gather(value, texts):
        return False
    told = leaves(value)
    whole = EDGE.join([*texts, *joined_at_marks(told)])
    looked = (whole, *(meant for _, meant in encoded.runs(whole)))
    return not any(map(rules().likely, looked)) and not may_be_joined(told)


def _gather(value: Json, texts: list[str]) -> bool:
    """Add all texts of a value in each way they are read; False where a key tells without them."""
    if isinstance(value, str):
        texts.append(value)
        if not is_plain(value):
            texts.append(as_read(value))
        return not value.lstrip().startswith(("{", "["))
    if isinstance(value, dict):
        texts += [_with_key(*item) for item in value.items() if _is_introduced(*item)]
        inside = (inner for item in value.items() for inner in item)
        return not _tells(value) and all(_gather(inner, texts) for inner in inside)
    if isinstance(value, list):
        return all(_gather(inner, texts) for inner in value)
    return True


def _tells(value: dict[str, Json]) -> bool:
    telling, siblings = rules().telling, frozenset(map(str.lower, value))
    near = (key for key in value if key in telling or key.lower() in telling)
    return any(_told_by_key(key, value[key], siblings) for key in near)


# --- what the phone promised ---------------------------------------------------------------------


def _promised(value: Json, key: str = "") -> set[str]:
    """The tier A rules that hit in the texts of a value; its keys are not the phone's promise."""
    if isinstance(value, str):
        return _promised_text(value, key)
    if isinstance(value, list):  # the phone looks at texts right under a network's key only
        return set().union(*(_promised(inner) for inner in value))
    if isinstance(value, dict):
        return set().union(*(_promised(inner, name) for name, inner in value.items()))
    return set()


def _promised_text(text: str, key: str) -> set[str]:
    end, likely = _last_seen(text), [rule for rule in rules().likely(text) if rule.tier == "A"]
    hits = {rule.id for rule in likely if any(span.end <= end for span in rule.found(text))}
    if key in rules().network_key.keys and text and not _PLACEHOLDER.fullmatch(text):
        hits.add("key_" + key)
    return hits


def _last_seen(text: str) -> int:
    """Where the phone's own look may have ended: behind its cut stood more than we know."""
    cut = len(text) * 2 >= MOST_TEXT and len(text.encode("utf-16-le")) // 2 >= MOST_TEXT
    return len(text) - 1 if cut else len(text)


def _named(upload: Upload) -> set[str]:
    """Rules that hit in a model's name, which cannot hold a placeholder."""
    name = upload.model_version if isinstance(upload, UploadV2) else None
    return {rule.id for _, rule in findings(name or "")} & IN_NO_NAME


IN_NO_NAME = frozenset(
    {"peer_id", "peer_id_part", "legacy_cid", "glued_cid", "content_id", "wallet", "base58_key"}
    | {"access_token", "code_token", "cloud_token", "chat_token", "paid_token", "model_token"}
    | {"jwt", "uuid", "mac"}
)
"""Rules that no model is called by; versions, days and digests are what names are made of."""


# --- what the phone never strips -----------------------------------------------------------------


def _redacted(values: list[Json], counts: Counter[str], suspects: Sequence[bool]) -> list[Json]:
    """Values without what was split over their texts and what each says alone.

    One uncovers the other, so this goes on until nothing more is found, as with a text.
    """
    for _ in range(MOST_PASSES):
        parted = zip(cut_split(values, counts), values, suspects, strict=True)
        cleaned = [_alone(a, counts) if suspect or a != b else a for a, b, suspect in parted]
        if cleaned == values:
            return values
        suspects = [a != b for a, b in zip(cleaned, values, strict=True)]
        values = cleaned
    counts["endless"] += 1
    return [REMOVED] * len(values)


def _alone(value: Json, counts: Counter[str]) -> Json:
    if isinstance(value, str):
        return _redacted_text(value, counts)
    if isinstance(value, list):
        return [_alone(inner, counts) for inner in value]
    if isinstance(value, dict):
        return _redacted_object(value, counts)
    return value


def _redacted_text(text: str, counts: Counter[str]) -> str:
    """A text, and what it holds where it is itself JSON; never longer than what may be stored."""
    redacted = redact_text(_redacted_json(text, counts), counts)
    while len(data := redacted.encode()) > MAX_STRING_BYTES:
        redacted = redact_text(data[:MAX_STRING_BYTES].decode(errors="ignore"), counts)
    return redacted


def _redacted_json(text: str, counts: Counter[str]) -> str:
    """A text that is JSON as a whole, as some tools print it: its keys tell as much as outside."""
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        inner = parse_json(text.encode())
    except TranscriptError:
        return text
    [redacted] = _redacted([inner], counts, [True])
    if redacted == inner:
        return text
    return json.dumps(redacted, ensure_ascii=False, separators=(",", ":"))


def _fit_reply(payload: Json, counts: Counter[str]) -> Json:
    if isinstance(payload, dict) and isinstance(reply := payload.get("reply_text"), str):
        return payload | {"reply_text": _fitted(reply, MOST_REPLY, counts)}
    return payload


def _fitted(text: str, most: int, counts: Counter[str]) -> str:
    """A redacted text of so many characters at most; what is cut off may have hidden something."""
    while len(text) > most:
        text = redact_text(text[:most], counts)
    return text


def _redacted_object(value: dict[str, Json], counts: Counter[str]) -> dict[str, Json]:
    kept: dict[str, Json] = {}
    numbers: Counter[str] = Counter()
    siblings = frozenset(map(str.lower, value))
    for key, inner in value.items():
        told = _told_by_key(key, inner, siblings)
        counts.update([told.rule] if told else [])
        name = _free(_redacted_text(key, counts), kept, numbers)
        kept[name] = told.placeholder if told else _alone(_behind(key, inner, counts), counts)
    return kept


def _is_introduced(key: str, value: Json) -> bool:
    return isinstance(value, str) and introduces(key)


def _with_key(key: str, text: str) -> str:
    return f"{key}: {text}"


def _behind(key: str, value: Json, counts: Counter[str]) -> Json:
    """A value without what its key gives away, as in front of a colon."""
    if not _is_introduced(key, value):
        return value
    start = len(_with_key(key, ""))
    said = ((span, rule) for span, rule in findings(_with_key(key, value)) if span.end > start)
    found = [(Span(max(0, span.start - start), span.end - start), rule) for span, rule in said]
    return _cut(value, found, counts)


class _Told(NamedTuple):
    """The rule by which a key makes its value telling, and what stands there instead."""

    rule: str
    placeholder: str


def _told_by_key(key: str, value: Json, siblings: frozenset[str]) -> _Told | None:
    """What the key alone tells of a value, beside keys in lower case."""
    if (number := _number(value)) is not None:
        told = (one for one in rules().numbers if one.tell(key, number, siblings))
        if found := next((_Told(one.id, one.placeholder) for one in told), None):
            return found
    network = rules().network_key
    if key not in network.keys or not (isinstance(value, str | list | dict) and value):
        return None
    if isinstance(value, str) and _PLACEHOLDER.fullmatch(value):
        return None
    return _Told("network_key", network.placeholder)  # what the phone could not see


def _number(value: Json) -> float | None:
    """A number, also one that is written as a text."""
    if isinstance(value, str):
        return float(value) if _WRITTEN_NUMBER.fullmatch(value) else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _free(key: str, taken: Mapping[str, Json], numbers: Counter[str]) -> str:
    """Two keys may become the same placeholder; the later ones get a number, in the same room."""
    free = key
    while free in taken:
        numbers[key] += 1
        number = str(numbers[key] + 1)
        room = MAX_STRING_BYTES - len(number)
        free = key.encode()[:room].decode(errors="ignore") + number
    return free
