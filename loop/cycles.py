"""Cycles: opening, continuing and ending them, and the marks that their stages leave.

At most one cycle of a model is open: its row in `OpenCycle` is the lock. The lock also counts while
the cycle waits for people and no process runs, and a new run takes it over from a dead one.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import ColumnElement
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, delete, select, update

from loop import store
from loop.dataset import MIN_EXAMPLES
from loop.errors import CycleError
from loop.places import Places
from loop.recipe import read_recipe
from loop.scenario import suite_digest
from loop.tables import (
    Cycle,
    CycleEnd,
    CycleOutcome,
    CycleTranscript,
    OpenCycle,
    StageMark,
    Transcript,
)
from loop.values import CycleRef, Digest, Outcome, short

STAGES: dict[str, float] = {
    "ingest": 2,
    "label": 25,
    "freeze": 1,
    "base": 170,
    "factory": 3,
    "train": 480,
    "gate-adapter": 10,
    "merge": 4,
    "gate-merged": 7,
    "convert": 2,
    "gate-artifact": 2,
    "measure": 5,
    "canary": 2,
    "sign-off": 9,
    "publish": 1,
}
"""The stages of a cycle in their order, and the seconds each takes on two cores the first time."""
MOST_DETAIL = 500
"""Characters of an error that a mark keeps."""


@dataclass(frozen=True)
class CyclePlan:
    """What a cycle is asked to be; an open one is only continued as it was opened."""

    model: str
    recipe: str
    recipe_digest: Digest
    suite: str
    suite_digest: Digest
    labels_wanted: int
    dry_run: bool


@dataclass(frozen=True)
class Ending:
    """How a cycle ends, and why, in one sentence."""

    outcome: CycleOutcome
    reason: str


def plan_cycle(model: str, recipe: str, labels_wanted: int, dry_run: bool) -> CyclePlan:
    """The plan that these parameters make with today's recipe and scenarios.

    Raises:
        CycleError: The recipe makes another model, or too few labels for a dataset are wanted.
    """
    read = read_recipe(recipe)
    if read.model != model:
        raise CycleError(f"recipe {recipe} makes {read.model}, expected the model asked: {model}")
    if labels_wanted < MIN_EXAMPLES:
        raise CycleError(
            f"labels_wanted: expected at least {MIN_EXAMPLES}, the fewest examples that make a "
            f"dataset, got {labels_wanted}"
        )
    suite = suite_digest(read.suite)
    return CyclePlan(model, recipe, read.digest, read.suite, suite, labels_wanted, dry_run)


def open_cycle(
    places: Places, plan: CyclePlan, run: str, is_live: Callable[[str], bool]
) -> CycleRef:
    """The open cycle of the plan's model, opened now or continued, and held by `run` from now on.

    Args:
        places: Where the lock is.
        plan: What the cycle should be.
        run: Who holds it from now on.
        is_live: Whether another run may still work on the cycle or wait for its people.

    Raises:
        CycleError: A live run holds it, or it was opened with another plan.
    """
    with store.writing(places.store) as session:
        found, lock = store.open_cycle_of(session, plan.model), session.get(OpenCycle, plan.model)
    if found is None or lock is None:
        return _begin(places, plan, run)
    if (held := lock.flow_run_id) not in (None, run) and is_live(str(held)):
        raise CycleError(
            f"{name_of(found)} is held by flow run {held}: let it end, or end the cycle with "
            "`bloxloop cancel`"
        )
    _require_same(found, plan)
    _take_over(places, found, held, run)
    return ref_of(found)


def _begin(places: Places, plan: CyclePlan, run: str) -> CycleRef:
    try:
        with store.writing(places.store) as session:
            number = _next_number(store.last_cycle_of(session, plan.model))
            cycle = Cycle(number=number, **vars(plan))
            session.add(cycle)
            session.flush()  # the lock refers to it
            session.add(OpenCycle(model=plan.model, cycle_id=cycle.id, flow_run_id=run))
    except IntegrityError as error:
        raise CycleError(f"{plan.model}: another run opened a cycle at this very moment") from error
    return ref_of(cycle)


def _take_over(places: Places, cycle: Cycle, held: str | None, run: str) -> None:
    lock = col(OpenCycle.cycle_id) == cycle.id
    with store.writing(places.store) as session:
        taken = session.exec(
            update(OpenCycle)
            .where(lock, col(OpenCycle.flow_run_id) == held)
            .values(flow_run_id=run)
        )
    if taken.rowcount != 1:
        raise CycleError(f"{name_of(cycle)}: another run took it over at this very moment")


def _require_same(cycle: Cycle, plan: CyclePlan) -> None:
    """What people label and sign for must not change under them."""
    opened = {key: getattr(cycle, key) for key in vars(plan)}
    changed = [
        f"{key} {_shown(opened[key])}, now {_shown(value)}"
        for key, value in vars(plan).items()
        if opened[key] != value
    ]
    if changed:
        raise CycleError(
            f"{name_of(cycle)} is open and was opened with {'; '.join(changed)}: "
            "continue it as it was opened, or end it with `bloxloop cancel`"
        )


def _shown(value: object) -> str:
    return short(value) if isinstance(value, str) else str(value)


def next_number(places: Places, model: str) -> int:
    """The number of the model's open cycle, or of the one that would be opened next."""
    with store.writing(places.store) as session:
        if found := store.open_cycle_of(session, model):
            return found.number
        return _next_number(store.last_cycle_of(session, model))


