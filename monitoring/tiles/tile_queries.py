"""Queries of tiles: the counts of many measured columns by tile, in one statement."""

from __future__ import annotations

import math
from bisect import bisect_right
from datetime import datetime, timedelta
from functools import partial, reduce
from typing import TYPE_CHECKING, Any

import ibis
from attrs import frozen

from workbench.backends import EngineError
from workbench.monitoring.tiles.bin_edges import bin_of, reached
from workbench.monitoring.tiles.measured_columns import X, double
from workbench.online.time_units import in_us, us_since_epoch
from workbench.portable.rewrites import LARGEST
from workbench.portable.time_rewrites import floor_to, micros

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import ibis.expr.types as ir

    from workbench.backends import Engine
    from workbench.monitoring.tiles.bin_edges import Edges
    from workbench.monitoring.tiles.measured_columns import MeasuredColumn

NULL, NAN, POSINF, NEGINF = -2, -3, -4, -5
NOT_IN_BINS = (NULL, NAN, POSINF, NEGINF)
SQUARED = 1e150  # doubles from here on have no square
# Columns of a statement of groups; planning more takes engines longer than reading the rows.
AT_ONCE = 25
MAX_COLUMNS_OF_STATEMENT = 100  # columns of one wide statement
FIGURES = ("n", "present", "low", "high", "mean", "variance")


@frozen
class Counted:
    """The counts of one column in one tile: rows by bin, and nulls, NaN and infinities apart.

    Moments and extremes are those of the finite values. `mean` and `m2` are None over no numbers,
    and where a value's square is no double.
    """

    bins: Mapping[int, int]
    apart: Mapping[int, int]
    n_finite: int = 0
    mean: float | None = None
    m2: float | None = None
    low: float | None = None
    high: float | None = None
    zero: int = 0
    below: int = 0
    above: int = 0
    distinct: int = 0

    @property
    def n_rows(self) -> int:
        """The number of all rows."""
        return self.n_finite + sum(self.apart.values())


def moments(
    a: tuple[int, float | None, float | None], b: tuple[int, float | None, float | None]
) -> tuple[float | None, float | None]:
    """Merges the mean and m2 of two sets of numbers (Chan, Golub and LeVeque).

    Each set is (n, mean, m2).
    """
    (n, mean, m2), (m, other_mean, other_m2) = a, b
    if not n or not m:
        return (mean, m2) if n else (other_mean, other_m2)
    if mean is None or other_mean is None or m2 is None or other_m2 is None:
        return None, None
    apart = other_mean - mean
    return mean + apart * (m / (n + m)), m2 + other_m2 + apart * apart * (n * (m / (n + m)))


def tile_of(
    engine: Engine, table: ir.Table, time: str | None, length: timedelta | None
) -> ir.Value:
    """Returns the tile of a row in a form that `start_of` reads; 0 where there is one tile."""
    if time is None or length is None:
        return ibis.literal(0).cast("int64")
    quick = engine.stretch(table[time], in_us(length))
    return floor_to(micros(table[time]), in_us(length)).cast("int64") if quick is None else quick


def start_of(tile: Any) -> int | None:
    """Returns the start of a tile in microseconds since 1970 UTC, from an engine's value for it."""
    if isinstance(tile, datetime):
        return us_since_epoch(tile)
    return None if tile is None else int(tile)


def counted(
    engine: Engine,
    measured: Sequence[MeasuredColumn],
    edges: Mapping[str, Edges],
    time: str | None,
    length: timedelta | None,
) -> dict[tuple[str, int | None], Counted]:
    """Counts each measured column in each tile.

    One wide statement counts them where the engine tallies by cuts, else groups do.
    """
    tile = partial(tile_of, engine, time=time, length=length)
    tallies = engine.tallied(double(0), [0.0]) is not None
    counts, uncounted = wide(engine, measured, edges, tile) if tallies else ({}, list(measured))
    for first in range(0, len(uncounted), AT_ONCE):
        some = uncounted[first : first + AT_ONCE]
        try:
            # a column that the wide statement left over may have values without a square
            counts |= _grouped(engine, some, edges, tile, safe=tallies)
        except EngineError:  # moments of what has no square
            counts |= _grouped(engine, some, edges, tile, safe=True)
    return {
        (name, None if time is None else start): tile_counts
        for (name, start), tile_counts in counts.items()
    }


