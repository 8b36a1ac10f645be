"""Reductions that sketches estimate, within a bound that follows from their settings (rule 13)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import ibis.expr.types as ir
from ibis.common.annotations import attribute
from ibis.common.deferred import deferrable

from workbench.definitions.nodes import substitute
from workbench.definitions.reduction_arguments import Where, column, condition, whole_number
from workbench.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workbench.backends.sketches import Frequent, Percentiles, Uniques

LG_K, K = 11, 200  # DataSketches' own defaults
LG_KS, KS = (4, 26), (8, 65_535)  # what the library takes
MAX_HISTOGRAM_VALUES = 65_536  # values of a histogram


class Estimate(ops.Reduction):
    """A reduction that a sketch of the window's values estimates."""

    @property
    def written(self) -> str:
        """The name of the function that makes it."""
        return SKETCH_SPELLINGS[type(self)][0]

    @property
    def bound(self) -> float:
        """The largest error that is still right; the subclass says what it is an error of."""
        return self.sketch.error

    @property
    def sketch(self) -> Uniques | Percentiles | Frequent:
        """The kind of sketch, with its settings."""
        raise NotImplementedError


class ApproxUniqueCount(Estimate):
    """The number of different values; the bound is the standard error, relative to the count."""

    arg: ops.Column[dt.Any]
    lg_k: int = LG_K
    where: Where = None
    dtype = dt.int64

    @property
    def sketch(self) -> Uniques:
        """The sketch, of the values' hashes."""
        from workbench.backends.sketches import (  # noqa: PLC0415 definitions need no sketches
            Uniques,
        )

        return Uniques(self.lg_k)


class ApproxPercentile(Estimate):
    """The value at one rank; the bound is how far off the rank may be, as a share of all values."""

    arg: ops.Column[dt.Any]
    quantile: float
    k: int = K
    where: Where = None
    dtype = dt.float64

    @property
    def sketch(self) -> Percentiles:
        """The sketch, of ever sparser samples of the values in order."""
        from workbench.backends.sketches import Percentiles  # noqa: PLC0415 as above

        return Percentiles(self.k)


class ApproxPercentiles(Estimate):
    """The values at several ranks, of one sketch."""

    arg: ops.Column[dt.Any]
    quantiles: tuple[float, ...]
    k: int = K
    where: Where = None
    dtype = dt.Array(dt.float64)
    sketch = ApproxPercentile.sketch


class ApproxHistogram(Estimate):
    """The most frequent values and their counts.

    The bound is how far off a count may be, as a share of all values.
    """

    arg: ops.Column[dt.Any]
    k: int
    where: Where = None

    @attribute
    def dtype(self) -> dt.DataType:
        """A map from the input's type to a count."""
        return dt.Map(self.arg.dtype, dt.int64)

    @property
    def sketch(self) -> Frequent:
        """The sketch, of counts of some of the values."""
        from workbench.backends.sketches import Frequent  # noqa: PLC0415 as above

        return Frequent(self.k)


# The name of each estimate, and the exact reduction in its place.
SKETCH_SPELLINGS: dict[type[Estimate], tuple[str, str]] = {
    ApproxUniqueCount: ("approx_unique_count", "nunique()"),
    ApproxPercentile: ("approx_percentile", "quantile()"),
    ApproxPercentiles: ("approx_percentile", "quantile()"),
    ApproxHistogram: ("approx_histogram", "histogram()"),
}


@deferrable
def approx_unique_count(
    value: ir.Column, where: ir.BooleanValue | None = None, *, lg_k: int = LG_K
) -> ir.IntegerScalar:
    """Estimate how many different values there are; 0 over nothing.

    Ibis's `approx_nunique()` is the same.

    Exact up to 2**(lg_k - 3) different values, 256 at 11. Beyond, a CPC sketch of Apache
    DataSketches with 2**lg_k bins, `lg_k` from 4 to 26: two estimates of three are within 0.69 /
    sqrt(2**lg_k) of the count, 1.5 % at 11 (4.3 % at 8, Chronon's), and 997 of 1,000 within three
    times that. The values alone decide: every engine gives the same number, offline and online,
    whatever order they came in.
    """
    node = _plain(column(value, "approx_unique_count"), "approx_unique_count")
    return ApproxUniqueCount(
        node,
        whole_number(lg_k, "lg_k of approx_unique_count", *LG_KS),
        condition(where, "approx_unique_count"),
    ).to_expr()


