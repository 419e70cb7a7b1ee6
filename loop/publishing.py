"""Releases: the factory model, publish, roll back and forward again, each safe to kill and repeat.

Order of a publication: model bytes, a full download through the public address, numbered manifest,
journal entry, pointer, Release row. Devices see nothing before the pointer; everything before it is
written once and taken up again by the next attempt; a missing row is made up from the journal.
"""

import logging
from typing import Literal

from pydantic import ValidationError
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, select

from loop import card as cards
from loop.announcing import Announcement, announce, check_announcement
from loop.depot import Depot
from loop.downloads import probe_download, shows, verify_download
from loop.errors import DepotError, ReleaseError
from loop.evidence import require_canary, require_gate
from loop.manifest import REHEARSAL, Entry
from loop.places import Places
from loop.recipe import Recipe
from loop.repository import (
    POINTER,
    Approval,
    Fleet,
    JournalEntry,
    Repository,
    artifact_file,
    journal_key,
    model_key,
    read_fleet,
    read_manifest_json,
    read_repository,
)
from loop.signing import read_card, require_approval
from loop.store import end_of, keep, releases_of
from loop.tables import Card, Release, SignOff
from loop.values import CardRef, CycleRef, FormRef, canonical_json, utc_now

logger = logging.getLogger(__name__)


def add_factory(places: Places, form: FormRef, made_by: str = "bloxloop") -> None:
    """Make a model release 0: what devices run before any publication, and can roll back to.

    It is never gated and needs no sign-off; it can only ever be a rollback target. A repository
    keeps its first one: where there is one, nothing happens.

    Raises:
        ReleaseError: The repository is no rehearsal.
    """
    repository, fleet = _writable(places), read_fleet(places.releases)
    if not fleet.history:
        entry = _entry(places, form, "factory.gguf")
        _upload(places, form, entry)
        _put_factory(places.releases, form, entry, made_by)
    _record(places, repository, read_fleet(places.releases))


def _put_factory(releases: Depot, form: FormRef, entry: Entry, made_by: str) -> None:
    journal = JournalEntry(
        number=0,
        after=None,
        verb="factory",
        effective=entry,
        artifact=form,
        made_by=made_by,
        at=utc_now().replace(microsecond=0),
        reason="factory, never gated",
    )
    try:
        releases.put(journal_key(0), canonical_json(journal))
    except DepotError:
        logger.info("%s was written by somebody else", journal_key(0))


def incumbent(places: Places) -> FormRef:
    """What devices are told to run now: the last release, or the factory model.

    Raises:
        ReleaseError: The repository has not even a factory model.
    """
    fleet = read_fleet(places.releases)
    return fleet.form_of(fleet.last)


def release_of(places: Places, cycle: CycleRef) -> Release | None:
    """The publication that a cycle led to, if any; found also right after a crash."""
    releases = _record(places, read_repository(places.releases), read_fleet(places.releases))
    with Session(places.store) as session:
        made = set(session.exec(select(Card.digest).where(Card.cycle_id == cycle.id)))
    return next((release for release in releases if release.card in made), None)


def publish_release(places: Places, card: CardRef, recipe: Recipe, made_by: str) -> Release:
    """Tell devices to run a signed-off model; the same card is published once, however often.

    Raises:
        ManifestError: Some device would not read its manifest as meant.
        ReleaseError: Gate, canary, sign-off, licence, version or repository rules forbid it, the
            public address does not serve the bytes, or somebody else was faster. What devices
            read is unchanged.
    """
    repository, fleet = _writable(places, recipe.rehearsal), read_fleet(places.releases)
    if found := _published(_record(places, repository, fleet), card):
        return found
    paper, signed = _approved(places, card, recipe)
    _require_same_fleet(paper, repository, fleet)
    _require_new_version(fleet, paper.artifact.model_version)
    wanted = _publication(places, paper, signed, fleet.last.effective, made_by)
    check_announcement(wanted, REHEARSAL)
    _upload(places, _form(paper), wanted.current)
    for entry in (wanted.current, wanted.rollback):
        verify_download(entry)
    _approved(places, card, recipe)  # again: a rejection during a long upload counts
    return _announce(places, repository, wanted, fleet)


