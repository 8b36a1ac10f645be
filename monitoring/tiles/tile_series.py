"""Tiles: mergeable summaries of a feature's nulls, bins and moments in a span of time."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from functools import reduce
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from attrs import asdict, evolve, field, fields, frozen

from workbench.backends import engine_of
from workbench.errors import DefinitionError
from workbench.monitoring.tiles import tile_queries, unique_keys
from workbench.monitoring.tiles.measured_columns import parts
from workbench.online.time_units import EPOCH, HOUR, in_us, us_since_epoch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import ibis.expr.types as ir

    from workbench.monitoring.tiles.bin_edges import Edges


def _ints(values: Iterable[Any]) -> tuple[int, ...]:
    return tuple(int(v) for v in values)


def _hashes(values: Iterable[Any] | None) -> tuple[int, ...] | None:
    return None if values is None else _ints(values)


@frozen
class Tile:
    """The summary of one measured column over [start, start + length), UTC, or over all rows.

    It covers all rows where `start` is None. Null, NaN and the two infinities are counted apart;
    `n_finite` counts the others, also of texts, and `counts` has one number for each bin of the
    edges whose id is `edges_id`. `mean` and `m2`, the sum of squared distances from it, are null
    over no numbers and where a value is 1e150 or more, whose square is no double. `n_eff` is the
    number of different entity keys, or of all rows where no keys are given; `keys` are the smallest
    hashes of them, by which it is merged. `n_distinct` exists for texts without bins, and only in a
    tile that was not merged.
    """

    feature: str
    edges_id: str
    start: datetime | None = None
    length: timedelta | None = None
    n_rows: int = 0
    n_null: int = 0
    n_nan: int = 0
    n_posinf: int = 0
    n_neginf: int = 0
    n_zero: int = 0
    n_finite: int = 0
    n_eff: int = 0
    mean: float | None = None
    m2: float | None = None
    low: float | None = None
    high: float | None = None
    n_below: int = 0
    n_above: int = 0
    n_distinct: int | None = None
    counts: tuple[int, ...] = field(default=(), converter=_ints)
    keys: tuple[int, ...] | None = field(default=None, converter=_hashes)

    @property
    def std(self) -> float | None:
        """The population's standard deviation; None without `m2`."""
        return (
            None
            if self.m2 is None or not self.n_finite
            else float((self.m2 / self.n_finite) ** 0.5)
        )

    def dumps(self) -> str:
        """Returns the tile as JSON, with times in microseconds."""
        document = asdict(self) | {
            "start": (None if self.start is None else us_since_epoch(self.start)),
            "length": None if self.length is None else in_us(self.length),
        }
        return json.dumps(document, sort_keys=True)

    @classmethod
    def loads(cls, text: str) -> Tile:
        """Reads a tile from the JSON of `dumps`."""
        document = json.loads(text)
        start, length = document.pop("start"), document.pop("length")
        return cls(
            **document,
            start=None if start is None else EPOCH + timedelta(microseconds=start),
            length=None if length is None else timedelta(microseconds=length),
        )


ADDED = (
    "n_rows",
    "n_null",
    "n_nan",
    "n_posinf",
    "n_neginf",
    "n_zero",
    "n_finite",
    "n_below",
    "n_above",
)
ARROW = {
    "str": pa.string(),
    "int": pa.int64(),
    "float | None": pa.float64(),
    "int | None": pa.int64(),
    "datetime | None": pa.timestamp("us", "UTC"),
    "timedelta | None": pa.duration("us"),
}


def to_arrow(tiles: Iterable[Tile]) -> pa.Table:
    """Returns tiles as an Arrow table, one row each."""
    schema = pa.schema(
        [(f.name, ARROW.get(str(f.type), pa.list_(pa.int64()))) for f in fields(Tile)]
    )
    return pa.Table.from_pylist([asdict(tile) for tile in tiles], schema=schema)


def merged(tiles: Iterable[Tile]) -> Tile:
    """Merges tiles into the one summary of all their rows.

    Counts, extremes and bins are exact, `mean` and `m2` to rounding (Chan). `n_eff` is exact while
    there are fewer than 128 keys and estimated from their hashes beyond, to 9 % (one standard
    error); without keys it is the number of rows.

    Raises DefinitionError over no tiles, and over tiles of different columns or edges.
    """
    several = sorted(tiles, key=lambda t: t.start or EPOCH)
    kinds = {(t.feature, t.edges_id) for t in several}
    if len(kinds) != 1:
        message = (
            f"tiles of {len(kinds)} measured columns and edges cannot be one tile: merge those of"
            " one feature that have equal edges_id"
        )
        raise DefinitionError(message)
    total = reduce(_two, several[1:], several[0])
    if total.keys is None or len(several) == 1:
        return total
    counts = [t.n_eff for t in several]
    return evolve(
        total, n_eff=unique_keys.estimate(total.keys, least=max(counts), most=sum(counts))
    )


