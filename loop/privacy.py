"""Keeping identifiers out of the store: refuse what the phone promised to strip, redact the rest.

A match is counted by its rule and never kept, logged or shown. Texts are read three ways: as they
are written, as a reader sees them (`plain`), and what their base64 and hex runs mean (`encoded`).
"""

import json
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

from loop import encoded
from loop.errors import PrivacyError, TranscriptError
from loop.plain import Span, as_read, is_plain, plain
from loop.privacy_rules import Rule, rules
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

VERSION = "3"
"""Stored with every record; to be raised with every change of the rules."""
SHORT = 64
"""Characters; a longer text is no part of an identifier that was split over neighbours."""
MOST_PASSES, REMOVED = 8, "<REMOVED>"
_PLACEHOLDER = re.compile(r"<[A-Z]+>")


def redact(upload: Upload) -> tuple[Upload, Counter[str]]:
    """The upload as it may be stored, and how often each rule replaced something.

    Raises:
        PrivacyError: Something stands there that the phone promised to strip.
    """
    sent = upload.as_json()
    texts, events = _suspects(sent)
    shown = [event["payload"] for event in events]
    if broken := _promised([*texts.values(), *shown]) | _named(upload):
        raise PrivacyError(tuple(sorted(broken)))
    counts: Counter[str] = Counter()
    for event in events:
        event["payload"] = _fit_reply(_redacted(event["payload"], counts), counts)
    kept = {
        key: _fitted(_redacted_text(text, counts), MOST_TEXT, counts) for key, text in texts.items()
    }
    return read_upload({**sent, **kept}) if counts else upload, counts


def found_in(session: Mapping[str, Any]) -> list[str]:
    """The rules that hit in a kept session, as JSON; none where today's would have kept it so."""
    texts, events = _suspects(session)
    counts: Counter[str] = Counter()
    for value in [*texts.values(), *(event["payload"] for event in events)]:
        _redacted(value, counts)
    return sorted(counts)


def _suspects(session: Mapping[str, Any]) -> tuple[dict[str, str], list[dict[str, Json]]]:
    """The user's texts and the events that need a closer look than `_is_clean` is."""
    said = {key: session.get(key) for key in ("user_prompt", "user_comment")}
    texts = {key: text for key, text in said.items() if text and not _is_clean(text)}
    return texts, [event for event in session["events"] if not _is_clean(event.get("payload"))]


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
        text = _cut(text, ((read.source(span), rule) for span, rule in _all(read.text)), counts)
    return _cut_encoded(text, counts)


def _all(text: str) -> Iterator[tuple[Span, Rule]]:
    """Everything that any rule finds."""
    return ((span, rule) for rule in rules().likely(text) for span in rule.found(text))


def _apart(found: Iterable[tuple[Span, Rule]]) -> Iterator[tuple[Span, Rule]]:
    """Findings in their order; of two that overlap, the first."""
    done = 0
    for span, rule in sorted(found, key=lambda one: one[0]):
        if span.start >= done:
            yield span, rule
            done = span.end


def _cut(text: str, found: Iterable[tuple[Span, Rule]], counts: Counter[str]) -> str:
    """The text with a placeholder for each finding."""
    parts, done = [], 0
    for (start, end), rule in _apart(found):
        parts += [text[done:start], rule.placeholder]
        done = end
        counts[rule.id] += 1
    return "".join([*parts, text[done:]])


def _cut_encoded(text: str, counts: Counter[str]) -> str:
    """The text without the base64 and hex runs in which some rule finds something."""
    parts, done = [], 0
    for (start, end), meant in encoded.runs(text):
        if any(_all(meant)):
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
    whole = EDGE.join(texts)
    looked = (whole, *(meant for _, meant in encoded.runs(whole)))
    return not any(map(rules().likely, looked))


def _gather(value: Json, texts: list[str]) -> bool:
    """Add all texts of a value in each way they are read; False where a key tells without them."""
    if isinstance(value, str):
        texts.append(value)
        if not is_plain(value):
            texts.append(as_read(value))
        return not value.lstrip().startswith(("{", "["))
    if isinstance(value, dict):
        inside = (inner for item in value.items() for inner in item)
        return not _tells(value) and all(_gather(inner, texts) for inner in inside)
    if isinstance(value, list):
        texts += ["".join(value[start:end]) for start, end in _neighbours(value)]
        return all(_gather(inner, texts) for inner in value)
    return True


def _tells(value: dict[str, Json]) -> bool:
    telling, siblings = rules().telling, frozenset(value)
    near = () if telling.isdisjoint(siblings) else telling & siblings
    return any(_placeholder_for(key, value[key], siblings) is not None for key in near)


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
    if key in rules().keys and text and not _PLACEHOLDER.fullmatch(text):
        hits.add("key_" + key)
    return hits


def _last_seen(text: str) -> int:
    """Where the phone's own look may have ended: behind its cut stood more than we know."""
    cut = len(text) * 2 >= MOST_TEXT and len(text.encode("utf-16-le")) // 2 >= MOST_TEXT
    return len(text) - 1 if cut else len(text)


