"""Several publishers at once: one of them changes what devices read, the others are told."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest

from loop.announcing import Announcement, announce
from loop.depot import FolderDepot
from loop.errors import ManifestError, ReleaseError
from loop.manifest import REHEARSAL
from loop.places import Places
from loop.publishing import incumbent, publish_release, roll_back
from loop.repository import POINTER, read_fleet, written_numbers
from loop.tables import Release
from tests.candidates import RECIPE, released_places, signed_card
from tests.repositories import check_repository, contents, publish, rows

TWELVE = 12


@pytest.fixture
def places(tmp_path):
    with released_places(tmp_path) as places:
        yield places


def at_once(changes: list[Callable[[], Release]]) -> list[Release | ReleaseError]:
    """What each change returns or raises when all begin at the same moment."""
    barrier = Barrier(len(changes))

    def begin(change: Callable[[], Release]) -> Release | ReleaseError:
        barrier.wait()
        try:
            return change()
        except ReleaseError as error:
            return error

    with ThreadPoolExecutor(len(changes)) as pool:
        return list(pool.map(begin, changes))


def test_twelve_publishers_of_one_card_make_one_release(places):
    card = signed_card(places, incumbent(places))

    def one(number: int) -> Callable[[], Release]:
        return lambda: publish_release(places, card, RECIPE, f"operator {number}")

    found = at_once([one(number) for number in range(TWELVE)])

    assert all(isinstance(release, Release) for release in found), found
    assert {getattr(release, "number", None) for release in found} == {1}
    assert written_numbers(places.releases) == [1]
    assert rows(places) == [(0, "factory", "factory-1"), (1, "publish", "blox-tiny-1")]
    check_repository(places)


def test_of_twelve_publishers_of_different_cards_one_wins_and_the_others_are_told(places):
    factory = incumbent(places)
    cards = [signed_card(places, factory, number) for number in range(1, TWELVE + 1)]

    def one(number: int) -> Callable[[], Release]:
        return lambda: publish_release(places, cards[number], RECIPE, f"operator {number}")

    found = at_once([one(number) for number in range(TWELVE)])
    won = [release for release in found if isinstance(release, Release)]
    told = [str(error) for error in found if isinstance(error, ReleaseError)]
    fleet = check_repository(places)

    assert len(won) == 1
    assert len(told) == TWELVE - 1
    assert all("decide anew" in line or "make a new card" in line for line in told), told
    assert [entry.verb for entry in fleet.history] == ["factory", "publish"]
    assert rows(places) == [
        (0, "factory", "factory-1"),
        (won[0].number, "publish", won[0].model_version),
    ]


def test_twelve_rollbacks_are_one(places):
    publish(places)

    found = at_once([lambda: roll_back(places, "ada", "bad")] * TWELVE)

    assert {getattr(release, "number", release) for release in found} == {2}
    assert written_numbers(places.releases) == [1, 2]
    check_repository(places)


class LateDepot(FolderDepot):
    """A depot whose user is overtaken right before the pointer is swapped."""

    overtake: Callable[[], object]

    def swap_pointer(self, key: str, data: bytes, expected: bytes | None) -> None:
        self.overtake()
        super().swap_pointer(key, data, expected)


def test_an_operator_who_is_overtaken_overwrites_nothing_and_is_told_by_whom(places):
    publish(places, 1)
    card = signed_card(places, incumbent(places), 2)
    late = LateDepot(places.settings.releases_root)
    late.overtake = lambda: roll_back(places, "bob", "bad")

    with pytest.raises(ReleaseError, match=r"number 3 \(rollback by bob\) meanwhile, expected 1"):
        publish_release(replace(places, releases=late), card, RECIPE, "ada")
    fleet = check_repository(places)
    assert fleet.last.verb == "rollback"


def test_a_manifest_that_devices_would_misread_is_never_written(places):
    publish(places)
    before, fleet = contents(places), read_fleet(places.releases)
    entry = fleet.last.effective
    same_twice = Announcement("publish", entry, entry, False, "ada")

    with pytest.raises(ManifestError, match="expected two models"):
        announce(places.releases, REHEARSAL, same_twice, fleet)
    assert contents(places) == before


def test_the_pointer_is_exactly_the_numbered_manifest(places: Places) -> None:
    publish(places)

    assert places.releases.read_pointer(POINTER) == places.releases.get(
        "manifests/ai-manifest.1.json"
    )
