import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.releases import create_app
from loop.depot import FolderDepot
from loop.errors import DepotError, ReleaseError
from loop.publishing import (
    add_factory,
    incumbent,
    publish_release,
    release_of,
    roll_back,
    unroll_back,
)
from loop.repository import (
    init_repository,
    read_journal,
)
from loop.signing import sign
from loop.values import CycleRef, digest_bytes
from tests.candidates import (
    FACTORY,
    RECIPE,
    keep_candidate,
    keep_form,
    rehearsal_places,
    released_places,
    serving,
    signed_card,
)
from tests.repositories import (
    check_repository,
    contents,
    entries,
    public_pointer,
    publish,
    rows,
    runs,
)


@pytest.fixture
def places(tmp_path):
    with released_places(tmp_path) as places:
        yield places


def test_the_factory_model_is_release_0_and_has_no_manifest(places):
    assert rows(places) == [(0, "factory", "factory-1")]
    assert public_pointer(places) is None
    assert read_journal(places.releases, 0).reason == "factory, never gated"


def test_the_factory_model_is_what_devices_run_before_any_release(places):
    assert (incumbent(places).version, incumbent(places).sha256) == (
        "factory-1",
        digest_bytes(FACTORY),
    )


def test_adding_the_same_factory_model_again_changes_nothing(places):
    before = contents(places)
    add_factory(places, incumbent(places))

    assert contents(places) == before
    assert rows(places) == [(0, "factory", "factory-1")]


def test_a_repository_keeps_its_first_factory_model(places):
    before = contents(places)
    add_factory(places, keep_form(places, "factory-2", b"other"))

    assert incumbent(places).version == "factory-1"
    assert contents(places) == before


def test_nothing_is_published_into_a_repository_without_a_factory_model(tmp_path):
    places = rehearsal_places(tmp_path)
    card = signed_card(places, incumbent(places))
    empty = replace(places, releases=FolderDepot(tmp_path / "empty"))
    init_repository(empty.releases, "rehearsal")

    with pytest.raises(ReleaseError, match="expected a factory model first"):
        publish_release(empty, card, RECIPE, "ada")
    with pytest.raises(ReleaseError, match="expected a factory model first"):
        incumbent(empty)
    places.store.dispose()


def test_the_first_release_replaces_the_factory_model_and_rolls_back_to_it(places):
    release = publish(places)

    assert entries(places) == ("blox-tiny-1", "factory-1", False)
    assert (release.number, release.verb, release.model_version) == (1, "publish", "blox-tiny-1")
    assert release.manifest == json.loads(public_pointer(places) or b"")
    assert rows(places) == [(0, "factory", "factory-1"), (1, "publish", "blox-tiny-1")]
    check_repository(places)


def test_the_model_lies_in_a_folder_named_by_its_version(places):
    publish(places)
    data = places.releases.get("models/blox-tiny-1/blox-tiny-Q8_0.gguf")

    assert digest_bytes(data) == incumbent(places).sha256


def test_the_second_release_rolls_back_to_the_first(places):
    publish(places, 1)
    publish(places, 2)

    assert entries(places) == ("blox-tiny-2", "blox-tiny-1", False)
    assert incumbent(places).version == "blox-tiny-2"


def test_the_same_card_is_published_once(places):
    card = signed_card(places, incumbent(places))
    first = publish_release(places, card, RECIPE, "ada")
    before = contents(places)

    assert publish_release(places, card, RECIPE, "bob").id == first.id
    assert contents(places) == before


def test_a_published_card_is_not_published_anew_after_a_rollback(places):
    card = signed_card(places, incumbent(places))
    first = publish_release(places, card, RECIPE, "ada")
    roll_back(places, "ada", "it talks nonsense")

    assert publish_release(places, card, RECIPE, "ada").id == first.id
    assert runs(places) == "factory-1"


def test_a_cycle_knows_the_release_that_it_led_to(places):
    candidate = keep_candidate(places, incumbent(places))
    card = candidate.card(places)
    sign(places, card.digest, "approve", "ada", "command")

    assert release_of(places, candidate.cycle) is None

    release = publish_release(places, card, RECIPE, "ada")
    other = CycleRef("cycle-9", "blox-tiny", 9, "tiny-cpu", 50, False)

    assert release_of(places, candidate.cycle) == release
    assert release_of(places, other) is None


def test_a_continued_cycle_makes_the_card_that_it_had_before(places):
    before = incumbent(places)
    candidate = keep_candidate(places, before)
    card = candidate.card(places)
    sign(places, card.digest, "approve", "ada", "command")
    publish_release(places, card, RECIPE, "ada")

    assert incumbent(places).version == "blox-tiny-1"
    assert candidate.card(places) == card


