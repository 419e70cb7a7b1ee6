"""Runs of base64 and hex in a text, and the text that they mean."""

import binascii
import re
from base64 import b64decode
from collections.abc import Iterator

from loop.plain import Span

PLACEHOLDER = "<ENCODED>"
_ONE = "[0-9A-Za-z+/_-]"
_SHORT = f"(?:[I-Za-f]{_ONE}{{3}}){{2,3}}[I-Za-f]{_ONE}{{1,3}}|(?:[2-7][0-9A-Fa-f]){{7}}"
"""Base64 and hex of a few ASCII characters: each third begins with bits that few words have."""
_RUN = re.compile(f"(?<!{_ONE})(?:{_ONE}{{16,}}|{_SHORT})={{0,2}}(?![0-9A-Za-z+/_=-])")
_BETWEEN_LINES = str.maketrans("", "", "\t\n\r")
_URL_SAFE = str.maketrans("-_", "+/")


def runs(text: str) -> Iterator[tuple[Span, str]]:
    """Each run that decodes to readable text of at least seven characters, and that text.

    >>> [meant for _, meant in runs("id MTkyLjAuMi4xNyBhdCBob21l and 3139322e302e322e3137")]
    ['192.0.2.17 at home', '192.0.2.17']
    >>> [meant for _, meant in runs("MTAuMC4yLjE and MS4xLjEuMw== and 312e312e312e33")]
    ['10.0.2.1', '1.1.1.3', '1.1.1.3']
    >>> list(runs("nothing-is-encoded-here, 0123456789abcdef0123"))
    []
    """
    for match in _RUN.finditer(text):
        if meant := _meant(match.group()):
            yield Span(*match.span()), meant


def _meant(run: str) -> str | None:
    """What a run means, or None where it is nothing that somebody encoded to be read."""
    for decode in (bytes.fromhex, _from_base64):
        try:
            said = decode(run).decode()
        except (ValueError, binascii.Error):  # not this encoding, or not text
            continue
        if said.translate(_BETWEEN_LINES).isprintable():
            return said
    return None


def _from_base64(run: str) -> bytes:
    bare = run.rstrip("=").translate(_URL_SAFE)
    return b64decode(bare + "=" * (-len(bare) % 4), validate=True)
