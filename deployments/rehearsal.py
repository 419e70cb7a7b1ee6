"""One cycle from uploads to its end, watched in the terminal, with the people around it."""

import time
from dataclasses import dataclass
from uuid import UUID

from prefect.client.schemas.objects import FlowRun
from prefect.context import SyncClientContext

from deployments import people, running, scheduler
from deployments.people import Crowd
from deployments.services import Machine, Patience, ServiceError
from deployments.terminal import Terminal, View, present_stage, view_of
from loop import cycles, store
from loop.cycles import CyclePlan, StageState
from loop.errors import CycleError
from loop.places import Places
from loop.recipe import read_recipe
from loop.tables import Cycle, CycleEnd
from loop.values import CycleRef, Digest, short, utc_now
from loop.whereabouts import report_url
from tasks import runs, upkeep

TICK = 1.0
"""Seconds between two looks at the cycle."""
SHIPPING = 300.0
"""Seconds that intake may take to hand over what it accepted."""


@dataclass(frozen=True)
class Rehearsal:
    """What one `make run` wants: this recipe's next cycle, with real people or without."""

    recipe: str
    labels_wanted: int
    real_people: bool


@dataclass(frozen=True)
class Watched:
    """How a watched run ended."""

    cycle: CycleRef | None
    """None: it did not come as far as opening one."""
    end: CycleEnd | None
    """None: the cycle is still open, because its run failed, crashed or was cancelled."""
    state: str
    message: str


def rehearse(places: Places, machine: Machine, terminal: Terminal, asked: Rehearsal) -> Watched:
    """Run the open cycle, or the next one, until its run ends."""
    plan = plan_of(places, asked, terminal)
    number = cycles.next_number(places, plan.model)
    crowd = people.crowd_of(number, plan.labels_wanted, asked.real_people)
    with SyncClientContext.get_or_create():  # one connection for all the looks
        terminal.say(f"{plan.model} cycle {number}, recipe {plan.recipe}")
        send_uploads(places, terminal, crowd)
        watch = Watch(places, machine, terminal, crowd, plan.model, number)
        name = f"improve-{plan.model}-cycle-{number}"
        run = scheduler.live_run(plan.model) or scheduler.start_run(plan, name)
        return watch.until_it_ends(run)


def attend(places: Places, machine: Machine, terminal: Terminal) -> Watched | None:
    """Play the people of a run that somebody started or retried in the UI, until it ends.

    Returns:
        How it ended; None where no run lives.
    """
    run = scheduler.live_run()
    if run is None or (run.state and run.state.is_cancelling()):
        return None
    model = run.parameters["model"]
    number, opened = cycles.next_number(places, model), _open_cycle(places, model)
    labels_wanted = opened.labels_wanted if opened else run.parameters["labels_wanted"]
    crowd = people.crowd_of(number, labels_wanted, real=False)
    terminal.say(f"run {run.name} works on {model} cycle {number}")
    with SyncClientContext.get_or_create():
        if send_uploads(places, terminal, crowd):
            scheduler.start_ingest()  # its own pass over the uploads was earlier
        return Watch(places, machine, terminal, crowd, model, number).until_it_ends(run)


def plan_of(places: Places, asked: Rehearsal, terminal: Terminal) -> CyclePlan:
    """The plan of the open cycle, which is continued as it was opened; else the one asked for."""
    model = read_recipe(asked.recipe).model
    if (found := _open_cycle(places, model)) is None:
        return cycles.plan_cycle(model, asked.recipe, asked.labels_wanted, dry_run=False)
    for ignored in _ignored(found, asked):
        terminal.say(f"{cycles.name_of(found)} is open and goes on as it was opened: {ignored}")
    return CyclePlan(**{name: getattr(found, name) for name in CyclePlan.__dataclass_fields__})


def _open_cycle(places: Places, model: str) -> Cycle | None:
    with store.writing(places.store) as session:
        return store.open_cycle_of(session, model)


def _ignored(opened: Cycle, asked: Rehearsal) -> list[str]:
    """What was asked for that the open cycle will not do."""
    both = {
        "RECIPE": (opened.recipe, asked.recipe),
        "LABELS": (opened.labels_wanted, asked.labels_wanted),
    }
    return [
        f"with {name}={has}; {name}={wanted} is for the next one"
        for name, (has, wanted) in both.items()
        if has != wanted
    ]