def _two(a: Tile, b: Tile) -> Tile:
    added = {name: getattr(a, name) + getattr(b, name) for name in ADDED}
    mean, m2 = tile_queries.moments((a.n_finite, a.mean, a.m2), (b.n_finite, b.mean, b.m2))
    ends = [t.start + t.length for t in (a, b) if t.start is not None and t.length is not None]
    return evolve(
        a,
        **added,
        length=max(ends) - a.start if a.start is not None and len(ends) > 1 else None,
        start=a.start if len(ends) > 1 else None,
        mean=mean,
        m2=m2,
        low=_least(min, a.low, b.low),
        high=_least(max, a.high, b.high),
        n_distinct=None,
        counts=tuple(x + y for x, y in zip(a.counts, b.counts, strict=True)),
        keys=unique_keys.union(a.keys, b.keys),
        n_eff=a.n_eff + b.n_eff,
    )


def _least(of: Any, a: float | None, b: float | None) -> float | None:
    numbers = [x for x in (a, b) if x is not None]
    return of(numbers) if numbers else None


def summarise(
    table: ir.Table,
    edges: Mapping[str, Edges],
    *,
    time: str | None = None,
    keys: Sequence[str] = (),
    features: Sequence[str] | None = None,
    length: timedelta = HOUR,
) -> list[Tile]:
    """Returns the tiles of a table's features, by column and then by start. Runs.

    A span without rows has no tile. A tile has the rows whose `time` is in [start, start + length),
    where start is a multiple of `length` since 1970 UTC. Without `time` there is one tile of all
    rows, even if there are none. A row whose time is null is in no tile. `features` are those of
    `edges` unless some are named.

    Raises DefinitionError where a feature has no edges or is not a column of the table.
    """
    engine = engine_of(table.get_backend())
    wanted = (
        list(features)
        if features is not None
        else list(dict.fromkeys(name for name in (_column(e, table) for e in edges) if name))
    )
    measured = [p for p in parts(table, wanted) if p.name in edges]
    if missing := [f for f in wanted if not any(_column(p.name, table) == f for p in measured)]:
        message = (
            f"features {', '.join(missing)} have no edges: edges_of(reference, features=[...])"
            " makes them"
        )
        raise DefinitionError(message)
    span = length if time is not None else None
    effective = unique_keys.per_tile(engine, table, time, keys, span)
    counted = tile_queries.counted(engine, measured, edges, time, span)
    ordered = sorted(counted.items(), key=lambda item: (item[0][0], item[0][1] or 0))
    tiles = [_tile(edges[name], start, span, rows, effective) for (name, start), rows in ordered]
    if time is None:
        tiles += [
            Tile(
                p.name,
                edges[p.name].edges_id,
                counts=[0] * edges[p.name].bins,
                keys=() if keys else None,
            )
            for p in measured
            if (p.name, None) not in counted
        ]
    return tiles


def _column(measured: str, table: ir.Table) -> str | None:
    """Returns the column that a measured column's name refers to; None where the table lacks it."""
    matches = [c for c in table.columns if measured == c or measured.startswith((f"{c}.", f"{c}["))]
    return max(matches, key=len) if matches else None


def _tile(
    edges: Edges,
    start: int | None,
    length: timedelta | None,
    counted: tile_queries.Counted,
    effective: Mapping[int | None, tuple[int, tuple[int, ...] | None]],
) -> Tile:
    """Builds a tile from the counts of a column."""
    counts = [0] * edges.bins
    for place, n in counted.bins.items() if edges.bins else ():
        counts[place] += n
    n_eff, keys = effective.get(start, (0, ())) if effective else (counted.n_rows, None)
    return Tile(
        feature=edges.feature,
        edges_id=edges.edges_id,
        start=None if start is None else EPOCH + timedelta(microseconds=start),
        length=length,
        n_rows=counted.n_rows,
        n_null=counted.apart[tile_queries.NULL],
        n_nan=counted.apart[tile_queries.NAN],
        n_posinf=counted.apart[tile_queries.POSINF],
        n_neginf=counted.apart[tile_queries.NEGINF],
        n_zero=counted.zero,
        n_finite=counted.n_finite,
        n_eff=n_eff,
        mean=counted.mean,
        m2=counted.m2,
        low=counted.low,
        high=counted.high,
        n_below=counted.below,
        n_above=counted.above,
        n_distinct=counted.distinct if edges.kind == "none" else None,
        counts=counts,
        keys=keys,
    )
