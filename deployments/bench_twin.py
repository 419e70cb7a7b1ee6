"""Intake without privacy rules and without syncs: a baseline for the bench, and nothing else.

It takes only bodies that the bench made, from this machine, into a folder that is deleted after.
"""

import os
from collections import Counter

from loop import privacy
from loop.upload import Upload


def unscanned(upload: Upload) -> tuple[Upload, Counter[str]]:
    """The upload as it came."""
    return upload, Counter()


def unsynced(_handle: int) -> None:
    """Nothing: a power cut may take away what was written."""


if __name__ == "__main__":
    privacy.redact = unscanned
    os.fsync = unsynced  # type: ignore[assignment]  # before intake takes it for its own
    from intake.__main__ import main

    main()
