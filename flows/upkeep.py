"""What is looked after each minute. It can resume a wait, and never decides one."""

from prefect import flow

from tasks.upkeep import look_after_waits, reap_dead_runs


@flow(name="upkeep", flow_run_name="upkeep")
def upkeep() -> None:
    """Keep waiting runs' pages current, resume waits that are over, reap dead runs."""
    look_after_waits()
    reap_dead_runs()
