"""The JSON API: the page saves through it, and simulated people live on it."""

from collections.abc import Iterable
from typing import Annotated, Literal, NamedTuple

from fastapi import APIRouter, Query
from sqlmodel import Session

from labeller import queries, views
from labeller.deps import PersonDep, PlacesDep, SessionDep
from labeller.queries import Progress
from labeller.views import Detail, Item, LabelOut
from loop import store
from loop.errors import UnreadableError
from loop.labels import check_label
from loop.reading import reading
from loop.tables import Label, LabelIn, Transcript
from loop.transcript import read_session

router = APIRouter()

State = Literal["unlabelled", "labelled"]
Limit = Annotated[int, Query(ge=1, le=1000)]


@router.get("/health")
def health() -> dict[str, bool]:
    """The service runs."""
    return {"ok": True}


@router.get("/api/progress")
def progress(session: SessionDep) -> Progress:
    """How far labelling is."""
    return queries.read_progress(session)


@router.get("/api/transcripts")
def list_transcripts(
    session: SessionDep, state: State = "unlabelled", limit: Limit = 100
) -> list[Item]:
    """Unlabelled transcripts, the oldest first, or labelled ones, the newest label first."""
    return listed(session, state, limit).items


@router.get("/api/transcripts/{transcript_id}")
def read_transcript(transcript_id: str, session: SessionDep) -> Detail:
    """One transcript with everything needed to judge it."""
    row = queries.get_readable(session, transcript_id)
    with reading(transcript_id):
        return views.detail(row, queries.current_label(session, transcript_id))


@router.post("/api/labels", status_code=201)
def add_label(sent: LabelIn, places: PlacesDep, session: SessionDep, person: PersonDep) -> LabelOut:
    """Keep one label; it becomes the current one of its transcript."""
    row = queries.get_readable(session, sent.transcript_id)
    with reading(row.id):
        answered = read_session(views.body_of(row))
    label = check_label(sent, made_by=person, session=answered)
    store.keep(places.store, label)
    return LabelOut.model_validate(label, from_attributes=True)


class Listed(NamedTuple):
    """The lines of the list."""

    items: list[Item]
    unreadable: list[str]
    """Ids of transcripts that would stand there, too."""


def listed(session: Session, state: State, limit: int) -> Listed:
    """The list; a transcript that cannot be read keeps no other off it."""
    if state == "unlabelled":
        return _listed((row, None) for row in store.unlabelled(session, limit))
    return _listed(queries.newest_labels(session, limit))


def _listed(found: Iterable[tuple[Transcript, Label | None]]) -> Listed:
    lines = Listed([], [])
    for row, label in found:
        try:
            with reading(row.id):
                lines.items.append(views.item(row, label))
        except UnreadableError:
            lines.unreadable.append(row.id)
    return lines
