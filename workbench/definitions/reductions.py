"""Reductions that may be aggregated: their name suffixes and result types.

The reductions that Ibis lacks are defined here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import ibis.expr.types as ir
from ibis.common.annotations import attribute
from ibis.common.deferred import deferrable
from ibis.expr import rules as rlz

from workbench.definitions.reduction_arguments import Where, condition, whole_number
from workbench.definitions.reduction_arguments import column as argument
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
