"""Comparisons of a partition column with the days of a query, so that scans read fewer of them.

Scans are pruned only where no row lies further from its day than the declared slack (rule 5).
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

import ibis.expr.datatypes as dt
from attrs import frozen

from workbench.backends.time_literals import DAY, LARGEST, LEAST, Form, edge
from workbench.online.time_units import SECOND_US
from workbench.planner.time_bounds import Stretch
from workbench.portable.rewrites import normal
from workbench.portable.time_rewrites import floor_to

if TYPE_CHECKING:
    import ibis.expr.types as ir

ISO, COMPACT = "day", "compact"
LENGTHS = {ISO: 10, COMPACT: 8}


@frozen
class Partition:
    """A stored column of days, and how many microseconds a row's time may lie outside its day."""

    column: str
    slack: int

    def within(self, table: ir.Table, stretch: Stretch) -> list[ir.BooleanValue]:
        """Return conditions that rows of the stretch pass, if they lie in their partition or near.

        There are no conditions for a stretch that is all of the past.
        """
        if stretch.reach is None or self.column not in table.columns:
            return []
        value, of, reach = table[self.column], stretch.extremes, stretch.reach

        def between(day_form: str, dtype: dt.DataType) -> ir.BooleanValue:
            first = edge(of, LEAST, -reach - self.slack - 1, Form(day_form, DAY, up=False), dtype)
            return (value >= first) & (
                value <= edge(of, LARGEST, self.slack, Form(day_form, DAY, up=False), dtype)
            )

        dtype = value.type()
        if dtype.is_date():
            return [between(ISO, dt.date)]
        if dtype.is_integer():
            return [between(COMPACT, dt.int64)]
        return [between(ISO, dt.string) | between(COMPACT, dt.string)] if dtype.is_string() else []

    def within_or_none(self, table: ir.Table, stretch: Stretch) -> list[ir.BooleanValue]:
        """Return conditions that hold in a stretch's partitions, and for rows without one."""
        return [
            table[self.column].isnull() | condition for condition in self.within(table, stretch)
        ]

    def near(self, value: ir.Column, us: ir.IntegerValue) -> ir.BooleanValue:
        """Return whether a row's time is no further than the slack from its partition's day.

        `value` is the partition column, `us` the time in microseconds since 1970; null counts as
        false.
        """
        days = [_day(us + shift) for shift in (-self.slack, self.slack)]
        if value.type().is_date():
            is_near = value.between(*days)
        elif value.type().is_integer():
            is_near = value.between(
                *(d.cast("string").replace("-", "").cast("int64") for d in days)
            )
        else:
            texts = [d.cast("string") for d in days]
            forms = {ISO: texts, COMPACT: [t.replace("-", "") for t in texts]}
            is_near = reduce(
                lambda a, b: a | b,
                (
                    value.between(*day_bounds) & (value.length() == LENGTHS[form])
                    for form, day_bounds in forms.items()
                ),
            )
        return is_near.fill_null(False)


def _day(us: ir.IntegerValue) -> Any:
    """Return the day, UTC, of microseconds since 1970."""
    seconds = (floor_to(us, DAY).cast("float64") / SECOND_US).cast(
        "int64"
    )  # exact: a double holds it
    return normal(seconds.as_timestamp("s").op()).to_expr().date()
