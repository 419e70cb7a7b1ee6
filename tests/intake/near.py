"""Bodies that differ from a valid one in exactly one thing, valid or not."""

import json

from hypothesis import strategies as st

from loop.sessions import generate
from loop.values import Json
from tests.factories import event, upload
from tests.mutations import at, changed, paths_to, without
from tests.strategies import texts, uploads

SESSIONS = [one.upload for one in generate(5, 12)]
FULL = upload(
    user_comment="it still says offline",
    scenario_id="freeform",
    device_class="rk3588",
    schema_version=2,
    model_version="qwen3-1.7b_w8a8.3",
    runbook_version=1,
    app_version="2.1",
    runtime_version="0.9",
    protocol_version=4,
    origin="model",
    locale="de",
)
"""Every field of schema 2."""
valid = uploads | st.sampled_from([*SESSIONS, FULL])

NUMBERS = (-1, 0, 1, 2, 99, 100, 10**6, 10**6 + 1, 10**31, 10**32, -0.0, 0.0, 1.0, 2.0, 1.5, 1e300)
WORDS = (
    "", "0", "1", "+0s", "+0s\n", "+1.s", "+\u0663s", "+1234567890s", "+123456789.123456789s",
    "rk3588", "thought", "mock", "de", "d\u00e9", "2.1", "2.1\n", "2.1.0", "0.1.0\n", "\u0660.1.0",
    "m" * 64, "m" * 65, "00000000-0000-4000-8000-000000000001\n",
    "00000000-0000-0000-0000-000000000000",
    "0000000A-0000-4000-8000-000000000001", "<IP>", "at 192.168.1.7",
)  # fmt: skip
LONG = ("x", "\u00e9", "\U0001f600", "\0")
LENGTHS = (1999, 2000, 2001, 3999, 4000, 4001)
SHAPES: tuple[Json, ...] = (None, True, False, [], {}, [1], {"a": 1}, [event("thought", "x")])
EVENTS = tuple([event("thought", "x")] * count for count in (0, 1, 199, 200, 201))
odd = (
    st.sampled_from((*NUMBERS, *WORDS, *SHAPES, *EVENTS))
    | st.builds(str.__mul__, st.sampled_from(LONG), st.sampled_from(LENGTHS))
    | texts
)
NAMES = (
    "extra", "payload", "user_comment", "origin", "model_version", "approval_token", "session_id",
    "question_id", "reply_text", "call_index", "a\0", "\ufeff", "\ud800",
)  # fmt: skip


@st.composite
def near_values(draw):
    """A valid upload with one value replaced, one field taken away, or one field more."""
    value = draw(valid)
    path = draw(st.sampled_from([p for p in paths_to(value) if len(p) <= 4]))
    kinds = ["replace"]
    if path and isinstance(at(value, path[:-1]), dict):
        kinds.append("take away")
    if isinstance(at(value, path), dict):
        kinds.append("add")
    kind = draw(st.sampled_from(kinds))
    if kind == "take away":
        return without(value, path)
    step = (*path, draw(st.sampled_from(NAMES))) if kind == "add" else path
    return changed(value, step, draw(odd))


near = near_values().map(json.dumps).map(str.encode)
"""The same as bodies."""

# ------------------------------------------------------------------ changed as text


def doubled(body):
    """The first field stands twice."""
    field = body[1:].partition(b",")[0]
    return b"{" + field + b"," + body[1:]


def instead(new):
    """The user's rating is something that JSON does not know, or writes in another way."""
    return lambda body: body.replace(b'"user_rating": -1', b'"user_rating": ' + new)


def inside(new):
    """Such a value somewhere inside of an answer, where the schema allows anything."""
    return lambda body: body.replace(b'"synced": false', b'"synced": ' + new)


def levels(count):
    """An answer that makes the document so many levels deep; four are around it."""
    return inside(b"[" * (count - 4) + b"]" * (count - 4))


def nodes(count):
    """An answer with so many values that the document has `count`."""
    own = sum(1 for _ in paths_to(upload()))
    return inside(b"[" + b",".join([b"0"] * (count - own)) + b"]")


def string(length, one=b"x"):
    return inside(b'"' + one * length + b'"')


KIB_64 = 64 * 1024
AS_TEXT = {
    "as it is": lambda body: body,
    "a field twice": doubled,
    "two keys that become one": inside(rb'{"a\ud800": 1, "a\ud801": 1}'),
    "NaN": inside(b"NaN"),
    "Infinity": inside(b"-Infinity"),
    "beyond doubles": inside(b"1e999"),
    "32 digits": inside(b"9" * 32),
    "33 digits": inside(b"9" * 33),
    "5000 digits": inside(b"9" * 5000),
    "a tiny number": inside(b"1e-999"),
    "rating 1.0": instead(b"1.0"),
    "rating -0.0": instead(b"-0.0"),
    "rating -0": instead(b"-0"),
    "rating 1e0": instead(b"1e0"),
    "rating true": instead(b"true"),
    "a byte order mark": lambda body: b"\xef\xbb\xbf" + body,
    "UTF-16": lambda body: body.decode().encode("utf-16"),
    "UTF-16 without a mark": lambda body: body.decode().encode("utf-16-le"),
    "UTF-32": lambda body: body.decode().encode("utf-32"),
    "latin-1": inside(b'"\xe9"'),
    "a surrogate in UTF-8": inside(b'"\xed\xa0\xbd"'),
    "half a pair": inside(rb'"\ud83d"'),
    "the other half": inside(rb'"\ude00 \ud83d\ud83d"'),
    "a whole pair": inside(rb'"\ud83d\ude00"'),
    "NUL": inside(rb'"\u0000"'),
    "a raw NUL": inside(b'"\0"'),
    "a raw newline": inside(b'"\n"'),
    "text behind it": lambda body: body + b"x",
    "spaces around it": lambda body: b" \n" + body + b"\t\r\n",
    "twice": lambda body: body + body,
    "in an array": lambda body: b"[" + body + b"]",
    "cut short": lambda body: body[:-1],
    "32 levels": levels(32),
    "33 levels": levels(33),
    "100 000 levels": levels(100_000),
    "20 000 values": nodes(20_000),
    "20 001 values": nodes(20_001),
    "64 KiB": string(KIB_64),
    "64 KiB and a byte": string(KIB_64 + 1),
    "64 KiB less a byte": string(KIB_64 - 1),
    "64 KiB of two bytes each": string(KIB_64 // 2, "\u00e9".encode()),
    "more of two bytes each": string(KIB_64 // 2 + 1, "\u00e9".encode()),
    "64 KiB of halves": string(KIB_64 // 3, rb"\ud800"),
    "more of halves": string(KIB_64 // 3 + 1, rb"\ud800"),
}
"""One change to the text of `upload()`, by name."""
