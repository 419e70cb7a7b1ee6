"""What a phone can ask: keep this transcript; are you there.

The order of refusals and their bodies are the phone contract's; nothing of an upload is ever told
back, not even its id.
"""

import asyncio
import logging
from collections import Counter

from fastapi import APIRouter, Request
from starlette.requests import ClientDisconnect

from intake.deps import PartsDep
from intake.origin import is_confidential, network_of
from intake.parts import Limits, Parts
from intake.refusals import Refused
from intake.seen import UploadOutcome
from loop import privacy
from loop.errors import LoopError
from loop.upload import Record, Upload, parse_upload
from loop.values import utc_now

logger = logging.getLogger(__name__)
router = APIRouter()


@router.get("/health")
async def health() -> dict[str, bool]:
    """This process answers."""
    return {"ok": True}


@router.post("/transcripts")
async def add_transcript(request: Request, parts: PartsDep) -> dict[str, str]:
    """Keep one transcript: durable on return."""
    if not is_confidential(request):
        raise Refused("not_tls")
    _check_length(request, parts.limits)
    with parts.door.entered(network_of(request)):
        body = await _read_body(request, parts.limits)
        await parts.crew.writes(_admit, request, parts)
        _check_headers(request)
        record = await parts.crew.reads(_record_of, body, request)
        outcome = await parts.crew.writes(parts.spool.keep, record)
    _note(outcome, record, parts)
    return {}


def _check_length(request: Request, limits: Limits) -> None:
    """Before anything that would pass: sending the same again never helps here."""
    if {"content-length", "transfer-encoding"} <= set(request.headers):
        raise Refused("framing")  # two lengths: a proxy may have read the other one
    if _declared_length(request) > limits.body_bytes:
        raise Refused("too_large")


async def _read_body(request: Request, limits: Limits) -> bytes:
    """The body, counted while it comes in; what a header declares is only a hint."""
    body = bytearray()
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limits.body_bytes:
                    raise Refused("too_large")
    except TimeoutError:
        raise Refused("too_slow") from None
    except ClientDisconnect:
        raise Refused("client_left") from None
    return bytes(body)


def _declared_length(request: Request) -> int:
    """What Content-Length says; 0 without one, and with one that is no plain number."""
    declared = request.headers.get("content-length", "")
    return int(declared[:20]) if declared.isascii() and declared.isdigit() else 0


def _check_headers(request: Request) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if media_type != "application/json" or coding != "identity":
        raise Refused("media_type")


def _admit(request: Request, parts: Parts) -> None:
    """Charge the upload, once, whatever becomes of it; and see that there is room for it."""
    parts.rates.charge(network_of(request))
    parts.spool.check()


def _record_of(body: bytes, request: Request) -> Record:
    """What is to be kept of a body."""
    upload, redacted = _read(body)
    if request.headers.get("x-anonymizer-version") != upload.consent.anonymizer_version:
        logger.info("the X-Anonymizer-Version header is not the body's version; the body counts")
    return _record(upload, redacted)


def _read(body: bytes) -> tuple[Upload, Counter[str]]:
    """The redacted upload, and how often each rule replaced something."""
    try:
        return privacy.redact(parse_upload(body))
    except LoopError as error:
        error.__context__ = None  # it and the frames hold all that was parsed
        raise error.with_traceback(None)  # noqa: B904 - the same error, relieved of them


def _record(upload: Upload, redacted: Counter[str]) -> Record:
    return Record(
        received=utc_now().date(),
        privacy=privacy.VERSION,
        redacted=dict(redacted),
        upload=upload.as_json(),
    )


def _note(outcome: UploadOutcome, record: Record, parts: Parts) -> None:
    version = record.upload["consent"]["anonymizer_version"]
    parts.metrics.accepted(outcome, version, record.redacted)
    logger.info(
        "%s an upload of %d events, %d places redacted",
        outcome,
        len(record.upload["events"]),
        sum(record.redacted.values()),
    )
