"""Small builders that several tests share; each makes something valid with little."""

import os
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from loop.places import Places, open_places
from loop.settings import Settings
from loop.store import keep
from loop.tables import Cycle, OpenCycle
from loop.tables import Transcript as TranscriptRow
from loop.transcript import Transcript
from loop.values import Origin, digest_json, utc_now


def empty_places(home: Path) -> Places:
    """Real places in an empty folder."""
    return open_places(Settings(home=home))


def age_file(path: Path, days: int) -> None:
    """As if it was last written so many days ago."""
    at = (utc_now() - timedelta(days=days)).timestamp()
    os.utime(path, (at, at))


def event(kind: str, payload: Any = None, second: int = 0) -> dict[str, Any]:
    return {"type": kind, "relative_ts": f"+{second}s", "payload": payload}


def tool_events(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A call and its answer for each tool."""
    return [
        made
        for tool, result in results.items()
        for made in (
            event("tool_call", {"tool": tool, "args": {}}),
            event("tool_result", result),
        )
    ]


def answer_events(
    severity: str = "red",
    root_cause: str = "clock_unsynced",
    actions: Iterable[tuple[str, dict[str, Any]]] = (("ntp.resync", {}),),
    summary: str = "The clock of your Blox is wrong.",
) -> list[dict[str, Any]]:
    """A verdict, and one recommendation per action."""
    verdict = {"severity": severity, "root_cause": root_cause, "summary": summary}
    return [
        event("verdict", verdict),
        *(
            event("recommended_action", {"action_name": name, "args": args})
            for name, args in actions
        ),
    ]


def transcript_row(
    number: int = 1,
    *,
    prompt: str = "my blox is offline",
    events: Iterable[dict[str, Any]] | None = None,
    received: date = date(2026, 3, 1),
    **more: Any,
) -> TranscriptRow:
    """A session with one tool call; the device says red, clock_unsynced, ntp.resync."""
    found = events or [*tool_events({"diag/time": {"synced": False}}), *answer_events()]
    body = Transcript.model_validate(
        {
            "origin": Origin.MODEL,
            "events": list(found),
            "user_prompt": prompt,
            "anonymizer_version": "0.1.0",
            **more,
        }
    )
    return TranscriptRow(
        id=f"00000000-0000-4000-8000-{number:012d}",
        digest=body.digest(),
        record=digest_json(number),
        received=received,
        origin=body.origin,
        source="upload",
        privacy="1",
        reasons=[],
        body=body.as_json(),
    )


def upload(number: int = 1, /, **more: Any) -> dict[str, Any]:
    """A small upload of schema 1, as a phone would write it; `more` replaces or adds fields."""
    return {
        "schema_version": 1,
        "upload_id": f"00000000-0000-4000-8000-{number:012d}",
        "session_relative_start": "+0s",
        "events": [*tool_events({"diag/time": {"synced": False}}), *answer_events()],
        "user_rating": -1,
        "user_prompt": "my blox is offline",
        "consent": {
            "explicit_opt_in": True,
            "preview_shown": True,
            "anonymizer_version": "0.1.0",
        },
        **more,
    }


def open_cycle(places: Places, wanted: int = 50) -> Cycle:
    """The first cycle of a model, open and kept."""
    cycle = Cycle(
        model="blox",
        number=1,
        recipe="tiny-cpu",
        recipe_digest=digest_json("recipe"),
        suite="core",
        suite_digest=digest_json("suite"),
        labels_wanted=wanted,
        dry_run=False,
    )
    keep(places.store, cycle)
    keep(places.store, OpenCycle(model=cycle.model, cycle_id=cycle.id))
    return cycle
