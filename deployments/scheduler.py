"""What `make run` and `bloxloop` ask of the Prefect server: its pool, schedules and cycle runs."""

from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import TERMINAL_STATES, FlowRun
from prefect.client.schemas.sorting import ArtifactSort
from prefect.exceptions import ObjectAlreadyExists
from prefect.utilities.urls import url_for

from deployments.services import POOL
from loop import cycles
from loop.cycles import CyclePlan
from loop.places import Places
from loop.values import Progress, utc_now
from tasks import runs


class Schedule(NamedTuple):
    """One schedule of prefect.yaml."""

    deployment: str
    slug: str | None


IMPROVE, INGEST = "improve/monthly", "ingest/hourly"
ALWAYS_ON = frozenset({Schedule("upkeep", "each-minute"), Schedule("daily", "daily")})
"""Upkeep, and retention, which users are promised; others are an operator's decision."""
SOON = timedelta(minutes=1)


def ensure_pool() -> None:
    """The pool that prefect.yaml names exists; its worker ran our processes on this machine."""
    with get_client(sync_client=True) as client:
        try:
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        except ObjectAlreadyExists:
            return


def crash_orphans() -> list[str]:
    """Mark the runs as crashed whose processes died with an earlier start; no worker runs yet."""
    why = "its process ended with the start that it belonged to"
    return [str(run.name) for run in runs.orphans() if runs.crash(run, why)]


def cancel_leftovers(places: Places) -> list[str]:
    """Cancel the suspended runs of cycles that were ended while no server ran to be told."""
    held = {run for _, run in cycles.held_cycles(places)}
    left = [run for run in runs.suspended() if str(run.id) not in held]
    return [str(run.name) for run in left if runs.cancel_for_good(run, "its cycle has ended")]


def active_schedules() -> set[Schedule]:
    """The schedules that an operator has switched on; deploying anew switches all of them off."""
    with get_client(sync_client=True) as client:
        found = client.read_deployments()
    return {
        Schedule(one.name, schedule.slug)
        for one in found
        for schedule in one.schedules
        if schedule.active
    }


def activate(wanted: set[Schedule]) -> None:
    """Switch these schedules on."""
    with get_client(sync_client=True) as client:
        for one in client.read_deployments():
            for schedule in one.schedules:
                if Schedule(one.name, schedule.slug) in wanted:
                    client.update_deployment_schedule(one.id, schedule.id, active=True)


def live_run(model: str = "") -> FlowRun | None:
    """The run that works on a model now, waits for its people, or is about to start.

    Without a model, that of any.
    """
    alive = FlowRunFilterStateType(not_any_=list(TERMINAL_STATES))
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=["improve"])),
            flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=alive)),
        )
    live = [run for run in found if not _starts_later(run)]
    return next((run for run in live if model in ("", run.parameters.get("model"))), None)


def _starts_later(run: FlowRun) -> bool:
    """A schedule announced it; nothing of it is due."""
    due = run.state.state_details.scheduled_time if run.state else None
    return due is not None and due > utc_now() + SOON


def run_page(run: UUID) -> str:
    """The page of a run in the Prefect UI, where its forms are answered."""
    return str(url_for("flow-run", obj_id=run))


def start_run(plan: CyclePlan, name: str) -> FlowRun:
    """A run that opens, or continues, the cycle of this plan."""
    parameters: dict[str, Any] = {
        "model": plan.model,
        "recipe": plan.recipe,
        "labels_wanted": plan.labels_wanted,
        "dry_run": plan.dry_run,
    }
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(IMPROVE)
        return client.create_flow_run_from_deployment(
            deployment.id, parameters=parameters, name=name
        )


def start_ingest() -> None:
    """Let uploads come into the store now, as each hour does."""
    with get_client(sync_client=True) as client:
        client.create_flow_run_from_deployment(client.read_deployment_by_name(INGEST).id)


def read_progress(run: UUID, stage: str) -> Progress | None:
    """The newest progress that a stage of this run showed."""
    wanted = ArtifactFilter(
        flow_run_id=ArtifactFilterFlowRunId(any_=[run]),
        key=ArtifactFilterKey(any_=[f"progress-{stage}"]),
    )
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(
            artifact_filter=wanted, sort=ArtifactSort.CREATED_DESC, limit=1
        )
    if not found or not isinstance(found[0].data, int | float):
        return None
    return Progress(round(found[0].data), 100, found[0].description or "")
