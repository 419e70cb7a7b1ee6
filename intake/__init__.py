"""Where phones upload: the only part that faces the internet; it can write, never read."""
