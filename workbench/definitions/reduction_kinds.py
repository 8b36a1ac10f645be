"""The table of reductions: what each is called, what it yields and how it is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import ibis.expr.types as ir
from attrs import field, frozen

from workbench.definitions.reductions import (
    BottomK,
    Each,
    FirstK,
    Histogram,
    Kurtosis,
    LastK,
    Skew,
    TopK,
)
from workbench.definitions.sketch_reductions import (
    ApproxHistogram,
    ApproxPercentile,
    ApproxPercentiles,
    ApproxUniqueCount,
)
from workbench.errors import DefinitionError


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


def _no_settings(_: Any) -> Mapping[str, Any]:
    return {}


def _length(op: Any) -> Mapping[str, Any]:
    return {"k": op.k}


def _estimator(op: Any) -> Mapping[str, Any]:
    return {"how": op.how}


def _rank(op: Any) -> Mapping[str, Any]:
    return {"quantiles": (float(op.quantile.value),)}


def _ranks(op: Any) -> Mapping[str, Any]:
    return {"quantiles": tuple(float(q) for q in op.quantile.value)}


Scale = Callable[[ir.FloatingColumn, "ir.BooleanValue | None"], ir.FloatingScalar]


def _sum_of_sizes(value: ir.FloatingColumn, where: ir.BooleanValue | None) -> ir.FloatingScalar:
    return value.abs().sum(where=where)


def _mean_of_sizes(value: ir.FloatingColumn, where: ir.BooleanValue | None) -> ir.FloatingScalar:
    return value.abs().mean(where=where)


def _mean_of_squares(value: ir.FloatingColumn, where: ir.BooleanValue | None) -> ir.FloatingScalar:
    return (value * value).mean(where=where)


@frozen
class ReductionKind:
    """The facts of one reduction, which every plan reads.

    Parameters
    ----------
    name
        Its name in stored plans, in the kernel and in the store's SQL.
    suffix
        What it adds to its column's name (rule 18); `None` where the author must name it.
    dtype
        The type of its result (rule 11).
    settings
        Its arguments that are no values of the event, as stored plans hold them.
    scale
        What an error of its float result is relative to (rule 11); `None` means the result itself.
    counts
        Whether it is 0 over nothing, rather than null.
    numeric
        Whether it takes numbers alone, although Ibis lets it take more.
    by_place
        Whether it gives inputs by their place in time, unchanged, and so takes any type.
    method
        The name by which authors call it, where that is not its class's name in snake case.
    """

    name: str
    suffix: str | Callable[[Any], str | None] | None
    dtype: Callable[[Any], dt.DataType] = field(default=_own_dtype)
    settings: Callable[[Any], Mapping[str, Any]] = field(default=_no_settings)
    scale: Scale | None = field(default=None, kw_only=True)
    counts: bool = field(default=False, kw_only=True)
    numeric: bool = field(default=False, kw_only=True)
    by_place: bool = field(default=False, kw_only=True)
    method: str | None = field(default=None, kw_only=True)


KINDS: dict[type[ops.Reduction], ReductionKind] = {
    ops.CountStar: ReductionKind("count", "count", counts=True, by_place=True, method="count"),
    ops.Count: ReductionKind("count", "count", counts=True, by_place=True),
    ops.CountDistinct: ReductionKind("unique_count", "unique_count", counts=True, method="nunique"),
    ops.Sum: ReductionKind("sum", "sum", _total, scale=_sum_of_sizes),
    ops.Mean: ReductionKind("average", "average", _float, scale=_mean_of_sizes),
    ops.Min: ReductionKind("min", "min"),
    ops.Max: ReductionKind("max", "max"),
    ops.First: ReductionKind("first", "first", by_place=True),
    ops.Last: ReductionKind("last", "last", by_place=True),
    ops.ArgMin: ReductionKind("argmin", None),
    ops.ArgMax: ReductionKind("argmax", None),
    FirstK: ReductionKind("first_k", _k("first"), settings=_length, by_place=True),
    LastK: ReductionKind("last_k", _k("last"), settings=_length, by_place=True),
    TopK: ReductionKind("top_k", _k("top"), settings=_length),
    BottomK: ReductionKind("bottom_k", _k("bottom"), settings=_length),
    ops.ArrayCollect: ReductionKind("collect", None, by_place=True, method="collect"),
    ops.GroupConcat: ReductionKind(
        "group_concat", None, settings=lambda op: {"separator": op.sep.value}
    ),
    ops.Variance: ReductionKind(
        "variance", _how("variance"), _float, _estimator, scale=_mean_of_squares, method="var"
    ),
    ops.StandardDev: ReductionKind(
        "stddev", _how("stddev"), _float, _estimator, scale=_mean_of_squares, method="std"
    ),
    ops.Covariance: ReductionKind("covariance", None, _float, _estimator),
    ops.Correlation: ReductionKind("correlation", None, _float),
    Skew: ReductionKind("skew", "skew", scale=_mean_of_squares),
    Kurtosis: ReductionKind("kurtosis", "kurtosis", scale=_mean_of_squares),
    ops.Median: ReductionKind(
        "quantile", "p50", _float, lambda _: {"quantiles": (0.5,)}, numeric=True
    ),
    ops.Quantile: ReductionKind("quantile", _percent, _float, _rank, numeric=True),
    ops.MultiQuantile: ReductionKind("quantiles", None, _floats, _ranks, numeric=True),
    ops.Mode: ReductionKind("mode", "mode"),
    Histogram: ReductionKind("histogram", _k("histogram"), settings=_length),
    ops.Any: ReductionKind("any", "any"),
    ops.All: ReductionKind("all", "all"),
    ops.BitAnd: ReductionKind("bit_and", None),
    ops.BitOr: ReductionKind("bit_or", None),
    ops.BitXor: ReductionKind("bit_xor", None),
    ApproxUniqueCount: ReductionKind(
        "approx_unique_count",
        "approx_unique_count",
        settings=lambda op: {"lg_k": op.lg_k},
        counts=True,
    ),
    ApproxPercentile: ReductionKind(
        "approx_percentile",
        _approximate,
        settings=lambda op: {"quantiles": (op.quantile,), "k": op.k},
    ),
    ApproxPercentiles: ReductionKind(
        "approx_percentiles",
        None,
        settings=lambda op: {"quantiles": op.quantiles, "k": op.k},
        method="approx_percentile",
    ),
    ApproxHistogram: ReductionKind("approx_histogram", _k("approx_histogram"), settings=_length),
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
