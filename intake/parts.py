"""What one running intake is made of; its public and its private app share it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from intake.crew import Crew
from intake.door import Door
from intake.metrics import Metrics
from intake.rates import Allowance, Forgetter, Rates
from intake.shipper import Pace, Shipper
from intake.spool import Room, Spool
from loop.depots import open_depot
from loop.errors import SpoolError
from loop.settings import Settings


@dataclass(frozen=True)
class Limits:
    """How much a phone may send, and for how long: a hung upload holds its user's dialog."""

    proxies: tuple[str, ...]
    """Whose word on a client's address and TLS is taken."""
    body_bytes: int
    header_seconds: float
    body_seconds: float


@dataclass(frozen=True)
class Parts:
    """Limits, door, crew, counts by network and their end, spool, way to the depot, and metrics."""

    limits: Limits
    door: Door
    crew: Crew
    rates: Rates
    forgetter: Forgetter
    spool: Spool
    shipper: Shipper
    metrics: Metrics

    @contextmanager
    def running(self) -> Iterator[None]:
        """Open the spool, ship and forget for as long as the block lasts."""
        self.spool.open()
        self.rates.open()
        self.forgetter.start()
        self.shipper.start()
        try:
            yield
        finally:
            self.shipper.stop()
            self.forgetter.stop()
            self.rates.close()
            self.spool.close()

    def unready(self) -> list[str]:
        """What keeps it from doing its work; empty when it is ready."""
        known = {
            "spool": _fails(self.spool.check),
            "limits": _fails(self.rates.check),
            "forgetter": not self.forgetter.is_alive(),
            "shipper": self.shipper.is_stuck(),
            "stopping": self.door.closed,
        }
        return [name for name, applies in known.items() if applies]


def _fails(check: Callable[[], None]) -> bool:
    try:
        check()
    except SpoolError:
        return True
    return False


def make_parts(settings: Settings) -> Parts:
    """The parts that these settings name; nothing runs yet."""
    room = Room(settings.free_bytes, settings.free_share, settings.spool_uploads)
    spool = Spool(settings.spool, room)
    depot = open_depot(settings.depot_place, settings)
    door = Door(settings.uploads_at_once, settings.source_share)
    pace = Pace(longest_s=settings.ship_retry_seconds)
    shipper = Shipper(spool, depot, pace, busy=lambda: door.inside > 0)
    rates, metrics = _rates(settings), Metrics(door, spool, shipper)
    forgetter = Forgetter(rates)
    return Parts(_limits(settings), door, Crew(), rates, forgetter, spool, shipper, metrics)


def _limits(settings: Settings) -> Limits:
    return Limits(
        settings.trusted_proxies,
        settings.upload_bytes,
        settings.header_seconds,
        settings.body_seconds,
    )


def _rates(settings: Settings) -> Rates:
    allowance = Allowance(settings.uploads_per_source, settings.uploads_per_day)
    return Rates(settings.home, settings.rate_keys_root, allowance)
