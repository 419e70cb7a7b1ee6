"""Releases made, what a repository holds, and what must be true of it at every moment."""

import json

import httpx
from sqlmodel import Session

from loop.downloads import verify_download
from loop.manifest import REHEARSAL, Source, check_manifest, device_reads
from loop.places import Places
from loop.publishing import incumbent, publish_release
from loop.repository import (
    POINTER,
    Fleet,
    manifest_key,
    read_fleet,
    read_journal,
    read_repository,
    written_numbers,
)
from loop.store import releases_of
from loop.tables import Release
from loop.values import Digest, digest_file
from tests.candidates import RECIPE, signed_card

CONTEXT = httpx.create_ssl_context()
"""Made once: it takes longer than a local download."""


def contents(places: Places) -> dict[str, Digest]:
    """Every file of the repository by its digest; temporary files are not in it yet."""
    root = places.settings.releases_root
    return {
        path.relative_to(root).as_posix(): digest_file(path)
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def check_repository(places: Places, before: dict[str, Digest] | None = None) -> Fleet:
    """Devices read the factory model or one whole release, and nothing published has changed."""
    fleet = read_fleet(places.releases)
    for number in written_numbers(places.releases):
        data = places.releases.get(manifest_key(number))
        manifest = check_manifest(data, REHEARSAL)
        assert device_reads(data, REHEARSAL).source in (Source.CURRENT, Source.ROLLBACK)
        for entry in (manifest.current, manifest.rollback):
            verify_download(entry)
    if fleet.pointer is not None:
        assert public_pointer(places) == fleet.pointer
        assert read_journal(places.releases, fleet.number) == fleet.last
    if before is not None:
        now = contents(places)
        assert {key: now.get(key) for key in before if key != POINTER} == {
            key: digest for key, digest in before.items() if key != POINTER
        }
    return fleet


def public_pointer(places: Places) -> bytes | None:
    """What a device downloads now."""
    url = f"{places.settings.releases_url}/{POINTER}"
    answer = httpx.get(url, trust_env=False, verify=CONTEXT)
    return answer.content if answer.status_code == 200 else None


def runs(places: Places) -> str:
    """The model version that a device is told to run, read as a device does."""
    data = public_pointer(places)
    return device_reads(data, REHEARSAL).model_version if data else "factory-1"


def entries(places: Places) -> tuple[str, str, bool]:
    """Current version, rollback version and whether to roll back, in the public manifest."""
    document = json.loads(public_pointer(places) or b"")
    return (
        document["current"]["model_version"],
        document["rollback"]["model_version"],
        document["rollback_required"],
    )


def publish(places: Places, number: int = 1) -> Release:
    """Make, sign and publish the candidate of a cycle."""
    card = signed_card(places, incumbent(places), number)
    return publish_release(places, card, RECIPE, "ada")


def rows(places: Places) -> list[tuple[int, str, str]]:
    """The releases in the store: number, verb and what devices run by them."""
    with Session(places.store) as session:
        found = releases_of(session, read_repository(places.releases).id)
        return [(row.number, row.verb, row.model_version) for row in found]
