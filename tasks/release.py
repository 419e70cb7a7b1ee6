"""From converted bytes to devices, and back."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from loop import canary, cycles, publishing, report, signing
from loop.places import get_places
from loop.recipe import read_recipe
from loop.tables import Release
from loop.values import CardRef, CycleRef, FormRef, Outcome
from tasks import show


@task(task_run_name="canary", cache_policy=NO_CACHE, timeout_seconds=6 * 3600)
def run_canary(cycle: CycleRef, candidate: FormRef, incumbent: FormRef) -> Outcome:
    """Try the candidate against what devices run now, on this host; a no is an answer."""
    with show.stage(cycle, "canary") as on_progress:
        recipe = read_recipe(cycle.recipe)
        outcome = canary.run_canary(get_places(), candidate, incumbent, recipe, on_progress)
    show.canary(outcome)
    return outcome


@task(task_run_name="sign-off-card", cache_policy=NO_CACHE)
def make_card(
    cycle: CycleRef, artifact: FormRef, gates: tuple[Outcome, ...], tried: Outcome
) -> CardRef:
    """The page whose digest a person approves, and the report they may read before."""
    recipe = read_recipe(cycle.recipe)
    card = signing.make_card(get_places(), cycle, artifact, gates, tried, recipe)
    show.whole_cycle(cycle)
    return card


@task(task_run_name="publish", cache_policy=NO_CACHE, timeout_seconds=6 * 3600)
def publish_release(cycle: CycleRef, card: CardRef) -> Release:
    """Publish exactly what was signed for: bytes first, pointer last; publishing checks again."""
    with show.stage(cycle, "publish"):
        recipe, places = read_recipe(cycle.recipe), get_places()
        made = publishing.publish_release(places, card, recipe, cycles.name_of(cycle))
    show.page("release", report.release_page(places, made.number))
    return made


@task(task_run_name="roll-back", cache_policy=NO_CACHE, timeout_seconds=600)
def roll_back(made_by: str, reason: str) -> Release:
    """Point devices at the model that served them before."""
    made = publishing.roll_back(get_places(), made_by, reason)
    show.page("release", report.release_page(get_places(), made.number))
    return made
