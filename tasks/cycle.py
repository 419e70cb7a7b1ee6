"""Opening and ending a cycle."""

from prefect import runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from loop import converting, cycles, publishing
from loop.cycles import Ending
from loop.places import get_places
from loop.recipe import read_recipe
from loop.tables import CycleOutcome, Release
from loop.values import CycleRef
from tasks import runs, show


def run_name() -> str:
    """Names a flow run after the cycle it opens or continues."""
    model = runtime.flow_run.parameters["model"]
    return f"improve-{model}-cycle-{cycles.next_number(get_places(), model)}"


@task(task_run_name="open-cycle-of-{model}", cache_policy=NO_CACHE)
def open_cycle(model: str, recipe: str, labels_wanted: int, dry_run: bool) -> CycleRef:
    """The open cycle of a model, continued, or the next one; held by this flow run."""
    plan = cycles.plan_cycle(model, recipe, labels_wanted, dry_run)
    converting.require_tools(get_places().settings, read_recipe(recipe))
    return cycles.open_cycle(get_places(), plan, runtime.flow_run.id, runs.is_live)


@task(task_run_name="find-release", cache_policy=NO_CACHE)
def find_release(cycle: CycleRef) -> Release | None:
    """What the cycle published already, where a crash left it open after that."""
    return publishing.release_of(get_places(), cycle)


def end(cycle: CycleRef, outcome: CycleOutcome, reason: str) -> State[None]:
    """End a cycle; the flow run completes under the outcome's name, for a no is an answer."""
    ending = end_cycle(cycle, Ending(outcome, reason))
    return Completed(name=ending.outcome.capitalize(), message=ending.reason)


@task(
    task_run_name="end-{cycle.model}-cycle-{cycle.number}-{ending.outcome}", cache_policy=NO_CACHE
)
def end_cycle(cycle: CycleRef, ending: Ending) -> Ending:
    """Write down how a cycle ended, show its summary and link its report."""
    ended = cycles.end_cycle(get_places(), cycle, ending)
    show.whole_cycle(cycle)
    return ended
