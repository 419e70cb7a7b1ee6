"""Work on a store and a depot that dies at its n-th step, as by kill -9."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sqlalchemy import event

from loop.depot import FolderDepot
from loop.places import Places
from tests.candidates import Died


class Countdown:
    """Dies at the n-th time it is called."""

    def __init__(self, left: int) -> None:
        self.left = left

    def __call__(self, *_: object) -> None:
        self.left -= 1
        if self.left == 0:
            raise Died


class CountedDepot(FolderDepot):
    """Counts before and behind each deletion."""

    def __init__(self, root: Path, count: Countdown) -> None:
        super().__init__(root)
        self.count = count

    def delete(self, key: str) -> bool:
        self.count()
        done = super().delete(key)
        self.count()
        return done


def dies(places: Places, at: int, work: Callable[[Places], object]) -> bool:
    """Whether some work dies at its n-th step: a statement to the store, or a deletion."""
    countdown = Countdown(at)
    depot = CountedDepot(Path(places.settings.depot_place), countdown)
    event.listen(places.store, "before_cursor_execute", countdown)
    try:
        work(replace(places, depot=depot))
    except Died:
        return True
    finally:
        event.remove(places.store, "before_cursor_execute", countdown)
    return False


def holding(home: Path, *words: str) -> set[str]:
    """The files under a folder whose names or bytes hold one of these words."""
    return {
        path.relative_to(home).as_posix()
        for path in home.rglob("*")
        for word in words
        if word in path.name or (path.is_file() and word.encode() in path.read_bytes())
    }