def _publication(
    places: Places, paper: cards.Card, signed: SignOff, before: Entry, made_by: str
) -> Announcement:
    return Announcement(
        verb="publish",
        current=_entry(places, _form(paper), paper.file_name),
        rollback=_served(places, before),
        rollback_required=False,
        made_by=made_by,
        artifact=_form(paper),
        card=signed.card,
        card_json=paper.model_dump(mode="json"),
        sign_off=Approval.model_validate(signed, from_attributes=True),
    )


def _published(releases: list[Release], card: CardRef) -> Release | None:
    return next((release for release in releases if release.card == card.digest), None)


def _approved(places: Places, card: CardRef, recipe: Recipe) -> tuple[cards.Card, SignOff]:
    """The card and its sign-off, after checking all the evidence that a release needs."""
    with Session(places.store) as session:
        paper = read_card(session, card)
        _require_recipe(paper, recipe)
        _require_going_on(session, card)
        require_gate(session, paper.gates[-1].inputs, _form(paper), recipe.suite)
        require_canary(session, paper.canary.inputs, _form(paper))
        return paper, require_approval(session, card)


def _require_going_on(session: Session, card: CardRef) -> None:
    """The card's cycle was not ended meanwhile; how it ended first is what stays."""
    row = session.get_one(Card, card.digest)
    if end := end_of(session, row.cycle_id):
        raise ReleaseError(f"its cycle ended as {end.outcome}: {end.reason}")


def _require_recipe(paper: cards.Card, recipe: Recipe) -> None:
    if (paper.recipe.digest, paper.rehearsal) != (recipe.digest, recipe.rehearsal):
        raise ReleaseError(
            f"recipe of {recipe.model}: expected the one on the card ({paper.recipe.digest}), "
            f"got {recipe.digest}"
        )
    if not recipe.base.releasable:
        raise ReleaseError(f"licence of the base ({recipe.base.licence}) forbids a release")


def _require_same_fleet(paper: cards.Card, repository: Repository, fleet: Fleet) -> None:
    meant = paper.incumbent.repository, paper.incumbent.sha256
    found = repository.id, fleet.last.effective.sha256
    if meant != found:
        raise ReleaseError(
            f"devices run {fleet.last.effective.model_version} of repository {repository.id}, "
            f"the card compares with {paper.incumbent.model_version} of "
            f"{paper.incumbent.repository}: make a new card and have it signed"
        )


def _require_new_version(fleet: Fleet, version: str) -> None:
    used = {entry.effective.model_version: entry.number for entry in fleet.history}
    if version in used:
        raise ReleaseError(
            f"model version {version}: expected a new one, release {used[version]} has it"
        )


def _form(paper: cards.Card) -> FormRef:
    made = paper.artifact
    return FormRef(made.form, made.digest, made.model_version, made.sha256)


def roll_back(places: Places, made_by: str, reason: str) -> Release:
    """Tell devices to return to the model before; uploads nothing, and a second call does nothing.

    Raises:
        ReleaseError: Nothing is published, the file to return to cannot be downloaded, or
            somebody else changed what devices read meanwhile.
    """
    return _turn(places, "rollback", made_by, reason)


def unroll_back(places: Places, made_by: str, reason: str) -> Release:
    """Undo a rollback: devices follow the current entry again; a second call does nothing.

    Raises:
        ReleaseError: As `roll_back`; or nothing was rolled back.
    """
    return _turn(places, "unrollback", made_by, reason)


def _turn(
    places: Places, verb: Literal["rollback", "unrollback"], made_by: str, reason: str
) -> Release:
    repository, fleet = _writable(places), read_fleet(places.releases)
    manifest, back = fleet.manifest, verb == "rollback"
    releases = _record(places, repository, fleet)
    if manifest is None:
        raise ReleaseError(f"{verb}: expected a published release, found only the factory model")
    if fleet.last.verb == verb:
        return _numbered(releases, fleet.number)
    if manifest.rollback_required == back:
        raise ReleaseError(f"{verb}: expected a rollback to undo, devices run {fleet.last.verb}")
    announcement = Announcement(
        verb=verb,
        current=_served(places, manifest.current),
        rollback=_served(places, manifest.rollback),
        rollback_required=back,
        made_by=made_by,
        reason=reason,
    )
    probe_download(announcement.rollback if back else announcement.current)
    return _announce(places, repository, announcement, fleet)


