"""The upload ids that came last, in memory alone, so that repeats can be counted."""

from collections import OrderedDict
from threading import Lock
from typing import Literal, get_args

from loop.values import Digest

UploadOutcome = Literal["accepted", "duplicate", "divergent"]
"""Of an upload that is kept: new; the same again; another body under an id that was taken."""
OUTCOMES: tuple[UploadOutcome, ...] = get_args(UploadOutcome)
REMEMBERED = 10_000
"""For ids that came longer ago, or before a restart and are shipped, ingest tells them apart."""


class Seen:
    """The first digest under each of the last ids; the oldest is forgotten first."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._first: OrderedDict[str, Digest] = OrderedDict()
        self._remembered, self._lock = remembered, Lock()

    def add(self, upload_id: str, digest: Digest) -> UploadOutcome:
        """What an upload is beside the first that came under its id."""
        with self._lock:
            first = self._first.get(upload_id)
            if first is None:
                self._remember(upload_id, digest)
                return "accepted"
        return "duplicate" if first == digest else "divergent"

    def _remember(self, upload_id: str, digest: Digest) -> None:
        self._first[upload_id] = digest
        if len(self._first) > self._remembered:
            self._first.popitem(last=False)
