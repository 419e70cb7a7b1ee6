"""Kept outputs that are read as a diff: `GOLDEN=renew pytest …` writes them anew."""

import os
from pathlib import Path

FOLDER = Path(__file__).parent / "golden"


def golden(name: str, found: str) -> str:
    """The kept text of this name; while renewing, `found` is kept first."""
    file = FOLDER / name
    if os.environ.get("GOLDEN") == "renew":
        file.write_text(found, encoding="utf-8")
    return file.read_text(encoding="utf-8")