# --- what a column's values are counted by


def bounds(edges: Edges) -> list[float]:
    """Returns the sorted bounds between which a column of numbers is counted.

    They are the bins' cuts, for numbers with a bin each also the next double, the reference's
    extremes, zero, and the numbers from which a square is no double.
    """
    ends = [
        *edges.cuts,
        *(math.nextafter(c, math.inf) for c in edges.cuts if edges.kind == "numbers"),
    ]
    ends += (
        []
        if edges.low is None or edges.high is None
        else [edges.low, math.nextafter(edges.high, math.inf)]
    )
    return sorted(
        {
            e + 0.0
            for e in (*ends, 0.0, math.nextafter(0.0, 1.0), -LARGEST, -SQUARED, SQUARED, math.inf)
        }
    )


@frozen
class Piece:
    """Values of one tile from `begin` up to the next bound.

    There are `n` of them; `mean` and `m2` are None where they are not known.
    """

    begin: float
    n: int
    mean: float | None = None
    m2: float | None = None


def _numbers(
    edges: Edges,
    nulls: int,
    nans: int,
    pieces: Sequence[Piece],
    low: float | None,
    high: float | None,
    total_moments: tuple[float | None, float | None] | None = None,
) -> Counted:
    """Returns the counts of a column of numbers in a tile from its pieces.

    `whole` has the moments where the pieces have none.
    """
    bins: dict[int, int] = {}
    apart = dict.fromkeys(NOT_IN_BINS, 0) | {NULL: nulls, NAN: nans}
    n, mean, m2, zero, below, above, large = 0, None, None, 0, 0, 0, False
    places, last = {c: i for i, c in enumerate(edges.cuts)}, edges.bins - 1
    for piece in pieces:
        begin = piece.begin
        if math.isinf(begin):
            apart[POSINF if begin > 0 else NEGINF] += piece.n
            continue
        place = (
            bisect_right(edges.cuts, begin) if edges.kind == "ranges" else places.get(begin, last)
        )
        bins[place] = bins.get(place, 0) + piece.n
        mean, m2 = moments((n, mean, m2), (piece.n, piece.mean, piece.m2))
        n += piece.n
        large |= begin >= SQUARED or begin < -SQUARED
        zero += piece.n if begin == 0 else 0
        below += piece.n if edges.low is not None and begin < edges.low else 0
        above += piece.n if edges.high is not None and begin > edges.high else 0
    mean_and_m2 = (None, None) if large else total_moments or (mean, m2)
    return Counted(bins, apart, n, *mean_and_m2, low, high, zero, below, above)


# --- by groups of tile and piece


def _grouped(
    engine: Engine,
    parts: Sequence[MeasuredColumn],
    edges: Mapping[str, Edges],
    tile: Any,
    *,
    safe: bool,
) -> dict[tuple[str, int], Counted]:
    """Counts columns by a union of one grouped statement for each.

    `safe` leaves values without a square out of the moments, on which some engines fail.
    """
    groups: dict[tuple[int, int], list[dict[str, Any]]] = {}
    statement = reduce(
        lambda a, b: a.union(b),
        [_groups(part, edges[part.name], i, tile, safe=safe) for i, part in enumerate(parts)],
    )
    for row in engine.fetch(statement).to_pylist():
        start = start_of(row["tile"])
        if start is not None:
            groups.setdefault((row["number"], start), []).append(row)
    return {
        (parts[i].name, start): (_of_numbers if parts[i].numeric else _of_texts)(
            edges[parts[i].name], rows
        )
        for (i, start), rows in groups.items()
    }


