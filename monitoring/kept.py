"""Tiles and edges in the online store's Postgres, so that an hour is summarised once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from monitoring.edges import Edges
from monitoring.tiles import EPOCH, Tile

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from online.store import Store

MADE = (
    "create table if not exists workbench.edges (id text primary key, feature text not null, edges json not null)",
    """create table if not exists workbench.tiles (object text not null, source text not null, feature text not null, edges text not null,
    start timestamptz not null, length interval not null, tile json not null, primary key (object, source, feature, edges, length, start))""",
)
LOCK = "select pg_advisory_xact_lock(hashtext('workbench.tiles'))"  # two sessions that create at once would collide in the catalog
PUT_EDGES = "insert into workbench.edges values (%s, %s, %s::text::json) on conflict do nothing"
PUT_TILE = """insert into workbench.tiles values (%s, %s, %s, %s, %s, %s, %s::text::json)
on conflict (object, source, feature, edges, length, start) do update set tile = excluded.tile"""
GET_EDGES = "select edges::text from workbench.edges where id in (select edges from workbench.tiles where object = %s and source = %s)"
GET_TILES = """select tile::text from workbench.tiles where object = %s and source = %s and feature = any(%s) and edges = any(%s)
and start >= coalesce(%s::timestamptz, '-infinity') and start < coalesce(%s::timestamptz, 'infinity') order by feature, start, length"""


@frozen
class Origin:
    """What tiles are of: a join or table with its version, as one name, and where its rows come from: offline, served, online."""

    object: str
    source: str


def save(store: Store, origin: Origin, tiles: Iterable[Tile], edges: Iterable[Edges]) -> None:
    """Keep tiles and their edges; a tile that is there already is replaced. All of it, or none."""
    with store.connection() as con, con.transaction():
        con.execute(LOCK)
        for statement in MADE:
            con.execute(statement)
        with con.cursor() as cursor:
            cursor.executemany(PUT_EDGES, [(e.edges_id, e.feature, e.dumps()) for e in edges])
            cursor.executemany(PUT_TILE, [(origin.object, origin.source, t.feature, t.edges_id, t.start or EPOCH, (t.length or EPOCH - EPOCH), t.dumps()) for t in tiles])


def load(store: Store, origin: Origin, edges: Iterable[Edges], *, start: datetime | None = None, end: datetime | None = None) -> list[Tile]:
    """The tiles of these edges that start in [start, end), by feature and start; those of all time start at 1970."""
    wanted = list(edges)
    if not _made(store):
        return []
    with store.connection() as con:
        rows = con.execute(GET_TILES, (origin.object, origin.source, [e.feature for e in wanted], [e.edges_id for e in wanted], start, end)).fetchall()
    return [Tile.loads(text) for (text,) in rows]


def load_edges(store: Store, origin: Origin) -> list[Edges]:
    """The edges that tiles of this origin are kept for, by feature."""
    if not _made(store):
        return []
    with store.connection() as con:
        rows = con.execute(GET_EDGES, (origin.object, origin.source)).fetchall()
    return sorted((Edges.loads(text) for (text,) in rows), key=lambda e: (e.feature, e.edges_id))


def _made(store: Store) -> bool:
    with store.connection() as con:
        row = con.execute("select to_regclass('workbench.tiles') is not null").fetchone()
    return bool(row and row[0])
