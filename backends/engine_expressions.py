"""The expressions in which engines differ, as any Ibis backend has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import ibis.expr.types as ir

from workbench.backends.engine_table import PORTABLE
from workbench.backends.stored_types import cast

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ibis.backends import BaseBackend

# Operations by which the portable plan computes some reductions; some Ibis backends lack them.
COLLECTING_OPERATIONS: dict[str, tuple[type[ops.Node], ...]] = {
    **dict.fromkeys(
        ("first_k", "last_k", "top_k", "bottom_k", "collect", "group_concat"), (ops.ArrayCollect,)
    ),
    **dict.fromkeys(("quantile", "quantiles"), (ops.Quantile,)),
    **dict.fromkeys(("variance", "stddev"), (ops.Variance,)),
    **dict.fromkeys(("first", "argmin"), (ops.ArgMin, ops.StructColumn)),
    **dict.fromkeys(("last", "argmax"), (ops.ArgMax, ops.StructColumn)),
    "histogram": (ops.ArrayCollect, ops.Map),
    "covariance": (ops.Covariance,),
    "correlation": (ops.Correlation,),
    "bit_and": (ops.BitAnd,),
    "bit_or": (ops.BitOr,),
    "bit_xor": (ops.BitXor,),
}


class EngineExpressions:
    """What an engine is, and the expressions of a plan that it has in its own way.

    `con` is None where SQL is only to be shown for an engine that is not connected.
    """

    row = PORTABLE

    def __init__(self, con: BaseBackend | None = None, *, alone: bool = False) -> None:
        # alone: the connection is nobody else's, so that it may be closed, and what runs on it
        # cancelled
        self.con, self.alone = con, alone

    @property
    def name(self) -> str:
        """Ibis's name of the backend; "portable" for one without a row of its own."""
        return self.row.name

    @property
    def title(self) -> str:
        """Its name on screen."""
        return self.row.title

    @property
    def plans(self) -> tuple[str, ...]:
        """The plans by which it answers AsOf queries."""
        return self.row.plans

    @property
    def lacks(self) -> frozenset[str]:
        """Reductions that no plan of it gives, by their names in queries."""
        return self.row.lacks

    @property
    def placeholder(self) -> str:
        """What stands for a bound parameter in its SQL."""
        return self.row.placeholder

    @property
    def folds(self) -> bool:
        """Whether columns whose names differ by case alone are one to it."""
        return self.row.folds

    @property
    def longest(self) -> int | None:
        """How many bytes a name has at most; longer ones are cut."""
        return self.row.longest

    @property
    def most_looked_at(self) -> int:
        """How many rows of a table a first look takes."""
        return self.row.most_looked_at

    @property
    def qualified(self) -> bool:
        """Whether a dated table may be outside the connection's current schema."""
        return self.row.qualified

    @property
    def prompt(self) -> bool:
        """Whether a query over few rows answers at once, so that a refusal may run one."""
        return self.row.prompt

    def lacking(self, reduction: str) -> bool:
        """Returns whether no plan of this engine gives a reduction.

        For a backend without a file here, Ibis knows what it can compile.
        """
        unsaid = (
            self.con is not None
            and "kernel" not in self.plans
            and not all(map(self.con.has_operation, COLLECTING_OPERATIONS.get(reduction, ())))
        )
        return reduction in self.lacks or unsaid

    # engines that cannot hold some override it
    def holds(self, dtype: ibis.DataType) -> bool:  # noqa: ARG002
        """Returns whether a column of the engine's own can be of a type."""
        return True

    def total(self, value: ir.FloatingColumn, where: ir.BooleanValue) -> ir.FloatingScalar:
        """Returns the sum of doubles, null over no rows; within rule 11's bound."""
        return value.sum(where=where)

    def gap(self, high: ir.DecimalValue, low: ir.DecimalValue) -> ir.FloatingValue:
        """Returns the difference of two decimals of one sign and type, as a double.

        All of their digits count.
        """
        return cast(high - low, dt.float64)

    def extremum(self, value: ir.Column, where: ir.BooleanValue, *, largest: bool) -> ir.Scalar:
        """Returns the smallest or the largest value, null over no rows."""
        return value.max(where=where) if largest else value.min(where=where)

    def bits(self, name: str, value: ir.IntegerColumn, where: ir.BooleanValue) -> ir.IntegerScalar:
        """Returns all values joined bit by bit, by Ibis's name of the reduction.

        It is null over no rows.
        """
        joined: ir.IntegerScalar = getattr(value, name)(where=where)
        return joined

    def listed(
        self,
        value: ir.Column,
        order: Sequence[ir.Column],
        where: ir.BooleanValue,
        *,
        descending: bool = False,
        k: int | None = None,
    ) -> ir.ArrayScalar:
        """Returns the values that pass `where`, ordered by `order`, the first `k` or all.

        It is null or empty over no rows.
        """
        keys = [ibis.desc(o) if descending else ibis.asc(o) for o in order]
        values = value.collect(where=where, order_by=keys)
        return values if k is None else values[:k]

    def comparable(self, value: ir.Column) -> ir.Column:
        """Returns an expression that compares in the place of a value."""
        return value

    def chosen(
        self, value: ir.Column, key: ir.StructColumn, where: ir.BooleanValue, *, last: bool
    ) -> ir.Scalar:
        """Returns the value of the first or the last row by `key`."""
        return value.argmax(key, where=where) if last else value.argmin(key, where=where)

    def collected(
        self, value: ir.Column, order: ir.Column, where: ir.BooleanValue
    ) -> ir.ArrayScalar:
        """Returns the values that pass `where` in order, nulls too; null over no rows."""
        return value.collect(order_by=order, include_null=True, where=where)

    def mapped(self, key: ir.Column, value: ir.Column, keep: ir.BooleanValue) -> ir.MapScalar:
        """Returns a map of the rows that pass `keep`, null over no rows."""
        keys, values = (self.listed(column, [key], keep) for column in (key, value))
        map_value = ibis.map(keys, values)
        return (keys.length() > 0).ifelse(map_value, ibis.null(map_value.type()))

    def entries(self, table: ir.Table, container: ir.MapValue, key: str, element: str) -> ir.Table:
        """Returns one row for each entry of a map, its key and value in columns of these names."""
        entry_rows = table.mutate(_fw_map=container).mutate(**{key: container.keys()}).unnest(key)
        return entry_rows.mutate(**{element: entry_rows["_fw_map"][entry_rows[key]]})

    # engines that count by cuts override it
    def tallied(self, value: ir.FloatingValue, cuts: Sequence[float]) -> ir.MapValue | None:  # noqa: ARG002
        """Returns a reduction that counts the values from each cut up to the next.

        It is a map by the cut times -1, with those before the first cut under infinity, or None
        where grouping is quicker.
        """
        return None

    # engines that group by times quickly override it
    def stretch(self, time: ir.TimestampValue, length: int) -> ir.TimestampValue | None:  # noqa: ARG002
        """Returns the start of the span of so many microseconds that a time is in, as a timestamp.

        The start is a multiple of the length since 1970. The result is None where counting
        microseconds is as quick.
        """
        return None

    def types(self, table: ir.Table) -> dict[str, dt.DataType]:
        """Returns the type of each column of a stored table, even where Ibis does not know it."""
        return dict(table.schema().items())

    def stored_types(self, table: ir.Table) -> dict[str, str]:
        """Returns the engine's own name for the type of each column of an expression.

        Engines without a file here have Ibis's name.
        """
        return {name: str(dtype) for name, dtype in table.schema().items()}

    def plain(self, column: ir.Column, dtype: dt.DataType) -> ir.Column:
        """Returns a stored column as the plain value of its type, whatever the engine calls it.

        Plain values are, for example, a text that compares by bytes, or a decimal.
        """
        return column if dtype.is_unknown() or column.type() == dtype else cast(column, dtype)

    # engines that fill texts up override it
    def padded(
        self,
        name: str,  # noqa: ARG002
        catalog: str | None = None,  # noqa: ARG002
        database: str | None = None,  # noqa: ARG002
    ) -> frozenset[str]:
        """Returns the columns of a named table or view whose texts end in padding, as of char(n).

        The padding is blanks that are no part of the text.
        """
        return frozenset()

    def bounded(self, value: ir.Column) -> ir.Column:
        """Returns the value, null for an infinity or no number in a type that is no float."""
        return value

    def for_arrow(self, expr: ir.Table) -> ir.Table:
        """Returns the rows of an expression without the values that Arrow lacks.

        They are infinite times, and decimals that are no number.
        """
        bounded = [
            v.name(c) for c in expr.columns if not (v := self.bounded(expr[c])).equals(expr[c])
        ]
        return expr.mutate(*bounded) if bounded else expr

    # engines that store some types as others override it
    def typed(self, column: ir.Column, dtype: ibis.DataType) -> ir.Column | None:  # noqa: ARG002
        """Returns a stored column as the type that a definition declares.

        It is None where the column holds no such values.
        """
        return None

    def hashed(self, value: ir.Value) -> ir.IntegerValue:
        """Returns a 64-bit hash of a column of any type, equal in every session.

        It may be null where the value is.
        """
        return value.hash()
