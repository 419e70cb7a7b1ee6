"""The HTML pages: the list, and one session to a screen."""

import re
from datetime import date
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from markupsafe import Markup, escape
from sqlmodel import Session
from starlette.templating import Jinja2Templates

from labeller import queries, views
from labeller.deps import PersonDep, SessionDep
from labeller.routes import State, listed
from labeller.views import Detail
from loop.causes import causes
from loop.errors import UnreadableError
from loop.reading import reading
from loop.tables import Decision, Label, Transcript
from loop.values import Severity, utc_now

HERE = Path(__file__).parent
LISTED = 100
"""Lines on the list page."""

router = APIRouter(include_in_schema=False)
templates = Jinja2Templates(directory=HERE / "templates")
templates.env.globals.update(decisions=list(Decision), severities=list(Severity))
templates.env.trim_blocks = templates.env.lstrip_blocks = True


def _days_ago(day: date) -> str:
    days = (utc_now().date() - day).days
    return {0: "today", 1: "1 day"}.get(days, f"{days} days")


def _breakable(path: str) -> Markup:
    """A path that may break into lines behind its dots and underscores."""
    return Markup(re.sub(r"([._])", r"\1<wbr>", str(escape(path))))  # noqa: S704  (escaped before)


templates.env.filters.update(days_ago=_days_ago, breakable=_breakable)


@router.get("/")
def show_list(request: Request, session: SessionDep, state: State = "unlabelled") -> Response:
    """The transcripts that wait, or those that were judged."""
    found = listed(session, state, LISTED)
    return templates.TemplateResponse(
        request,
        "list.html",
        {
            "progress": queries.read_progress(session),
            "items": found.items,
            "unreadable": found.unreadable,
            "state": state,
            "listed": LISTED,
        },
    )


@router.get("/next")
def show_next(session: SessionDep, after: str | None = None) -> Response:
    """On to the oldest waiting transcript, or the list where no other one waits."""
    behind = queries.get_readable(session, after) if after else None
    row = queries.next_waiting(session, behind)
    place = f"/transcripts/{row.id}" if row and row.id != after else "/"
    return RedirectResponse(place, status_code=303)


@router.get("/transcripts/{transcript_id}")
def show_transcript(
    request: Request, transcript_id: str, session: SessionDep, person: PersonDep
) -> Response:
    """One session and the form to judge it."""
    row = queries.get_readable(session, transcript_id)
    label, progress = queries.current_label(session, transcript_id), queries.read_progress(session)
    with reading(transcript_id):
        context = {**_shown(row, label, person), "progress": progress}
        return templates.TemplateResponse(request, "session.html", context)


def _shown(row: Transcript, label: Label | None, person: str) -> dict[str, Any]:
    shown = views.detail(row, label)
    return {
        "shown": shown,
        "calls": views.call_views(shown.session),
        "asides": views.asides(views.body_of(row)),
        "recommended": _recommended(shown),
        "choosable": views.choosable_actions(),
        "causes": causes().values(),
        "person": person,
        "device": _for_script(shown, person),
    }


def show_unreadable(request: Request, error: UnreadableError) -> Response:
    """Why one session has no page, and the way on to the next."""
    with Session(request.app.state.places.store) as session:
        context = {"error": error, "progress": queries.read_progress(session)}
    return templates.TemplateResponse(request, "unreadable.html", context, 422)


def _recommended(shown: Detail) -> list[views.ActionView]:
    return [views.action_view(each.action) for each in shown.session.actions or ()]


def _for_script(shown: Detail, person: str) -> dict[str, Any]:
    """What the script sends for the parts that are judged right, and one's own earlier label."""
    verdict, actions = shown.session.verdict, shown.session.actions
    own = shown.label if shown.label and shown.label.made_by == person else None
    return {
        "severity": verdict.severity if verdict else None,
        "root_cause": shown.cause,
        "actions": None if actions is None else [each.action.model_dump() for each in actions],
        "label": own.model_dump(mode="json") if own else None,
    }
