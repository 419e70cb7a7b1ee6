"""What waits at each stage, how old the oldest of it is, and what somebody should do next."""

from collections.abc import Iterator, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
from sqlmodel import Session, select

from loop import cycles, store, waiting
from loop.errors import DepotAway
from loop.figures import counted
from loop.ingest import not_ingested
from loop.places import Places
from loop.retention import find_overdue
from loop.tables import OpenCycle
from loop.values import CycleRef, short

HOUR, DAY = 3600, 86400
LATE = "switch the schedule `hourly` of `ingest` on, or look why its runs fail"
NOT_DELETED = "switch the schedule `daily` of `retention` on, or look why its runs fail"
HELD = "let that cycle come to its end, or end it with `bloxloop cancel`"
RETRY_OR_CANCEL = "`bloxloop retry`, or end the cycle with `bloxloop cancel`"


@dataclass(frozen=True)
class Waiting:
    """One line of `bloxloop status`."""

    stage: str
    what: str
    seconds: float | None
    """Age of the oldest thing that waits; None where nothing does, or its age is in the words."""
    next_step: str


def answering(places: Places, prefect: str) -> frozenset[str]:
    """Which of `prefect`, `intake` and `labeller` answer now.

    Args:
        places: Know where the services are.
        prefect: The address of Prefect's API; empty where there never was one.
    """
    known = {
        "prefect": prefect,
        "intake": places.settings.intake_url,
        "labeller": places.settings.labeller_url,
    }
    return frozenset(name for name, url in known.items() if url and _answers(f"{url}/health"))


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.HTTPError:
        return False


def read_status(places: Places, now: datetime, there: Set[str]) -> list[Waiting]:
    """One line per thing that waits, in the order of a cycle; `there` are the services that answer.

    A stage that has started does nothing where nothing runs, so that is then said.
    """
    with store.writing(places.store) as session:
        lines = [_uploads(places, now, there), *_not_ingested(places, now)]
        lines += [_labels(session, places, now, there)]
        for lock in session.exec(select(OpenCycle)):
            cycle = cycles.ref_of(store.get_cycle(session, lock.cycle_id))
            lines += _stages(session, cycle, now, there)
        lines += _cards(session, now)
    return [*lines, *_overdue(places, now)]


def _uploads(places: Places, now: datetime, there: Set[str]) -> Waiting:
    times = [_written(path) for path in places.settings.spool.glob("*.json")]
    oldest = min((t for t in times if t), default=None)
    what = f"{counted(len(times), 'upload')} in the spool"
    if oldest is None:
        return Waiting("upload", what, None, "nothing")
    step = "nothing; intake ships them" if "intake" in there else "`make run`: intake ships them"
    return Waiting("upload", what, (now - oldest).total_seconds(), step)


def _not_ingested(places: Places, now: datetime) -> Iterator[Waiting]:
    try:
        found = not_ingested(places)
    except DepotAway as error:
        yield Waiting("ingest", f"the depot is away: {error}", None, "look at the object store")
        return
    if found.count:
        days = (now.date() - found.oldest).days if found.oldest else 0
        step = "nothing; a cycle reads them first" if days < 1 else LATE
        what = f"{counted(found.count, 'upload')} in the depot, not read yet"
        yield Waiting("ingest", what, days * DAY, step)


def _written(path: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except FileNotFoundError:  # shipped meanwhile
        return None


def _labels(session: Session, places: Places, now: datetime, there: Set[str]) -> Waiting:
    count, oldest = waiting.count_unlabelled(session), store.unlabelled(session, limit=1)
    if not oldest:
        return Waiting("label", "0 sessions without a label", None, "nothing")
    days = (now.date() - oldest[0].received).days
    reachable = f"label them at {places.settings.labeller_url}"
    step = reachable if "labeller" in there else "`make run`, then label them where it says"
    return Waiting("label", f"{count} sessions without a label", days * DAY, step)


def _stages(session: Session, cycle: CycleRef, now: datetime, there: Set[str]) -> Iterator[Waiting]:
    nobody = "nothing runs here; `make run` continues it"
    steps = {
        "started": "nothing, while its run works" if "prefect" in there else nobody,
        "failed": f"read why, then {RETRY_OR_CANCEL}",
        "waiting": "see the line of what it waits for",
    }
    for state in cycles.stage_states(store.marks_of(session, cycle.id)):
        if state.last and state.mark in steps:
            what = f"{cycles.name_of(cycle)} {state.mark}"
            detail = f": {state.last.detail}" if state.mark == "failed" else ""
            age = (now - state.last.at).total_seconds()
            yield Waiting(state.name, what + detail, age, steps[state.mark])


def ended_runs(places: Places, now: datetime) -> list[Waiting]:
    """Open cycles whose run ended without ending them; needs a Prefect server that answers."""
    from tasks import runs  # Prefect reads its environment when it is imported

    held = [(cycle, runs.read_run(run)) for cycle, run in cycles.held_cycles(places)]
    return [
        Waiting(
            "cycle",
            f"{cycles.name_of(cycle)}: its run is {run.state.name}: {run.state.message}",
            (now - run.state.timestamp).total_seconds(),
            RETRY_OR_CANCEL,
        )
        for cycle, run in held
        if run and run.state and run.state.is_final()
    ]


def _cards(session: Session, now: datetime) -> Iterator[Waiting]:
    for card in waiting.unsigned_cards(session):
        begins, age = short(card.digest), (now - card.at).total_seconds()
        step = f"`bloxloop card {begins}`, then `bloxloop approve {begins}` (or with --reject)"
        yield Waiting("sign-off", f"card {begins} is unsigned", age, step)


def _overdue(places: Places, now: datetime) -> Iterator[Waiting]:
    """What is kept for longer than users are told."""
    try:
        found = find_overdue(places, now)
    except DepotAway:  # the line about `ingest` says so
        return
    if any(found.counts().values()):
        yield Waiting("retention", f"kept too long: {found.sentence()}", None, NOT_DELETED)
    elif found.held:
        yield Waiting("retention", f"kept too long: {found.sentence()}", None, HELD)


def age(seconds: float | None) -> str:
    """How old something is, in the largest unit that says enough.

    >>> age(None), age(59), age(3 * 3600), age(2 * 86400)
    ('', '1 min', '3 h', '2 days')
    """
    if seconds is None:
        return ""
    if seconds < HOUR:
        return f"{max(1, round(seconds / 60))} min"
    return f"{round(seconds / HOUR)} h" if seconds < 2 * DAY else f"{round(seconds / DAY)} days"