def test_each_device_that_follows_is_told_whole_and_true_addresses(places):
    publish(places)
    document = json.loads(public_pointer(places) or b"")

    assert document["current"]["url"] == (
        f"{places.settings.releases_url}/models/blox-tiny-1/blox-tiny-Q8_0.gguf"
    )
    assert document["rollback"]["url"] == (
        f"{places.settings.releases_url}/models/factory-1/factory.gguf"
    )


def test_a_repository_that_moved_is_announced_at_its_new_address(places, tmp_path):
    publish(places)
    with serving(create_app(tmp_path / "releases")) as url:
        settings = places.settings.model_copy(update={"releases_url": url})
        moved = replace(places, settings=settings)
        roll_back(moved, "ada", "a new port")
        document = json.loads(public_pointer(moved) or b"")

        assert all(document[key]["url"].startswith(url) for key in ("current", "rollback"))
        check_repository(moved)


class Unreachable:
    """A depot on a machine that is down."""

    def __getattr__(self, name: str) -> Any:
        raise DepotError("the depot is down")


def test_a_rollback_needs_no_depot_and_uploads_nothing(places):
    publish(places)
    models = sorted(places.releases.keys("models/"))
    release = roll_back(replace(places, depot=Unreachable()), "ada", "it talks nonsense")

    assert entries(places) == ("blox-tiny-1", "factory-1", True)
    assert (release.number, release.verb, release.model_version) == (2, "rollback", "factory-1")
    assert sorted(places.releases.keys("models/")) == models
    assert incumbent(places).version == "factory-1"
    check_repository(places)


def test_rolling_back_twice_is_rolling_back_once(places):
    publish(places)
    first = roll_back(places, "ada", "bad")
    before = contents(places)

    assert roll_back(places, "bob", "very bad").id == first.id
    assert contents(places) == before


def test_a_rollback_can_be_undone(places):
    publish(places)
    roll_back(places, "ada", "bad")
    release = unroll_back(places, "ada", "it was the weather")

    assert entries(places) == ("blox-tiny-1", "factory-1", False)
    assert (release.number, release.verb, release.model_version) == (3, "unrollback", "blox-tiny-1")
    assert unroll_back(places, "ada", "again").id == release.id
    assert read_journal(places.releases, 3).reason == "it was the weather"


def test_a_release_after_a_rollback_rolls_back_to_what_devices_really_ran(places):
    publish(places, 1)
    roll_back(places, "ada", "bad")
    publish(places, 2)

    assert entries(places) == ("blox-tiny-2", "factory-1", False)


def test_a_release_after_an_undone_rollback_rolls_back_to_the_release_before(places):
    publish(places, 1)
    roll_back(places, "ada", "bad")
    unroll_back(places, "ada", "good")
    publish(places, 2)

    assert entries(places) == ("blox-tiny-2", "blox-tiny-1", False)


def test_there_is_nothing_to_roll_back_before_the_first_release(places):
    with pytest.raises(ReleaseError, match="expected a published release"):
        roll_back(places, "ada", "why not")


def test_there_is_nothing_to_undo_without_a_rollback(places):
    publish(places)

    with pytest.raises(ReleaseError, match="expected a rollback to undo"):
        unroll_back(places, "ada", "why not")


def test_a_rollback_to_a_file_that_cannot_be_downloaded_is_refused(places):
    publish(places)
    before = public_pointer(places)
    (places.settings.releases_root / "models/factory-1/factory.gguf").unlink()

    with pytest.raises(ReleaseError, match=r"factory\.gguf: expected"):
        roll_back(places, "ada", "bad")
    assert public_pointer(places) == before


@settings(max_examples=4, deadline=None)
@given(st.lists(st.sampled_from(["publish", "rollback", "unrollback"]), max_size=6))
def test_after_any_history_devices_run_what_was_last_said_and_can_go_back(verbs):
    with TemporaryDirectory() as home, released_places(Path(home)) as places:
        current, back, rolled = "factory-1", "", False
        for number, verb in enumerate(verbs, 1):
            before = contents(places)
            if verb == "publish":
                publish(places, number)
                current, back, rolled = (
                    f"blox-tiny-{number}",
                    back if rolled else current,
                    False,
                )
            elif current != "factory-1" and (verb == "rollback" or rolled):
                (roll_back if verb == "rollback" else unroll_back)(places, "ada", "why not")
                rolled = verb == "rollback"
            check_repository(places, before)

            assert runs(places) == (back if rolled else current)
            if current != "factory-1":
                assert entries(places) == (current, back, rolled)
