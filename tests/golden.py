"""Kept outputs that are read as a diff: `GOLDEN=renew pytest …` writes them anew."""

import os
import re
from pathlib import Path

FOLDER = Path(__file__).parent / "golden"


def golden(name: str, found: str) -> str:
    """The kept text of this name; while renewing, `found` is kept first."""
    file = FOLDER / name
    if os.environ.get("GOLDEN") == "renew":
        file.write_text(found, encoding="utf-8")
    return file.read_text(encoding="utf-8")


def golden_block(page: Path, name: str, found: str) -> tuple[str, str]:
    """A page as it is, and as it is with `found` between its marks of this name.

    While renewing, the second is kept first, so that both are the same.
    """
    block = re.compile(rf"(<!-- {name}: .*? -->\n)(.*?)(<!-- /{name} -->)", re.DOTALL)
    text = page.read_text("utf-8")
    wanted, marked = block.subn(lambda marks: marks[1] + found + marks[3], text)
    assert marked == 1, f"{page}: expected one block of {name}, found {marked}"
    if os.environ.get("GOLDEN") == "renew":
        page.write_text(wanted, encoding="utf-8")
    return page.read_text("utf-8"), wanted