def _named(upload: Upload) -> set[str]:
    """Rules that hit in a model's name, which cannot hold a placeholder."""
    name = upload.model_version if isinstance(upload, UploadV2) else None
    return {rule.id for _, rule in _all(name or "")} & IN_NO_NAME


IN_NO_NAME = frozenset(
    {"peer_id", "peer_id_part", "legacy_cid", "glued_cid", "content_id", "wallet"}
    | {"access_token", "jwt", "uuid", "mac", "base58_key"}
)
"""Rules that no model is called by; versions, days and digests are what names are made of."""


# --- what the phone never strips -----------------------------------------------------------------


def _redacted(value: Json, counts: Counter[str]) -> Json:
    if isinstance(value, str):
        return _redacted_text(value, counts)
    if isinstance(value, list):
        return _redacted_list(value, counts)
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
    redacted = _redacted(inner, counts)
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


def _redacted_list(value: Sequence[Json], counts: Counter[str]) -> list[Json]:
    """What only shows where neighbours are read as one text, then each alone, then once more."""
    alone = [_redacted(inner, counts) for inner in _joined(value, counts)]
    return _joined(alone, counts)


def _joined(value: Sequence[Json], counts: Counter[str]) -> list[Json]:
    kept = list(value)
    for start, end in _neighbours(kept):
        kept[start:end] = _cut_across(kept[start:end], counts)
    return kept


def _neighbours(value: Sequence[Json]) -> Iterator[Span]:
    """The runs of at least two short texts."""
    start = 0
    for at, inner in enumerate([*value, None]):
        if not (isinstance(inner, str) and len(inner) <= SHORT):
            if at - start > 1:
                yield Span(start, at)
            start = at + 1


def _cut_across(texts: Sequence[str], counts: Counter[str]) -> list[str]:
    """Neighbouring texts without the identifiers that begin in one and end in another."""
    whole, edges = "".join(texts), list(accumulate(map(len, texts)))[:-1]
    crossing = (one for one in _all(whole) if _was_split(whole, edges, *one))
    parts, done = [], 0
    for span, rule in _apart(crossing):
        inside = bisect_left(edges, span.end) - bisect_right(edges, span.start)
        parts += [
            _between(whole, edges, done, span.start + 1)[:-1],
            rule.placeholder,
            EDGE * inside,
        ]
        done = span.end
        counts[rule.id] += 1
    return "".join([*parts, _between(whole, edges, done, len(whole) + 1)]).split(EDGE)


EDGE = "\0"
"""Where one text ends and the next begins; no stored text holds it."""
MARKS = frozenset(".:-@_/=")


def _was_split(whole: str, edges: Sequence[int], span: Span, rule: Rule) -> bool:
    """Whether a finding crosses an edge, at a mark where the rule asks for one."""
    crossed = edges[bisect_right(edges, span.start) : bisect_left(edges, span.end)]
    at_marks = (not MARKS.isdisjoint(whole[edge - 1 : edge + 1]) for edge in crossed)
    return bool(crossed) and (rule.joins or all(at_marks))


def _between(whole: str, edges: Sequence[int], start: int, end: int) -> str:
    """A part of the joined texts, with the edges in it; one at `end` belongs to what follows."""
    inside = edges[bisect_left(edges, start) : bisect_left(edges, end)]
    return EDGE.join(whole[a:b] for a, b in pairwise([start, *inside, end]))


def _redacted_object(value: dict[str, Json], counts: Counter[str]) -> dict[str, Json]:
    kept: dict[str, Json] = {}
    numbers: Counter[str] = Counter()
    siblings = frozenset(value)
    for key, inner in value.items():
        shown = _placeholder_for(key, inner, siblings)
        if shown is not None:
            counts["number" if isinstance(inner, int | float) else "network_key"] += 1
        name = _free(_redacted_text(key, counts), kept, numbers)
        kept[name] = _redacted(inner, counts) if shown is None else shown
    return kept


def _placeholder_for(key: str, value: Json, siblings: frozenset[str]) -> str | None:
    """What stands for a value that its key alone makes telling; None where it does not."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        told = (one for one in rules().numbers if one.tell(key, value, siblings))
        return next((one.placeholder for one in told), None)
    network = key in rules().keys and isinstance(value, str | list | dict) and value
    if network and not (isinstance(value, str) and _PLACEHOLDER.fullmatch(value)):
        return "<SSID>"  # what the phone could not see: no text, or inside of one
    return None


def _free(key: str, taken: Mapping[str, Json], numbers: Counter[str]) -> str:
    """Two keys may become the same placeholder; the later ones get a number, in the same room."""
    free = key
    while free in taken:
        numbers[key] += 1
        number = str(numbers[key] + 1)
        room = MAX_STRING_BYTES - len(number)
        free = key.encode()[:room].decode(errors="ignore") + number
    return free
