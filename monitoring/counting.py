"""The query of tiles: for each measured column, rows grouped by tile and bin, all columns in one statement."""

from __future__ import annotations

import math
from functools import partial, reduce
from typing import TYPE_CHECKING, Any

import ibis
from attrs import frozen

from monitoring.columns import X, double
from monitoring.edges import bin_of
from workbench.normal import finite, floor_to, micros
from workbench.rows import in_us

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    import ibis.expr.types as ir

    from backends import Engine
    from monitoring.columns import Part
    from monitoring.edges import Edges

NULL, NAN, POSINF, NEGINF = -2, -3, -4, -5
APART = (NULL, NAN, POSINF, NEGINF)
SQUARED = 1e150  # doubles from here on have no square
AT_ONCE = 25  # measured columns a statement; more make plans that take engines longer than the rows


@frozen
class Group:
    """Rows of one column, tile and bin; `label` is the text whose bin it is."""

    code: int
    label: str | None
    n: int
    mean: float | None
    m2: float | None
    low: float | None
    high: float | None
    zero: int
    below: int
    above: int
    distinct: int


def tile_of(table: ir.Table, time: str | None, length: timedelta | None) -> ir.IntegerValue:
    """The start of a row's tile, microseconds since 1970 UTC; 0 where there is one tile."""
    if time is None or length is None:
        return ibis.literal(0).cast("int64")
    return floor_to(micros(table[time]), in_us(length)).cast("int64")


def counted(engine: Engine, measured: Sequence[Part], edges: Mapping[str, Edges], time: str | None, length: timedelta | None) -> dict[tuple[str, int | None], list[Group]]:
    """The groups of each measured column and tile."""
    found: dict[tuple[str, int | None], list[Group]] = {}
    for first in range(0, len(measured), AT_ONCE):
        some = measured[first : first + AT_ONCE]
        grouped = [_grouped(part, edges[part.name], number, partial(tile_of, time=time, length=length)) for number, part in enumerate(some)]
        for number, start, code, label, n, mean, variance, low, high, *rest in engine.rows(reduce(lambda a, b: a.union(b), grouped)):
            if time is not None and start is None:
                continue
            usable = variance is not None and max(-low, high) < SQUARED
            group = Group(code, label, n, mean if usable else None, variance * n if usable else None, low, high, *(int(x or 0) for x in rest))
            found.setdefault((some[number].name, None if time is None else start), []).append(group)
    return found


def _grouped(part: Part, edges: Edges, number: int, tile: Any) -> ir.Table:
    """One column's groups, as every other's: number, tile, code, label, n, mean, variance, low, high, zero, below, above, distinct."""
    x = part.table[X]
    labels = {"label": _label(x, edges)} if edges.kind == "texts" and edges.values else {}
    rows = part.table.select(tile=tile(part.table), code=_code(x, edges), **labels, x=finite(x))
    groups = rows.group_by("tile", "code", *labels)
    none, zero = ibis.null("float64"), ibis.literal(0).cast("int64")
    if not part.numeric:
        distinct = rows.x.nunique().cast("int64") if edges.kind == "none" else zero
        told = groups.agg(n=rows.count(), mean=none, variance=none, low=none, high=none, zero=zero, below=zero, above=zero, distinct=distinct)
    else:
        small = (rows.x.abs() < double(SQUARED)).ifelse(rows.x, none)
        below, above = (zero if edge is None else side(double(edge)).ifelse(1, 0).sum().cast("int64") for edge, side in ((edges.low, rows.x.__lt__), (edges.high, rows.x.__gt__)))
        told = groups.agg(
            n=rows.count(),
            mean=small.mean(),
            variance=small.var(how="pop"),
            low=rows.x.min(),
            high=rows.x.max(),
            zero=(rows.x == double(0)).ifelse(1, 0).sum().cast("int64"),
            below=below,
            above=above,
            distinct=zero,
        )
    columns = ("tile", "code", "label", "n", "mean", "variance", "low", "high", "zero", "below", "above", "distinct")
    given = told if labels else told.mutate(label=ibis.null("string"))
    return given.select(number=ibis.literal(number).cast("int64"), **{c: given[c] for c in columns})


def _code(x: ir.Value, edges: Edges) -> ir.IntegerValue:
    """The bin's number, or which of `APART`; NaN is larger than infinity on these engines, as where SQL sorts."""
    if x.type().is_string():
        return x.isnull().ifelse(NULL, bin_of(x, edges)).cast("int64")
    most = double(math.inf)
    # nulls last: Ibis's isnull() on Spark is true of NaN
    return ibis.cases((x > most, NAN), (x == most, POSINF), (x == -most, NEGINF), (x.isnull(), NULL), else_=bin_of(x, edges)).cast("int64")


def _label(x: ir.Value, edges: Edges) -> ir.StringValue:
    return x.isin(edges.values).ifelse(x, ibis.null("string"))
