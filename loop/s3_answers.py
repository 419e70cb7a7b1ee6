"""What an object store's refusals and silences mean, said once in the loop's own errors."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from loop.depot import missing
from loop.errors import AwayReason, DepotAway, DepotError, LoopError

NO_KEY = ("NoSuchKey", "404")
"""An answer to HEAD has no body, so it has no better name for what is missing."""
_CLOCK = ("RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture")
_NO_BUCKET = (
    *("NoSuchBucket", "PermanentRedirect", "301", "AuthorizationHeaderMalformed"),
    *("IllegalLocationConstraintException", "InvalidBucketName"),
)
_FULL = (
    *("InsufficientStorage", "XMinioStorageFull"),
    *("QuotaExceeded", "XMinioAdminBucketQuotaExceeded"),  # 403 of Ceph, 400 of MinIO
)
_NO_CREDENTIALS = (
    *(boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError),
    *(boto.MetadataRetrievalError, boto.ProfileNotFound, boto.TokenRetrievalError),
    *(boto.SSOError, boto.LoginError),
)
_PASSING = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS)
_PASSING_CODES = ("RequestTimeout", "IncompleteBody")  # 400, though a network did it


@contextmanager
def translated(place: str, key: str = "") -> Iterator[None]:
    """Turn what boto3 raises into what every depot raises.

    Raises:
        NotFound: The store has no such key.
        DepotAway: It gives no usable answer, whatever the key.
        DepotError: It refuses this key or these bytes.
    """
    try:
        yield
    except boto.ClientError as error:
        raise _meaning(error, place, key) from error
    except _NO_CREDENTIALS as error:
        raise DepotAway("denied", place, type(error).__name__) from error
    except (boto.BotoCoreError, ResponseParserError) as error:
        raise DepotAway("unavailable", place, type(error).__name__) from error


def status_of(error: boto.ClientError) -> int:
    """The HTTP status of a refusal."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def code_of(error: boto.ClientError) -> str:
    """The store's word for a refusal; its sentences may name keys and credentials."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    return code if re.fullmatch(r"[A-Za-z0-9.]{1,64}", code) else "no code"


def _meaning(error: boto.ClientError, place: str, key: str) -> LoopError:
    code, status = code_of(error), status_of(error)
    if code in NO_KEY and key:
        return missing(key)
    said = f"{status} {code}" if code != str(status) else code
    if reason := _away(code, status):
        return DepotAway(reason, place, said)
    return DepotError(f"{place}: expected it to accept {key}, got {said}")


def _away(code: str, status: int) -> AwayReason | None:
    if code in _CLOCK:
        return "clock"
    if code in _NO_BUCKET:
        return "no_bucket"
    if code in _FULL or status == HTTPStatus.INSUFFICIENT_STORAGE:
        return "full"
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return "denied"
    passing = status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _PASSING
    return "unavailable" if passing or code in _PASSING_CODES else None
