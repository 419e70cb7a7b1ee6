"""Retention: what has reached the end of its period is deleted, each day, for good.

The periods are settings. What holds no session stays for ever: cycles, reports, cards, sign-offs,
releases, and that a dataset existed. It may be killed at any moment: what it has not deleted is
due again the next time.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path

from sqlalchemy import or_
from sqlmodel import Session, col, delete, select
from sqlmodel.sql.expression import SelectOfScalar

from loop.copies import remove
from loop.errors import NotFound
from loop.forgetting import BATCH, Asked, forget
from loop.ingest import RAW
from loop.leftovers import Leftovers, delete_leftovers, find_leftovers
from loop.places import Places
from loop.store import upload_digest, writing
from loop.tables import CycleTranscript, Forgotten, OpenCycle, Quarantined, Transcript

logger = logging.getLogger(__name__)

AFTER_A_KILL = timedelta(days=1)
"""Nobody who writes a copy of a session is at it for so long."""
TOLERATED = timedelta(days=2)
"""What is due for longer is an alarm: retention does not run."""


@dataclass(frozen=True)
class Due:
    """What has reached the end of its period, or should not be there at all."""

    raw: tuple[str, ...]
    """Keys of objects that were read into the store."""
    sessions: tuple[str, ...]
    """Upload ids; with a session go its labels, and every dataset that was frozen with it."""
    held: tuple[str, ...]
    """Sessions that an open cycle froze: they go when it has ended."""
    set_aside: tuple[Quarantined, ...]
    """What ingest or import set aside, with its object."""
    spool: tuple[Path, ...]
    """Files that intake set aside, where its spool is on this machine."""
    unfinished: tuple[str, ...]
    """Uploads that were being forgotten when somebody was killed, or that came back."""
    leftovers: Leftovers

    def counts(self) -> dict[str, int]:
        """How many things of each kind, `held` apart."""
        return {
            "objects that were read into the store": len(self.raw),
            "sessions with their labels and datasets": len(self.sessions),
            "objects and files that were set aside": len(self.set_aside) + len(self.spool),
            "uploads that were not forgotten to the end": len(self.unfinished),
            "copies that killed processes left": len(self.leftovers),
        }

    def sentence(self) -> str:
        """What there is, in one line; empty where there is nothing."""
        kinds = self.counts() | {"sessions that an open cycle learns from": len(self.held)}
        return ", ".join(f"{kind}: {n}" for kind, n in kinds.items() if n)


def find_due(places: Places, now: datetime) -> Due:
    """What retention would delete now."""
    return _find(places, now, lambda _key: True)


def find_overdue(places: Places, now: datetime) -> Due:
    """What retention should have deleted long ago; an object that came late counts from then."""
    long_ago = now - TOLERATED
    return _find(places, long_ago, partial(_came_before, places, long_ago))


def _came_before(places: Places, before: datetime, key: str) -> bool:
    try:
        return places.depot.arrived(key) < before
    except NotFound:  # gone meanwhile
        return False


def _find(places: Places, now: datetime, counts: Callable[[str], bool]) -> Due:
    """What is due at a moment; of uploads' objects, those whose key counts."""
    settings = places.settings
    with Session(places.store) as session:
        held = set(session.exec(_frozen_by_open_cycles()))
        old = session.exec(_old_sessions(places, now)).all()
        aside_before = now - timedelta(days=settings.keep_quarantine_days)
        aside = session.exec(select(Quarantined).where(col(Quarantined.at) < aside_before)).all()
        return Due(
            raw=tuple(filter(counts, _old_objects(places, session, now))),
            sessions=tuple(one for one in old if one not in held),
            held=tuple(one for one in old if one in held),
            set_aside=tuple(aside),
            spool=tuple(_old_files(settings.aside, now - timedelta(days=settings.keep_aside_days))),
            unfinished=tuple(_unfinished(places, session, now, counts)),
            leftovers=find_leftovers(places, now - AFTER_A_KILL),
        )


