"""Rows of an entity's snapshots on an engine, paired with the instants of left rows (rule 6).

Only the snapshots that are in force are read.
"""

from __future__ import annotations

from functools import cache, cached_property
from typing import TYPE_CHECKING

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
from attrs import evolve, field, frozen

from workbench.backends.time_literals import LEAST, Extremes, Form, edge
from workbench.definitions.nodes import base, inline, name_values
from workbench.online.time_units import DAY, DAY_US, in_us
from workbench.planner.bound_tables import Bound
from workbench.planner.source_rows import (
    AT,
    END,
    EVENT,
    NEWEST,
    NO_DAY,
    Inputs,
    Rows,
    beside,
    inside,
)
from workbench.planner.time_bounds import Stretch, calendar
from workbench.portable.time_rewrites import micros

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import ibis.expr.types as ir

    from workbench.definitions.reductions import Each
    from workbench.definitions.windows import Window
    from workbench.planner.time_bounds import Clock

BEFORE_ALL_INSTANTS = -(2**62)  # before all instants
# how far back the snapshot in force is searched for, in turn
LOOKS = (in_us(7 * DAY), in_us(400 * DAY), None)


@frozen
class EntityRows(Rows):
    """State: rows paired with the latest snapshot whose day ended by the instant (rule 6).

    `read` are the first instant of the first snapshot's day that may be in force, and the last
    instant that asks, where they are known.
    """

    read: Stretch | None = field(default=None, kw_only=True)

    @cached_property
    def _bound(self) -> Bound:
        stretch, day_calendar = self.read, self._calendar
        if stretch is None or day_calendar is None:
            return Bound(self.engine)
        return Bound(self.engine, lambda table: day_calendar.within(table, stretch))

    @property
    def _calendar(self) -> Clock | None:
        source = self.group_by.entity
        return None if source.snapshot is None else calendar(source.table, source.snapshot)

    def seen(self) -> tuple[EntityRows, Callable[[int | None, int | None], bool]]:
        """Return these rows, and a function that sets the first and last instant that they serve.

        The function may be called as often as the instants change; it runs a query. It returns
        whether less than the whole table is read then: not where the stored table has no column of
        days, or an instant is too far away for some engines.
        """
        instants, read_ends = Extremes(), Extremes()
        latest = cache(lambda back: self._latest(instants, back))
        bounded_rows = evolve(self, read=Stretch(read_ends, 0))

        def look(first: int | None, last: int | None) -> bool:
            instants.least, instants.largest = first, first
            read_ends.least, read_ends.largest = first, last
            if (
                self._calendar is None
                or not instants.near(max(b for b in LOOKS if b))
                or not read_ends.near(DAY_US)
            ):
                return False
            if first is not None:
                ends = (
                    end
                    for back in LOOKS
                    for ((end,),) in (self.engine.rows(latest(back)),)
                    if end is not None
                )
                read_ends.least = next(ends, first) - DAY_US
            return True

        return bounded_rows, look

    def _latest(self, instants: Extremes, back: int | None) -> ir.Table:
        """Return the end of the latest snapshot that is over by an instant.

        A snapshot that is more than `back` microseconds older is left out.
        """
        ends = evolve(self, read=Stretch(instants, back)).snapshots()
        return ends.filter(ends[EVENT] <= edge(instants, LEAST, 0, Form(), dt.int64)).agg(
            end=lambda t: t[EVENT].max()
        )

    def pairs(
        self,
        spine: ir.Table,
        windows: Sequence[Window | None],
        inputs: Inputs,
        *,
        each: Each | None,
        bucket: str | None,
        newest: bool,
    ) -> ir.Table:
        """Return each spine row with its key's rows of the snapshot in force, or with nulls."""
        del windows, newest
        rows = self.selected(inputs, each, bucket, self.ended)
        dated = beside(spine, self._in_force(spine), [AT])
        matches = [dated[c] == rows[c] for c in spine.columns if c != AT]
        pairs = dated.left_join(rows, [*matches, dated[END] == rows[EVENT]])
        pairs = pairs.drop(*(f"{k}_right" for k in spine.columns if k != AT))
        return pairs.mutate(**{inside(None): pairs[EVENT].notnull()})

    def placed(self, inputs: Inputs, each: Each | None, bucket: str | None) -> ir.Table:
        """Return the rows before all instants, with their snapshot's end as one key more."""
        rows = self.selected(inputs, each, bucket, self.ended)
        return rows.filter(rows[EVENT].notnull()).mutate(
            **{END: rows[EVENT], EVENT: ibis.literal(BEFORE_ALL_INSTANTS, "int64")}
        )

    def dated(self, spine: ir.Table) -> ir.Table:
        """Return the spine with the end of the snapshot in force, or one that no snapshot has."""
        ended = beside(spine, self._in_force(spine), [AT])
        return ended.mutate(**{END: ended[END].fill_null(NO_DAY)})

    def columns_of(self, spine: ir.Table) -> ir.Table:
        """Return the spine with the entity's columns taken as they are."""
        inputs, table = Inputs(), self.group_by.source.table
        names = {inputs.name(ops.Field(table, c)): c for c in self.group_by.taken}
        pairs = self.pairs(spine, (), inputs, each=None, bucket=None, newest=True)
        entity_columns = {feature: pairs[name] for name, feature in names.items()}
        return pairs.select(*spine.columns, *name_values({NEWEST: pairs[END], **entity_columns}))

    def ended(self, table: ir.Table) -> dict[str, ir.Value]:
        """Return the end of each row's day in microseconds.

        It is 0, which every instant sees, for a table without time.
        """
        name = self.group_by.entity.snapshot
        if name is None:
            return {EVENT: ibis.literal(0, "int64")}
        return {EVENT: self._end(table[name])}

    def _end(self, day: ir.Value) -> ir.IntegerValue:
        return (
            micros((day.cast("date") if day.type().is_string() else day).cast("timestamp")) + DAY_US
        )

    def _in_force(self, spine: ir.Table) -> ir.Table:
        """Return, for each instant, the end of the latest finished snapshot of the whole table."""
        if self.group_by.entity.snapshot is None:
            return spine.select(AT).distinct().mutate(**{END: ibis.literal(0, "int64")})
        ends = self.snapshots().distinct()
        instants = spine.select(AT).distinct()
        return (
            instants.join(ends, ends[EVENT] <= instants[AT])
            .group_by(AT)
            .agg(**{END: lambda t: t[EVENT].max()})
        )

    def snapshots(self) -> ir.Table:
        """Return the end of the day of every row of the base table.

        A snapshot exists even where a filter takes all its rows.
        """
        source = self.group_by.entity
        if source.snapshot is None:
            ended = self.table.select(**self.ended(self.table))
        else:
            table = self._bound[base(source.table)].to_expr()
            ended = table.select(
                **{
                    EVENT: self._end(
                        self._bound.value(
                            inline(ops.Field(source.table, source.snapshot))
                        ).to_expr()
                    )
                }
            )
        return ended.filter(ended[EVENT].notnull())
