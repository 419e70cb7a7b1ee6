"""Raw objects of the depot become transcripts of the store; what cannot is set aside with a reason.

Intake has validated and redacted them; here they are only read. People judge later.
"""

import logging
from collections import Counter
from dataclasses import dataclass
from datetime import date
from pathlib import PurePosixPath
from typing import Literal, TypeAlias

from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlmodel import Session, col, func, select

from loop.errors import DepotAway, LoopError, TranscriptError
from loop.places import Places
from loop.store import keep, writing
from loop.tables import Label, Quarantined, Transcript
from loop.transcript import transcript_of
from loop.upload import Record, Upload, read_upload
from loop.values import digest_bytes

logger = logging.getLogger(__name__)

RAW = "raw/"
REPEAT = "repeat"
"""Why an object is set aside that holds nothing new; nobody needs to look at it."""
Outcome: TypeAlias = Literal["ingested", "known", "quarantined", "failed"]


@dataclass(frozen=True)
class IngestCounts:
    """What one pass did, and what stands in the store after it."""

    ingested: int
    """New transcripts."""
    known: int
    """Objects of an earlier pass, and exact repeats of a transcript that is there."""
    quarantined: dict[str, int]
    """Objects set aside by this and all earlier passes, by reason."""
    unlabelled: int
    """Transcripts that nobody has judged."""
    oldest_unlabelled: date | None
    failed: int = 0
    """Objects that could not be read this time; the next pass tries them again."""


@dataclass(frozen=True)
class _Raw:
    """One object of the depot: raw/<upload id>/<sha256>.json."""

    key: str
    data: bytes

    def record(self) -> Record:
        """The record inside, if the key says the truth about it.

        Raises:
            TranscriptError: It does not, or this is no record.
        """
        path = PurePosixPath(self.key)
        if path.stem != digest_bytes(self.data):
            raise TranscriptError("bad_digest")
        record = Record.from_bytes(self.data)
        if record.upload.get("upload_id") != path.parent.name:
            raise TranscriptError("id_mismatch")
        return record


@dataclass(frozen=True)
class NotIngested:
    """What lies in the depot and no pass has looked at."""

    count: int
    oldest: date | None
    """The UTC day on which the oldest of them was received; None where none can be read."""


def not_ingested(places: Places) -> NotIngested:
    """The uploads that intake shipped and ingest has not read; a growing age is an alarm."""
    read = _read_before(places)
    keys = [key for key in places.depot.keys(RAW) if key not in read]
    days = [day for key in keys if (day := _received(places, key))]
    return NotIngested(len(keys), min(days, default=None))


def _received(places: Places, key: str) -> date | None:
    try:
        return Record.from_bytes(places.depot.get(key)).received
    except DepotAway:
        raise
    except (LoopError, OSError):  # ingest will say what is wrong with it
        return None


def ingest_uploads(places: Places) -> IngestCounts:
    """Take every new raw object into the store; a second pass adds nothing.

    Of two bodies under one upload id the one that is read first stays, the other is quarantined.
    An object that cannot be read, or a row that cannot be written, holds up no other.

    Raises:
        DepotAway: The object store does not answer; what was read before is kept.
    """
    read = _read_before(places)
    outcomes: Counter[Outcome] = Counter()
    for key in places.depot.keys(RAW):
        outcomes["known" if key in read else _try(places, key)] += 1
    logger.info("ingested %d, known %d", outcomes["ingested"], outcomes["known"])
    return _counts(places, outcomes)


def _read_before(places: Places) -> set[str]:
    with Session(places.store) as session:
        kept = session.exec(select(Transcript.id, Transcript.record))
        aside = session.exec(select(Quarantined.name))
        return {f"{RAW}{upload_id}/{record}.json" for upload_id, record in kept} | set(aside)


def _try(places: Places, key: str) -> Outcome:
    try:
        return _take(places, _Raw(key, places.depot.get(key)))
    except DepotAway:  # the others would wait for it as long, one after the other
        raise
    except (LoopError, OSError, SQLAlchemyError) as error:
        logger.error("%s is tried again: %s", key, type(error).__name__)  # noqa: TRY400 - no text
        return "failed"


def _take(places: Places, raw: _Raw) -> Outcome:
    try:
        return _keep_or_set_aside(places, raw)
    except IntegrityError:  # another pass was here between our look and our write
        return "known"


def _keep_or_set_aside(places: Places, raw: _Raw) -> Outcome:
    try:
        record = raw.record()
        return _keep(places, raw, record, read_upload(record.upload))
    except TranscriptError as error:
        keep(places.store, _aside(raw, error))
        return "quarantined"


def _keep(places: Places, raw: _Raw, record: Record, upload: Upload) -> Outcome:
    row = _row(raw, record, upload)
    with writing(places.store) as session:
        there = session.get(Transcript, row.id)
        if there is None:
            session.add(row)
            return "ingested"
    if there.digest != row.digest:
        raise TranscriptError("second_body")
    if there.record != row.record:  # sent again on another day: remembered, so not read again
        keep(places.store, _aside(raw, TranscriptError(REPEAT)))
    return "known"


def _row(raw: _Raw, record: Record, upload: Upload) -> Transcript:
    transcript = transcript_of(upload)
    return Transcript(
        id=upload.upload_id,
        digest=transcript.digest(),
        record=digest_bytes(raw.data),
        received=record.received,
        origin=transcript.origin,
        source="upload",
        model_version=transcript.model_version,
        privacy=record.privacy,
        reasons=[f"redacted_{rule}" for rule in sorted(record.redacted)],
        body=transcript.as_json(),
    )


def _aside(raw: _Raw, error: TranscriptError) -> Quarantined:
    level = logging.INFO if error.reason == REPEAT else logging.WARNING
    logger.log(level, "%s is set aside: %s", raw.key, error.reason)
    return Quarantined(
        name=raw.key, record=digest_bytes(raw.data), reason=error.reason, detail=error.detail
    )


def _counts(places: Places, outcomes: Counter[Outcome]) -> IngestCounts:
    waits = col(Transcript.id).not_in(select(Label.transcript_id))
    usable = col(Transcript.quarantined).is_(None)
    by_reason = select(Quarantined.reason, func.count()).group_by(col(Quarantined.reason))
    with Session(places.store) as session:
        unlabelled, oldest = session.exec(
            select(func.count(), func.min(Transcript.received)).where(waits, usable)
        ).one()
        uploads = col(Quarantined.name).startswith(RAW), Quarantined.reason != REPEAT
        aside = session.exec(by_reason.where(*uploads))
        return IngestCounts(
            ingested=outcomes["ingested"],
            known=outcomes["known"],
            quarantined=dict(aside.all()),
            unlabelled=unlabelled,
            oldest_unlabelled=oldest,
            failed=outcomes["failed"],
        )