@deferrable
def approx_percentile(
    value: ir.NumericColumn,
    q: float | Sequence[float],
    where: ir.BooleanValue | None = None,
    *,
    k: int = K,
) -> ir.Scalar:
    """Estimate the value at or below which a share `q` of the values lie; null over nothing.

    A list of shares gives a list of values.

    A KLL sketch of doubles of Apache DataSketches, `k` from 8 to 65,535: exact up to `k` values;
    from there on the rank of the value given is off by at most 1.3 % of the number of values at 200
    (2.1 % at 128, Chronon's), 99 times in 100. The library draws at random, so that two runs differ
    within that. No value is interpolated between two others, as `quantile()` does. Ibis's
    `approx_median()` and `approx_quantile()` are the same with `k=200`.
    """
    node = column(value, "approx_percentile", ", 0.9")
    if not node.dtype.is_numeric():
        message = f"approx_percentile takes numbers, not {node.dtype}: cast the column first"
        raise DefinitionError(message)
    plain_values, size, test = (
        _plain(node, "approx_percentile"),
        whole_number(k, "k of approx_percentile", *KS),
        condition(where, "approx_percentile"),
    )
    if isinstance(q, list | tuple) and q:
        return ApproxPercentiles(
            plain_values, tuple(_share(share) for share in q), size, test
        ).to_expr()
    return ApproxPercentile(plain_values, _share(q), size, test).to_expr()


@deferrable
def approx_histogram(
    value: ir.Column, k: int, where: ir.BooleanValue | None = None
) -> ir.MapScalar:
    """Estimate the `k` most frequent values with their counts, as a map; null over nothing.

    A frequent-items sketch of Apache DataSketches that counts at least 8 values for each of `k`,
    and is exact where there are no more different ones. Past that, a count is too high by at most a
    share of all values: 2.7 % at k = 8, 0.3 % at 64. A value that is not surely more frequent than
    that is left out.
    """
    node = _plain(column(value, "approx_histogram", ", 8"), "approx_histogram")
    return ApproxHistogram(
        node,
        whole_number(k, "approx_histogram", 1, MAX_HISTOGRAM_VALUES),
        condition(where, "approx_histogram"),
    ).to_expr()


def _share(q: Any) -> float:
    if isinstance(q, bool) or not isinstance(q, int | float) or not 0 <= q <= 1:
        message = (
            "approx_percentile takes a quantile between 0 and 1 or a list of them, as in 0.9 or"
            f" [0.25, 0.75], not {q!r}"
        )
        raise DefinitionError(message)
    return float(q)


def _plain(node: ops.Value, subject: str) -> ops.Value:
    """Return the node, if sketches take such values; else refuse it."""
    dtype = node.dtype
    if dtype.is_nested():
        message = (
            f"{subject} takes plain values, not {dtype}: each({node.name}) gives the elements of a"
            " list or the values of a map one by one"
        )
        raise DefinitionError(message)
    if dtype.is_decimal() and dtype.scale is None:
        message = (
            f"{subject} takes decimals of a known scale: cast the column first, as in"
            " cast('decimal(38, 9)')"
        )
        raise DefinitionError(message)
    if not any(
        (
            dtype.is_boolean(),
            dtype.is_numeric(),
            dtype.is_string(),
            dtype.is_binary(),
            dtype.is_date(),
            dtype.is_timestamp(),
        )
    ):
        message = (
            f"{subject} takes numbers, texts, bytes, dates and timestamps, not {dtype}: cast the"
            " column first, as in cast('string')"
        )
        raise DefinitionError(message)
    return node


# --- Ibis's own, and what is asked of all


def _where(op: Any) -> ir.BooleanValue | None:
    return None if op.where is None else op.where.to_expr()


IBIS: dict[type[ops.Reduction], Callable[[Any], ir.Scalar]] = {
    ops.ApproxCountDistinct: lambda op: approx_unique_count(op.arg.to_expr(), _where(op)),
    ops.ApproxMedian: lambda op: approx_percentile(op.arg.to_expr(), 0.5, _where(op)),
    ops.ApproxQuantile: lambda op: approx_percentile(
        op.arg.to_expr(), op.quantile.value, _where(op)
    ),
    ops.ApproxMultiQuantile: lambda op: approx_percentile(
        op.arg.to_expr(), op.quantile.value, _where(op)
    ),
}


def with_own_sketches(node: ops.Value) -> ops.Value:
    """Replace Ibis's approximate reductions, whose sketches differ by engine, by this module's."""
    return substitute(
        node, lambda inner: IBIS[type(inner)](inner).op() if type(inner) in IBIS else None
    )


def bound(op: ops.Reduction) -> float | None:
    """Return the largest error of a reduction that is still right, as its class defines it.

    `None` where rule 11 says it.
    """
    return op.bound if isinstance(op, Estimate) else None


def refuse(op: Estimate, who: str, other: str) -> None:
    """Refuse an estimate where no sketch can be made.

    `other` is what to do besides taking the exact reduction.
    """
    message = (
        f"{op.written} is a sketch, which {who} cannot make: use {SKETCH_SPELLINGS[type(op)][1]},"
        f" exact everywhere, or {other}"
    )
    raise DefinitionError(message)