def retain(places: Places, now: datetime, dry_run: bool = False) -> Due:
    """Delete what is due; what that was.

    Args:
        places: Where to look.
        now: Decides what is due.
        dry_run: Only look.

    Raises:
        StoreError: It is all deleted, but the store's log could not be emptied.
    """
    due = find_due(places, now)
    if not dry_run:
        _delete(places, due)
    logger.info("retention%s: %s", " (dry run)" if dry_run else "", due.sentence() or "nothing due")
    return due


def _delete(places: Places, due: Due) -> None:
    """Objects before the rows that know them."""
    for key in due.raw:
        places.depot.delete(key)
    for path in due.spool:
        remove(path)
    delete_leftovers(places, due.leftovers)
    for at in range(0, len(due.set_aside), BATCH):
        _delete_set_aside(places, due.set_aside[at : at + BATCH])
    forget(
        places,
        list(dict.fromkeys([*due.unfinished, *due.sessions])),
        Asked("retention", "retention"),
    )


def _delete_set_aside(places: Places, rows: tuple[Quarantined, ...]) -> None:
    for row in rows:
        if row.name.startswith(RAW):  # a file that an import refused lies where its owner has it
            places.depot.delete(row.name)
    with writing(places.store) as session:
        session.exec(delete(Quarantined).where(col(Quarantined.id).in_([row.id for row in rows])))


def _day(now: datetime, days: int) -> date:
    """What was received before this day is older than so many days."""
    return (now - timedelta(days=days)).date()


def _old_objects(places: Places, session: Session, now: datetime) -> Iterator[str]:
    """Objects of sessions that are in the store; others wait for ingest, or are set aside."""
    before = _day(now, places.settings.keep_raw_days)
    asked = select(Transcript.id, Transcript.record).where(Transcript.received < before)
    old = {f"{RAW}{upload_id}/{record}.json" for upload_id, record in session.exec(asked)}
    return (key for key in places.depot.keys(RAW) if key in old)


def _old_sessions(places: Places, now: datetime) -> SelectOfScalar[str]:
    settings = places.settings
    quarantined = now - timedelta(days=settings.keep_quarantine_days)
    over = or_(
        col(Transcript.received) < _day(now, settings.keep_session_days),
        col(Transcript.quarantined_at) < quarantined,
    )
    return select(Transcript.id).where(over).order_by(col(Transcript.received), col(Transcript.id))


def _frozen_by_open_cycles() -> SelectOfScalar[str]:
    of_cycle = col(OpenCycle.cycle_id) == CycleTranscript.cycle_id
    return select(CycleTranscript.transcript_id).join(OpenCycle, of_cycle)


def _old_files(folder: Path, before: datetime) -> Iterator[Path]:
    """Files that were moved there before a moment; moving one changes its ctime."""
    for path in sorted(folder.glob("*")):
        with suppress(FileNotFoundError):  # somebody cleared it away
            if path.lstat().st_ctime < before.timestamp():
                yield path


def _unfinished(
    places: Places, session: Session, now: datetime, counts: Callable[[str], bool]
) -> list[str]:
    """Uploads that have a tombstone by now, and are there all the same."""
    forgotten = set(session.exec(select(Forgotten.upload).where(col(Forgotten.at) <= now)))

    def is_forgotten(upload_id: str) -> bool:
        return upload_digest(upload_id) in forgotten

    of_uploads = col(Quarantined.name).startswith(RAW)
    names = session.exec(select(Quarantined.name).where(of_uploads))
    rows = [*session.exec(select(Transcript.id)), *map(_upload_id, names)]
    objects = [key for key in places.depot.keys(RAW) if is_forgotten(_upload_id(key))]
    late = {_upload_id(key) for key in filter(counts, objects)}
    return sorted(late.union(filter(is_forgotten, rows)))


def _upload_id(key: str) -> str:
    return key.split("/")[1]
