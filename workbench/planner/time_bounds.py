"""Plain comparisons of a source's stored columns with the times that a query needs.

Engines skip rows by them that the query need not read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
from attrs import frozen

from workbench.backends.time_literals import (
    DAY,
    DIGITS,
    FIRST,
    LARGEST,
    LAST,
    LEAST,
    MICROSECOND_SCALE,
    TIME,
    Extremes,
    Form,
    edge,
)
from workbench.definitions.column_origins import over_stored
from workbench.online.time_units import UNITS_US

if TYPE_CHECKING:
    import ibis.expr.types as ir

OUTERMOST = Extremes(FIRST, LAST)


@frozen
class Stretch:
    """The times from `reach` microseconds before the first instant to the last one.

    Without a reach they begin at the first of all times.
    """

    extremes: Extremes
    reach: int | None


@frozen
class Clock:
    """A stored column from which a source's time is computed, and the form of its values."""

    column: str
    form: Form
    kind: type[dt.DataType]

    def within(self, table: ir.Table, stretch: Stretch) -> list[ir.BooleanValue]:
        """Return conditions that every time of the stretch passes.

        Rows that pass them may still lie outside. There are no conditions where the column has
        another type on the engine.
        """
        column_type = table[self.column].type()
        if not isinstance(column_type, self.kind):
            return []
        dtype = dt.int64 if self.form.written == DIGITS else column_type.copy(nullable=True)
        column, of = table[self.column], stretch.extremes
        # a microsecond more, since a finer time is floored, and engines may round it
        conditions = [column < edge(of, LARGEST, 1, self.form, dtype)]
        if stretch.reach is not None:
            conditions.append(column >= edge(of, LEAST, -stretch.reach - 1, self.form, dtype))
        return conditions

    def outside(self, table: ir.Table, ends: Extremes) -> list[ir.BooleanValue]:
        """Return conditions that at least the rows outside [least, largest) of two midnights pass.

        Rows without a time, or with an infinite one, pass them too.
        """
        column_type = table[self.column].type()
        if not isinstance(column_type, self.kind):
            return []
        dtype = dt.int64 if self.form.written == DIGITS else column_type.copy(nullable=True)
        column = table[self.column]
        first, last = (
            edge(ends, LEAST, 1, self.form, dtype),
            edge(ends, LARGEST, -1, self.form, dtype),
        )
        return [column.isnull() | (column < first) | (column >= last)]


def between(time: ir.TimestampColumn, ends: Extremes) -> list[ir.BooleanValue]:
    """Return conditions that rows in [least, largest) pass.

    Rows without a time, or with an infinite one, pass them too.
    """
    if not ends.near(0):
        return []
    dtype, conditions = time.type().copy(nullable=True), []
    if ends.least is not None:
        conditions.append(
            (time >= edge(ends, LEAST, 0, Form(TIME), dtype))
            | (time < edge(OUTERMOST, LEAST, 0, Form(TIME), dtype))
        )
    if ends.largest is not None:
        conditions.append(
            (time < edge(ends, LARGEST, 1, Form(TIME), dtype))
            | (time > edge(OUTERMOST, LARGEST, 0, Form(TIME), dtype))
        )
    return [time.isnull() | k for k in conditions]


def clock(table: ops.Relation, time: str) -> Clock | None:
    """Return the stored column that a source's time is, or is read from; `None` without one.

    The time may be read by a function that keeps the column's order.
    """
    value = over_stored(ops.Field(table, time))
    if isinstance(value, ops.Cast) and _keeps_instants(value):
        value = value.arg
    if isinstance(value, ops.TimestampFromUNIX) and isinstance(value.arg, ops.Field):
        is_epoch = value.unit.value in UNITS_US and value.arg.dtype.is_signed_integer()
        return _clock_of(value.arg, Form(DIGITS, UNITS_US[value.unit.value])) if is_epoch else None
    if not isinstance(value, ops.Field):
        return None
    return (
        _clock_of(value, Form("day", DAY))
        if value.dtype.is_date()
        else _clock_of(value, Form(TIME))
        if value.dtype.is_timestamp()
        else None
    )


def calendar(table: ops.Relation, day: str) -> Clock | None:
    """Return the stored column that a column of days is, or is computed from; `None` without one.

    The stored column has dates, ISO texts, or timestamps of which the day is taken.
    """
    value = over_stored(ops.Field(table, day))
    of_times = isinstance(value, ops.Date) or (isinstance(value, ops.Cast) and value.to.is_date())
    if of_times and value.arg.dtype.is_timestamp():
        value = value.arg
    if not isinstance(value, ops.Field) or not isinstance(value.rel, ops.UnboundTable):
        return None
    forms = ((dt.Timestamp, Form(TIME)), (dt.Date, Form("day", DAY)), (dt.String, Form("day", DAY)))
    return next(
        (Clock(value.name, form, kind) for kind, form in forms if isinstance(value.dtype, kind)),
        None,
    )


def _clock_of(value: ops.Field, form: Form) -> Clock | None:
    kind = {DIGITS: dt.SignedInteger, TIME: dt.Timestamp}.get(form.written, dt.Date)
    return Clock(value.name, form, kind) if isinstance(value.rel, ops.UnboundTable) else None


def _keeps_instants(node: ops.Cast) -> bool:
    """Return whether a cast to a time keeps the instants, to a microsecond."""
    arg, to = node.arg.dtype, node.to
    return (
        to.is_timestamp()
        and (arg.is_date() or arg.is_timestamp())
        and (to.scale is None or to.scale >= MICROSECOND_SCALE)
    )
