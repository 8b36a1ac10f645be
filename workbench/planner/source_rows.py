"""Rows of a group-by's source as internal columns, and pairs of instants and events."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import ibis.expr.types as ir
from attrs import evolve, field, frozen

from workbench.backends.time_literals import LARGEST, LEAST, Form, edge
from workbench.definitions.column_origins import stored_column
from workbench.definitions.nodes import as_it_stands, name_values, substitute
from workbench.definitions.windows import Window
from workbench.online.time_units import in_us
from workbench.planner.bound_tables import Bound, Within
from workbench.planner.partition_days import Partition
from workbench.planner.time_bounds import Stretch, clock
from workbench.portable.rewrites import finite
from workbench.portable.time_rewrites import floor_to, micros

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from workbench.backends import Engine
    from workbench.backends.time_literals import Extremes
    from workbench.definitions.group_by import GroupBy
    from workbench.definitions.reductions import Each

NO_DAY = -1  # the end of no day
AT, EVENT, BUCKET, MEMBER, NEWEST, END = (
    "_fw_at",
    "_fw_time",
    "_fw_bucket",
    "_fw_member",
    "_fw_newest",
    "_fw_end",
)


def inside(window: Window | None) -> str:
    """Name the pairs' boolean column of a window."""
    return f"_fw_in_{in_us(window.length)}us" if window else "_fw_in_all"


def beside(
    table: ir.Table, other: ir.Table, on: Sequence[str], zeros: Iterable[str] = ()
) -> ir.Table:
    """Return `table` with the columns of `other`, which has some of its rows.

    Missing counts are 0 (rule 9).
    """
    renamed = other.rename(**{f"_fw_on_{c}": c for c in on})
    joined = table.left_join(renamed, [table[c] == renamed[f"_fw_on_{c}"] for c in on])
    added = {
        c: joined[c].fill_null(0) if c in zeros else joined[c] for c in other.columns if c not in on
    }
    return joined.select(*table.columns, *name_values(added))


class Inputs:
    """The reductions' arguments, each one column of the events however many reductions share it."""

    def __init__(self) -> None:
        self.columns: dict[ops.Value, str] = {}

    def of(self, op: ops.Reduction) -> dict[str, str]:
        """Return the column name of each argument that is a value of the event."""
        input_names = {}
        for argument, node in zip(op.__argnames__, op.__args__, strict=True):
            if isinstance(node, ops.Value) and argument not in ("quantile", "sep"):
                input_names[argument] = self.name(node)
        return input_names

    def name(self, node: ops.Value) -> str:
        """Return the column of one argument."""
        return self.columns.setdefault(node, f"_fw_in{len(self.columns)}")