def _next_number(last: Cycle | None) -> int:
    return last.number + 1 if last else 1


def end_cycle(places: Places, cycle: CycleRef, ending: Ending) -> Ending:
    """Write down how a cycle ended and open the lock; how it ended first is what stays."""
    with store.writing(places.store) as session:
        return end_with(session, cycle, ending)


def end_with(session: Session, cycle: CycleRef, ending: Ending) -> Ending:
    """`end_cycle`, together with what else a session writes."""
    end = store.end_of(session, cycle.id)
    if end is None:
        end = CycleEnd(cycle_id=cycle.id, outcome=ending.outcome, reason=ending.reason)
        session.add(end)
    session.exec(delete(OpenCycle).where(col(OpenCycle.cycle_id) == cycle.id))
    return Ending(CycleOutcome(end.outcome), end.reason)


def open_cycles_from(session: Session, which: ColumnElement[bool]) -> list[CycleRef]:
    """The open cycles that froze a transcript of which this holds: they learn from it."""
    asked = (
        select(Cycle)
        .join(OpenCycle, col(OpenCycle.cycle_id) == Cycle.id)
        .join(CycleTranscript, col(CycleTranscript.cycle_id) == Cycle.id)
        .join(Transcript, col(CycleTranscript.transcript_id) == Transcript.id)
        .where(which)
        .distinct()
    )
    return [ref_of(cycle) for cycle in session.exec(asked)]


def held_cycles(places: Places) -> list[tuple[CycleRef, str]]:
    """The open cycles and the flow runs that hold them."""
    with store.writing(places.store) as session:
        locks = session.exec(select(OpenCycle).order_by(OpenCycle.model))
        return [
            (ref_of(store.get_cycle(session, lock.cycle_id)), lock.flow_run_id)
            for lock in locks
            if lock.flow_run_id
        ]


def rejected(outcome: Outcome) -> Ending:
    """The ending that a gate or canary decided."""
    return Ending(CycleOutcome.REJECTED, outcome.reason)


@contextmanager
def stage(places: Places, cycle: CycleRef, name: str) -> Iterator[None]:
    """Marks in the store when one stage starts and how it ends.

    Raises:
        CycleError: The cycle has ended meanwhile; what is left of it does nothing more.
    """
    with store.writing(places.store) as session:
        if end := store.end_of(session, cycle.id):
            raise CycleError(f"{name_of(cycle)} ended as {end.outcome}: {end.reason}")
    mark(places, cycle, name, "started")
    try:
        yield
    except BaseException as error:  # cancelled and interrupted, too
        mark(places, cycle, name, "failed", str(error) or type(error).__name__)
        raise
    mark(places, cycle, name, "finished")


def mark(places: Places, cycle: CycleRef, name: str, what: str, detail: str = "") -> None:
    """Write down what happened to a stage."""
    row = StageMark(cycle_id=cycle.id, stage=name, mark=what, detail=detail[:MOST_DETAIL])
    store.keep(places.store, row)


@dataclass(frozen=True)
class StageState:
    """How far one stage of a cycle is."""

    name: str
    mark: str
    """`todo`, `started`, `waiting`, `failed` or `finished`; once finished, it stays so, unless
    people are asked again."""
    seconds: float
    """How long it took; while it runs or waits, how long so far is the watcher's to say."""
    last: StageMark | None


def stage_states(marks: Sequence[StageMark]) -> list[StageState]:
    """Every stage of a cycle in its order, by the marks it left so far."""
    return [_state_of(name, [m for m in marks if m.stage == name]) for name in STAGES]


def _state_of(name: str, marks: Sequence[StageMark]) -> StageState:
    if not marks:
        return StageState(name, "todo", 0.0, None)
    last = marks[-1]
    done = any(m.mark == "finished" for m in marks) and last.mark != "waiting"
    return StageState(name, "finished" if done else last.mark, _taken(marks), last)


def _taken(marks: Sequence[StageMark]) -> float:
    """Seconds of the pass that finished; later ones only walk through what is done already."""
    began = marks[0].at
    for one in marks:
        if one.mark == "started":
            began = one.at
        elif one.mark == "finished":
            return (one.at - began).total_seconds()
    return 0.0


def estimates(marks: Sequence[StageMark]) -> dict[str, float]:
    """Seconds each stage is expected to take, by an earlier cycle's marks, else as shipped."""
    found = {state.name: state for state in stage_states(marks)}
    return {
        name: found[name].seconds if found[name].mark == "finished" else shipped
        for name, shipped in STAGES.items()
    }


def name_of(cycle: Cycle | CycleRef) -> str:
    """What people call a cycle.

    >>> name_of(CycleRef("…", "blox-tiny", 3, "tiny-cpu", 480, True))
    'blox-tiny cycle 3'
    """
    return f"{cycle.model} cycle {cycle.number}"


def ref_of(cycle: Cycle) -> CycleRef:
    """What stages hand to each other."""
    return CycleRef(
        id=cycle.id,
        model=cycle.model,
        number=cycle.number,
        recipe=cycle.recipe,
        labels_wanted=cycle.labels_wanted,
        dry_run=cycle.dry_run,
    )
