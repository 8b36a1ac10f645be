"""Mergeable estimates of the number of different entity keys (K minimum values of their hashes)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis

from workbench.monitoring.tiles.tile_queries import start_of, tile_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    import ibis.expr.types as ir

    from workbench.backends import Engine

MAX_HASHES_KEPT = 128  # of a tile; fewer keys are counted exactly, more to 1 / sqrt(this - 2)
RANGE, MIDDLE = 2**64, 2**63
BETWEEN = "\x1f"  # ASCII's separator of units, between the texts of composite keys


def per_tile(
    engine: Engine, table: ir.Table, time: str | None, keys: Sequence[str], length: timedelta | None
) -> Mapping[int | None, tuple[int, tuple[int, ...] | None]]:
    """Returns the number of different keys and their smallest hashes, by start of tile.

    Hashes are whole numbers from 0 to 2**64. Without keys the result is empty. Hashes are an
    engine's own: tiles of one column from several engines merge, but count the keys of each.
    """
    if not keys:
        return {}
    text = reduce_text([table[k] for k in keys])
    hashed = table.select(
        tile=tile_of(engine, table, time, length), hash=engine.hashed(text).cast("int64")
    )
    if time is not None:
        hashed = hashed.filter(hashed.tile.notnull())
    different = hashed.distinct()
    by = ibis.window(group_by="tile", order_by="hash")
    ranked = different.mutate(
        rank=ibis.row_number().over(by),
        keys=different.hash.count().over(ibis.window(group_by="tile")),
    )
    keys_by_tile: dict[int | None, tuple[int, tuple[int, ...] | None]] = {}
    for tile, value, n in sorted(
        engine.rows(ranked.filter(ranked.rank < MAX_HASHES_KEPT).select("tile", "hash", "keys"))
    ):
        start = None if time is None else start_of(tile)
        keys_by_tile[start] = (
            n,
            (*((keys_by_tile[start][1] or ()) if start in keys_by_tile else ()), value + MIDDLE),
        )
    return keys_by_tile


def reduce_text(columns: Sequence[ir.Column]) -> ir.StringValue:
    """Joins composite keys into one text; a null becomes a text that no value has."""
    texts = [c.cast("string").fill_null(BETWEEN * 2) for c in columns]
    joined = texts[0]
    for text in texts[1:]:
        joined = joined + ibis.literal(BETWEEN) + text
    return joined


def union(a: Sequence[int] | None, b: Sequence[int] | None) -> tuple[int, ...] | None:
    """Returns the smallest hashes of both sides; None where a side has no keys."""
    return None if a is None or b is None else tuple(sorted({*a, *b})[:MAX_HASHES_KEPT])


def estimate(keys: Sequence[int], *, least: int, most: int) -> int:
    """Estimates the number of different keys from their smallest hashes, within [least, most].

    It is exact for fewer than 128.
    """
    if len(keys) < MAX_HASHES_KEPT:
        return len(keys)
    return min(
        max(round((MAX_HASHES_KEPT - 1) * RANGE / (keys[MAX_HASHES_KEPT - 1] + 1)), least), most
    )
