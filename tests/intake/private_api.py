"""Intake's API as an OpenAPI document: for tests and for who writes a phone; it is never served.

The body's shape comes from `loop.upload`, the answers from `intake.refusals`. What no JSON Schema
says (bounds of any document, whole numbers, fields that a v2 payload must not carry) is left out.
"""

from collections import defaultdict

from pydantic import TypeAdapter

from intake.refusals import ANSWERS
from loop.upload import UploadV1, UploadV2

JSON = "application/json"
NULL = {"type": "null"}


def describe(app):
    """The document of the public app, with the body that a phone sends and every answer."""
    document = app.openapi()
    body, schemas = body_and_schemas()
    operation = document["paths"]["/transcripts"]["post"]
    operation["requestBody"] = {"required": True, "content": {JSON: {"schema": body}}}
    operation["responses"] = {status: response(*told) for status, told in sorted(answers().items())}
    document["components"] = {"schemas": schemas}
    return document


def body_and_schemas():
    """The schema of a body, and those that it refers to."""
    either = TypeAdapter(UploadV1 | UploadV2)
    body = either.json_schema(ref_template="#/components/schemas/{model}")
    schemas = body.pop("$defs")
    for version in ("UploadV1", "UploadV2"):
        fields = schemas[version]["properties"]
        schemas[version]["properties"] = {name: present(one) for name, one in fields.items()}
    return body, schemas


def present(field):
    """A field of an upload may be absent, but is never null."""
    if "default" not in field:
        return field
    (sent,) = (one for one in field["anyOf"] if one != NULL)
    return {"title": field["title"], **sent}


def answers():
    """The bodies of each status."""
    told: dict[str, set[str | None]] = defaultdict(set)
    told["200"].add(None)
    for answer in ANSWERS.values():
        told[str(answer.status)].add(answer.error)
    return told


def response(*errors):
    bodies = [body_of(error) for error in sorted(errors, key=str)]
    return {"description": "", "content": {JSON: {"schema": {"anyOf": bodies}}}}


def body_of(error):
    """A success says nothing at all, a refusal one word."""
    fields = {} if error is None else {"error": {"const": error}}
    return {
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }
