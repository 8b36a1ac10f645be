"""How many different entity keys a stretch has, in a form that merges: the smallest hashes, of
which a density says how many there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis

from workbench.monitoring.tiles.tile_queries import start_of, tile_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    import ibis.expr.types as ir

    from workbench.backends import Engine

KEPT = 128  # hashes a tile; fewer keys are counted exactly, more to 1 / sqrt(KEPT - 2)
RANGE, MIDDLE = 2**64, 2**63
BETWEEN = "\x1f"  # ASCII's separator of units, between the texts of composite keys


def per_tile(
    engine: Engine, table: ir.Table, time: str | None, keys: Sequence[str], length: timedelta | None
) -> Mapping[int | None, tuple[int, tuple[int, ...] | None]]:
    """By start: how many different keys, and their smallest hashes as whole numbers from 0 to
    2**64; nothing where no keys are told.

    Hashes are an engine's own: tiles of one column from several engines merge, but count the keys
    of each.
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
    found: dict[int | None, tuple[int, tuple[int, ...] | None]] = {}
    for tile, value, n in sorted(
        engine.rows(ranked.filter(ranked.rank < KEPT).select("tile", "hash", "keys"))
    ):
        start = None if time is None else start_of(tile)
        found[start] = (n, (*((found[start][1] or ()) if start in found else ()), value + MIDDLE))
    return found


def reduce_text(columns: Sequence[ir.Column]) -> ir.StringValue:
    """Composite keys as one text; a null is a text that no value has."""
    texts = [c.cast("string").fill_null(BETWEEN * 2) for c in columns]
    joined = texts[0]
    for text in texts[1:]:
        joined = joined + ibis.literal(BETWEEN) + text
    return joined


def union(a: Sequence[int] | None, b: Sequence[int] | None) -> tuple[int, ...] | None:
    """The smallest hashes of both; none where a side has no keys to tell."""
    return None if a is None or b is None else tuple(sorted({*a, *b})[:KEPT])


def estimate(keys: Sequence[int], *, least: int, most: int) -> int:
    """How many different keys have these as their smallest hashes, within what is known of it."""
    if len(keys) < KEPT:
        return len(keys)
    return min(max(round((KEPT - 1) * RANGE / (keys[KEPT - 1] + 1)), least), most)
