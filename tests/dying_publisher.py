"""A publisher that stops in the middle of its work and waits to be killed: run as a program.

    python -m tests.dying_publisher HOME RELEASES_URL CARD SHA256 KEY

It says `here` once something whose key begins with KEY is in the repository, and goes no further.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

from loop.depot import FolderDepot
from loop.places import open_places
from loop.publishing import publish_release
from loop.settings import Settings
from loop.values import CardRef
from tests.candidates import RECIPE


class HangingDepot(FolderDepot):
    """Hangs for ever right after it wrote a key that begins with `last`."""

    last = ""

    def put(self, key: str, data: bytes) -> bool:
        return self._hang(key, super().put(key, data))

    def put_file(self, key: str, file: Path) -> bool:
        return self._hang(key, super().put_file(key, file))

    def swap_pointer(self, key: str, data: bytes, expected: bytes | None) -> None:
        super().swap_pointer(key, data, expected)
        self._hang(key, True)

    def _hang(self, key: str, new: bool) -> bool:
        if key.startswith(self.last):
            sys.stdout.write("here\n")
            sys.stdout.flush()
            time.sleep(3600)
        return new


def main() -> None:
    home, url, card, sha256, last = sys.argv[1:]
    places = open_places(Settings(home=Path(home), releases_url=url))
    depot = HangingDepot(places.settings.releases_root)
    depot.last = last
    publish_release(replace(places, releases=depot), CardRef(card, sha256), RECIPE, "ada")


if __name__ == "__main__":
    main()
