"""Rescanning: kept transcripts against today's privacy rules, and what was made from the failed.

A better engine finds what an older one passed. Such a transcript is quarantined: nobody labels it
or learns from it any more, and an open cycle that froze it is cancelled, as when it is forgotten.
What was already learnt from it is listed, for a person to decide. One that today's code cannot
read is quarantined, too, until a later rescan reads it.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, or_
from sqlmodel import Session, col, select, update

from loop import privacy
from loop.cycles import Ending, end_with, open_cycles_from
from loop.derived import Derived, derived_from
from loop.errors import UnreadableError
from loop.places import Places
from loop.reading import reading
from loop.store import writing_alone
from loop.tables import CycleOutcome, Transcript
from loop.transcript import Transcript as Content
from loop.values import CycleRef, utc_now

logger = logging.getLogger(__name__)

BATCH = 200
REASON = "identifier"
"""Why a transcript is quarantined, before the rules that hit."""
UNREADABLE = "unreadable"
"""The same, before the type of the error."""
CANCELLED = "a rescan found something in a session that it learnt from; the next cycle does without"


@dataclass(frozen=True)
class Rescan:
    """What one pass over the store found."""

    looked: int
    """Transcripts that were not in quarantine, or only because they could not be read."""
    quarantined: int
    """Of those, in how many something was found."""
    rules: Counter[str]
    """In how many of them each rule hit."""
    unreadable: tuple[UnreadableError, ...]
    """Of those, the ones about which nobody can say whether they are clean."""
    ended: tuple[CycleRef, ...]
    """Open cycles that learnt from those with a finding."""
    derived: tuple[Derived, ...]
    """What was made from those with a finding, of this pass and of earlier ones."""


@dataclass(frozen=True)
class _Look:
    """What one look at one transcript found; nothing: it is clean."""

    id: str
    rules: tuple[str, ...] = ()
    error: UnreadableError | None = None

    def passed(self) -> bool:
        return not (self.rules or self.error)

    def quarantine(self) -> dict[str, object]:
        """What its row says from now on; without a time it is not deleted for being quarantined."""
        if self.error:
            return {"quarantined": f"{UNREADABLE}: {self.error.fault}"}
        return {"quarantined": f"{REASON}: {', '.join(self.rules)}", "quarantined_at": utc_now()}


def rescan(places: Places) -> Rescan:
    """Quarantine every kept transcript in which today's rules find something, or cannot look.

    The others are from then on known as passed by today's engine. It may be killed at any moment:
    what it has looked at is kept batch by batch.
    """
    with Session(places.store) as session:
        ids = session.exec(select(Transcript.id).where(_usable()).order_by(Transcript.id)).all()
    failed: list[_Look] = []
    ended: list[CycleRef] = []
    for at in range(0, len(ids), BATCH):
        looks = _look(places, ids[at : at + BATCH])
        ended += _keep(places, looks)
        failed += (one for one in looks if not one.passed())
    hits = [one.rules for one in failed if one.rules]
    logger.info("rescanned %d transcripts, quarantined %d", len(ids), len(failed))
    with Session(places.store) as session:
        made = tuple(derived_from(session, _leaking()))
    return Rescan(
        looked=len(ids),
        quarantined=len(hits),
        rules=Counter(rule for rules in hits for rule in rules),
        unreadable=tuple(one.error for one in failed if one.error),
        ended=tuple(ended),
        derived=made,
    )


def _usable() -> ColumnElement[bool]:
    """Transcripts that are not in quarantine, or only as nobody could read them."""
    quarantined = col(Transcript.quarantined)
    return or_(quarantined.is_(None), quarantined.startswith(UNREADABLE))


def _leaking() -> ColumnElement[bool]:
    return col(Transcript.quarantined).startswith(REASON)


def _look(places: Places, ids: Sequence[str]) -> list[_Look]:
    with Session(places.store) as session:
        return [_look_at(session, one) for one in ids]


def _look_at(session: Session, transcript: str) -> _Look:
    try:
        with reading(transcript):
            row = session.get(Transcript, transcript)
            return _Look(transcript, _found_in(row) if row else ())  # else it was just deleted
    except UnreadableError as error:
        return _Look(transcript, error=error)


def _found_in(row: Transcript) -> tuple[str, ...]:
    """The rules that hit; where none does, all that stands there must be what rules look into."""
    found = tuple(privacy.found_in(row.body))
    if not found:
        Content.model_validate(row.body)
    return found


def _keep(places: Places, looks: Sequence[_Look]) -> list[CycleRef]:
    """Write down what was found, and end the open cycles that learn from it: all or nothing."""
    passed = [one.id for one in looks if one.passed()]
    with writing_alone(places.store) as session:
        session.exec(
            update(Transcript)
            .where(col(Transcript.id).in_(passed), _usable())
            .values(privacy=privacy.VERSION, quarantined=None)
        )
        for one in looks:
            if not one.passed():
                row = update(Transcript).where(col(Transcript.id) == one.id, _usable())
                session.exec(row.values(**one.quarantine()))
        learning = open_cycles_from(session, _leaking())
        for cycle in learning:
            end_with(session, cycle, Ending(CycleOutcome.CANCELLED, CANCELLED))
    return learning
