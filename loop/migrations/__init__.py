"""Alembic migrations of the store; `loop.store.open_store` runs them."""
