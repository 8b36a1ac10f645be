"""Reductions that may be aggregated: their name suffixes and result types.

The reductions that Ibis lacks are defined here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import ibis.expr.types as ir
from attrs import field, frozen
from ibis.common.annotations import attribute
from ibis.common.deferred import deferrable
from ibis.expr import rules as rlz

from workbench.definitions.reduction_arguments import Where, condition, whole_number
from workbench.definitions.reduction_arguments import column as argument
from workbench.definitions.sketch_reductions import (
    ApproxHistogram,
    ApproxPercentile,
    ApproxPercentiles,
    ApproxUniqueCount,
)
from workbench.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable


class KList(ops.Reduction):
    """A list of at most `k` values, in an order that the subclass names."""

    arg: ops.Column[dt.Any]
    k: int
    where: Where = None

    @attribute
    def dtype(self) -> dt.DataType:
        """A list of the input's type."""
        return dt.Array(self.arg.dtype)


class FirstK(KList):
    """The oldest values, oldest first."""


class LastK(KList):
    """The newest values, newest first."""


class TopK(KList):
    """The largest values, largest first."""


class BottomK(KList):
    """The smallest values, smallest first."""


class Moment(ops.Reduction):
    """A standardised central moment of the population."""

    arg: ops.Column[dt.Numeric | dt.Boolean]
    where: Where = None
    dtype = dt.float64


class Skew(Moment):
    """The third moment, skewness; null under 3 values or where all are equal."""


class Kurtosis(Moment):
    """The fourth moment less 3, excess kurtosis; null under 4 values or where all are equal."""


class Histogram(ops.Reduction):
    """The number of times that each value occurs, of all values or of the `k` most frequent."""

    arg: ops.Column[dt.Any]
    k: Optional[int] = None  # noqa: UP045 ibis parses Optional
    where: Where = None

    @attribute
    def dtype(self) -> dt.DataType:
        """A map from the input's type to a count."""
        return dt.Map(self.arg.dtype, dt.int64)


class Each(ops.Value):
    """The elements of a list, or the values of a map, one by one under a reduction."""

    arg: ops.Value[dt.Array | dt.Map]
    by_position: bool = False
    shape = rlz.shape_like("arg")

    @attribute
    def dtype(self) -> dt.DataType:
        """The element's type."""
        return self.arg.dtype.value_type

    @property
    def container(self) -> Callable[[dt.DataType], dt.DataType]:
        """The type of a reduction of the elements: its own, a list by position, or a map by key."""
        if self.arg.dtype.is_map():
            return lambda value: dt.Map(self.arg.dtype.key_type, value)
        return dt.Array if self.by_position else lambda value: value


@deferrable
def first_k(value: ir.Column, k: int, where: ir.BooleanValue | None = None) -> ir.ArrayScalar:
    """Return the `k` oldest non-null values, oldest first; null where there is none.

    Ties in time follow the source's `order`, then the value (semantics rule 10).
    """
    return FirstK(
        argument(value, "first_k", ", 3"), whole_number(k, "first_k"), condition(where, "first_k")
    ).to_expr()


@deferrable
def last_k(value: ir.Column, k: int, where: ir.BooleanValue | None = None) -> ir.ArrayScalar:
    """Return the `k` newest non-null values, newest first; null where there is none.

    Ties in time follow the source's `order`, then the value (semantics rule 10).
    """
    return LastK(
        argument(value, "last_k", ", 3"), whole_number(k, "last_k"), condition(where, "last_k")
    ).to_expr()


@deferrable
def top_k(value: ir.Column, k: int, where: ir.BooleanValue | None = None) -> ir.ArrayScalar:
    """Return the `k` largest values, largest first, duplicates kept; null where there is none."""
    return TopK(
        argument(value, "top_k", ", 3"), whole_number(k, "top_k"), condition(where, "top_k")
    ).to_expr()