def send_uploads(places: Places, terminal: Terminal, crowd: Crowd) -> int:
    """Let the phones upload what is missing, and wait until ingest can find it.

    Returns:
        How many sessions were uploaded.

    Raises:
        ServiceError: Intake accepted it but does not hand it over.
    """
    sent = people.upload(
        places, crowd, lambda done, of: terminal.work(f"phones upload: {done} of {of} sessions")
    )
    deadline = time.monotonic() + SHIPPING
    while not people.arrived(places, crowd):
        if time.monotonic() > deadline:
            raise ServiceError(f"intake: uploads are still in its spool after {SHIPPING:.0f} s")
        time.sleep(TICK)
    terminal.rest()
    terminal.say(f"phones uploaded {sent} sessions to {places.settings.intake_url}")
    return sent


class Watch:
    """Looks at one cycle every second, shows it, and lets the simulated people act."""

    def __init__(
        self,
        places: Places,
        machine: Machine,
        terminal: Terminal,
        crowd: Crowd,
        model: str,
        number: int,
    ) -> None:
        self.places, self.machine, self.terminal = places, machine, terminal
        self.crowd, self.model, self.number = crowd, model, number
        self.began = time.monotonic()
        self.expected = self._expected()
        self.patience = Patience(terminal.say)
        self._told: set[str] = set()

    def until_it_ends(self, run: FlowRun) -> Watched:
        """Follow one run of the cycle, through all its waits.

        Raises:
            ServiceError: A process ended, or none has answered well for a long time.
        """
        while not (run.state and run.state.is_final()):
            self.machine.check()
            time.sleep(TICK)
            with self.patience.bearing():
                if cycle := self._cycle():
                    self._look(cycle, run)
                run = self._again(run.id)
        self.terminal.rest()
        return self._watched(run)

    def _again(self, run: UUID) -> FlowRun:
        if (found := runs.read_run(str(run))) is None:
            raise CycleError(f"flow run {run}: deleted while it was watched")
        return found

    def _look(self, cycle: CycleRef, run: FlowRun) -> None:
        states = self._states(cycle)
        self.terminal.show(self._view(states, run))
        stage = present_stage(states)
        if stage and stage.mark == "waiting":
            self._act(cycle, stage.name, run)
            if runs.pause_key(run):
                upkeep.resume_settled()

    def _act(self, cycle: CycleRef, stage: str, run: FlowRun) -> None:
        """What people do at a pause."""
        if stage == "label":
            done = people.label(self.places, self.crowd)
            if self.crowd.real and not done:
                self._tell(label_request(self.places, scheduler.run_page(run.id)))
        elif self.crowd.real:
            for card in people.cards_to_sign(self.places, cycle):
                page = scheduler.run_page(run.id)
                self._tell(sign_off_request(self.places, cycle, card.digest, page))
        else:
            people.approve(self.places, cycle)

    def _tell(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self.terminal.say(f"YOUR TURN: {text}")

    def _view(self, states: list[StageState], run: FlowRun) -> View:
        stage = present_stage(states)
        working = stage is not None and stage.mark == "started"
        progress = scheduler.read_progress(run.id, stage.name) if stage and working else None
        elapsed = time.monotonic() - self.began
        return view_of(states, self.expected, progress, elapsed, utc_now())

    def _states(self, cycle: CycleRef) -> list[StageState]:
        with store.writing(self.places.store) as session:
            return cycles.stage_states(store.marks_of(session, cycle.id))

    def _expected(self) -> dict[str, float]:
        with store.writing(self.places.store) as session:
            last = store.last_cycle_of(session, self.model)
            return cycles.estimates(store.marks_of(session, last.id) if last else ())

    def _cycle(self) -> CycleRef | None:
        with store.writing(self.places.store) as session:
            last = store.last_cycle_of(session, self.model)
        return cycles.ref_of(last) if last and last.number == self.number else None

    def _watched(self, run: FlowRun) -> Watched:
        cycle, state = self._cycle(), run.state
        with store.writing(self.places.store) as session:
            end = store.end_of(session, cycle.id) if cycle else None
        name, message = (str(state.name), state.message or "") if state else ("Unknown", "")
        return Watched(cycle, end, name, message)


def label_request(places: Places, page: str) -> str:
    """Where a person labels, and where one says that it is enough."""
    return (
        f"label: open {places.settings.labeller_url}; to go on with fewer labels, or to stop, "
        f"answer the form at {page}"
    )


def sign_off_request(places: Places, cycle: CycleRef, card: Digest, page: str) -> str:
    """What an approver reads, and the two ways to decide."""
    approve = running.bloxloop(places.settings.home, "approve", short(card))
    return (
        f"sign-off: read {report_url(places.settings, cycle)}, then answer the form at {page}, "
        f"or type: {approve} (with --reject to say no)"
    )
