"""When, and in which order: thin Prefect flows."""
