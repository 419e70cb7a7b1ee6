"""What a phone uploads: bytes in, a checked upload out, in either schema version.

What may not be stored is `privacy`'s business, how a session reads `transcript`'s.
"""

import json
import re
from collections.abc import Iterator
from datetime import date
from typing import Annotated, Any, Literal, NoReturn, Self, TypeAlias

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StringConstraints,
    ValidationError,
    model_validator,
)

from loop.errors import TranscriptError
from loop.values import Json, Value

MAX_DEPTH = 32
MAX_NODES = 20_000
MAX_STRING_BYTES = 64 * 1024
MAX_INTEGER_DIGITS = 32  # JSON.stringify writes integers of more than 21 digits with an exponent

REASONS = (
    "not_utf8",
    "not_json",
    "duplicate_key",
    "bad_number",
    "too_deep",
    "too_many_nodes",
    "string_too_long",
    "not_an_object",
    "unknown_version",
    "schema_violation",
)
"""Every reason with which `parse_upload` refuses, in the order in which it looks."""

UNSENDABLE = frozenset({"approval_token", "session_id", "question_id"})
"""Wire fields that a v2 payload must not carry: they would hand a device's approval around."""


# --- bytes to values -----------------------------------------------------------------------------

_UNSTORABLE = re.compile("[\ud800-\udfff\x00]")
_ESCAPED_UNSTORABLE = re.compile(rb"\\u(?:[dD][89a-fA-F]|0000)")
"""UTF-8 holds no lone surrogate and JSON no bare NUL: only escapes make what cannot be stored."""


def parse_upload(data: bytes) -> "Upload":
    """The upload in a request body, checked against the schema version that it names.

    Lone surrogates (the phone may cut a pair in half) and NUL become U+FFFD.

    Raises:
        TranscriptError: With one of `REASONS`; never with text from the body.
    """
    return read_upload(parse_json(data))


def read_upload(value: Json) -> "Upload":
    """The upload in an already parsed JSON value.

    Raises:
        TranscriptError: Not an object, an unknown version or a schema violation.
    """
    if not isinstance(value, dict):
        raise TranscriptError("not_an_object")
    version = value.get("schema_version")
    if type(version) is not int or version not in _VERSIONS:
        raise TranscriptError("unknown_version")
    try:
        return _VERSIONS[version].model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"][:1])  # deeper parts may be user text
        raise TranscriptError("schema_violation", f"{first['type']} at {where}") from None


def parse_json(data: bytes, depth: int = MAX_DEPTH, nodes: int = MAX_NODES) -> Json:
    """One bounded JSON document: UTF-8, no duplicate keys, finite numbers, storable text.

    Args:
        data: The document.
        depth: How many objects and arrays may lie in each other.
        nodes: How many values there may be.

    Raises:
        TranscriptError: With the reason why not.
    """
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse_number,
            parse_float=_finite,
            parse_int=_bounded,
        )
    except UnicodeDecodeError:
        raise TranscriptError("not_utf8") from None
    except json.JSONDecodeError:
        raise TranscriptError("not_json") from None
    except RecursionError:
        raise TranscriptError("too_deep") from None
    _measure(value, iter(range(nodes)), depth)
    needs_mending = len(data) > MAX_STRING_BYTES or _ESCAPED_UNSTORABLE.search(data)
    return _mend(value) if needs_mending else value


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    read = dict(pairs)
    if len(read) != len(pairs):
        raise TranscriptError("duplicate_key")
    return read


def _refuse_number(_literal: str) -> NoReturn:
    raise TranscriptError("bad_number")


def _finite(literal: str) -> float:
    number = float(literal)
    return number if abs(number) != float("inf") else _refuse_number(literal)


def _bounded(literal: str) -> int:
    return int(literal) if len(literal) <= MAX_INTEGER_DIGITS else _refuse_number(literal)


def _measure(value: Json, room: Iterator[int], depth: int) -> None:
    """Count values and levels, before anything walks through them again."""
    if next(room, None) is None:
        raise TranscriptError("too_many_nodes")
    if not isinstance(value, dict | list):
        return
    if depth == 0:
        raise TranscriptError("too_deep")
    for inner in value.values() if isinstance(value, dict) else value:
        _measure(inner, room, depth - 1)


def _mend(value: Json) -> Json:
    if isinstance(value, str):
        return _mend_text(value)
    if isinstance(value, dict):
        return _unique([(_mend_text(key), _mend(inner)) for key, inner in value.items()])
    if isinstance(value, list):
        return [_mend(inner) for inner in value]
    return value


def _mend_text(text: str) -> str:
    mended = _UNSTORABLE.sub("\ufffd", text)
    if len(mended.encode()) > MAX_STRING_BYTES:
        raise TranscriptError("string_too_long")
    return mended


# --- the upload, closed --------------------------------------------------------------------------


def _whole(sent: Json) -> Json:
    """Exactly a JSON integer: a Literal alone lets 1.0, -0.0 and true pass."""
    if type(sent) is not int:
        raise ValueError("expected an integer")
    return sent


