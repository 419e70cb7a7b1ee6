"""With which patience: thin Prefect tasks, each one call into `loop`."""
