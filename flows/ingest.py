"""What phones uploaded, into the store."""

from prefect import flow

from tasks.data import ingest_uploads


@flow(name="ingest", flow_run_name="ingest")
def ingest() -> None:
    """Read new uploads into the store; hourly, and the first step of a cycle."""
    ingest_uploads()
