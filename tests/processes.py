"""Waiting for real processes, and looking whether they are gone."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

PATIENCE = 120.0
"""Seconds before a wait is called vain; many times what any of them needs."""
T = TypeVar("T")


def until(condition: Callable[[], T]) -> T:
    """The first truthy answer of a condition."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError("waited in vain")
        time.sleep(0.02)
    return found


def gone(pid: int) -> bool:
    """A process has ended, whether or not somebody has read its status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
