"""Translation of Ibis reductions over windows to the kernel's requests, each an `Ask` by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ibis.expr.operations as ops

from workbench.backends.asof_request import Ask, LacksError, WindowSpan
from workbench.definitions.reductions import (
    BottomK,
    FirstK,
    Histogram,
    Kurtosis,
    LastK,
    Skew,
    TopK,
    kind,
)
from workbench.definitions.sketch_reductions import (
    ApproxHistogram,
    ApproxPercentile,
    ApproxPercentiles,
    ApproxUniqueCount,
)
from workbench.online.time_units import in_us
from workbench.portable.arrow_types import arrow
from workbench.portable.rewrites import normal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import ibis.expr.datatypes as dt

    from workbench.definitions.windows import Window
    from workbench.planner.pairs_cells import AggregateCell


def _none(_: Any) -> Mapping[str, Any]:
    return {}


def _k(op: Any) -> Mapping[str, Any]:
    return {"k": op.k}


def _how(op: Any) -> Mapping[str, Any]:
    return {"how": op.how}


def _quantile(op: Any) -> Mapping[str, Any]:
    return {"quantiles": (float(op.quantile.value),)}


# Each reduction's name in the kernel, and its settings.
KERNEL_REDUCTIONS: dict[type[ops.Reduction], tuple[str, Callable[[Any], Mapping[str, Any]]]] = {
    ops.CountStar: ("count", _none),
    ops.Count: ("count", _none),
    ops.CountDistinct: ("unique_count", _none),
    ops.Sum: ("sum", _none),
    ops.Mean: ("average", _none),
    ops.Min: ("min", _none),
    ops.Max: ("max", _none),
    ops.First: ("first", _none),
    ops.Last: ("last", _none),
    ops.ArgMin: ("argmin", _none),
    ops.ArgMax: ("argmax", _none),
    FirstK: ("first_k", _k),
    LastK: ("last_k", _k),
    TopK: ("top_k", _k),
    BottomK: ("bottom_k", _k),
    ops.ArrayCollect: ("collect", _none),
    ops.GroupConcat: ("group_concat", lambda op: {"separator": op.sep.value}),
    ops.Variance: ("variance", _how),
    ops.StandardDev: ("stddev", _how),
    ops.Covariance: ("covariance", _how),
    ops.Correlation: ("correlation", _none),
    Skew: ("skew", _none),
    Kurtosis: ("kurtosis", _none),
    ops.Median: ("quantile", lambda _: {"quantiles": (0.5,)}),
    ops.Quantile: ("quantile", _quantile),
    ops.MultiQuantile: (
        "quantiles",
        lambda op: {"quantiles": tuple(float(q) for q in op.quantile.value)},
    ),
    ops.Mode: ("mode", _none),
    Histogram: ("histogram", _k),
    ops.Any: ("any", _none),
    ops.All: ("all", _none),
    ops.BitAnd: ("bit_and", _none),
    ops.BitOr: ("bit_or", _none),
    ops.BitXor: ("bit_xor", _none),
    ApproxUniqueCount: ("approx_unique_count", lambda op: {"lg_k": op.lg_k}),
    ApproxPercentile: ("approx_percentile", lambda op: {"quantiles": (op.quantile,), "k": op.k}),
    ApproxPercentiles: ("approx_percentiles", lambda op: {"quantiles": op.quantiles, "k": op.k}),
    ApproxHistogram: ("approx_histogram", _k),
}

# Reductions that give whole inputs by their place in time, and so take any type; the others compare
# or add values.
PLACED = (ops.CountStar, ops.Count, ops.First, ops.Last, FirstK, LastK, ops.ArrayCollect)


def span(window: Window | None, resolution: str) -> WindowSpan:
    """Return a window in microseconds, its start rounded to hops where `"sawtooth"` (rule 3)."""
    if window is None:
        return WindowSpan()
    return WindowSpan(in_us(window.length), in_us(window.hop) if resolution == "sawtooth" else None)


def reach_of(spans: Iterable[WindowSpan]) -> int | None:
    """Return how many microseconds before an instant the longest span begins, rounded up a little.

    `None` where a span has no beginning.
    """
    reaches = [(s.length, s.hop or 0) for s in spans]
    return (
        None
        if any(length is None for length, _ in reaches)
        else max((length + hop for length, hop in reaches if length is not None), default=None)
    )


def asked(cell: AggregateCell, over: WindowSpan) -> Ask:
    """Return the cell as a request to the kernel.

    Raises LacksError where the kernel does not take such values.
    """
    op = normal(cell.op)
    answer = kind(op).dtype(op)
    columns = [a.dtype for a in op.__args__ if isinstance(a, ops.Value)]
    strange = [c for c in (answer, *columns) if not _carried(c)] + [
        c for c in columns if c.is_nested() and not isinstance(cell.op, PLACED)
    ]
    if strange or type(cell.op) not in KERNEL_REDUCTIONS:
        message = f"{type(cell.op).__name__} of {', '.join(map(str, strange))}"
        raise LacksError(message)
    name, options = KERNEL_REDUCTIONS[type(cell.op)]
    return Ask(cell.name, name, cell.inputs, over, arrow(answer), options(cell.op))


def _carried(dtype: dt.DataType) -> bool:
    """Return whether values of the type pass through Arrow as they are."""
    if dtype.is_array() or dtype.is_map():
        return all(
            _carried(t) for t in ((dtype.key_type,) if dtype.is_map() else ()) + (dtype.value_type,)
        )
    if dtype.is_decimal():
        return dtype.scale is not None
    if dtype.is_timestamp():
        return (dtype.scale or 0) <= 6  # noqa: PLR2004 microseconds
    return any(
        (
            dtype.is_boolean(),
            dtype.is_integer(),
            dtype.is_float32(),
            dtype.is_float64(),
            dtype.is_string(),
            dtype.is_binary(),
            dtype.is_date(),
        )
    )
