"""The oracle of every fault: what phones were told, compared with what is kept."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from intake.spool import Room, Spool
from loop.upload import Record
from loop.values import Digest, digest_json


class Kept(NamedTuple):
    """One object of the depot or file of the spool."""

    upload_id: str
    digest: Digest
    """Of the upload inside."""
    received: str


class Verdict(NamedTuple):
    """Upload ids that contradict the ledger; a loss-free intake has none of either kind."""

    lost: list[str]
    """Acknowledged, and not kept with the body that was sent."""
    doubled: list[str]
    """Kept more than once, on one day; the same upload again on another day is another object."""


def compared(acknowledged: dict[str, Digest], kept: Iterable[Kept]) -> Verdict:
    """What is wrong with what is kept, by the phones' own ledger of every 200.

    Args:
        acknowledged: For each upload id, the digest of the body that was answered 200.
        kept: Everything that is kept; what nobody acknowledged may be there, too.
    """
    times = Counter(kept)
    there = {(one.upload_id, one.digest) for one in times}
    lost = [known for known in acknowledged.items() if known not in there]
    days = Counter((one.upload_id, one.received) for one in times.elements())
    doubled = {upload_id for (upload_id, _day), count in days.items() if count > 1}
    return Verdict(sorted(upload_id for upload_id, _digest in lost), sorted(doubled))


def kept_in(home: Path) -> list[Kept]:
    """What depot and spool of an intake that is ended or halted hold.

    Killed between two steps of shipping, it leaves the very same record in both; that is one.
    """
    shipped = [_kept(path.read_bytes()) for path in home.glob("depot/raw/*/*.json")]
    there = set(shipped)
    waiting = [_kept(one.path.read_bytes()) for one in Spool(home / "spool", Room()).waiting()]
    return shipped + [one for one in waiting if one not in there]


def _kept(data: bytes) -> Kept:
    record = Record.from_bytes(data)
    return Kept(record.upload["upload_id"], digest_json(record.upload), record.received.isoformat())
