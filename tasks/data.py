"""From uploads to a frozen dataset, and to the end of their period."""

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.tasks import exponential_backoff

from loop import freezing, ingest, report, retention
from loop.ingest import IngestCounts
from loop.places import get_places
from loop.values import CycleRef, DatasetRef, utc_now
from tasks import show


@task(
    task_run_name="ingest-uploads",
    cache_policy=NO_CACHE,
    retries=3,
    retry_delay_seconds=exponential_backoff(2),
    timeout_seconds=3600,
)
def ingest_uploads(cycle: CycleRef | None = None) -> IngestCounts:
    """Read what phones uploaded into the store; what cannot be used is set aside, and counted."""
    if cycle is None:
        counts = ingest.ingest_uploads(get_places())
    else:
        with show.stage(cycle, "ingest"):
            counts = ingest.ingest_uploads(get_places())
    show.page("ingest", report.ingest_markdown(counts))
    return counts


@task(task_run_name="freeze-dataset", cache_policy=NO_CACHE, timeout_seconds=3600)
def freeze_dataset(cycle: CycleRef) -> DatasetRef:
    """Freeze what people labelled into the cycle's dataset, once."""
    with show.stage(cycle, "freeze"):
        dataset = freezing.freeze_dataset(get_places(), cycle)
    show.dataset(cycle)
    return dataset


@task(
    task_run_name="delete-expired",
    cache_policy=NO_CACHE,
    retries=3,
    retry_delay_seconds=exponential_backoff(60),
    timeout_seconds=4 * 3600,
)
def delete_expired(dry_run: bool = False) -> None:
    """Delete what has reached the end of its period, and show how much that was."""
    due = retention.retain(get_places(), utc_now(), dry_run)
    show.page("retention", report.retention_markdown(due, dry_run))
