"""Where a stage finds facts and bytes: one value instead of four parameters."""

from dataclasses import dataclass
from functools import cache

from sqlalchemy import Engine

from loop.depot import Depot
from loop.depots import open_depot
from loop.settings import Settings, get_settings
from loop.store import open_store


@dataclass(frozen=True)
class Places:
    """The store, the depot, the release repository and the settings that named them."""

    settings: Settings
    store: Engine
    depot: Depot
    releases: Depot


def open_places(settings: Settings) -> Places:
    """The places that the settings name; the store is migrated."""
    return Places(
        settings=settings,
        store=open_store(settings.store_url),
        depot=open_depot(settings.depot_place, settings),
        releases=open_depot(settings.releases_place, settings),
    )


@cache
def get_places() -> Places:
    """The places of this process."""
    return open_places(get_settings())
