"""Why an upload is refused, what its phone is told, and nothing in between.

The answers are the phone contract's; the finer reasons are for the operator's metrics alone.
"""

from typing import Literal, NamedTuple

from loop import upload
from loop.errors import LoopError, PrivacyError, SpoolError, TranscriptError


class Answer(NamedTuple):
    """What a refused phone gets."""

    status: int
    error: str
    retry_s: int | None = None
    """When to come back; None where that would not help."""
    closes: bool = False
    """The rest of this request is never read."""


Reason = Literal[
    "framing",
    "too_large",
    "too_slow",
    "client_left",
    "busy",
    "source_busy",
    "stopping",
    "media_type",
    "rate_limit",
    "not_tls",
]
"""Those that intake itself raises."""
IDENTIFIER, NO_ROOM, SLOW_HEADER, BUG = "identifier", "no_room", "slow_header", "bug"
_INVALID = Answer(400, "body_invalid")
ANSWERS: dict[str, Answer] = {
    "framing": _INVALID._replace(closes=True),
    "too_large": Answer(413, "body_too_large"),
    "too_slow": _INVALID._replace(closes=True),
    "client_left": _INVALID._replace(closes=True),
    "not_tls": Answer(403, "tls_required", closes=True),
    "rate_limit": Answer(429, "rate_limit"),
    "busy": Answer(503, "storage_unavailable", retry_s=10),
    "source_busy": Answer(503, "storage_unavailable", retry_s=10),
    "stopping": Answer(503, "storage_unavailable", retry_s=10),
    NO_ROOM: Answer(503, "storage_unavailable", retry_s=300),
    "media_type": Answer(415, "body_invalid"),
    **dict.fromkeys(upload.REASONS, _INVALID),
    BUG: Answer(503, "storage_unavailable", retry_s=300),
    IDENTIFIER: Answer(400, "anonymization_check_failed"),
}
REASONS = (*ANSWERS, SLOW_HEADER)
"""Every reason there is, no other ever reaches a metric; slow headers get no answer at all."""


class Refused(LoopError):
    """An upload that intake does not take, for one of its own reasons."""

    def __init__(self, reason: Reason, retry_s: int | None = None) -> None:
        super().__init__(reason, retry_s)
        self.reason, self.retry_s = reason, retry_s


def reason_of(error: Exception) -> str:
    """The one reason, of `ANSWERS`, behind an error that ended an upload."""
    if isinstance(error, Refused | TranscriptError):
        return error.reason
    known = {PrivacyError: IDENTIFIER, SpoolError: NO_ROOM}
    return known[type(error)]


def answer_to(error: Exception) -> Answer:
    """What a phone is told of an error that ended its upload."""
    answer = ANSWERS[reason_of(error)]
    if isinstance(error, Refused) and error.retry_s is not None:
        return answer._replace(retry_s=error.retry_s)
    return answer


def headers_of(answer: Answer) -> dict[str, str]:
    """When to come back, and whether this connection ends."""
    retry = {} if answer.retry_s is None else {"Retry-After": str(answer.retry_s)}
    return retry | ({"Connection": "close"} if answer.closes else {})
