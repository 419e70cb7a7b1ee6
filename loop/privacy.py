"""Keeping identifiers out of the store: refuse what the phone promised to strip, redact the rest.

A match is counted by its rule and never kept, logged or shown. Texts are read three ways: as they
are written, as a reader sees them (`plain`), and what their base64 and hex runs mean (`encoded`).
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from loop import encoded
from loop.errors import PrivacyError, TranscriptError
from loop.plain import Span, is_plain, plain
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

VERSION = "2"
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
    texts, payloads = _said(sent), _payloads(sent)
    if broken := _promised(list(texts.values()) + payloads) | _named(upload):
        raise PrivacyError(tuple(sorted(broken)))
    counts: Counter[str] = Counter()
    for event, payload in zip(sent["events"], payloads, strict=True):
        if "payload" in event:
            event["payload"] = _fit_reply(_redacted(payload, counts))
    kept = {key: redact_text(text, counts)[:MOST_TEXT] for key, text in texts.items()}
    return read_upload({**sent, **kept}), counts


def found_in(session: Mapping[str, Any]) -> list[str]:
    """The rules that hit in a kept session, as JSON; none where today's would have kept it so."""
    texts, payloads = list(_said(session).values()), _payloads(session)
    counts: Counter[str] = Counter()
    for value in texts + payloads:
        _redacted(value, counts)
    return sorted(_promised(texts + payloads) | set(counts))


def _said(session: Mapping[str, Any]) -> dict[str, str]:
    """What the user wrote."""
    return {key: session[key] for key in ("user_prompt", "user_comment") if session.get(key)}


def _payloads(session: Mapping[str, Any]) -> list[Json]:
    return [event.get("payload") for event in session["events"]]


def redact_text(text: str, counts: Counter[str], *, tier_a: bool = False) -> str:
    """A text with every identifier of tier B replaced, and of tier A where asked.

    What tier A names is replaced in any case where the phone could not see it: written in another
    way, escaped or encoded. A replacement may uncover what stood too close to it, so this goes on
    until nothing more is found; a text that takes too many passes is not worth its risk.
    """
    for _ in range(MOST_PASSES):
        if (cleaned := _pass(text, counts, tier_a)) == text:
            return text
        text = cleaned
    counts["endless"] += 1
    return REMOVED


def _pass(text: str, counts: Counter[str], tier_a: bool) -> str:
    """All rules on the text as written, as read, and as decoded."""
    lower = text.lower()
    if is_plain(text) and not rules().hints.search(lower):
        return text
    for rule in rules().rules:
        if (tier_a or rule.tier == "B") and rule.may_find(lower):
            text = _cut(text, ((span, rule) for span in rule.found(text)), counts)
            lower = text.lower()
    if not is_plain(text):
        read = plain(text)
        text = _cut(text, ((read.source(span), rule) for span, rule in _all(read.text)), counts)
    return _cut_encoded(text, counts)


def _all(text: str) -> Iterator[tuple[Span, Rule]]:
    """Everything that any rule finds."""
    lower = text.lower()
    likely = (rule for rule in rules().rules if rule.may_find(lower))
    return ((span, rule) for rule in likely for span in rule.found(text))


def _cut(text: str, found: Iterable[tuple[Span, Rule]], counts: Counter[str]) -> str:
    """The text with a placeholder for each finding; of two that overlap, for the first."""
    parts, done = [], 0
    for (start, end), rule in sorted(found, key=lambda one: one[0]):
        if start >= done:
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
    lower = text.lower()
    likely = (rule for rule in rules().tier("A") if rule.may_find(lower))
    hits = {rule.id for rule in likely if any(rule.found(text))}
    if key in rules().keys and text and not _PLACEHOLDER.fullmatch(text):
        hits.add("key_" + key)
    return hits


def _named(upload: Upload) -> set[str]:
    """Rules that hit in a model's name, which cannot hold a placeholder.

    A dotted quad there is a version, and a date a day of its making.
    """
    name = upload.model_version if isinstance(upload, UploadV2) else None
    return {rule.id for _, rule in _all(name or "") if rule.id not in IN_MODEL_NAMES}


