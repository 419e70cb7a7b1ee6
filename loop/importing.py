"""Labelled records from a folder become transcripts of origin `synthetic`, with their labels.

`repair` decides what a record is worth; this keeps it and counts every code, so that nothing is
taken or refused silently.
"""

import logging
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from sqlmodel import Session, select

from loop import privacy
from loop.errors import LabelError, NotFound, PrivacyError, TranscriptError
from loop.labels import check_label
from loop.places import Places
from loop.repair import FOR_A_LABELLER, Repaired, repair
from loop.store import is_forgotten, keep, writing
from loop.tables import Label, LabelIn, Quarantined, Transcript
from loop.transcript import Session as Conversation
from loop.transcript import read_session, transcript_of
from loop.upload import Record
from loop.values import Digest, Origin, digest_bytes, utc_now

logger = logging.getLogger(__name__)

MADE_BY = "import"
IMPORTS = "imports/"
NOT_KEPT = ("identifiers_left", "second_body")
"""Why a record is not taken although it could be repaired; `forgotten` is a third reason."""
SOURCE = "import:"
"""Stands before the file's name in the `source` of an imported row."""
ImportOutcome: TypeAlias = Literal["labelled", "unlabelled", "excluded", "known", "rejected"]
"""unlabelled: a person has to judge; excluded: kept, never learnt from; known: imported before."""


class ImportedRecord(Record):
    """The record of a file: where it comes from and what was done to it."""

    file: str
    sha256: Digest
    """Of the file as it was."""
    codes: tuple[str, ...]
    family: str | None = None
    """What it is a variation of, where its author said so."""


@dataclass(frozen=True)
class ImportReport:
    """What became of the files of one folder."""

    files: int
    outcomes: dict[ImportOutcome, int]
    """How many files ended how; together all of them."""
    rejected: dict[str, int]
    """Rejected files by reason."""
    codes: dict[str, int]
    """Files that were taken, now or before, by each repair and flag."""


@dataclass
class _Tally:
    outcomes: Counter[ImportOutcome] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)

    def report(self) -> ImportReport:
        return ImportReport(
            self.outcomes.total(), dict(self.outcomes), dict(self.rejected), dict(self.codes)
        )


@dataclass(frozen=True)
class _Taken:
    """A repaired file as it will be kept."""

    record: ImportedRecord
    row: Transcript
    label: Label | None

    def outcome(self) -> ImportOutcome:
        if self.row.quarantined:
            return "excluded"
        return "labelled" if self.label else "unlabelled"


def import_labelled(places: Places, folder: Path) -> ImportReport:
    """Import every *.json file of a folder; the same folder again changes nothing.

    Raises:
        NotFound: There is no such folder.
    """
    if not folder.is_dir():
        raise NotFound(f"{folder}: expected a folder of labelled records, got none")
    tally = _Tally()
    for file in sorted(folder.glob("*.json")):
        tally.outcomes[_import_one(places, file, tally)] += 1
    logger.info("imported %d files: %s", tally.outcomes.total(), dict(tally.outcomes))
    return tally.report()


def _import_one(places: Places, file: Path, tally: _Tally) -> ImportOutcome:
    data = file.read_bytes()
    try:
        taken = _taken(file.name, data)
        outcome = _keep(places, taken)
    except TranscriptError as error:
        _set_aside(places, file.name, digest_bytes(data), error)
        tally.rejected[error.reason] += 1
        return "rejected"
    tally.codes.update(taken.record.codes)
    return outcome


def _taken(name: str, data: bytes) -> _Taken:
    """Everything that will be kept of one file.

    Raises:
        TranscriptError: It is not taken.
    """
    repaired = repair(data)
    try:
        upload, redacted = privacy.redact(repaired.upload)
    except PrivacyError as error:
        raise TranscriptError("identifiers_left", str(error)) from None
    content = transcript_of(upload).model_copy(update={"origin": Origin.SYNTHETIC})
    label = _label(repaired, read_session(content))
    record = ImportedRecord(
        received=utc_now().date(),
        privacy=privacy.VERSION,
        redacted=dict(redacted),
        upload=upload.as_json(),
        file=name,
        sha256=digest_bytes(data),
        codes=(*repaired.codes, *(() if label else _why_unlabelled(repaired))),
        family=repaired.record.family,
    )
    row = Transcript(
        id=upload.upload_id,
        digest=content.digest(),
        record=digest_bytes(record.to_bytes()),
        received=record.received,
        origin=content.origin,
        source=f"{SOURCE}{name}",
        privacy=record.privacy,
        reasons=list(record.codes),
        body=content.as_json(),
        quarantined="summary_impossible" if _is_impossible(repaired) else None,
    )
    return _Taken(record, row, label)


def _is_impossible(repaired: Repaired) -> bool:
    codes = repaired.codes
    return "summary_impossible" in codes and "summary_rescored" not in codes


def _why_unlabelled(repaired: Repaired) -> tuple[str, ...]:
    """Nothing more where a code says it already."""
    said = _is_impossible(repaired) or not FOR_A_LABELLER.isdisjoint(repaired.codes)
    return () if said else ("label_unusable",)


def _label(repaired: Repaired, session: Conversation) -> Label | None:
    """The record's own label, where it holds and says all; it has no words for a correction."""
    record, verdict, actions = repaired.record, session.verdict, session.actions
    if _is_impossible(repaired) or not FOR_A_LABELLER.isdisjoint(repaired.codes):
        return None
    if verdict is None or actions is None:
        return None
    sent = LabelIn(
        transcript_id=record.upload_id,
        decision=record.label_decision,
        severity_correct=record.verdict_correct,
        root_cause_correct=record.root_cause_correct,
        actions_correct=record.actions_correct,
        severity=verdict.severity,
        root_cause=verdict.root_cause,
        actions=[recommended.action for recommended in actions],
        note=record.notes[:2000],
    )
    try:
        return check_label(sent, made_by=MADE_BY, session=session)
    except LabelError as error:
        logger.info("%s: its label is left out: %s", record.upload_id, error)
        return None


def _keep(places: Places, taken: _Taken) -> ImportOutcome:
    """Bytes first, then the rows together.

    Raises:
        TranscriptError: Another body came under this upload id before, or it was forgotten.
    """
    with Session(places.store) as session:
        there = session.get(Transcript, taken.row.id)
        if is_forgotten(session, taken.row.id):
            raise TranscriptError("forgotten")
    if there is not None and there.digest != taken.row.digest:
        raise TranscriptError("second_body")
    if there is not None:
        return "known"
    outcome = taken.outcome()
    places.depot.put(_key(taken.row), taken.record.to_bytes())
    with writing(places.store) as session:
        session.add(taken.row)
        session.flush()
        session.add_all([taken.label] if taken.label else [])
    return outcome


def _key(row: Transcript) -> str:
    return f"{IMPORTS}{row.id}/{row.record}.json"


def family_of(places: Places, row: Transcript) -> str | None:
    """What an imported session is a variation of; None: nobody said, or it was uploaded."""
    if not row.source.startswith(SOURCE):
        return None
    return ImportedRecord.from_bytes(places.depot.get(_key(row))).family


def _set_aside(places: Places, name: str, digest: Digest, error: TranscriptError) -> None:
    before = select(Quarantined).where(Quarantined.name == name, Quarantined.record == digest)
    with Session(places.store) as session:
        known = session.exec(before).first() is not None
    if not known:
        row = Quarantined(name=name, record=digest, reason=error.reason, detail=error.detail)
        keep(places.store, row)
