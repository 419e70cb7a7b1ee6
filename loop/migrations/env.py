"""Runs the migrations on the connection that `loop.store` hands over."""

from alembic import context
from sqlmodel import SQLModel

import loop.tables  # noqa: F401  (fills the metadata)

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    render_as_batch=True,  # SQLite cannot alter a table in place
)
with context.begin_transaction():
    context.run_migrations()
