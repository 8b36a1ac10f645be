"""Reductions as Ibis expressions over pairs of a left row and an event (semantics rules 9 to 12).

They run on any engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops

from workbench.definitions import reductions
from workbench.definitions.binding import WIDEST
from workbench.definitions.reductions import (
    BottomK,
    Each,
    FirstK,
    Histogram,
    KList,
    Kurtosis,
    LastK,
    Skew,
    TopK,
)
from workbench.definitions.sketch_reductions import Estimate, refuse
from workbench.planner.pairs_cells import AggregateCell, Context
from workbench.portable.rewrites import cast, finite

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import ibis.expr.types as ir

    from workbench.backends import Engine

# wide enough for any sum of 64-bit integers; the cast back raises where a sum does not fit
EXACT = "decimal(38, 0)"
THIRD, FOURTH = 3, 4


def _count(cell: AggregateCell, pairs: ir.Table, _: Context) -> ir.Scalar:
    return cell.kept(pairs).ifelse(1, None).count()


def _unique_count(cell: AggregateCell, pairs: ir.Table, _: Context) -> ir.Scalar:
    return cell.column(pairs).nunique(where=cell.kept(pairs))


def _decimal(value: ir.NumericColumn) -> ir.DecimalColumn:
    return value if value.type().is_decimal() else cast(value, EXACT)


def _exact_total(value: ir.NumericColumn, keep: ir.BooleanValue) -> ir.Scalar:
    return _decimal(value).sum(where=keep)


def _sum(cell: AggregateCell, pairs: ir.Table, context: Context) -> ir.Scalar:
    value, keep = cell.column(pairs), cell.kept(pairs)
    if value.type().is_floating():
        return context.engine.total(cast(value, "float64"), keep)
    total = _exact_total(value, keep)
    if value.type().is_decimal():
        return (
            total if value.type().scale is None else cast(total, dt.Decimal(38, value.type().scale))
        )
    return cast(total, cell.op.dtype)


def _mean(cell: AggregateCell, pairs: ir.Table, context: Context) -> ir.Scalar:
    value, keep = cell.column(pairs), cell.kept(pairs)
    total = (
        context.engine.total(cast(value, "float64"), keep)
        if value.type().is_floating()
        else cast(_exact_total(value, keep), "float64")
    )
    return total / cast(keep.ifelse(1, None).count(), "float64").nullif(0.0)


def _plain(method: str) -> Any:
    def lower(cell: AggregateCell, pairs: ir.Table, _: Context) -> ir.Scalar:
        return getattr(cell.column(pairs), method)(where=cell.kept(pairs))

    return lower


def _extremum(*, largest: bool) -> Any:
    def lower(cell: AggregateCell, pairs: ir.Table, context: Context) -> ir.Scalar:
        return context.engine.extremum(cell.column(pairs), cell.kept(pairs), largest=largest)

    return lower


def _bits(name: str) -> Any:
    def lower(cell: AggregateCell, pairs: ir.Table, context: Context) -> ir.Scalar:
        return context.engine.bits(name, cell.column(pairs), cell.kept(pairs))

    return lower


def _first(cell: AggregateCell, pairs: ir.Table, context: Context) -> ir.Scalar:
    return context.engine.chosen(
        cell.column(pairs),
        _key(context.ordered(pairs, cell.column(pairs))),
        cell.kept(pairs),
        last=False,
    )


def _last(cell: AggregateCell, pairs: ir.Table, context: Context) -> ir.Scalar:
    return context.engine.chosen(
        cell.column(pairs),
        _key(context.ordered(pairs, cell.column(pairs))),
        cell.kept(pairs),
        last=True,
    )


def _key(columns: Sequence[ir.Column]) -> ir.StructColumn:
    """Return several sort keys as one value, compared in order."""
    return ibis.struct({f"o{i}": c for i, c in enumerate(columns)})


def _arg_extreme(cell: AggregateCell, pairs: ir.Table, context: Context) -> ir.Scalar:
    """Return the first in rule 10's order among the rows whose key is extreme."""
    keep = cell.kept(pairs) & (cell.column(pairs, "key") == pairs[_extreme(cell)])
    return context.engine.chosen(
        cell.column(pairs), _key(context.ordered(pairs, cell.column(pairs))), keep, last=False
    )


def _listed(
    order: Callable[[Context, ir.Table, ir.Column], Sequence[ir.Column]], *, descending: bool
) -> Any:
    def lower(cell: AggregateCell, pairs: ir.Table, context: Context) -> ir.Scalar:
        value = cell.column(pairs)
        most = cell.op.k if isinstance(cell.op, KList) else None
        short = context.engine.listed(
            value, order(context, pairs, value), cell.kept(pairs), descending=descending, k=most
        )
        return (short.length() > 0).ifelse(short, ibis.null(short.type()))

    return lower


