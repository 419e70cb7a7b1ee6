"""Leftovers: copies of sessions that a killed process left half-written on this machine.

A freeze or a conversion that is killed leaves its folder in scratch, a writer its temporary file in
the depot's folder, and a freeze that died before its row a dataset that no cycle knows.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlmodel import Session, select

from loop.copies import remove
from loop.forgetting import delete_dataset
from loop.freezing import DATASETS
from loop.places import Places
from loop.store import writing_alone
from loop.tables import Dataset
from loop.values import Digest

WORK = ("dataset-*", "rkllm-*")
"""Folders in scratch that hold sessions, and that nobody goes on from."""


@dataclass(frozen=True)
class Leftovers:
    """What nobody works on any more, and no row knows."""

    paths: tuple[Path, ...]
    """Folders and files."""
    datasets: tuple[Digest, ...]

    def __len__(self) -> int:
        return len(self.paths) + len(self.datasets)


def find_leftovers(places: Places, before: datetime) -> Leftovers:
    """What was last written before a moment; choose it so that nobody is still at it."""
    settings = places.settings
    found = [path for pattern in WORK for path in settings.scratch.glob(pattern)]
    if isinstance(settings.depot_place, Path) and settings.depot_place.is_dir():
        found += settings.depot_place.rglob(".new-*")
    found += settings.copies.glob("**/.new/*")
    old = (path for path in found if _is_older(path, before))
    return Leftovers(tuple(sorted(old)), tuple(_unknown(places, before)))


def delete_leftovers(places: Places, found: Leftovers) -> None:
    """Delete them."""
    for path in found.paths:
        remove(path)
    for dataset in found.datasets:
        with writing_alone(places.store) as session:  # no freeze may be about to write its row
            known = select(Dataset).where(Dataset.digest == dataset)
            if session.exec(known).first() is None:
                delete_dataset(places, dataset)


def _is_older(path: Path, before: datetime) -> bool:
    try:
        return path.lstat().st_mtime < before.timestamp()
    except FileNotFoundError:  # gone meanwhile
        return False


def _unknown(places: Places, before: datetime) -> Iterator[Digest]:
    with Session(places.store) as session:
        known = set(session.exec(select(Dataset.digest)))
    newest: dict[Digest, datetime] = {}
    for key in places.depot.keys(f"{DATASETS}/"):
        digest = key.split("/")[1]
        if digest not in known:
            at = places.depot.arrived(key)
            newest[digest] = max(at, newest.get(digest, at))
    return (digest for digest, at in newest.items() if at < before)
