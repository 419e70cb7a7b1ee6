"""What the phone contract says of a body: a judge without the code that decides it.

The schema is the contract's table with its holes closed, and is compared with the phone's own file
where that lies beside the project. Of the product only the scanner is asked.
"""

import json
import math

from jsonschema import Draft202012Validator
from jsonschema.validators import extend

from loop import privacy
from loop.errors import PrivacyError
from loop.upload import read_upload

KEPT: tuple[int, dict[str, str]] = (200, {})
TOO_LARGE = (413, {"error": "body_too_large"})
INVALID = (400, {"error": "body_invalid"})
LEAKING = (400, {"error": "anonymization_check_failed"})
LARGEST, DEEPEST, MOST_NODES, LONGEST, MOST_DIGITS = 256 * 1024, 32, 20_000, 64 * 1024, 32


def answer_to(data):
    """Status and body that these bytes deserve."""
    if len(data) > LARGEST:
        return TOO_LARGE
    try:
        value = document(data)
    except (ValueError, RecursionError):
        return INVALID
    if not is_upload(value):
        return INVALID
    try:
        privacy.redact(read_upload(value))
    except PrivacyError:
        return LEAKING
    return KEPT


# ------------------------------------------------------------------ bytes to values


def document(data):
    """The bounded JSON document in a body, halves of characters and NUL replaced."""
    return bounded(
        json.loads(
            data.decode("utf-8"),
            object_pairs_hook=unique,
            parse_constant=refuse,
            parse_int=whole,
            parse_float=finite,
        )
    )


def refuse(_what):
    raise ValueError("the contract reads no such document")


def unique(pairs):
    members = {storable(name): value for name, value in pairs}
    return members if len(members) == len(pairs) else refuse(pairs)


def whole(literal):
    return int(literal) if len(literal) <= MOST_DIGITS else refuse(literal)


def finite(literal):
    return float(literal) if math.isfinite(float(literal)) else refuse(literal)


def storable(text):
    """As UTF-16 has it, each half without its other half is one replacement character."""
    units = text.encode("utf-16-le", "surrogatepass")
    mended = units.decode("utf-16-le", "replace").replace("\0", "\ufffd")
    return mended if len(mended.encode()) <= LONGEST else refuse(text)


def bounded(value):
    """The value, looked at level by level, while it is neither too deep nor too large."""
    level, nodes, levels = [value], 0, 0
    while level:
        nodes += len(level)
        levels += any(isinstance(one, dict | list) for one in level)
        level = [inner for outer in level for inner in inside(outer)]
    return mended(value) if levels <= DEEPEST and nodes <= MOST_NODES else refuse(value)


def inside(value):
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def mended(value):
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {name: mended(inner) for name, inner in value.items()}  # names are already
    return [mended(inner) for inner in value] if isinstance(value, list) else value


# ------------------------------------------------------------------ the schema, closed

DIGITS = "[0-9]{1,9}"
HEX = "[0-9a-f]"
KINDS = (
    "session_started thought tool_call tool_result verdict recommended_action "
    "execution_result user_question user_reply_received error"
)


def closed(required, **optional):
    fields = required | optional
    return {
        "type": "object",
        "properties": fields,
        "required": list(required),
        "additionalProperties": False,
    }


def words(pattern):
    return {"type": "string", "pattern": rf"\A(?:{pattern})\Z"}


def text(longest):
    return {"type": "string", "maxLength": longest}


def number(least, most):
    return {"type": "integer", "minimum": least, "maximum": most}


PAYLOAD = {"type": ["object", "string", "number", "boolean", "null"]}
PAYLOAD_2 = PAYLOAD | {
    "properties": {
        "reply_text": text(4000),
        "call_index": {"type": "integer"},
        **dict.fromkeys(("approval_token", "session_id", "question_id"), False),
    }
}
CONSENT = closed(
    {
        "explicit_opt_in": {"type": "boolean", "const": True},
        "preview_shown": {"type": "boolean", "const": True},
        "anonymizer_version": words(rf"{DIGITS}\.{DIGITS}\.{DIGITS}"),
    }
)
NEW_IN_2 = {
    "model_version": words("[A-Za-z0-9._-]{1,64}"),
    "runbook_version": number(0, 10**6),
    "app_version": words(rf"{DIGITS}\.{DIGITS}"),
    "runtime_version": words(rf"{DIGITS}\.{DIGITS}"),
    "protocol_version": number(1, 99),
    "origin": words("model|tree|mock"),
    "locale": words("[A-Za-z]{2}"),
}


def schema(version, payload, **more):
    event = {
        "type": words(KINDS.replace(" ", "|")),
        "relative_ts": words(rf"\+{DIGITS}(?:\.{DIGITS})?s"),
    }
    required = {
        "schema_version": number(version, version),
        "upload_id": words(f"{HEX}{{8}}-(?:{HEX}{{4}}-){{3}}{HEX}{{12}}"),
        "session_relative_start": words(r"\+0s"),
        "events": {
            "type": "array",
            "items": closed(event, payload=payload),
            "minItems": 1,
            "maxItems": 200,
        },
        "user_rating": number(-1, 1),
        "consent": CONSENT,
    }
    return closed(
        required,
        user_comment=text(2000),
        user_prompt=text(2000),
        scenario_id=words("disconnected|not-earning|cannot-join-pool|freeform"),
        device_class=words("rk3588"),
        **more,
    )


def is_whole(_checker, value):
    """JSON Schema takes 1.0 for an integer; the contract does not."""
    return type(value) is int


STRICT = extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", is_whole),
)
VERSIONS = (STRICT(schema(1, PAYLOAD)), STRICT(schema(2, PAYLOAD_2, **NEW_IN_2)))


def is_upload(value):
    """Whether a document is an upload of either version."""
    return any(version.is_valid(value) for version in VERSIONS)