@deferrable
def bottom_k(value: ir.Column, k: int, where: ir.BooleanValue | None = None) -> ir.ArrayScalar:
    """Return the `k` smallest values, smallest first, duplicates kept; null where there is none."""
    return BottomK(
        argument(value, "bottom_k", ", 3"),
        whole_number(k, "bottom_k"),
        condition(where, "bottom_k"),
    ).to_expr()


@deferrable
def skew(value: ir.NumericColumn, where: ir.BooleanValue | None = None) -> ir.FloatingScalar:
    """Return the population skewness, as Chronon does; null under 3 values or if all are equal."""
    return Skew(argument(value, "skew"), condition(where, "skew")).to_expr()


@deferrable
def kurtosis(value: ir.NumericColumn, where: ir.BooleanValue | None = None) -> ir.FloatingScalar:
    """Return the population excess kurtosis; null under 4 values or where all are equal."""
    return Kurtosis(argument(value, "kurtosis"), condition(where, "kurtosis")).to_expr()


@deferrable
def histogram(
    value: ir.Column, k: int | None = None, where: ir.BooleanValue | None = None
) -> ir.MapScalar:
    """Return a map from each value to its count, of all values or of the `k` most frequent.

    Equal counts keep the smaller value (semantics rule 10); null where there is no value.
    """
    return Histogram(
        argument(value, "histogram"),
        None if k is None else whole_number(k, "histogram"),
        condition(where, "histogram"),
    ).to_expr()


# the signature is public: each(column, True) reads as well
@deferrable
def each(column: ir.ArrayColumn | ir.MapColumn, by_position: bool = False) -> ir.Column:  # noqa: FBT001, FBT002
    """Return the elements of a list or map column, to be aggregated one by one.

    `each(t.prices).sum()` sums the elements of all lists, `each(t.scores).mean()` gives a map of
    means by the map's keys, and `each(t.embedding, by_position=True).mean()` a list, position by
    position. Null elements are skipped.
    """
    node = argument(column, "each")
    dtype = node.dtype
    if not (dtype.is_array() or dtype.is_map()):
        advice = (
            f"cast it, as in each({node.name}.cast('map<string, float64>'))"
            if dtype.is_json()
            else "without each() a value is aggregated as it is"
        )
        message = f"each({node.name}) takes a list or a map, not {dtype}: {advice}"
        raise DefinitionError(message)
    if by_position and dtype.is_map():
        message = (
            f"each({node.name}, by_position=True) takes a list, not {dtype}: a map is aggregated by"
            " its keys without it"
        )
        raise DefinitionError(message)
    return Each(node, by_position).to_expr()


# --- the table: every reduction we run, what it is called, and what it yields


def _own_dtype(op: Any) -> dt.DataType:
    return op.dtype


def _float(_: Any) -> dt.DataType:
    return dt.float64


def _floats(_: Any) -> dt.DataType:
    return dt.Array(dt.float64)


def _total(op: Any) -> dt.DataType:
    """Return the type of a total: 64-bit integers, or decimals of their scale (rule 11)."""
    dtype = op.arg.dtype
    return (
        dt.Decimal(38, dtype.scale) if dtype.is_decimal() and dtype.scale is not None else op.dtype
    )


def _how(name: str) -> Callable[[Any], str]:
    return lambda op: name if op.how == "sample" else f"{name}_pop"


def _percent(op: Any) -> str | None:
    """Return `p50` for the quantile 0.5; `None` where the percentage is no whole number."""
    return _percentage(float(op.quantile.value))


def _percentage(quantile: float) -> str | None:
    value = quantile * 100
    # 0.07 * 100 is not exactly 7 as a double
    return f"p{round(value)}" if abs(value - round(value)) < 1e-9 else None  # noqa: PLR2004


def _approximate(op: Any) -> str | None:
    """Return `approx_p50` for the quantile 0.5."""
    percentage = _percentage(op.quantile)
    return percentage and f"approx_{percentage}"


def _k(name: str) -> Callable[[Any], str]:
    return lambda op: f"{name}{op.k or ''}"