@frozen
class Rows:
    """The rows of a group-by's source on an engine."""

    group_by: GroupBy
    engine: Engine

    @cached_property
    def table(self) -> ir.Table:
        """The source's row-wise table, normalised and bound."""
        return self._bound[self.group_by.source.table].to_expr()

    @cached_property
    def _bound(self) -> Bound:
        return Bound(self.engine)

    @property
    def instants(self) -> Extremes | None:
        """The first and the last instant of the left rows; `None` if unknown, or not of events."""
        return None

    def within(self, reach: int | None) -> Rows:  # noqa: ARG002 sources of events override it
        """Return the rows that the instants may see, and perhaps more.

        `reach` is how many microseconds they look back; without it they see all of the past.
        """
        return self

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
        """Return each spine row with the rows it may count, or with nulls.

        There is a boolean column for each window.
        """
        raise NotImplementedError

    def placed(self, inputs: Inputs, each: Each | None, bucket: str | None) -> ir.Table:
        """Return the rows as internal columns: keys, time, order, the bucket, the inputs.

        They are for a query as of an instant.
        """
        raise NotImplementedError

    def dated(self, spine: ir.Table) -> ir.Table:
        """Return the spine with what its rows must match besides keys."""
        return spine

    def keys(self, table: ir.Table) -> dict[str, ir.Column]:
        """Return the group-by's keys under the spine's names."""
        return {f"_fw_key{i}": table[k] for i, k in enumerate(self.group_by.keys)}

    def order(self, pairs: ir.Table) -> tuple[str, ...]:
        """Return the columns of the pairs that order events (rule 10)."""
        return tuple(c for c in pairs.columns if c == EVENT or c.startswith("_fw_order"))

    def selected(
        self,
        inputs: Inputs,
        each: Each | None,
        bucket: str | None,
        extra: Callable[[ir.Table], dict[str, ir.Value]],
    ) -> ir.Table:
        """Return the source's rows as internal columns: keys, the bucket, the inputs.

        Lists are unfolded where requested.
        """
        table = self.table
        element: dict[ops.Node, ops.Node] = {}
        if each is not None:
            table, element = self._elements(each)
        columns = {name: self._input(node, table, element) for node, name in inputs.columns.items()}
        names = {BUCKET: table[bucket]} if bucket else {}
        member = {MEMBER: table[MEMBER]} if MEMBER in table.columns else {}
        rows = table.select(**self.keys(table), **extra(table), **names, **member, **columns)
        return rows.filter(
            reduce(lambda a, b: a & b, (rows[k].notnull() for k in self.keys(table)))
        )

    def _input(
        self, node: ops.Value, table: ir.Table, element: dict[ops.Node, ops.Node]
    ) -> ir.Value:
        """Return an author's expression, finite.

        A column that is unchanged in the table was cleaned there.
        """
        value = self.value(node, table, element)
        stands = isinstance(node, ops.Field) and as_it_stands(node.rel, node.name) is not None
        return value if stands else finite(value)

    def value(
        self, node: ops.Value, table: ir.Table, element: dict[ops.Node, ops.Node]
    ) -> ir.Value:
        """Return an author's expression over this table's columns."""
        own_table = self.table.op()

        def moved(inner: ops.Value) -> ops.Value | None:
            if isinstance(inner, ops.Field) and inner.rel == own_table:
                return table[inner.name].op()
            return element.get(inner)

        return substitute(self._bound.value(node), moved).to_expr()

    def _elements(self, each_op: Each) -> tuple[ir.Table, dict[ops.Node, ops.Node]]:
        """Return a row for each element, and what replaces `each(...)` in expressions over them."""
        container, node = self._bound.value(each_op.arg).to_expr(), self._bound.value(each_op)
        if each_op.arg.dtype.is_map():
            out = self.engine.entries(self.table, container, MEMBER, "_fw_element")
        else:
            out = self.table.mutate(_fw_element=container).unnest(
                "_fw_element", offset=MEMBER if each_op.by_position else None
            )
        return out, {node: out["_fw_element"].op()}