def _groups(part: MeasuredColumn, edges: Edges, number: int, tile: Any, *, safe: bool) -> ir.Table:
    """Returns the groups of one column, in a schema that all columns share.

    Its columns are number, tile, code, label, n, present, low, high, mean, variance and distinct.
    """
    x = part.table[X]
    labels = (
        {"label": x.isin(edges.values).ifelse(x, ibis.null("string"))}
        if edges.kind == "texts" and edges.values
        else {}
    )
    code = (
        (x > double(math.inf)).ifelse(NAN, reached(x, bounds(edges), 0))
        if part.numeric
        else x.isnull().ifelse(NULL, bin_of(x, edges))
    )
    rows = part.table.select(tile=tile(part.table), code=code.cast("int64"), **labels, x=x)
    groups, none = rows.group_by("tile", "code", *labels), ibis.null("float64")
    aggregates: dict[str, Any] = {
        "n": rows.count(),
        "present": rows.x.count(),
        **dict.fromkeys(FIGURES[2:], none),
        "distinct": ibis.literal(0).cast("int64"),
    }
    if part.numeric:
        small = (rows.x.abs() < double(SQUARED)).ifelse(rows.x, none) if safe else rows.x
        aggregates |= {
            "low": rows.x.min(),
            "high": rows.x.max(),
            "mean": small.mean(),
            "variance": small.var(how="pop"),
        }
    elif edges.kind == "none":
        aggregates["distinct"] = rows.x.nunique().cast("int64")
    counted_groups = groups.agg(**aggregates)
    labelled = counted_groups if labels else counted_groups.mutate(label=ibis.null("string"))
    return labelled.select(
        number=ibis.literal(number).cast("int64"),
        **{c: labelled[c] for c in ("tile", "code", "label", *FIGURES, "distinct")},
    )


def _of_numbers(edges: Edges, rows: Sequence[dict[str, Any]]) -> Counted:
    """Returns the counts of a tile of numbers from its groups.

    Nulls are in the group below all doubles, in which only -infinity is present.
    """
    ends, pieces, nulls, nans = [-math.inf, *bounds(edges)], [], 0, 0
    lows, highs = [], []
    for row in rows:
        if row["code"] == NAN:
            nans += row["n"]
            continue
        begin, n = ends[row["code"]], row["present"]
        nulls += row["n"] - n
        if not n:
            continue
        usable = row["variance"] is not None and -SQUARED <= begin < SQUARED
        pieces.append(
            Piece(
                begin, n, row["mean"] if usable else None, row["variance"] * n if usable else None
            )
        )
        if not math.isinf(begin):
            lows.append(row["low"] + 0.0)
            highs.append(row["high"] + 0.0)
    return _numbers(edges, nulls, nans, pieces, min(lows, default=None), max(highs, default=None))


def _of_texts(edges: Edges, rows: Sequence[dict[str, Any]]) -> Counted:
    """Returns the counts of a tile of texts from its groups: one for each bin, and one of nulls."""
    places = {value: i for i, value in enumerate(edges.values)}
    present = [r for r in rows if r["code"] != NULL]
    bins: dict[int, int] = {}
    for r in present:
        place = r["code"] if r["label"] is None else places[r["label"]]
        bins[place] = bins.get(place, 0) + r["n"]
    nulls = sum(r["n"] for r in rows if r["code"] == NULL)
    return Counted(
        bins,
        dict.fromkeys(NOT_IN_BINS, 0) | {NULL: nulls},
        sum(r["n"] for r in present),
        distinct=sum(int(r["distinct"] or 0) for r in present),
    )


# --- by one wide statement