def _true(sent: Json) -> Json:
    if sent is not True:
        raise ValueError("expected true")
    return sent


UploadId = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"),
]
RelativeTime = Annotated[str, StringConstraints(pattern=r"^\+[0-9]{1,9}(\.[0-9]{1,9})?s$")]
"""Seconds since the session's first event, on the phone's clock."""
SemVer = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}$")]
CoarseVersion = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}\.[0-9]{1,9}$")]
"""Major and minor only, so that it identifies nobody."""
ModelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Locale = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2}$")]
MOST_TEXT = 2000
"""Characters of a prompt or comment; the phone counts UTF-16 units, which are no fewer."""
UserText = Annotated[str, StringConstraints(max_length=MOST_TEXT)]
ScenarioId = Literal["disconnected", "not-earning", "cannot-join-pool", "freeform"]
MOST_REPLY = 4000
"""Characters of a user's answer to a question."""
Rating = Annotated[Literal[-1, 0, 1], BeforeValidator(_whole)]
Yes = Annotated[Literal[True], BeforeValidator(_true)]
Payload: TypeAlias = dict[str, Any] | str | int | float | bool | None
"""What an event carries; an array is not allowed at its top."""
EventType = Literal[
    "session_started",
    "thought",
    "tool_call",
    "tool_result",
    "verdict",
    "recommended_action",
    "execution_result",
    "user_question",
    "user_reply_received",
    "error",
]


class Event(Value):
    """One thing that happened in a session, without the wire fields that stood beside payload."""

    type: EventType
    relative_ts: RelativeTime
    payload: Payload = None


Events = Annotated[tuple[Event, ...], Field(min_length=1, max_length=200)]


class Consent(Value):
    """What the phone says about its user's consent; nothing verifiable stands behind it."""

    explicit_opt_in: Yes
    preview_shown: Yes
    anonymizer_version: SemVer


class Upload(Value):
    """What both schema versions share; parse one with `parse_upload`."""

    upload_id: UploadId
    session_relative_start: Literal["+0s"]
    events: Events
    user_rating: Rating
    consent: Consent
    user_comment: UserText | None = None
    user_prompt: UserText | None = None
    scenario_id: ScenarioId | None = None
    device_class: Literal["rk3588"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _say_absent_by_absence(cls, sent: Json) -> Json:
        if isinstance(sent, dict) and None in sent.values():
            raise ValueError("null is not a value of this schema")
        return sent

    def as_json(self) -> dict[str, Json]:
        """What was sent, as JSON values: absent stays absent."""
        return self.model_dump(mode="json", exclude_unset=True)


class UploadV1(Upload):
    """Schema 1, which stays valid for ever."""

    schema_version: Annotated[Literal[1], BeforeValidator(_whole)]


class UploadV2(Upload):
    """Schema 2: who answered, and former sibling fields inside payloads."""

    schema_version: Annotated[Literal[2], BeforeValidator(_whole)]
    model_version: ModelName | None = None
    runbook_version: Annotated[StrictInt, Field(ge=0, le=10**6)] | None = None
    app_version: CoarseVersion | None = None
    runtime_version: CoarseVersion | None = None
    protocol_version: Annotated[StrictInt, Field(ge=1, le=99)] | None = None
    origin: Literal["model", "tree", "mock"] | None = None
    locale: Locale | None = None

    @model_validator(mode="after")
    def _carries_only_sendable_fields(self) -> Self:
        for event in self.events:
            if isinstance(event.payload, dict):
                _check_v2_payload(event.payload)
        return self


def _check_v2_payload(payload: dict[str, Any]) -> None:
    if not UNSENDABLE.isdisjoint(payload):
        raise ValueError("payload carries a field that must stay on the device")
    reply = payload.get("reply_text", "")
    if not isinstance(reply, str) or len(reply) > MOST_REPLY:
        raise ValueError(f"expected reply_text of at most {MOST_REPLY} characters")
    if "call_index" in payload:
        _whole(payload["call_index"])


_VERSIONS: dict[int, type[Upload]] = {1: UploadV1, 2: UploadV2}


class Record(Value):
    """What intake keeps of one upload: the redacted form, and what was done to it.

    Open to fields of later versions, so that an older one can ship what a newer one kept.
    """

    model_config = ConfigDict(extra="ignore")

    received: date
    """The UTC day; the time of day is not kept."""
    privacy: str
    """The version of the privacy engine that scanned it."""
    redacted: dict[str, int]
    """How often each rule replaced something; never what."""
    upload: dict[str, Any]
    """`Upload.as_json()` after redaction."""

    def to_bytes(self) -> bytes:
        """Its byte form; keys keep the order the device gave them, which its model reads too."""
        plain = self.model_dump(mode="json")
        return json.dumps(plain, separators=(",", ":"), allow_nan=False).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """What `to_bytes` wrote.

        Raises:
            TranscriptError: These bytes are no record.
        """
        try:
            return cls.model_validate(parse_json(data, MAX_DEPTH + 1, MAX_NODES + 100))
        except ValidationError:
            raise TranscriptError("bad_record") from None
