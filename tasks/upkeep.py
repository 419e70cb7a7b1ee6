"""What is looked after each minute: waits that are over, pages that grew old, runs that died."""

import logging
from datetime import datetime, timedelta

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import FlowRun

from loop import cycles
from loop.places import get_places
from loop.values import CycleRef, utc_now
from tasks import human, runs

logger = logging.getLogger(__name__)

SILENT_FOR = timedelta(minutes=10)
"""Three heartbeats and a little: a running run without one for so long is dead."""
AWAKE_FOR = timedelta(minutes=4)
"""A heartbeat and a little: after a sleep of the machine, every living run has sent one by then."""
REST = timedelta(seconds=3)
"""A suspended run is left alone so long, until its last process has surely ended."""


@task(task_run_name="look-after-waits", cache_policy=NO_CACHE)
def look_after_waits() -> list[str]:
    """Renew the page of every waiting run, and resume those whose wait is over."""
    return resume_settled()


def resume_settled() -> list[str]:
    """The names of the runs that were resumed, because the store says their wait is over.

    A resume carries no decision: the run asks the store again and waits on if it finds none.
    """
    return [str(run.name) for cycle, run in _held_runs() if _look_after(cycle, run)]


def _held_runs() -> list[tuple[CycleRef, FlowRun]]:
    found = [(cycle, runs.read_run(run)) for cycle, run in cycles.held_cycles(get_places())]
    return [(cycle, run) for cycle, run in found if run is not None]


def _look_after(cycle: CycleRef, run: FlowRun) -> bool:
    if (key := runs.pause_key(run)) is None:
        return False
    page, text, over = human.page_now(get_places(), cycle, key)
    runs.update_artifact(run, page, text)
    rested = runs.paused_for(run) >= REST
    return over and rested and runs.resume(run, human.nothing_new(key))


@task(task_run_name="reap-dead-runs", cache_policy=NO_CACHE)
def reap_dead_runs() -> list[str]:
    """Mark runs as crashed that claim to be running but have sent no sign of life."""
    now = utc_now()
    return crash_silent(now) if was_awake(now) else []


def was_awake(now: datetime) -> bool:
    """Whether upkeep itself ran a little ago: the silence of a machine that slept says nothing."""
    return runs.any_started("upkeep", now - SILENT_FOR, now - AWAKE_FOR)


def crash_silent(now: datetime) -> list[str]:
    """The names of the runs that are marked as crashed for their silence until now."""
    dead = runs.silent_runs(now - SILENT_FOR)
    crashed = [run for run in dead if runs.crash(run, f"no heartbeat for {SILENT_FOR}")]
    for run in crashed:
        logger.warning("flow run %s sent no heartbeat for %s: crashed", run.name, SILENT_FOR)
    return [str(run.name) for run in crashed]
