"""What only the labeller asks the store."""

from dataclasses import dataclass
from datetime import date

from sqlalchemy import ColumnElement, func, or_
from sqlmodel import Session, col, select

from loop.errors import NotFound
from loop.store import count_new_labels, get_transcript
from loop.tables import Cycle, Label, OpenCycle, Transcript


@dataclass(frozen=True)
class Progress:
    """How far labelling is."""

    labelled: int
    """Labelled transcripts that no cycle has frozen yet."""
    wanted: int | None
    """What the newest open cycle waits for; None: no cycle is open."""
    cycle: int | None
    """That cycle's number."""
    waiting: int
    """Transcripts without a label."""
    oldest: date | None
    """The UTC day on which the oldest of those arrived."""


def read_progress(session: Session) -> Progress:
    """The counts of this moment."""
    waiting, oldest = session.exec(
        select(func.count(col(Transcript.id)), func.min(Transcript.received)).where(_waits())
    ).one()
    cycle = _open_cycle(session)
    return Progress(
        labelled=count_new_labels(session, cycle.model if cycle else ""),
        wanted=cycle.labels_wanted if cycle else None,
        cycle=cycle.number if cycle else None,
        waiting=waiting,
        oldest=oldest,
    )


def _open_cycle(session: Session) -> Cycle | None:
    return session.exec(
        select(Cycle)
        .join(OpenCycle, col(OpenCycle.cycle_id) == Cycle.id)
        .order_by(col(Cycle.opened_at).desc())
    ).first()


def _waits() -> ColumnElement[bool]:
    labelled = select(Label.transcript_id)
    return col(Transcript.quarantined).is_(None) & col(Transcript.id).not_in(labelled)


def next_waiting(session: Session, after: Transcript | None = None) -> Transcript | None:
    """The oldest transcript without a label.

    Args:
        session: Of the store.
        after: Begin behind this one and come round to the oldest at the end, so that what a
            person skipped comes back.
    """
    first = (
        select(Transcript).where(_waits()).order_by(col(Transcript.received), col(Transcript.id))
    )
    if after is None:
        return session.exec(first).first()
    same_day = (col(Transcript.received) == after.received) & (col(Transcript.id) > after.id)
    behind = first.where(or_(col(Transcript.received) > after.received, same_day))
    return session.exec(behind).first() or session.exec(first).first()


def newest_labels(session: Session, limit: int) -> list[tuple[Transcript, Label]]:
    """Labelled transcripts with their current label, the newest first."""
    newest = (
        select(Label.transcript_id, func.max(Label.made_at).label("made_at"))
        .group_by(col(Label.transcript_id))
        .subquery()
    )
    rows = session.exec(
        select(Transcript, Label)
        .join(Label, col(Label.transcript_id) == Transcript.id)
        .join(
            newest,
            (newest.c.transcript_id == Label.transcript_id)
            & (newest.c.made_at == col(Label.made_at)),
        )
        .where(col(Transcript.quarantined).is_(None))
        .order_by(col(Label.made_at).desc(), col(Transcript.id))
        .limit(limit)
    )
    return list(rows)


def current_label(session: Session, transcript_id: str) -> Label | None:
    """The newest label of one transcript."""
    return session.exec(
        select(Label)
        .where(Label.transcript_id == transcript_id)
        .order_by(col(Label.made_at).desc(), col(Label.id).desc())
    ).first()


def get_readable(session: Session, transcript_id: str) -> Transcript:
    """A transcript that people may read.

    Raises:
        NotFound: It is not in the store, or was set aside since.
    """
    found = get_transcript(session, transcript_id)
    if found.quarantined is not None:
        raise NotFound(f"transcript {transcript_id} was set aside: {found.quarantined}")
    return found
