"""What is done to releases outside a cycle."""

from typing import Annotated

from prefect import flow
from pydantic import Field

from tasks.release import roll_back

Text = Annotated[str, Field(min_length=1, max_length=500)]


@flow(name="rollback", flow_run_name="rollback-by-{made_by}")
def rollback(made_by: Text, reason: Text) -> int:
    """Point devices at the model that served them before.

    Args:
        made_by: Who decides it.
        reason: Why; it is kept in the release journal.

    Returns:
        The number of the manifest that devices read from now on.
    """
    return roll_back(made_by, reason).number
