from dataclasses import replace
from pathlib import Path

import pytest
from sqlmodel import Session

from loop.card import Card
from loop.depot import FolderDepot
from loop.errors import ReleaseError
from loop.publishing import (
    roll_back,
    unroll_back,
)
from loop.repository import (
    artifact_file,
    init_repository,
    read_fleet,
    read_journal,
    read_repository,
)
from loop.store import open_store, releases_of
from loop.values import Form, FormRef, digest_json
from tests.candidates import (
    released_places,
)
from tests.repositories import publish


@pytest.fixture
def places(tmp_path):
    with released_places(tmp_path) as places:
        yield places


def test_a_mark_is_never_changed(tmp_path):
    releases = FolderDepot(tmp_path)
    first = init_repository(releases, "rehearsal")

    assert init_repository(releases, "rehearsal") == first
    with pytest.raises(ReleaseError, match="is marked rehearsal, expected production"):
        init_repository(releases, "production")


def test_who_what_and_when_can_be_told_from_the_repository_alone(places, tmp_path):
    publish(places, 1)
    roll_back(places, "bob", "bad")
    publish(places, 2)
    with Session(places.store) as session:
        told = [
            row.model_dump(exclude={"id"})
            for row in releases_of(session, read_repository(places.releases).id)
        ]
    lost = replace(places, store=open_store(f"sqlite:///{tmp_path / 'new.db'}"))

    with pytest.raises(ReleaseError, match="expected a rollback to undo"):
        unroll_back(lost, "ada", "only to look")
    with Session(lost.store) as session:
        again = releases_of(session, read_repository(lost.releases).id)
        assert [row.model_dump(exclude={"id"}) for row in again] == told
    lost.store.dispose()


def test_the_journal_keeps_the_card_that_was_signed_and_who_signed_it(places):
    release = publish(places)
    entry = read_journal(places.releases, 1)

    assert entry.card == release.card == digest_json(entry.card_json)
    assert Card.model_validate(entry.card_json).artifact.sha256 == release.sha256
    assert entry.sign_off is not None
    assert (entry.sign_off.made_by, entry.sign_off.decision) == ("ada", "approve")


@pytest.fixture
def published(places):
    publish(places)
    return places.settings.releases_root


def edit(file: Path, old: bytes, new: bytes) -> None:
    file.chmod(0o644)
    file.write_bytes(file.read_bytes().replace(old, new))


def test_a_pointer_that_is_no_longer_its_numbered_manifest_is_refused(places, published):
    edit(published / "ai-manifest.json", b"false", b"true")

    with pytest.raises(ReleaseError, match=r"differs from manifests/ai-manifest\.1\.json"):
        read_fleet(places.releases)


def test_a_manifest_that_its_journal_does_not_speak_of_is_refused(places, published):
    for name in ("ai-manifest.json", "manifests/ai-manifest.1.json"):
        edit(published / name, b"false", b"true")

    with pytest.raises(ReleaseError, match="speaks of another manifest"):
        read_fleet(places.releases)


def test_a_journal_entry_that_was_written_by_something_else_is_refused(places, published):
    edit(published / "journal/1.json", b'"after":0', b'"after":1')

    with pytest.raises(ReleaseError, match=r"journal/1\.json is not a journal entry.*less than 1"):
        read_fleet(places.releases)


def test_a_journal_entry_that_is_missing_behind_the_pointer_is_noticed(places, published):
    (published / "journal/0.json").unlink()

    with pytest.raises(ReleaseError, match=r"journal/0\.json is missing behind ai-manifest\.json"):
        read_fleet(places.releases)


def test_a_model_form_of_more_than_one_file_is_no_artifact(places, tmp_path):
    for name in ("model.gguf", "more.gguf"):
        (tmp_path / "two").mkdir(exist_ok=True)
        (tmp_path / "two" / name).write_bytes(name.encode())
    digest = places.depot.put_tree("forms", tmp_path / "two")

    with pytest.raises(ReleaseError, match="expected one file with sha256"):
        artifact_file(places.depot, FormRef(Form.GGUF, digest, "v", digest))
