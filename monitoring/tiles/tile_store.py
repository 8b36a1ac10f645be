"""Storage of tiles and edges in the store's Postgres, with one frozen reference for each object."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from attrs import frozen

from workbench.monitoring.tiles.bin_edges import Edges
from workbench.monitoring.tiles.tile_series import Tile
from workbench.online.time_units import EPOCH

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from workbench.online.plan import Plan
    from workbench.online.storage.store import Store

PUT_EDGES = "insert into workbench.edges values (%s, %s, %s::text::json) on conflict do nothing"
PUT_TILE = """insert into workbench.tiles values (%s, %s, %s, %s, %s, %s, %s::text::json)
on conflict (object, source, feature, edges, length, start) do update set tile = excluded.tile"""
PUT_FROZEN = """insert into workbench.frozen values (%s, %s, %s, %s::text::json, %s::text::json)
on conflict (object) do update set name = excluded.name, at = excluded.at,
edges = excluded.edges, skipped = excluded.skipped"""
GET_FROZEN = "select name, at, edges::text, skipped::text from workbench.frozen where object = %s"
GET_EDGES = (
    "select edges::text from workbench.edges where id in (select edges from workbench.tiles where"
    " object = %s and source = %s)"
)
GET_TILES = """select tile::text from workbench.tiles where object = %s and source = %s
and feature = any(%s) and edges = any(%s)
and start >= coalesce(%s::timestamptz, '-infinity')
and start < coalesce(%s::timestamptz, 'infinity') order by feature, start, length"""


@frozen
class Origin:
    """The origin of tiles: which object they summarise, and where its rows come from.

    `object` is the name and version of a join or table in one text; `source` is offline, served or
    online.
    """

    object: str
    source: str


@frozen(eq=False)
class Reference:
    """Edges and tiles by measured column, frozen on one table.

    `name` names the table, `at` is the time it was frozen, `skipped` says why a feature has no
    edges.
    """

    name: str
    edges: Mapping[str, Edges]
    tiles: Mapping[str, Tile]
    skipped: Mapping[str, str]
    at: datetime

    def columns(self, feature: str) -> tuple[str, ...]:
        """Returns the measured columns of a feature, its own first."""
        names = (
            n for n in self.edges if n == feature or n.startswith((f"{feature}.", f"{feature}["))
        )
        return tuple(sorted(names, key=len))


def save(store: Store, origin: Origin, tiles: Iterable[Tile], edges: Iterable[Edges]) -> None:
    """Stores tiles and their edges in one transaction, replacing tiles that exist."""
    with store.connection() as con, con.transaction():
        _put(con, origin, tiles, edges)


def freeze(store: Store, origin: Origin, reference: Reference) -> None:
    """Stores the reference of an object, replacing the one before."""
    with store.connection() as con, con.transaction():
        _put(con, origin, reference.tiles.values(), reference.edges.values())
        ids = {column: e.edges_id for column, e in reference.edges.items()}
        con.execute(
            PUT_FROZEN,
            (
                origin.object,
                reference.name,
                reference.at,
                json.dumps(ids),
                json.dumps(dict(reference.skipped)),
            ),
        )


def frozen_origin(plan: Plan) -> Origin:
    """Returns the origin of a plan's reference: a join's training set, else the served answers."""
    return Origin(f"{plan.name} {plan.hash}", "offline" if plan.kind == "join" else "served")


def thawed(store: Store, origin: Origin) -> Reference | None:
    """Returns the reference that `freeze` stored for an object; None where there is none."""
    if not _has_frozen_table(store):
        return None
    with store.connection() as con:
        row = con.execute(GET_FROZEN, (origin.object,)).fetchone()
    if row is None:
        return None
    name, at, ids, skipped = row
    wanted = json.loads(ids)
    edges = {e.feature: e for e in load_edges(store, origin) if wanted.get(e.feature) == e.edges_id}
    return Reference(
        name,
        {c: edges[c] for c in wanted},
        {t.feature: t for t in load(store, origin, edges.values())},
        json.loads(skipped),
        at,
    )


def _put(con: Any, origin: Origin, tiles: Iterable[Tile], edges: Iterable[Edges]) -> None:
    with con.cursor() as cursor:
        cursor.executemany(PUT_EDGES, [(e.edges_id, e.feature, e.dumps()) for e in edges])
        cursor.executemany(
            PUT_TILE,
            [
                (
                    origin.object,
                    origin.source,
                    t.feature,
                    t.edges_id,
                    t.start or EPOCH,
                    (t.length or EPOCH - EPOCH),
                    t.dumps(),
                )
                for t in tiles
            ],
        )


def load(
    store: Store,
    origin: Origin,
    edges: Iterable[Edges],
    *,
    start: datetime | None = None,
    end: datetime | None = None,
) -> list[Tile]:
    """Returns the tiles of these edges that start in [start, end), by feature and start.

    Tiles of all rows start at 1970.
    """
    wanted = list(edges)
    if not _has_frozen_table(store):
        return []
    with store.connection() as con:
        rows = con.execute(
            GET_TILES,
            (
                origin.object,
                origin.source,
                [e.feature for e in wanted],
                [e.edges_id for e in wanted],
                start,
                end,
            ),
        ).fetchall()
    return [Tile.loads(text) for (text,) in rows]


def load_edges(store: Store, origin: Origin) -> list[Edges]:
    """Returns the edges of the stored tiles of an origin, by feature."""
    if not _has_frozen_table(store):
        return []
    with store.connection() as con:
        rows = con.execute(GET_EDGES, (origin.object, origin.source)).fetchall()
    return sorted((Edges.loads(text) for (text,) in rows), key=lambda e: (e.feature, e.edges_id))


def _has_frozen_table(store: Store) -> bool:
    with store.connection() as con:
        row = con.execute("select to_regclass('workbench.frozen') is not null").fetchone()
    return bool(row and row[0])