def _writable(places: Places, rehearsal: bool | None = None) -> Repository:
    """The repository, if what wants to write to it may.

    Raises:
        ReleaseError: A rehearsal meets a production repository or the other way round; or it is
            production, which needs a signature by a key that this code does not know yet.
    """
    repository = read_repository(places.releases)
    if rehearsal is not None and rehearsal != (repository.kind == "rehearsal"):
        raise ReleaseError(
            f"release repository {repository.id} is marked {repository.kind}: expected one marked "
            f"{'rehearsal' if rehearsal else 'production'}; nothing was written"
        )
    if repository.kind == "production":
        raise ReleaseError(
            f"release repository {repository.id} is marked production: its releases need a "
            "signature by an operator's key, which this version cannot check yet; nothing was "
            "written"
        )
    return repository


def _entry(places: Places, form: FormRef, file_name: str) -> Entry:
    try:
        return Entry(
            model_version=form.version,
            url=_address(places, model_key(form.version, file_name)),
            sha256=form.sha256,
            size_bytes=artifact_file(places.depot, form).stat().st_size,
        )
    except ValidationError as error:
        raise ReleaseError(f"model version {form.version!r}: {error.errors()[0]['msg']}") from error


def _upload(places: Places, form: FormRef, entry: Entry) -> None:
    """Put the bytes where their entry says, under a version that nothing else has."""
    file, key = artifact_file(places.depot, form), model_key(form.version, entry.file_name)
    others = set(places.releases.keys(f"models/{form.version}/")) - {key}
    if others:
        raise ReleaseError(f"model version {form.version} is taken by {', '.join(sorted(others))}")
    try:
        new = places.releases.put_file(key, file)
    except DepotError as error:
        raise ReleaseError(f"model version {form.version} is taken by other bytes") from error
    logger.info("%s: %s", key, "uploaded" if new else "was there already")


def _served(places: Places, entry: Entry) -> Entry:
    """An entry at today's public address; the same key in the repository."""
    key = model_key(entry.model_version, entry.file_name)
    return entry.model_copy(update={"url": _address(places, key)})


def _address(places: Places, key: str) -> str:
    return f"{places.settings.releases_url.rstrip('/')}/{key}"


def _announce(places: Places, repository: Repository, wanted: Announcement, seen: Fleet) -> Release:
    announce(places.releases, REHEARSAL, wanted, seen)
    fleet = read_fleet(places.releases)
    releases = _record(places, repository, fleet)
    if not shows(_address(places, POINTER), fleet.pointer or b""):
        logger.warning("%s does not show the newest manifest yet", _address(places, POINTER))
    number = next(entry.number for entry in fleet.history if entry.after == seen.number)
    return _numbered(releases, number)


def _numbered(releases: list[Release], number: int) -> Release:
    return next(release for release in releases if release.number == number)


def _record(places: Places, repository: Repository, fleet: Fleet) -> list[Release]:
    """The Release rows of the fleet's history, after adding those that a crash left out."""
    with Session(places.store) as session:
        known = {release.number for release in releases_of(session, repository.id)}
    for entry in fleet.history:
        if entry.number not in known:
            _keep_once(places, _release(places.releases, repository, entry))
    with Session(places.store) as session:
        return list(releases_of(session, repository.id))


def _keep_once(places: Places, release: Release) -> None:
    try:
        keep(places.store, release)
    except IntegrityError:
        logger.info("release %d was recorded by somebody else", release.number)


def _release(releases: Depot, repository: Repository, entry: JournalEntry) -> Release:
    return Release(
        repository=repository.id,
        number=entry.number,
        verb=entry.verb,
        model_version=entry.effective.model_version,
        sha256=entry.effective.sha256,
        card=entry.card,
        manifest=read_manifest_json(releases, entry.number),
        made_by=entry.made_by,
        at=entry.at,
    )