@frozen
class ReductionKind:
    """The facts of one reduction: its suffix, its result type, whether it is 0 over nothing."""

    suffix: str | Callable[[Any], str | None] | None
    dtype: Callable[[Any], dt.DataType] = _own_dtype
    counts: bool = False
    numeric: bool = field(default=False)


KINDS: dict[type[ops.Reduction], ReductionKind] = {
    ops.CountStar: ReductionKind("count", counts=True),
    ops.Count: ReductionKind("count", counts=True),
    ops.CountDistinct: ReductionKind("unique_count", counts=True),
    ops.Sum: ReductionKind("sum", _total),
    ops.Mean: ReductionKind("average", _float),
    ops.Min: ReductionKind("min"),
    ops.Max: ReductionKind("max"),
    ops.First: ReductionKind("first"),
    ops.Last: ReductionKind("last"),
    ops.ArgMin: ReductionKind(None),
    ops.ArgMax: ReductionKind(None),
    FirstK: ReductionKind(_k("first")),
    LastK: ReductionKind(_k("last")),
    TopK: ReductionKind(_k("top")),
    BottomK: ReductionKind(_k("bottom")),
    ops.ArrayCollect: ReductionKind(None),
    ops.GroupConcat: ReductionKind(None),
    ops.Variance: ReductionKind(_how("variance"), _float),
    ops.StandardDev: ReductionKind(_how("stddev"), _float),
    ops.Covariance: ReductionKind(None, _float),
    ops.Correlation: ReductionKind(None, _float),
    Skew: ReductionKind("skew"),
    Kurtosis: ReductionKind("kurtosis"),
    ops.Median: ReductionKind("p50", _float, numeric=True),
    ops.Quantile: ReductionKind(_percent, _float, numeric=True),
    ops.MultiQuantile: ReductionKind(None, _floats, numeric=True),
    ops.Mode: ReductionKind("mode"),
    Histogram: ReductionKind(_k("histogram")),
    ops.Any: ReductionKind("any"),
    ops.All: ReductionKind("all"),
    ops.BitAnd: ReductionKind(None),
    ops.BitOr: ReductionKind(None),
    ops.BitXor: ReductionKind(None),
    ApproxUniqueCount: ReductionKind("approx_unique_count", counts=True),
    ApproxPercentile: ReductionKind(_approximate),
    ApproxPercentiles: ReductionKind(None),
    ApproxHistogram: ReductionKind(_k("approx_histogram")),
}

# Reductions of Ibis that are refused, with what to write instead.
INSTEAD: dict[type[ops.Reduction], str] = {
    ops.Arbitrary: "it depends on physical order; say first() or last()",
    ops.Kurtosis: "Ibis has it on DuckDB alone; use workbench.kurtosis(x), population and excess",
    ops.CountDistinctStar: (
        "name the column whose values are to be told apart, as in t.user_id.nunique()"
    ),
}


def kind(op: ops.Reduction) -> ReductionKind:
    """Return the facts of a reduction, or refuse it and say what to write instead."""
    try:
        return KINDS[type(op)]
    except KeyError:
        instead = INSTEAD.get(
            type(op),
            "no engine-independent meaning is defined for it; write it with sum(), count(), min(),"
            " max(), last_k() and the like",
        )
        message = f"{type(op).__name__} cannot be a feature: {instead}"
        raise DefinitionError(message) from None


