"""Rescanning: kept transcripts against today's privacy rules, and what was made from the failed.

A better engine finds what an older one passed. Such a transcript is quarantined: nobody labels it
or learns from it any more. What was already learnt from it is listed, for a person to decide.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlmodel import Session, col, select

from loop import privacy
from loop.derived import Derived, derived_from
from loop.places import Places
from loop.store import writing
from loop.tables import Transcript
from loop.values import utc_now

logger = logging.getLogger(__name__)

BATCH = 200
REASON = "identifier"
"""Why a transcript is quarantined, before the rules that hit."""


@dataclass(frozen=True)
class Rescan:
    """What one pass over the store found."""

    looked: int
    """Transcripts that were not in quarantine."""
    quarantined: int
    """Of those, how many are now."""
    rules: Counter[str]
    """In how many of them each rule hit."""
    derived: tuple[Derived, ...]
    """What was made from these, and from those of earlier passes."""


def rescan(places: Places) -> Rescan:
    """Quarantine every kept transcript in which today's rules find something.

    The others are from then on known as passed by today's engine. It may be killed at any moment:
    what it has looked at is kept batch by batch.
    """
    usable = select(Transcript.id).where(col(Transcript.quarantined).is_(None))
    with Session(places.store) as session:
        ids = session.exec(usable.order_by(col(Transcript.id))).all()
    rules: Counter[str] = Counter()
    failed = sum(_look(places, ids[at : at + BATCH], rules) for at in range(0, len(ids), BATCH))
    logger.info("rescanned %d transcripts, quarantined %d", len(ids), failed)
    with Session(places.store) as session:
        made = tuple(derived_from(session, col(Transcript.quarantined).startswith(REASON)))
    return Rescan(len(ids), failed, rules, made)


def _look(places: Places, ids: Sequence[str], rules: Counter[str]) -> int:
    """How many of some transcripts failed."""
    failed = 0
    with writing(places.store) as session:
        for row in session.exec(select(Transcript).where(col(Transcript.id).in_(ids))):
            found = privacy.found_in(row.body)
            rules.update(found)
            failed += bool(found)
            if found:
                row.quarantined = f"{REASON}: {', '.join(found)}"
                row.quarantined_at = utc_now()
            else:
                row.privacy = privacy.VERSION
    return failed
