"""Raw objects of the depot become transcripts of the store; what cannot is set aside with a reason.

Intake has validated and redacted them; here they are only read. People judge later.
"""

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from itertools import groupby
from pathlib import PurePosixPath
from typing import Literal, TypeAlias

from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlmodel import Session, col, func, select

from loop.errors import DepotAway, LoopError, TranscriptError
from loop.places import Places
from loop.store import is_forgotten, keep, writing
from loop.tables import Label, Quarantined, Transcript
from loop.transcript import transcript_of
from loop.upload import Record, Upload, read_upload
from loop.values import digest_bytes

logger = logging.getLogger(__name__)

RAW = "raw/"
REPEAT = "repeat"
"""Why an object is set aside that holds nothing new; nobody needs to look at it."""
IngestOutcome: TypeAlias = Literal["ingested", "known", "quarantined", "failed", "forgotten"]


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
    forgotten: int = 0
    """Late copies of uploads that were forgotten; deleted unread."""


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
    """The UTC day on which the oldest of them was received, or came where it cannot be read."""


def not_ingested(places: Places) -> NotIngested:
    """The uploads that intake shipped and ingest has not read; a growing age is an alarm."""
    read = _read_before(places)
    keys = [key for key in places.depot.keys(RAW) if key not in read]
    days = [day for key in keys if (day := _received(places, key) or _came(places, key))]
    return NotIngested(len(keys), min(days, default=None))


def _received(places: Places, key: str) -> date | None:
    try:
        return Record.from_bytes(places.depot.get(key)).received
    except DepotAway:
        raise
    except (LoopError, OSError):  # ingest will say what is wrong with it
        return None


def _came(places: Places, key: str) -> date | None:
    try:
        return places.depot.arrived(key).date()
    except DepotAway:
        raise
    except (LoopError, OSError):  # gone meanwhile
        return None


def ingest_uploads(places: Places) -> IngestCounts:
    """Take every new raw object into the store; a second pass adds nothing.

    Of two bodies under one upload id the one that came first stays, the other is quarantined.
    An object that cannot be read, or a row that cannot be written, holds up no other. What comes
    under the id of a forgotten upload is deleted.

    Raises:
        DepotAway: The object store does not answer; what was read before is kept.
    """
    read = _read_before(places)
    outcomes: Counter[IngestOutcome] = Counter()
    for _, same_id in groupby(places.depot.keys(RAW), key=_upload_id):
        known, new = _parted(same_id, read)
        outcomes["known"] += len(known)
        outcomes.update(_try(places, key) for key in _as_they_came(places, new))
    logger.info("ingested %d, known %d", outcomes["ingested"], outcomes["known"])
    return _counts(places, outcomes)


def _upload_id(key: str) -> str:
    return PurePosixPath(key).parent.name


def _parted(keys: Iterable[str], read: set[str]) -> tuple[list[str], list[str]]:
    there = list(keys)
    return [key for key in there if key in read], [key for key in there if key not in read]


def _as_they_came(places: Places, keys: list[str]) -> list[str]:
    """Several new bodies of one upload, the first that came first.

    Records hold the day alone, on purpose; within it the depot tells, into which intake ships in
    the order of arrival.
    """
    return sorted(keys, key=partial(_came_by, places)) if len(keys) > 1 else keys


def _came_by(places: Places, key: str) -> tuple[date, datetime]:
    try:
        at = places.depot.arrived(key)
    except DepotAway:
        raise
    except (LoopError, OSError):
        at = datetime.max.replace(tzinfo=UTC)
    return _received(places, key) or at.date(), at


def _read_before(places: Places) -> set[str]:
    with Session(places.store) as session:
        kept = session.exec(select(Transcript.id, Transcript.record))
        aside = session.exec(select(Quarantined.name))
        return {f"{RAW}{upload_id}/{record}.json" for upload_id, record in kept} | set(aside)


def _try(places: Places, key: str) -> IngestOutcome:
    try:
        if _is_forgotten(places, key):
            places.depot.delete(key)
            return "forgotten"
        return _take(places, _Raw(key, places.depot.get(key)))
    except DepotAway:  # the others would wait for it as long, one after the other
        raise
    except (LoopError, OSError, SQLAlchemyError) as error:
        logger.error("%s is tried again: %s", key, type(error).__name__)  # noqa: TRY400 - no text
        return "failed"


def _is_forgotten(places: Places, key: str) -> bool:
    with Session(places.store) as session:
        return is_forgotten(session, _upload_id(key))


def _take(places: Places, raw: _Raw) -> IngestOutcome:
    try:
        return _keep_or_set_aside(places, raw)
    except IntegrityError:  # another pass was here between our look and our write
        return "known"


def _keep_or_set_aside(places: Places, raw: _Raw) -> IngestOutcome:
    try:
        record = raw.record()
        return _keep(places, raw, record, read_upload(record.upload))
    except TranscriptError as error:
        keep(places.store, _aside(raw, error))
        return "quarantined"


def _keep(places: Places, raw: _Raw, record: Record, upload: Upload) -> IngestOutcome:
    row = _row(raw, record, upload)
    with writing(places.store) as session:
        there = session.get(Transcript, row.id)
        if there is None:
            session.add(row)
            session.flush()  # others wait now: who forgets it did so before, or finds this row
            if not is_forgotten(session, row.id):
                return "ingested"
            session.rollback()
            return "forgotten"  # the next pass deletes the object
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


def _counts(places: Places, outcomes: Counter[IngestOutcome]) -> IngestCounts:
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
            forgotten=outcomes["forgotten"],
        )