def check(op: ops.Reduction) -> None:
    """Refuse a reduction whose value depends on the engine or on physical order (rules 9, 10)."""
    reduction_kind, name = kind(op), type(op).__name__.lower()
    if getattr(op, "order_by", ()):
        message = (
            f"{name}(order_by=...) is refused: the source says the order, as in EventSource(...,"
            " order=[t.id])"
        )
        raise DefinitionError(message)
    if getattr(op, "include_null", False):
        message = (
            f"{name}(include_null=True) is refused: reductions skip nulls; use fill_null() on the"
            " column to count them in"
        )
        raise DefinitionError(message)
    if getattr(op, "distinct", False):
        message = (
            f"{name}(distinct=True) is refused: use nunique(), or histogram() for the values"
            " themselves"
        )
        raise DefinitionError(message)
    if isinstance(op, ops.Quantile) and not 0 <= float(op.quantile.value) <= 1:
        message = (
            f"quantile({op.quantile.value}) is none: quantiles lie between 0 and 1, as in"
            " quantile(0.9)"
        )
        raise DefinitionError(message)
    if isinstance(op, ops.GroupConcat) and not isinstance(op.sep, ops.Literal):
        message = "group_concat takes one separator for all, as in group_concat(', ')"
        raise DefinitionError(message)
    if reduction_kind.numeric and not op.arg.dtype.is_numeric():
        message = f"{name} takes numbers, not {op.arg.dtype}: cast the column first"
        raise DefinitionError(message)
    _check_types(op)


# reductions that give a value of the column, unchanged
PLACED = (ops.Count, ops.First, ops.Last, FirstK, LastK, ops.ArrayCollect, ops.ArgMin, ops.ArgMax)
# reductions that authors write with more than the operation's name
AUTHORED = {
    ops.CountDistinct: "nunique",
    ops.ArrayCollect: "collect",
    FirstK: "first_k",
    LastK: "last_k",
    TopK: "top_k",
    BottomK: "bottom_k",
}


def _check_types(op: ops.Reduction) -> None:
    """Refuse types that not all engines share, or that they order or compare differently.

    Rules 9 and 10 say which.
    """
    key, name = getattr(op, "key", None), AUTHORED.get(type(op), type(op).__name__.lower())
    for value in (v for v in (getattr(op, "arg", None), key) if isinstance(v, ops.Value)):
        dtype = value.dtype
        if not isinstance(op, ops.Count | ops.CountStar) and (
            dtype.is_unknown() or dtype.is_interval()
        ):
            called = (
                str(getattr(dtype, "raw_type", None) or "a type of its own")
                if dtype.is_unknown()
                else str(dtype)
            )
            hint = (
                "take the times' difference as a number, as in end.delta(start, unit='second')"
                if dtype.is_interval()
                else "cast the column in the table, for example to a string"
            )
            message = (
                f"{name} does not take {value.name}, which is {called} and has no meaning that all"
                f" engines share: {hint}"
            )
            raise DefinitionError(message)
        if (value is key or not isinstance(op, PLACED)) and _unordered(
            dtype, told_apart=isinstance(op, ops.CountDistinct)
        ):
            hint = (
                f"each({value.name}) takes its elements, "
                if dtype.is_array() or dtype.is_map()
                else ""
            )
            message = (
                f"{name} does not take {value.name}, which is {dtype}, since engines order such"
                f" values differently or not at all: {hint}last() or count() the whole, or cast it"
                " to a string in the table"
            )
            raise DefinitionError(message)


def _unordered(dtype: dt.DataType, *, told_apart: bool) -> bool:
    """Return whether values of a type have no order that all engines share.

    With `told_apart` it returns whether they cannot even be compared for equality: JSON, and
    whatever holds a map.
    """
    if dtype.is_array() or dtype.is_struct():
        inner = dtype.types if dtype.is_struct() else (dtype.value_type,)
        return not told_apart or any(_unordered(t, told_apart=True) for t in inner)
    return bool(dtype.is_json() or dtype.is_map())


def suffix(op: ops.Reduction) -> str | None:
    """Return the suffix that the reduction adds to its column's name (semantics rule 18).

    `None` means that the author must name it.
    """
    kind_suffix = kind(op).suffix
    return kind_suffix(op) if callable(kind_suffix) else kind_suffix


def result_type(op: ops.Reduction) -> dt.DataType:
    """Return the type of the feature, containers of `each` included (semantics rules 11 and 15)."""
    dtype = kind(op).dtype(op)
    inner = op.find(Each, filter=ops.Value)
    return inner[0].container(dtype) if inner else dtype