def wide(
    engine: Engine, measured: Sequence[MeasuredColumn], edges: Mapping[str, Edges], tile: Any
) -> tuple[dict[tuple[str, int], Counted], list[MeasuredColumn]]:
    """Counts columns of numbers by one aggregate for each tile, and returns the columns left over.

    Left over are texts, and columns with NaN, infinities or values without a square.
    """
    counts: dict[tuple[str, int], Counted] = {}
    uncounted: list[MeasuredColumn] = []
    bases: dict[Any, list[MeasuredColumn]] = {}
    for part in measured:
        if part.numeric:
            bases.setdefault(part.base.op(), []).append(part)
        else:
            uncounted.append(part)
    for parts in bases.values():
        for first in range(0, len(parts), MAX_COLUMNS_OF_STATEMENT):
            some = parts[first : first + MAX_COLUMNS_OF_STATEMENT]
            clean_counts = _clean(engine, some, edges, tile)
            counts |= clean_counts
            clean = {name for name, _ in clean_counts}
            uncounted += [p for p in some if p.name not in clean]
    return counts, uncounted


def _clean(
    engine: Engine, parts: Sequence[MeasuredColumn], edges: Mapping[str, Edges], tile: Any
) -> dict[tuple[str, int], Counted]:
    """Counts the columns whose every value is finite and has a square."""
    try:
        counts = _wide(engine, parts, edges, tile)
    except EngineError:  # moments of infinities and of what has no square
        odd = {
            name
            for (name, _), tile_counts in _wide(engine, parts, edges, tile, moments=False).items()
            if tile_counts is None
        }
        rest = [p for p in parts if p.name not in odd]
        counts = _wide(engine, rest, edges, tile) if odd and rest else {}
    odd = {name for (name, _), tile_counts in counts.items() if tile_counts is None}
    return {
        key: tile_counts
        for key, tile_counts in counts.items()
        if tile_counts is not None and key[0] not in odd
    }


def _wide(
    engine: Engine,
    parts: Sequence[MeasuredColumn],
    edges: Mapping[str, Edges],
    tile: Any,
    *,
    moments: bool = True,
) -> dict[tuple[str, int], Counted | None]:
    """Counts by column and tile; None where a value is not finite or has no square."""
    base = parts[0].base
    rows = base.select(tile=tile(base), **{f"x{i}": p.value for i, p in enumerate(parts)})
    aggregates = {"rows": rows.count()}
    for i, part in enumerate(parts):
        x = rows[f"x{i}"]
        column_aggregates = {
            "present": x.count(),
            "low": x.min(),
            "high": x.max(),
            "tally": engine.tallied(x, bounds(edges[part.name])),
        }
        column_aggregates |= {"mean": x.mean(), "variance": x.var(how="pop")} if moments else {}
        aggregates |= {f"{name}_{i}": value for name, value in column_aggregates.items()}
    answer = engine.fetch(rows.group_by("tile").agg(**aggregates)).to_pylist(
        maps_as_pydicts="lossy"
    )
    return {
        (p.name, start): _of_row(edges[p.name], row, i)
        for row in answer
        if (start := start_of(row["tile"])) is not None
        for i, p in enumerate(parts)
    }


def _of_row(edges: Edges, row: Mapping[str, Any], i: int) -> Counted | None:
    """Returns one column's counts from one row of the wide statement; None as `_wide` has it."""
    n = row[f"present_{i}"]
    pieces = [
        Piece(-negated, count) for negated, count in (row[f"tally_{i}"] or {}).items() if count
    ]
    # NaN lies below all, as its negative is above all
    if any(p.begin >= SQUARED or p.begin < -SQUARED for p in pieces):
        return None
    mean, variance = row.get(f"mean_{i}"), row.get(f"variance_{i}")
    low, high = (None if v is None else v + 0.0 for v in (row[f"low_{i}"], row[f"high_{i}"]))
    return _numbers(
        edges,
        row["rows"] - n,
        0,
        pieces,
        low,
        high,
        (mean, None if variance is None else variance * n),
    )
