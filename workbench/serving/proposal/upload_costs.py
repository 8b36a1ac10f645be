"""The cost of an upload: estimated before it, measured after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen
from sqlalchemy import select

from workbench.online.storage.store_schema import uploads
from workbench.online.storage.table_names import DATA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.online.plan import GroupByPlan
    from workbench.online.storage.store import Store
    from workbench.serving.publication_values import PlannedPublication, PublishedVersion

OPENED = 82_000  # bytes of a group-by's empty tables, which begin with whole pages
BRIEF = 0.5  # seconds under which an upload is its fixed costs
MAX_RECENT_UPLOADS = 20  # uploads from which a rate is told
TABLE_BYTES = (
    "select coalesce(sum(pg_total_relation_size(c.oid)), 0) from pg_class c join pg_namespace n on"
    " n.oid = c.relnamespace where n.nspname = %s and c.relkind = 'r' and"
    " starts_with(c.relname, %s)"
)


@frozen
class Cost:
    """The rows that are read, bytes in the store with indexes, and seconds; `None` if unknown."""

    rows: int
    bytes: int
    seconds: float | None


def estimated(proposal: PlannedPublication) -> Cost:
    """Estimate an upload's bytes and time.

    Each row of the profiles takes 110 bytes (`data_profile.BYTES`), less what is stored, and the
    time that this store's last uploads took for a row. Keys with very many events take more, since
    partial aggregates are kept of them.
    """
    coming = {h.plan.name: h.plan for h in proposal.histories}
    profiles = [p for p in proposal.profiles if p.group_by in coming]
    rows = sum(p.rows for p in profiles)
    rate = _rate(proposal.store)
    total_bytes = sum(p.bytes + OPENED for p in profiles)
    return Cost(
        rows,
        max(0, total_bytes - stored_bytes(proposal.store, tuple(coming.values()))),
        None if rate is None or not rows else rows / rate,
    )


def actual(publication: PublishedVersion, store: Store, before: int) -> Cost:
    """Return what was read and is stored now, beyond the bytes that were stored before."""
    return Cost(
        sum(u.staged for u in publication.uploads),
        stored_bytes(store, publication.plan.group_bys) - before,
        publication.seconds,
    )


def stored_bytes(store: Store, plans: Sequence[GroupByPlan]) -> int:
    """Return the bytes of group-bys' tables with their indexes; 0 where there are none yet."""
    with store.connection() as con:
        return sum(
            int(row[0])
            for g in plans
            if (row := con.execute(TABLE_BYTES, (DATA, g.table)).fetchone()) is not None
        )


def _rate(store: Store) -> float | None:
    """Return the rows a second of the last uploads; `None` where nothing was ever uploaded."""
    if not store.has_catalog():
        return None
    with store.catalog() as con:
        recent_uploads = con.execute(
            select(uploads.c.staged, uploads.c.began, uploads.c.ended)
            .order_by(uploads.c.id.desc())
            .limit(MAX_RECENT_UPLOADS)
        ).all()
    seconds = sum((r.ended - r.began).total_seconds() for r in recent_uploads)
    rows = sum(r.staged for r in recent_uploads)
    return rows / seconds if rows and seconds > 0 else None


def off(estimate: float | None, found: float, least: float = 0) -> str:
    """Return by how much the actual is off, in percent of the estimate.

    Not said where both are less than `least`.

    >>> off(100, 110), off(100, 80), off(None, 5)
    ('+10 %', '−20 %', '–')
    """
    if not estimate or max(estimate, found) < least:
        return "–"
    by = round((found - estimate) / estimate * 100)
    return f"{'+' if by > 0 else '−' if by < 0 else ''}{abs(by):,} %"