def _in_time(context: Context, pairs: ir.Table, value: ir.Column) -> Sequence[ir.Column]:
    return context.ordered(pairs, value)


def _by_value(_: Context, __: ir.Table, value: ir.Column) -> Sequence[ir.Column]:
    return [value]


def _concat(cell: AggregateCell, pairs: ir.Table, context: Context) -> ir.Scalar:
    return _listed(_in_time, descending=False)(cell, pairs, context).join(cell.op.sep.to_expr())


def _spread(method: str) -> Any:
    def lower(cell: AggregateCell, pairs: ir.Table, context: Context) -> ir.Scalar:
        return getattr(_shifted(cell, pairs, context), method)(
            where=cell.kept(pairs), how=cell.op.how
        )

    return lower


def _exact(value: ir.Column) -> bool:
    return value.type().is_integer() or value.type().is_decimal()


def _shifted(cell: AggregateCell, pairs: ir.Table, context: Context) -> ir.FloatingColumn:
    """Return a reduction's values as doubles of which a spread can be taken.

    Exact numbers are first reduced by the least of their group, as a double would lose their
    digits.
    """
    value = cell.column(pairs)
    return (
        _less(_decimal(value), pairs[_least(cell)], context.engine)
        if _exact(value)
        else cast(value, "float64")
    )


def _less(value: ir.DecimalColumn, least: ir.DecimalColumn, engine: Engine) -> ir.FloatingValue:
    """Return by how much a decimal is above the least, as a double.

    The difference is exact, unless the two have unlike signs and so no digits in common.
    """
    if value.type().scale is None:
        return cast(value - least, "float64")
    wide = dt.Decimal(WIDEST, value.type().scale)
    # the difference of two values of one sign has no more digits than they have; rows that do not
    # count may be below the least
    alike = ((value <= 0) & (least <= 0)) | ((value >= 0) & (least >= 0))
    near = [alike.ifelse(cast(v, wide), ibis.literal(0).cast(wide)) for v in (value, least)]
    return alike.ifelse(
        engine.gap(near[0], near[1]), cast(value, "float64") - cast(least, "float64")
    )


def _together(method: str, how: str | None) -> Any:
    def lower(cell: AggregateCell, pairs: ir.Table, _: Context) -> ir.Scalar:
        left_column, right_column = (
            cast(cell.column(pairs, side), "float64") for side in ("left", "right")
        )
        return getattr(left_column, method)(
            right_column, where=cell.kept(pairs), how=how or cell.op.how
        )

    return lower


def _quantile(cell: AggregateCell, pairs: ir.Table, _: Context) -> ir.Scalar:
    q = 0.5 if isinstance(cell.op, ops.Median) else float(cell.op.quantile.value)
    return cast(cell.column(pairs), "float64").quantile(q, where=cell.kept(pairs))


def _quantiles(cell: AggregateCell, pairs: ir.Table, _: Context) -> ir.Scalar:
    value, keep = cast(cell.column(pairs), "float64"), cell.kept(pairs)
    several = ibis.array([value.quantile(float(q), where=keep) for q in cell.op.quantile.value])
    return keep.any().fill_null(False).ifelse(several, ibis.null(several.type()))


def _moment(cell: AggregateCell, pairs: ir.Table, context: Context) -> ir.Scalar:
    """Centre on the mean of a first pass, since raw moments lose digits that rule 11 promises."""
    value, keep = _shifted(cell, pairs, context), cell.kept(pairs)
    n = cast(keep.ifelse(1, None).count(), "float64")
    away = value - pairs[_centre(cell)]

    def power(k: int) -> ir.FloatingScalar:
        product = away
        for _ in range(k - 1):
            product = product * away
        return context.engine.total(product, keep)

    enough = (n >= (THIRD if isinstance(cell.op, Skew) else FOURTH)) & (
        value.min(where=keep) < value.max(where=keep)
    )
    second = power(2).nullif(0.0)
    result = (
        n.sqrt() * power(THIRD) / second**1.5
        if isinstance(cell.op, Skew)
        else n * power(FOURTH) / (second * second) - 3.0
    )
    return enough.ifelse(result, ibis.null("float64"))