@frozen
class EventRows(Rows):
    """Events, paired with every later instant up to the longest window.

    `instants` are those of the spine that asks, where they are known, and `stretch` what is read
    for them; `pruned` says that no row that they may see lies too far from its partition. Where
    there are `conditions`, these alone say what is read.
    """

    instants: Extremes | None = field(default=None, kw_only=True)
    stretch: Stretch | None = field(default=None, kw_only=True)
    pruned: bool = field(default=False, kw_only=True)
    conditions: Within | None = field(default=None, kw_only=True)

    @cached_property
    def _bound(self) -> Bound:
        if self.conditions is not None:
            return Bound(self.engine, self.conditions)
        stretch, event_clock = (
            self.stretch,
            clock(self.group_by.source.table, self.group_by.events.time),
        )
        if stretch is None:
            return Bound(self.engine)
        bounds = [
            by for by in (event_clock, self.partition if self.pruned else None) if by is not None
        ]
        return Bound(
            self.engine, lambda table: [c for by in bounds for c in by.within(table, stretch)]
        )

    @property
    def partition(self) -> Partition | None:
        """The stored table's partition column, where one is declared."""
        source = self.group_by.events
        name = None if source.partition is None else stored_column(source.table, source.partition)
        return None if name is None else Partition(name, in_us(source.slack or timedelta(0)))

    def astray(self, reach: int) -> ir.Table:
        """Return partition value and time of visible events that lie too far from their day.

        `reach` is how many microseconds the instants look back.
        """
        bounded_rows, source, by, at = (
            self.within(reach),
            self.group_by.events,
            self.partition,
            self.instants,
        )
        assert by is not None, "there is a partition"  # noqa: S101 what the caller knows
        assert at is not None, "it is known who asks"  # noqa: S101 what the caller knows
        us = micros(bounded_rows.table[source.time])
        value = bounded_rows.table[source.partition]
        inside = (us < edge(at, LARGEST, 0, Form(), dt.int64)) & (
            us >= edge(at, LEAST, -reach, Form(), dt.int64)
        )
        return bounded_rows.table.filter(inside, ~by.near(value, us)).select(partition=value, us=us)

    def outside(self, ends: Extremes | None) -> EventRows:
        """Return at least the events without a time, or outside [least, largest) of two midnights.

        Without `ends`, all events. Where there is a partition column and a stretch, only the
        stretch's partitions are read.
        """
        event_clock, by, stretch = (
            clock(self.group_by.source.table, self.group_by.events.time),
            self.partition,
            self.stretch,
        )

        def outside_conditions(table: ir.Table) -> list[ir.BooleanValue]:
            near = [] if by is None or stretch is None else by.within_or_none(table, stretch)
            return [
                *near,
                *(
                    event_clock.outside(table, ends)
                    if event_clock is not None and ends is not None
                    else []
                ),
            ]

        return evolve(self, conditions=outside_conditions)

    def within(self, reach: int | None) -> EventRows:
        """Return the rows in reach, by comparisons of a stored column that engines skip rows by.

        All rows where the instants are not known.
        """
        return (
            self if self.instants is None else evolve(self, stretch=Stretch(self.instants, reach))
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
        """Return each spine row with its events before the instant, or with nulls.

        There is a boolean column for each window.
        """
        tails = {w: self.tail(spine[AT], w) for w in windows if w}
        bounded = len(tails) == len(windows) and tails and not newest
        events = self.within(
            max(in_us(w.length + w.hop) for w in tails) if bounded else None
        ).placed(inputs, each, bucket)
        matches = [spine[c] == events[c] for c in spine.columns if c != AT]
        before = [
            events[EVENT] < spine[AT],
            *([events[EVENT] >= self.tail(spine[AT], max(tails))] if bounded else []),
        ]
        pairs = spine.left_join(events, [*matches, *before]).drop(
            *(c for c in [f"{k}_right" for k in spine.columns if k != AT])
        )
        return pairs.mutate(
            **{
                inside(w): pairs[EVENT] >= self.tail(pairs[AT], w) if w else pairs[EVENT].notnull()
                for w in windows
            }
        )

    def placed(self, inputs: Inputs, each: Each | None, bucket: str | None) -> ir.Table:
        """Return the events: whatever is before the instant may count."""
        return self.selected(inputs, each, bucket, self._when)

    def tail(self, at: Any, window: Window) -> Any:
        """Return the first instant in a window: `t - w`, or rounded down to its hop (rules 2, 3).

        It takes an expression or a number.
        """
        start = at - in_us(window.length)
        return (
            floor_to(start, in_us(window.hop)) if self.group_by.resolution == "sawtooth" else start
        )

    def _when(self, table: ir.Table) -> dict[str, ir.Value]:
        """Return time and order; a null in an order column comes before all values."""
        source = self.group_by.events
        columns: dict[str, ir.Value] = {EVENT: micros(table[source.time])}
        for i, name in enumerate(source.order):
            # Postgres casts no boolean to a small integer
            columns[f"_fw_order{i}a"] = table[name].notnull().ifelse(1, 0)
            columns[f"_fw_order{i}b"] = table[name]
        return columns
