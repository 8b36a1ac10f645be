"""The listing of a store, which a catalog shows and a live page makes anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from workbench.catalogs.catalog_listing import Listing
from workbench.catalogs.entry_status import JudgedEntry
from workbench.catalogs.inventory_entries import list_entries
from workbench.online.fetching.answers import microseconds
from workbench.online.time_units import EPOCH, utc_time
from workbench.serving.store_location import store_place

if TYPE_CHECKING:
    from workbench.online.fetching.answers import At
    from workbench.online.storage.store import Store

E = TypeVar("E", bound=JudgedEntry)


def list_store(store: Store, entry_type: type[E], now: At = None) -> Listing[E]:
    """Read what a store has, as entries of a type."""
    from workbench.online.storage.store_overview import (  # noqa: PLC0415 the driver is an extra
        inventory,
    )

    us = microseconds(now)
    at = utc_time(us) or EPOCH
    store_inventory = inventory(store, us)
    listed = list_entries(store_inventory, at, entry_type)
    return Listing(
        listed,
        store_place(store.url),
        at,
        store_inventory.unread,
        total=len(listed),
        store=store,
    )