IN_MODEL_NAMES = frozenset({"ipv4", "ipv4_glued", "date", "epoch", "mac_other", "hex_key"})
"""Versions, days and digests, which name a model and nobody else."""

# --- what the phone never strips -----------------------------------------------------------------


def _redacted(value: Json, counts: Counter[str]) -> Json:
    if isinstance(value, str):
        return _fit(redact_text(_redacted_json(value, counts), counts))
    if isinstance(value, list):
        return _redacted_list(value, counts)
    if isinstance(value, dict):
        return _redacted_object(value, counts)
    return value


def _redacted_json(text: str, counts: Counter[str]) -> str:
    """A text that is itself JSON, as some tools print it: its keys tell as much as outside."""
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        inner = parse_json(text.encode())
    except TranscriptError:
        return text
    redacted = _redacted(inner, counts)
    return text if redacted == inner else json.dumps(redacted, ensure_ascii=False)


def _fit(text: str) -> str:
    """A text that is no longer than a stored one may be: placeholders can make it so."""
    data = text.encode()
    return (
        text if len(data) <= MAX_STRING_BYTES else data[:MAX_STRING_BYTES].decode(errors="ignore")
    )


def _fit_reply(payload: Json) -> Json:
    if isinstance(payload, dict) and isinstance(reply := payload.get("reply_text"), str):
        return payload | {"reply_text": reply[:MOST_REPLY]}
    return payload


def _redacted_list(value: Sequence[Json], counts: Counter[str]) -> list[Json]:
    """Each alone, after what only shows where neighbours are read as one text."""
    kept = list(value)
    for start, end in _neighbours(kept):
        kept[start:end] = _cut_across(kept[start:end], counts)
    return [_redacted(inner, counts) for inner in kept]


def _neighbours(value: Sequence[Json]) -> Iterator[Span]:
    """The runs of at least two short texts."""
    start = 0
    for at, inner in enumerate([*value, None]):
        if not (isinstance(inner, str) and len(inner) <= SHORT):
            if at - start > 1:
                yield Span(start, at)
            start = at + 1


def _cut_across(texts: Sequence[str], counts: Counter[str]) -> Sequence[str]:
    """Neighbouring texts without the identifiers that begin in one and end in another."""
    for _ in texts:
        pieces, whole = _pieces(texts), "".join(texts)
        crossing = (one for one in _all(whole) if _crosses(one[0], pieces))
        if (found := next(crossing, None)) is None:
            break
        span, rule = found
        texts = [_left_of(whole, piece, span, rule.placeholder) for piece in pieces]
        counts[rule.id] += 1
    return texts


def _pieces(texts: Sequence[str]) -> list[Span]:
    """Where each text stands in all of them joined."""
    ends = list(accumulate(map(len, texts)))
    return [Span(end - len(text), end) for text, end in zip(texts, ends, strict=True)]


def _crosses(span: Span, pieces: Sequence[Span]) -> bool:
    return any(span.start < piece.end < span.end for piece in pieces)


def _left_of(whole: str, piece: Span, cut: Span, placeholder: str) -> str:
    """One piece without its part of a cut; the placeholder stands where the cut begins."""
    before = whole[piece.start : max(piece.start, min(piece.end, cut.start))]
    after = whole[min(piece.end, max(piece.start, cut.end)) : piece.end]
    begins_here = piece.start <= cut.start < piece.end
    return before + (placeholder if begins_here else "") + after


def _redacted_object(value: dict[str, Json], counts: Counter[str]) -> dict[str, Json]:
    kept: dict[str, Json] = {}
    for key, inner in value.items():
        shown = _placeholder_for(key, inner, frozenset(value))
        if shown is not None:
            counts["number" if isinstance(inner, int | float) else "network_key"] += 1
        name = _free(redact_text(key, counts, tier_a=True), kept)
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


def _free(key: str, taken: Mapping[str, Json]) -> str:
    """Two keys may become the same placeholder; the later one gets a number."""
    number, free = 1, key
    while free in taken:
        number += 1
        free = f"{key}{number}"
    return free
