"""What is deleted at the end of its period."""

from prefect import flow

from tasks.data import delete_expired


@flow(name="retention", flow_run_name="retention")
def retention(dry_run: bool = False) -> None:
    """Delete what is older than its period, daily and for good.

    Args:
        dry_run: Only count what would go.
    """
    delete_expired(dry_run)
