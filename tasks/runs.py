"""What Prefect knows of flow runs, asked and told without a task around it."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import OrchestrationResult, SetStateStatus
from prefect.exceptions import ObjectNotFound
from prefect.flow_runs import resume_flow_run
from prefect.states import AwaitingRetry, Cancelled, Cancelling, Crashed

from loop.errors import CycleError
from loop.values import utc_now

DYING = (StateType.RUNNING, StateType.PENDING, StateType.CANCELLING)
"""States that need a living process."""


def read_run(run: str) -> FlowRun | None:
    """A flow run, or None where Prefect does not know it."""
    with get_client(sync_client=True) as client:
        try:
            return client.read_flow_run(UUID(run))
        except ObjectNotFound:
            return None


def is_live(run: str) -> bool:
    """Whether a flow run works, waits or is about to; False for one that Prefect forgot."""
    found = read_run(run)
    return found is not None and not (found.state and found.state.is_final())


def pause_key(run: FlowRun) -> str | None:
    """The key of the wait that a flow run is paused at, or None where it is not paused."""
    if run.state is None or not run.state.is_paused():
        return None
    return run.state.state_details.pause_key


def paused_for(run: FlowRun) -> timedelta:
    """How long a flow run has been in its present state."""
    return utc_now() - run.state.timestamp if run.state else timedelta()


def resume(run: FlowRun, answer: dict[str, Any]) -> bool:
    """Resume a paused run; False where Prefect would not have it now, so ask again later.

    It refuses a run that somebody else resumed, and a form it has not stored yet.
    """
    try:
        resume_flow_run(run.id, run_input=answer)
    except RuntimeError:  # NotPausedError and a refused answer are both of this kind
        return False
    return True


def orphans() -> list[FlowRun]:
    """Runs that claim to have a process; where no worker lives, none of them has."""
    with get_client(sync_client=True) as client:
        alive = [*DYING, StateType.PAUSED]
        return [run for run in _in_states(client, alive) if not _needs_no_process(run.state)]


def suspended() -> list[FlowRun]:
    """Runs that wait for people without a process."""
    with get_client(sync_client=True) as client:
        return [
            run for run in _in_states(client, [StateType.PAUSED]) if _needs_no_process(run.state)
        ]


def cancel_for_good(run: FlowRun, why: str) -> bool:
    """End a run without a process; False for one that ended meanwhile."""
    return _set_state(run.id, Cancelled(message=why)).status is SetStateStatus.ACCEPT


def _needs_no_process(state: State | None) -> bool:
    """A suspended run has no process; a paused one polls in its own."""
    return state is not None and state.is_paused() and state.state_details.pause_reschedule


def silent_runs(since: datetime) -> list[FlowRun]:
    """Runs that claim to be running but have sent no heartbeat since then."""
    with get_client(sync_client=True) as client:
        running = _in_states(client, [StateType.RUNNING])
        return [run for run in running if _is_silent(client, run, since)]


def any_started(flow: str, after: datetime, before: datetime) -> bool:
    """Whether a run of this flow started in that span of time."""
    span = FlowRunFilterStartTime(after_=after, before_=before)
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])),
            flow_run_filter=FlowRunFilter(start_time=span),
            limit=1,
        )
    return bool(found)


def _in_states(client: SyncPrefectClient, types: list[StateType]) -> list[FlowRun]:
    wanted = FlowRunFilterState(type=FlowRunFilterStateType(any_=types))
    return client.read_flow_runs(flow_run_filter=FlowRunFilter(state=wanted))


def _is_silent(client: SyncPrefectClient, run: FlowRun, since: datetime) -> bool:
    asked = {
        "limit": 1,
        "filter": {
            "event": {"name": ["prefect.flow-run.heartbeat"]},
            "resource": {"id": [f"prefect.flow-run.{run.id}"]},
        },
    }
    beats = client.request("POST", "/events/filter", json=asked).json()["events"]  # newest first
    if not beats or run.state is None:
        return False  # heartbeats are off, or none came yet
    beat = datetime.fromisoformat(beats[0]["occurred"])
    return max(beat, run.state.timestamp) < since  # the beats of a resumed run are old


def crash(run: FlowRun, why: str) -> bool:
    """Mark a run without a process as crashed; False for one that ended meanwhile."""
    return _set_state(run.id, Crashed(message=why)).status is SetStateStatus.ACCEPT


def retry(run: str) -> str:
    """Ask Prefect to run an ended run again, never by force: each wait asks its people again.

    Returns:
        The name of the state it is in now.

    Raises:
        CycleError: Prefect does not know the run, or refused; or it has not ended, and would be
            worked on twice.
    """
    if (found := read_run(run)) and not (found.state and found.state.is_final()):
        state = found.state.name if found.state else "unknown"
        raise CycleError(f"flow run {run}: expected one that has ended, it is {state}")
    return _asked(run, AwaitingRetry())


def cancel(run: str) -> str:
    """Ask Prefect to stop a run; its worker ends the process, if there is one.

    Returns:
        The name of the state it is in now.

    Raises:
        CycleError: Prefect does not know the run, or refused.
    """
    return _asked(run, Cancelling())


def _asked(run: str, wanted: State[Any]) -> str:
    if (found := read_run(run)) is None:
        raise CycleError(f"flow run {run}: expected one that this Prefect server knows")
    answer = _set_state(found.id, wanted)
    if answer.state is None or answer.status is SetStateStatus.ABORT:
        why = getattr(answer.details, "reason", None) or "no reason given"
        is_now = found.state.name if found.state else "unknown"
        raise CycleError(f"flow run {run}: expected {wanted.name}, it stays {is_now}: {why}")
    return str(answer.state.name)


def _set_state(run: UUID, wanted: State[Any]) -> OrchestrationResult[Any]:
    with get_client(sync_client=True) as client:
        return client.set_flow_run_state(run, wanted, force=False)


def update_artifact(run: FlowRun, key: str, text: str) -> None:
    """Replace the text of a run's artifact, so that it stays one page and not one a minute."""
    wanted = ArtifactFilter(
        flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]), key=ArtifactFilterKey(any_=[key])
    )
    with get_client(sync_client=True) as client:
        for artifact in client.read_artifacts(artifact_filter=wanted):
            if artifact.data != text:
                client.update_artifact(artifact.id, ArtifactUpdate(data=text))
