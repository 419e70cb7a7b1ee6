"""What one odd transcript makes a rule raise concerns that transcript alone, and no other.

Rules are pure: what they raise once they raise always, so one attempt tells. Nothing is stored of
it, and where better code reads the transcript, it counts again.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import extract_tb

from loop.errors import DepotAway, LoopError, StoreError, UnreadableError

logger = logging.getLogger(__name__)

OF_DATA = (
    LoopError,
    ValueError,  # a body that other code wrote, as pydantic says it
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
"""What data can make a rule raise; a disk, a database or memory that fails is no transcript's."""


@contextmanager
def reading(transcript: str) -> Iterator[None]:
    """What is done with this transcript ends well, or with an error that names it.

    Raises:
        UnreadableError: A rule failed; the log has the error's type and place, never its text,
            which may quote the transcript.
    """
    try:
        yield
    except (DepotAway, StoreError):  # which say nothing of the transcript
        raise
    except OF_DATA as error:
        logger.error("transcript %s: %s", transcript, place_of(error))  # noqa: TRY400 - no text
        raise UnreadableError(transcript, type(error).__name__) from None


def place_of(error: BaseException) -> str:
    """An error's type and the line that raised it, and nothing that it says.

    >>> try:
    ...     int("203.0.113.9")
    ... except ValueError as error:
    ...     place_of(error).split(":")[0]
    'ValueError at <doctest loop.reading.place_of[0]>'
    """
    raised = extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(raised.filename).name}:{raised.lineno}"
