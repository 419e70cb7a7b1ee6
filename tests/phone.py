r"""A double of the phone's anonymiser 0.1.0, written from the upload contract, not from its code.

Where the contract leaves a reach open, the double takes the smaller one: whoever accepts all that
it leaves there accepts every honest phone. Event times are the caller's.

>>> anonymise_text("ssid: Attic7, 203.0.113.9 since 2026-03-04T05:06:07Z")
'ssid: <SSID>, <IP> since <TS>'
"""

import re
from typing import Any, NamedTuple

from loop.values import Json

USER_TEXTS = ("user_comment", "user_prompt")
LONGEST = 2000
"""UTF-16 units that are left of a user's text."""
SPACES = "\t\n\v\f\r \xa0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff" + "".join(
    map(chr, range(0x2000, 0x200B))
)
"""What JavaScript trims, and what `\\s` is there."""
KEYS = {
    **dict.fromkeys(("wifi_ssid", "ssid", "currentSSID", "wifiSSID"), "<SSID>"),
    **dict.fromkeys(("wifi_bssid", "bssid", "currentBSSID", "wifiBSSID"), "<BSSID>"),
}
"""Keys whose text is replaced whatever it is."""


class Step(NamedTuple):
    """One replacement in every text."""

    pattern: re.Pattern[str]
    replacement: str


def _step(pattern: str, replacement: str) -> Step:
    return Step(re.compile(pattern, re.ASCII), replacement)  # \b and \d as in JavaScript


_BASE58 = "[1-9A-HJ-NP-Za-km-z]"
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
STEPS = (
    _step(r"\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)\b", "<TS>"),
    _step(r"\b[\dA-Fa-f]{2}(?:(?::[\dA-Fa-f]{2}){5}|(?:-[\dA-Fa-f]{2}){5})\b", "<BSSID>"),
    _step(r"/(home|Users)/[A-Za-z\d_.-]{1,32}", r"/\1/<USER>"),
    _step(rf"\b12D3KooW{_BASE58}{{40,}}\b", "<PEERID>"),
    _step(rf"\bQm{_BASE58}{{40,46}}\b", "<CID>"),
    _step(rf"\b{_OCTET}(?:\.{_OCTET}){{3}}\b", "<IP>"),
    _step(r"\b[\dA-Fa-f]{1,4}(?::[\dA-Fa-f]{0,4}){2,}\b", "<IP>"),
    _step(rf"""((?i:ssid)[:=] *"?)[^"',{{}}{SPACES}]{{1,32}}""", r"\1<SSID>"),
)
"""In this order; the last rewrites what the second left after `bssid:`."""


def anonymise(upload: dict[str, Json]) -> dict[str, Json]:
    """The upload as the phone would send it: event payloads and the user's two texts replaced."""
    texts = {key: _user_text(upload[key]) for key in USER_TEXTS if key in upload}
    sent = {**upload, **texts, "events": [_event(event) for event in upload["events"]]}
    return {key: value for key, value in sent.items() if value or key not in USER_TEXTS}


def anonymise_text(text: str) -> str:
    """A text after all eight steps."""
    for pattern, replacement in STEPS:
        text = pattern.sub(replacement, text)
    return text


def _event(event: dict[str, Any]) -> dict[str, Json]:
    return {key: _value(value) if key == "payload" else value for key, value in event.items()}


def _value(value: Json) -> Json:
    """Texts are replaced; keys, numbers and booleans never."""
    if isinstance(value, str):
        return anonymise_text(value)
    if isinstance(value, list):
        return [_value(inner) for inner in value]
    if isinstance(value, dict):
        return {key: _member(key, inner) for key, inner in value.items()}
    return value


def _member(key: str, value: Json) -> Json:
    return KEYS[key] if key in KEYS and isinstance(value, str) else _value(value)


def _user_text(text: str) -> str:
    """One line, replaced, cut; the cut may halve a placeholder or a surrogate pair."""
    return _cut(anonymise_text(re.sub(r"[\r\n]+", " ", text).strip(SPACES)))


def _cut(text: str) -> str:
    units = text.encode("utf-16-le", "surrogatepass")[: 2 * LONGEST]
    return units.decode("utf-16-le", "surrogatepass")
