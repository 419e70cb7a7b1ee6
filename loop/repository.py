"""The release repository: its layout, its journal, and what devices are told to run now.

    repository.json                    its id, and whether it is a rehearsal; written once
    models/<model_version>/<file>      model bytes; written once
    manifests/ai-manifest.<N>.json     every manifest ever attempted; written once
    journal/<N>.json                   who wanted manifest N, why, on which evidence; written once
    ai-manifest.json                   the pointer: the bytes of one numbered manifest

A journal entry names the number that devices read before it, so the chain from the pointer back
to the factory entry (0, which has no manifest) is the history of the fleet. Numbers outside the
chain are attempts that never reached a device. `loop.announcing` writes, this module reads.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Self, TypeAlias
from uuid import uuid4

from pydantic import ValidationError, model_validator

from loop.depot import Depot
from loop.errors import DepotError, NotFound, ReleaseError
from loop.manifest import Entry, Manifest, parse_manifest
from loop.values import (
    Digest,
    FormRef,
    Json,
    Value,
    canonical_json,
    digest_bytes,
    digest_file,
    short,
)

MARK = "repository.json"
POINTER = "ai-manifest.json"

Kind: TypeAlias = Literal["rehearsal", "production"]
Verb: TypeAlias = Literal["factory", "publish", "rollback", "unrollback"]


class Repository(Value):
    """What a release repository says about itself."""

    id: str
    kind: Kind


class Approval(Value):
    """The sign-off that a publication rests on."""

    made_by: str
    decision: str
    via: str
    made_at: datetime


class JournalEntry(Value):
    """Who made devices read one manifest, when, why and on which evidence."""

    number: int
    """Of the manifest; 0 for the factory entry, which has none."""
    after: int | None
    """The number that devices read before; None: this is the factory entry."""
    verb: Verb
    effective: Entry
    """What devices are told to run by it."""
    artifact: FormRef | None = None
    """The bytes that entered the repository with it; None: it moved between known ones."""
    manifest: Digest | None = None
    """Of the exact bytes of the numbered manifest."""
    card: Digest | None = None
    """Of the sign-off card's canonical JSON."""
    card_json: Mapping[str, Json] | None = None
    sign_off: Approval | None = None
    made_by: str
    at: datetime
    reason: str = ""

    @model_validator(mode="after")
    def _follows_an_older_number(self) -> Self:
        if self.after is not None and self.after >= self.number:
            raise ValueError(f"after: expected less than {self.number}, got {self.after}")
        return self


@dataclass(frozen=True)
class Fleet:
    """What devices are told to run now, and how it came to that."""

    pointer: bytes | None
    """The exact bytes devices read; None before the first publication."""
    manifest: Manifest | None
    history: tuple[JournalEntry, ...]
    """Oldest first; the last entry is what devices follow."""

    @property
    def number(self) -> int:
        """Of the manifest devices read; 0 while they run the factory model."""
        return self.manifest.manifest_version if self.manifest else 0

    @property
    def last(self) -> JournalEntry:
        """What devices follow.

        Raises:
            ReleaseError: Not even a factory model is there.
        """
        if not self.history:
            raise ReleaseError("the release repository is empty: expected a factory model first")
        return self.history[-1]

    def last_but(self, sha256: Digest) -> JournalEntry:
        """What devices follow, or followed before they followed these bytes.

        Raises:
            ReleaseError: They have never followed anything else.
        """
        for entry in reversed(self.history):
            if entry.effective.sha256 != sha256:
                return entry
        raise ReleaseError(
            f"devices run nothing but {short(sha256)}: expected another model to return to, "
            "a factory model at least"
        )

    def form_of(self, entry: JournalEntry) -> FormRef:
        """The model form that a journal entry made devices follow."""
        forms = [known.artifact for known in self.history if known.artifact]
        return next(form for form in forms if form.sha256 == entry.effective.sha256)


def model_key(version: str, file_name: str) -> str:
    """Where a model's bytes lie."""
    return f"models/{version}/{file_name}"


