"""The one way to change what devices read: manifest, journal entry, pointer, in this order.

Each step is written once or by compare-and-swap, and takes up what a dead attempt left behind.
Whether a change is allowed is decided in `loop.publishing`.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from loop.depot import Depot
from loop.errors import DepotError, NotFound, ReleaseError
from loop.manifest import (
    Entry,
    Manifest,
    ManifestRules,
    check_manifest,
    moment,
    parse_manifest,
    render_manifest,
)
from loop.repository import (
    POINTER,
    Approval,
    Fleet,
    JournalEntry,
    Verb,
    journal_key,
    manifest_key,
    read_fleet,
    read_journal,
    written_numbers,
)
from loop.values import Digest, FormRef, Json, canonical_json, digest_bytes, utc_now

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Announcement:
    """What devices shall read next, and who wants it why."""

    verb: Verb
    current: Entry
    rollback: Entry
    rollback_required: bool
    made_by: str
    reason: str = ""
    artifact: FormRef | None = None
    card: Digest | None = None
    card_json: Mapping[str, Json] | None = None
    sign_off: Approval | None = None

    def manifest(self, number: int, published_at: str) -> Manifest:
        """The manifest that says it."""
        return Manifest(
            current=self.current,
            rollback=self.rollback,
            rollback_required=self.rollback_required,
            manifest_version=number,
            published_at=published_at,
        )

    def journal(self, data: bytes, after: int) -> JournalEntry:
        """The journal entry beside its manifest; dated as the manifest is."""
        manifest = parse_manifest(data)
        return JournalEntry(
            number=manifest.manifest_version,
            after=after,
            verb=self.verb,
            effective=manifest.effective,
            artifact=self.artifact,
            manifest=digest_bytes(data),
            card=self.card,
            card_json=self.card_json,
            sign_off=self.sign_off,
            made_by=self.made_by,
            at=datetime.fromisoformat(manifest.published_at),
            reason=self.reason,
        )


def check_announcement(wanted: Announcement, rules: ManifestRules) -> None:
    """Every device would read the announcement's manifest as meant.

    Raises:
        ManifestError: A publisher lint fails.
    """
    check_manifest(render_manifest(wanted.manifest(1, moment(utc_now()))), rules)


def announce(releases: Depot, rules: ManifestRules, wanted: Announcement, seen: Fleet) -> None:
    """Make devices read what is wanted instead of what was seen.

    Raises:
        ManifestError: A publisher lint fails; nothing was written.
        ReleaseError: Somebody else changed what devices read since it was seen.
    """
    check_announcement(wanted, rules)
    data = _reserve(releases, wanted, seen.number)
    try:
        releases.swap_pointer(POINTER, data, expected=seen.pointer)
    except DepotError as error:
        if releases.read_pointer(POINTER) == data:  # the same attempt, finished by somebody else
            return
        last = read_fleet(releases).last
        raise ReleaseError(
            f"devices read number {last.number} ({last.verb} by {last.made_by}) meanwhile, "
            f"expected {seen.number} still; look at it and decide anew"
        ) from error
    logger.info("%s: devices read manifest %s", wanted.verb, digest_bytes(data))


def _reserve(releases: Depot, wanted: Announcement, after: int) -> bytes:
    """A numbered manifest that says what is wanted: one that a dead attempt left, or the next."""
    while True:
        written = written_numbers(releases)
        unread = [number for number in written if number > after]
        for number in (*unread, max([after, *written]) + 1):
            if (data := _claim(releases, number, wanted, after)) is not None:
                return data


def _claim(releases: Depot, number: int, wanted: Announcement, after: int) -> bytes | None:
    data = _put_or_get(
        releases, manifest_key(number), render_manifest(wanted.manifest(number, moment(utc_now())))
    )
    manifest = parse_manifest(data)
    if manifest != wanted.manifest(number, manifest.published_at):
        return None
    mine = wanted.journal(data, after)
    _put_or_get(releases, journal_key(number), canonical_json(mine))
    theirs = read_journal(releases, number)
    return data if _same_decision(mine, theirs) else None


def _same_decision(one: JournalEntry, other: JournalEntry) -> bool:
    """Whether a dead attempt may be finished: nobody's own decision in another one's name."""
    what = {"verb", "card", "after"} if one.card else {"verb", "after", "made_by", "reason"}
    return one.model_dump(include=what) == other.model_dump(include=what)


def _put_or_get(releases: Depot, key: str, data: bytes) -> bytes:
    """What a write-once key holds in the end: these bytes, or those that were there first."""
    try:
        return releases.get(key)
    except NotFound:
        pass
    try:
        releases.put(key, data)
    except DepotError:
        return releases.get(key)
    return data
