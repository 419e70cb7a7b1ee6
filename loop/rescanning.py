"""Rescanning: kept transcripts against today's privacy rules, and what was made from the failed.

A better engine finds what an older one passed. Such a transcript is quarantined: nobody labels it
or learns from it any more. What was already learnt from it is listed, for a person to decide.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlmodel import Session, col, func, select

from loop import privacy
from loop.places import Places
from loop.store import writing
from loop.tables import Cycle, CycleTranscript, Dataset, ModelForm, Release, Transcript
from loop.values import Form

logger = logging.getLogger(__name__)

BATCH = 200
REASON = "identifier"
"""Why a transcript is quarantined, before the rules that hit."""


@dataclass(frozen=True)
class Derived:
    """What one cycle made with transcripts that are in quarantine for an identifier."""

    cycle: str
    transcripts: int
    """How many of them it froze."""
    versions: tuple[str, ...]
    """Models that were trained on it."""
    releases: tuple[int, ...]
    """Manifests that published one of those models."""


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
        return Rescan(len(ids), failed, rules, tuple(_derived(session)))


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
            else:
                row.privacy = privacy.VERSION
    return failed


def _derived(session: Session) -> Iterator[Derived]:
    """What the cycles made that froze something with an identifier, the oldest first."""
    asked = (
        select(Cycle, Dataset, func.count())
        .join(Dataset, col(Dataset.cycle_id) == Cycle.id)
        .join(CycleTranscript, col(CycleTranscript.cycle_id) == Cycle.id)
        .join(Transcript, col(CycleTranscript.transcript_id) == Transcript.id)
        .where(col(Transcript.quarantined).startswith(REASON))
        .group_by(col(Cycle.id), col(Dataset.cycle_id))
        .order_by(col(Cycle.opened_at))
    )
    for cycle, dataset, transcripts in session.exec(asked):
        versions = _learnt_from(session, dataset)
        released = select(Release.number).where(col(Release.model_version).in_(versions))
        numbers = tuple(sorted(session.exec(released)))
        yield Derived(f"{cycle.model} cycle {cycle.number}", transcripts, versions, numbers)


def _learnt_from(session: Session, dataset: Dataset) -> tuple[str, ...]:
    forms = session.exec(select(ModelForm).where(ModelForm.form == Form.ADAPTER))
    return tuple(sorted({f.version for f in forms if f.facts.get("dataset") == dataset.digest}))
