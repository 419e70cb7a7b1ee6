"""A publication that dies anywhere leaves the old or the new release; the next attempt ends it."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from deployments.releases import create_app
from loop.cycles import ref_of
from loop.places import Places, open_places
from loop.publishing import incumbent, publish_release, release_of, roll_back, unroll_back
from loop.repository import read_fleet, written_numbers
from loop.settings import Settings
from loop.signing import sign
from loop.store import get_card, get_cycle, writing
from loop.tables import Release
from loop.values import CardRef
from tests.candidates import (
    RECIPE,
    Died,
    dying,
    keep_canary,
    keep_candidate,
    rehearsal_places,
    released_places,
    serving,
    signed_card,
)
from tests.repositories import check_repository, contents, publish, rows, runs

ROOT = Path(__file__).parents[2]


def survives(change: Callable[[Places], Release], at: int, after: bool, places: Places) -> bool:
    """Try a change that dies at the n-th storage call, check the repository, and try it again.

    Returns:
        Whether the change came to its end before the n-th call.
    """
    before, old, releases = contents(places), runs(places), rows(places)
    try:
        change(dying(places, at, after))
    except Died:
        finished = False
    else:
        finished = True
    check_repository(places, before)
    left = runs(places)
    new = change(places).model_version
    settled = contents(places)
    check_repository(places, before)
    change(places)

    assert left in (old, new)
    assert runs(places) == new
    assert contents(places) == settled
    assert rows(places)[:-1] == releases
    assert written_numbers(places.releases) == list(range(1, rows(places)[-1][0] + 1))
    return finished


@contextmanager
def worlds(home: Path, prepare: Callable[[Places], None]) -> Iterator[Iterator[Places]]:
    """Served places that `prepare` made ready, again and again: made once, then copied."""
    with serving(create_app(home / "now/releases")) as url:

        def enter(name: str) -> Settings:
            (home / "now").unlink(missing_ok=True)
            (home / "now").symlink_to(home / name)
            return Settings(home=home / name, releases_url=url)

        def copies() -> Iterator[Places]:
            for number in range(1, 100):
                shutil.copytree(home / "first", home / str(number))
                places = open_places(enter(str(number)))
                yield places
                places.store.dispose()

        (home / "first").mkdir()
        first = rehearsal_places(enter("first").home, url)
        prepare(first)
        first.store.dispose()
        yield copies()


@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after the call"])
def test_a_publication_that_dies_at_any_storage_call_is_old_or_new_and_is_ended_once(
    tmp_path, after
):
    made: list[CardRef] = []
    with worlds(tmp_path, lambda p: made.append(signed_card(p, incumbent(p)))) as fresh:
        publication = partial(publish_release, card=made[0], recipe=RECIPE, made_by="ada")
        calls = until_finished(publication, fresh, after)

    assert calls > 10, "the storage was hardly called"


def ready_to_roll_back(places: Places) -> None:
    publish(places)


def ready_to_undo(places: Places) -> None:
    publish(places)
    roll_back(places, "ada", "bad")


@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after the call"])
@pytest.mark.parametrize(
    ("prepare", "turn"), [(ready_to_roll_back, roll_back), (ready_to_undo, unroll_back)]
)
def test_a_rollback_that_dies_at_any_storage_call_is_old_or_new_and_is_ended_once(
    tmp_path, prepare, turn, after
):
    with worlds(tmp_path, prepare) as fresh:
        calls = until_finished(partial(turn, made_by="ada", reason="why not"), fresh, after)

    assert calls > 10, "the storage was hardly called"


def until_finished(
    change: Callable[[Places], Release], fresh: Iterator[Places], after: bool
) -> int:
    """Die at the first call, then at the second, …: how many calls the whole change takes."""
    for at, places in enumerate(fresh, 1):
        if survives(change, at, after, places):
            return at - 1
    raise AssertionError("it never came to its end")


@contextmanager
def killed_publisher(places: Places, card: CardRef, key: str) -> Iterator[None]:
    """A publisher in a process of its own, killed once a key is written."""
    command = [sys.executable, "-m", "tests.dying_publisher", str(places.settings.home)]
    command += [places.settings.releases_url, card.digest, card.sha256, key]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "here\n"
            yield
        finally:
            child.kill()


@pytest.mark.parametrize(
    ("key", "then"),
    [
        ("models/blox-tiny-1/", "factory-1"),
        ("manifests/", "factory-1"),
        ("journal/1", "factory-1"),
        ("ai-manifest.json", "blox-tiny-1"),
    ],
)
def test_a_publisher_killed_behind_any_step_leaves_old_or_new_and_the_next_ends_it(
    tmp_path, key, then
):
    with released_places(tmp_path) as places:
        card = signed_card(places, incumbent(places))
        with killed_publisher(places, card, key):
            pass
        before = contents(places)
        check_repository(places)

        assert runs(places) == then

        release = publish_release(places, card, RECIPE, "ada")
        check_repository(places, before)

        assert runs(places) == "blox-tiny-1"
        assert rows(places) == [(0, "factory", "factory-1"), (1, "publish", "blox-tiny-1")]
        assert publish_release(places, card, RECIPE, "ada").id == release.id


def test_a_release_whose_publisher_died_behind_the_pointer_is_known_to_its_cycle(tmp_path):
    with released_places(tmp_path) as places:
        card = signed_card(places, incumbent(places))
        with killed_publisher(places, card, "ai-manifest.json"):
            pass
        with writing(places.store) as session:
            cycle = ref_of(get_cycle(session, get_card(session, card.digest).cycle_id))

        assert (found := release_of(places, cycle)) is not None
        assert found.card == card.digest


def test_a_rollback_ends_what_a_killed_publisher_began_to_tell_devices(tmp_path):
    with released_places(tmp_path) as places:
        card = signed_card(places, incumbent(places))
        with killed_publisher(places, card, "ai-manifest.json"):
            pass
        roll_back(places, "bob", "that one is bad")
        check_repository(places)

        assert runs(places) == "factory-1"
        assert rows(places) == [
            (0, "factory", "factory-1"),
            (1, "publish", "blox-tiny-1"),
            (2, "rollback", "factory-1"),
        ]


def test_a_number_that_a_dead_publisher_reserved_locks_nobody_out(tmp_path):
    with released_places(tmp_path) as places:
        factory = incumbent(places)
        dead, other = (signed_card(places, factory, number) for number in (1, 2))
        with killed_publisher(places, dead, "journal/1"):
            pass
        release = publish_release(places, other, RECIPE, "bob")
        check_repository(places)

        assert (release.number, runs(places)) == (2, "blox-tiny-2")
        assert rows(places) == [(0, "factory", "factory-1"), (2, "publish", "blox-tiny-2")]


def test_a_dead_attempt_is_never_ended_in_the_name_of_another_card(tmp_path):
    with released_places(tmp_path) as places:
        first = keep_candidate(places, factory := incumbent(places))
        again = replace(first, canary=keep_canary(places, first.artifact, factory, again=1))
        cards = [candidate.card(places) for candidate in (first, again)]
        for card in cards:
            sign(places, card.digest, "approve", "ada", "command")
        with killed_publisher(places, cards[0], "journal/1"):
            pass
        release = publish_release(places, cards[1], RECIPE, "bob")
        fleet = check_repository(places)

        assert (release.number, release.card, fleet.last.card) == (
            2,
            cards[1].digest,
            cards[1].digest,
        )


@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after the call"])
def test_what_one_person_left_half_done_is_not_ended_in_that_ones_name(tmp_path, after):
    with worlds(tmp_path, ready_to_roll_back) as fresh:
        for at, places in enumerate(fresh, 1):
            with suppress(Died):
                roll_back(dying(places, at, after), "ada", "bad")
            by_ada = read_fleet(places.releases).last.verb == "rollback"
            roll_back(places, "bob", "too slow")

            last = check_repository(places).last
            expected = ("ada", "bad") if by_ada else ("bob", "too slow")
            assert (last.verb, last.made_by, last.reason) == ("rollback", *expected)
            if by_ada:
                break
