"""Forgetting: everything that is kept of an upload goes, and a copy that arrives later goes too.

The tombstone comes first and the rows go last, so whoever is killed in between finds everything
again: the same call ends it, and at the latest the next retention does.

An open cycle that froze the upload is cancelled, as what it learns could not be unlearned: the
next stage of its run says so and does nothing, and the next cycle freezes without the upload. What
was learnt before is listed, for a person to decide about, and stays in the tombstone.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from sqlalchemy import ColumnElement, or_
from sqlmodel import Session, col, delete, func, select

from loop.copies import remove
from loop.cycles import Ending, end_cycle, open_cycles_from
from loop.derived import Derived, derived_from
from loop.errors import NotFound
from loop.freezing import DATASETS, is_kept
from loop.importing import IMPORTS
from loop.ingest import RAW
from loop.places import Places
from loop.settings import Settings
from loop.store import empty_log, scrub, upload_digest, writing, writing_alone
from loop.tables import (
    CycleOutcome,
    CycleTranscript,
    Dataset,
    Forgotten,
    Label,
    Quarantined,
    Transcript,
)
from loop.values import CycleRef, Digest

logger = logging.getLogger(__name__)

BATCH = 100
"""Uploads that go together; one after a kill begins with the first again."""
CANCELLED = "an upload that it learnt from was forgotten; the next cycle learns without it"
_UPLOAD_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Asked(NamedTuple):
    """Why uploads are forgotten, and by whom."""

    why: Literal["asked", "retention"]
    made_by: str


@dataclass(frozen=True)
class Traces:
    """What is kept of some uploads, here and now."""

    spooled: tuple[Path, ...]
    """Files in the spool of this machine, also those set aside there."""
    objects: tuple[str, ...]
    """Keys of the depot: what intake shipped, and records that were imported."""
    datasets: tuple[Digest, ...]
    """Frozen with them, and their files are still kept."""
    sessions: int
    labels: int
    notes: int
    """Rows about objects that ingest did not take."""
    open_cycles: tuple[CycleRef, ...]
    """That froze them: they end with it."""
    twins: tuple[str, ...]
    """Other uploads with the very same session: a phone that shows its preview twice sends two."""
    learnt: tuple[Derived, ...]
    """What stays: cycles, models and manifests."""

    def counts(self) -> Counter[str]:
        """How many things of each kind go."""
        return Counter(
            {
                "files in the spool": len(self.spooled),
                "objects in the depot": len(self.objects),
                "sessions in the store": self.sessions,
                "labels": self.labels,
                "notes about objects that were set aside": self.notes,
                "datasets with them": len(self.datasets),
                "open cycles that learn from them": len(self.open_cycles),
            }
        )


def check_upload_id(written: str) -> str:
    """The id, if phones write such.

    Raises:
        NotFound: They do not.
    """
    if not _UPLOAD_ID.fullmatch(written):
        raise NotFound(f"{written!r} is no upload id: expected 8-4-4-4-12 hex digits, lower case")
    return written


def find_traces(places: Places, ids: Sequence[str]) -> Traces:
    """What is kept of these uploads; ids of nothing find nothing."""
    these, frozen = col(Transcript.id).in_(ids), col(CycleTranscript.transcript_id).in_(ids)
    with Session(places.store) as session:
        return Traces(
            spooled=tuple(path for one in ids for path in _spooled(places.settings, one)),
            objects=tuple(key for one in ids for key in _objects(places, one)),
            datasets=tuple(d for d in _datasets(session, frozen) if is_kept(places, d)),
            sessions=_count(session, these),
            labels=_count(session, col(Label.transcript_id).in_(ids)),
            notes=_count(session, _about(ids)),
            open_cycles=tuple(open_cycles_from(session, these)),
            twins=_twins(session, ids),
            learnt=_learnt(session, ids),
        )


def forget(places: Places, ids: Sequence[str], asked: Asked) -> Counter[str]:
    """Delete everything that is kept of these uploads; how many things of each kind went.

    Where a person asked, the file of an SQLite store is also written anew, once.

    Raises:
        StoreError: It is all deleted, but the store is in use all the time, so that deleted rows
            can still be read in its files; the same call does that part again.
    """
    gone: Counter[str] = Counter()
    for at in range(0, len(ids), BATCH):
        gone += _forget(places, ids[at : at + BATCH], asked)
    clean = scrub if asked.why == "asked" else empty_log
    clean(places.store)
    return gone


def _forget(places: Places, ids: Sequence[str], asked: Asked) -> Counter[str]:
    gone: Counter[str] = Counter()
    while True:
        found = find_traces(places, ids)
        gone |= found.counts()
        _bury(places, ids, asked, found.learnt)
        _delete_things(places, found)
        if _delete_rows(places, ids):  # else a cycle froze them at this very moment
            break
    logger.info("forgot %d uploads (%s)", len(ids), asked.why)
    return gone


def _delete_things(places: Places, found: Traces) -> None:
    """End the cycles that learn from them, and delete all but rows."""
    for cycle in found.open_cycles:
        end_cycle(places, cycle, Ending(CycleOutcome.CANCELLED, CANCELLED))
    for path in found.spooled:
        remove(path)
    for key in found.objects:
        places.depot.delete(key)
    for dataset in found.datasets:
        delete_dataset(places, dataset)


def delete_dataset(places: Places, digest: Digest) -> None:
    """Delete the files of a frozen dataset; that it existed, and its card, stay in the store."""
    for key in list(places.depot.keys(f"{DATASETS}/{digest}/")):
        places.depot.delete(key)


def _bury(places: Places, ids: Sequence[str], asked: Asked, learnt: Sequence[Derived]) -> None:
    """One tombstone for each; one that stands already is left as it is."""
    with writing(places.store) as session:
        for digest in map(upload_digest, ids):
            if session.get(Forgotten, digest) is None:
                kept = [asdict(one) for one in learnt]
                session.add(Forgotten(upload=digest, learnt=kept, **asked._asdict()))


def _delete_rows(places: Places, ids: Sequence[str]) -> bool:
    """Delete the rows; False where something was made from them since they were looked for."""
    these, frozen = col(Transcript.id).in_(ids), col(CycleTranscript.transcript_id).in_(ids)
    with writing_alone(places.store) as session:
        session.exec(select(Transcript.id).where(these).with_for_update()).all()  # nobody adds now
        if open_cycles_from(session, these):
            return False
        if any(is_kept(places, dataset) for dataset in _datasets(session, frozen)):
            return False
        session.exec(delete(Label).where(col(Label.transcript_id).in_(ids)))
        session.exec(delete(CycleTranscript).where(col(CycleTranscript.transcript_id).in_(ids)))
        session.exec(delete(Transcript).where(these))
        session.exec(delete(Quarantined).where(_about(ids)))
    return True


def _spooled(settings: Settings, upload_id: str) -> Iterator[Path]:
    for folder in (settings.spool, settings.aside):
        yield from sorted(folder.glob(f"{upload_id}.*"))


def _objects(places: Places, upload_id: str) -> Iterator[str]:
    for prefix in (RAW, IMPORTS):
        yield from places.depot.keys(f"{prefix}{upload_id}/")


def _datasets(session: Session, frozen: ColumnElement[bool]) -> list[Digest]:
    of_cycle = col(CycleTranscript.cycle_id) == Dataset.cycle_id
    asked = select(Dataset.digest).join(CycleTranscript, of_cycle).where(frozen).distinct()
    return sorted(session.exec(asked))


def _about(ids: Sequence[str]) -> ColumnElement[bool]:
    """What is said in quarantine about objects under these ids."""
    return or_(*(col(Quarantined.name).startswith(f"{RAW}{one}/", autoescape=True) for one in ids))


def _count(session: Session, which: ColumnElement[bool]) -> int:
    return session.exec(select(func.count()).where(which)).one()


def _twins(session: Session, ids: Sequence[str]) -> tuple[str, ...]:
    same = select(Transcript.digest).where(col(Transcript.id).in_(ids))
    asked = select(Transcript.id).where(
        col(Transcript.digest).in_(same), col(Transcript.id).not_in(ids)
    )
    return tuple(sorted(session.exec(asked)))


def _learnt(session: Session, ids: Sequence[str]) -> tuple[Derived, ...]:
    """By the rows; where they are gone already, as the tombstones say it."""
    if found := tuple(derived_from(session, col(Transcript.id).in_(ids))):
        return found
    stones = col(Forgotten.upload).in_(list(map(upload_digest, ids)))
    kept = [row for one in session.exec(select(Forgotten).where(stones)) for row in one.learnt]
    read = (
        Derived(row["cycle"], row["transcripts"], tuple(row["versions"]), tuple(row["releases"]))
        for row in kept
    )
    return tuple(dict.fromkeys(read))
