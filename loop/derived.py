"""What was made from some transcripts: models and manifests, for a person to decide about."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, func, select

from loop.cycles import name_of
from loop.tables import Cycle, CycleTranscript, Dataset, ModelForm, Release, Transcript
from loop.values import Form


@dataclass(frozen=True)
class Derived:
    """What one cycle made with some of the transcripts that are meant."""

    cycle: str
    transcripts: int
    """How many of them it froze."""
    versions: tuple[str, ...]
    """Models that were trained on it."""
    releases: tuple[int, ...]
    """Manifests that published one of those models."""


def derived_from(session: Session, which: ColumnElement[bool]) -> Iterator[Derived]:
    """What the cycles made that froze a transcript of which this holds, the oldest first."""
    asked = (
        select(Cycle, Dataset, func.count())
        .join(Dataset, col(Dataset.cycle_id) == Cycle.id)
        .join(CycleTranscript, col(CycleTranscript.cycle_id) == Cycle.id)
        .join(Transcript, col(CycleTranscript.transcript_id) == Transcript.id)
        .where(which)
        .group_by(col(Cycle.id), col(Dataset.cycle_id))
        .order_by(col(Cycle.opened_at))
    )
    for cycle, dataset, transcripts in session.exec(asked):
        versions = _learnt_from(session, dataset)
        released = select(Release.number).where(col(Release.model_version).in_(versions))
        numbers = tuple(sorted(session.exec(released)))
        yield Derived(name_of(cycle), transcripts, versions, numbers)


def _learnt_from(session: Session, dataset: Dataset) -> tuple[str, ...]:
    forms = session.exec(select(ModelForm).where(ModelForm.form == Form.ADAPTER))
    return tuple(sorted({f.version for f in forms if f.facts.get("dataset") == dataset.digest}))