LOWER: dict[type[ops.Reduction], Any] = {
    ops.CountStar: _count,
    ops.Count: _count,
    ops.CountDistinct: _unique_count,
    ops.Sum: _sum,
    ops.Mean: _mean,
    ops.Min: _extremum(largest=False),
    ops.Max: _extremum(largest=True),
    ops.First: _first,
    ops.Last: _last,
    ops.ArgMin: _arg_extreme,
    ops.ArgMax: _arg_extreme,
    FirstK: _listed(_in_time, descending=False),
    LastK: _listed(_in_time, descending=True),
    TopK: _listed(_by_value, descending=True),
    BottomK: _listed(_by_value, descending=False),
    ops.ArrayCollect: _listed(_in_time, descending=False),
    ops.GroupConcat: _concat,
    ops.Variance: _spread("var"),
    ops.StandardDev: _spread("std"),
    ops.Covariance: _together("cov", None),
    # "pop" and "sample" give one number; Ibis compiles "sample" for Spark alone
    ops.Correlation: _together("corr", "pop"),
    Skew: _moment,
    Kurtosis: _moment,
    ops.Median: _quantile,
    ops.Quantile: _quantile,
    ops.MultiQuantile: _quantiles,
    ops.Any: _plain("any"),
    ops.All: _plain("all"),
    ops.BitAnd: _bits("bit_and"),
    ops.BitOr: _bits("bit_or"),
    ops.BitXor: _bits("bit_xor"),
}


# Reductions that count each value first, as an aggregate of an aggregate.
TALLIED = (ops.Mode, Histogram)


def _centre(cell: AggregateCell) -> str:
    return f"{cell.name}_mean"


def _extreme(cell: AggregateCell) -> str:
    return f"{cell.name}_key"


def _least(cell: AggregateCell) -> str:
    return f"{cell.name}_least"


SPREADS = (ops.Variance, ops.StandardDev, reductions.Moment)


def prepare(cells: Sequence[AggregateCell], pairs: ir.Table, context: Context) -> ir.Table:
    """Add to the pairs what some reductions need of their whole group first.

    That is the least value and the mean for spreads and moments, and the extreme key for `argmin`
    and `argmax`.
    """
    least = {}
    for cell in cells:
        if isinstance(cell.op, SPREADS) and _exact(value := cell.column(pairs)):
            least[_least(cell)] = (
                _decimal(value).min(where=cell.kept(pairs)).over(group_by=context.group)
            )
    pairs = pairs.mutate(**least) if least else pairs
    added = {}
    for cell in cells:
        if isinstance(cell.op, reductions.Moment):
            value = _shifted(cell, pairs, context)
            added[_centre(cell)] = value.mean(where=cell.kept(pairs)).over(group_by=context.group)
        elif isinstance(cell.op, ops.ArgMin | ops.ArgMax):
            largest = isinstance(cell.op, ops.ArgMax)
            key = context.engine.extremum(
                cell.column(pairs, "key"), cell.kept(pairs), largest=largest
            )
            added[_extreme(cell)] = key.over(group_by=context.group)
    return pairs.mutate(**added) if added else pairs


def lower(cell: AggregateCell, pairs: ir.Table, context: Context) -> ir.Scalar:
    """Return one cell as an aggregate of the prepared pairs, non-finite results null.

    DefinitionError for what SQL cannot say.
    """
    if isinstance(cell.op, Estimate):
        refuse(cell.op, "SQL", "compute it on DuckDB, Postgres or Spark, by their kernel")
    return finite(LOWER[type(cell.op)](cell, pairs, context))


def tallied(cell: AggregateCell) -> bool:
    """Return whether the reduction counts values first, as an aggregate of an aggregate."""
    return isinstance(cell.op, TALLIED)


def tally(cells: Sequence[AggregateCell], pairs: ir.Table, context: Context) -> ir.Table:
    """Compute modes and histograms of one input: the group's columns and one column for each cell.

    Ties go to the smaller value.
    """
    value = cells[0].inputs["arg"]
    valued_pairs = pairs.filter(pairs[value].notnull())
    counts = valued_pairs.group_by(*context.group, value).agg(
        **{c.name: _count(c, valued_pairs, context) for c in cells}
    )
    best = {
        f"{c.name}_most": counts[c.name].max().over(group_by=context.group)
        for c in cells
        if isinstance(c.op, ops.Mode)
    }
    ranks = {
        f"{c.name}_rank": (
            ibis.row_number().over(
                group_by=context.group, order_by=[counts[c.name].desc(), counts[value].asc()]
            )
        )
        for c in cells
        if isinstance(c.op, Histogram)
    }
    ranked = counts.mutate(**best, **ranks)
    return ranked.group_by(*context.group).agg(
        **{c.name: _tallied(c, ranked, ranked[value], context) for c in cells}
    )


def _tallied(
    cell: AggregateCell, ranked: ir.Table, value: ir.Column, context: Context
) -> ir.Scalar:
    count = ranked[cell.name]
    if isinstance(cell.op, ops.Mode):
        most = (count > 0) & (count == ranked[f"{cell.name}_most"])
        return context.engine.extremum(value, most, largest=False)
    keep = (
        count > 0 if cell.op.k is None else (count > 0) & (ranked[f"{cell.name}_rank"] < cell.op.k)
    )
    return context.engine.mapped(value, count, keep)


def unfolded(op: ops.Reduction) -> Each | None:
    """Return the `each()` under a reduction, if there is one."""
    each_ops = op.find(Each, filter=ops.Value)
    return each_ops[0] if each_ops else None