def manifest_key(number: int) -> str:
    """Where a numbered manifest lies."""
    return f"manifests/ai-manifest.{number}.json"


def journal_key(number: int) -> str:
    """Where the journal entry of a number lies."""
    return f"journal/{number}.json"


def init_repository(releases: Depot, kind: Kind) -> Repository:
    """Mark an empty repository as rehearsal or production; a mark is never changed.

    Raises:
        ReleaseError: It is marked as the other kind.
    """
    mark = Repository(id=str(uuid4()), kind=kind)
    try:
        releases.put(MARK, canonical_json(mark))
    except DepotError:
        mark = read_repository(releases)
    if mark.kind != kind:
        raise ReleaseError(
            f"release repository {mark.id} is marked {mark.kind}, expected {kind}; "
            "point LOOP_RELEASES at another folder"
        )
    return mark


def read_repository(releases: Depot) -> Repository:
    """The mark of a repository.

    Raises:
        ReleaseError: It has none, so nobody said what it is for.
    """
    try:
        return Repository.model_validate_json(releases.get(MARK))
    except NotFound as error:
        raise ReleaseError(
            f"the release repository has no {MARK}: expected one marked rehearsal or production"
        ) from error


def written_numbers(releases: Depot) -> list[int]:
    """The numbers of all manifests ever written, abandoned ones too, in order."""
    names = releases.keys("manifests/ai-manifest.")
    return sorted(int(name.split(".")[-2]) for name in names)


def read_journal(releases: Depot, number: int) -> JournalEntry:
    """The journal entry of a number, or NotFound.

    Raises:
        ReleaseError: It is not one that this code wrote.
    """
    data = releases.get(journal_key(number))
    try:
        return JournalEntry.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]["msg"]
        raise ReleaseError(f"{journal_key(number)} is not a journal entry: {first}") from error


def read_fleet(releases: Depot) -> Fleet:
    """What the pointer says, and the chain of journal entries behind it.

    Raises:
        ReleaseError: The pointer or the chain was not written by `loop.announcing`.
    """
    data = releases.read_pointer(POINTER)
    if data is None:
        return Fleet(None, None, _chain(releases, 0))
    manifest = parse_manifest(data)
    number = manifest.manifest_version
    if releases.get(manifest_key(number)) != data:
        raise ReleaseError(f"{POINTER} differs from {manifest_key(number)}, expected equal bytes")
    chain = _chain(releases, number)
    if chain[-1].manifest != digest_bytes(data):
        raise ReleaseError(f"{journal_key(number)} speaks of another manifest than {POINTER}")
    return Fleet(data, manifest, chain)


def _chain(releases: Depot, number: int) -> tuple[JournalEntry, ...]:
    chain: list[JournalEntry] = []
    wanted: int | None = number
    while wanted is not None:
        try:
            chain.append(read_journal(releases, wanted))
        except NotFound:
            if number == 0:
                return ()
            raise ReleaseError(f"{journal_key(wanted)} is missing behind {POINTER}") from None
        wanted = chain[-1].after
    return tuple(reversed(chain))


def read_manifest_json(releases: Depot, number: int) -> dict[str, Json]:
    """A numbered manifest as plain JSON; of the factory entry, which has none, nothing."""
    return {} if number == 0 else dict(json.loads(releases.get(manifest_key(number))))


def artifact_file(depot: Depot, artifact: FormRef) -> Path:
    """The one file of converted bytes, verified.

    Raises:
        ReleaseError: The form is not one file with the sha256 that its reference names.
    """
    folder = depot.fetch_tree("forms", artifact.digest)
    files = [path for path in folder.iterdir() if not path.name.startswith(".")]
    found = [digest_file(path) for path in files]
    if found != [artifact.sha256]:
        raise ReleaseError(
            f"{artifact.form} {short(artifact.digest)}: expected one file with sha256 "
            f"{artifact.sha256}, got {', '.join(found) or 'none'}"
        )
    return files[0]
