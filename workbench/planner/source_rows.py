"""Rows of a group-by's source as internal columns, and pairs of instants and events."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from difflib import get_close_matches
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import ibis.expr.types as ir
from attrs import evolve, field, frozen

from workbench.backends import EngineError
from workbench.backends.time_literals import LARGEST, LEAST, Form, edge
from workbench.definitions.binding import alike, plain
from workbench.definitions.nodes import as_it_stands, name_values, rebuild, substitute
from workbench.definitions.partition_columns import Partition
from workbench.definitions.windows import Window
from workbench.planner.time_bounds import Stretch, clock, stored_column
from workbench.portable.rewrites import finite, floor_to, micros, normal, rewritten

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from workbench.backends import Engine
    from workbench.backends.time_literals import Extremes
    from workbench.definitions.group_by import GroupBy
    from workbench.definitions.reductions import Each

Within = Callable[[ir.Table], list[ir.BooleanValue]]  # conditions on a stored table's own columns
NEVER = -1  # the end of no day
READ = (ops.UnboundTable, ops.InMemoryTable, ops.SQLQueryResult)
SHORT = 4  # bytes of an integer that every double holds
AT, EVENT, BUCKET, MEMBER, NEWEST, END = (
    "_fw_at",
    "_fw_time",
    "_fw_bucket",
    "_fw_member",
    "_fw_newest",
    "_fw_end",
)


def in_us(span: timedelta) -> int:
    """Return a span as whole microseconds, the unit of every comparison of times."""
    return span // timedelta(microseconds=1)


def inside(window: Window | None) -> str:
    """Name the pairs' boolean column of a window."""
    return f"_fw_in_{in_us(window.length)}us" if window else "_fw_in_all"


def rebound(node: ops.Node, engine: Engine, *, clean: bool = True) -> ops.Node:
    """Return the normalised node over the engine's own tables.

    Without a connection the tables stay unbound. What the engine names or types in its own way is
    plain from there on (`Engine.plain`). `clean` makes NaN and infinities nulls at the tables (rule
    9), as for every source; a left keeps what it has.
    """
    return _on_tables(normal(node), engine, clean=clean)


def _on_tables(
    node: ops.Node, engine: Engine, *, clean: bool = True, within: Within | None = None
) -> ops.Node:
    """Return a normalised node over the engine's tables; of stored ones, only what is `within`."""

    def step(inner: ops.Node, kwargs: dict[str, Any] | None) -> ops.Node:
        new = inner.__recreate__(kwargs) if kwargs else inner
        if isinstance(new, ops.UnboundTable) and engine.con is not None:
            return _physical(new, engine, clean=clean, within=within)
        if isinstance(new, READ):
            table = new.to_expr()
            return _plain(
                table,
                table,
                {c: engine.plain(table[c], t) for c, t in table.schema().items()},
                engine,
                clean=clean,
            )
        return new

    return node.replace(step)


class Bound:
    """A source's table and expressions over it on an engine, as `rebound` gives them.

    Each table is looked up and cleaned once.
    """

    def __init__(self, engine: Engine, within: Within | None = None) -> None:
        self.engine, self.within = engine, within
        self._normal: dict[ops.Relation, ops.Relation] = {}
        self._on_tables: dict[ops.Relation, ops.Relation] = {}

    def __getitem__(self, table: ops.Relation) -> ops.Relation:
        return self._bound(self._normalised(table))

    def value(self, node: ops.Value) -> ops.Value:
        """Return an expression over the engine's tables.

        It is made normal over the tables as they are declared first, since rewrites depend on
        types.
        """
        return rebuild(rebuild(node, rewritten, self._normalised), lambda inner: inner, self._bound)

    def _normalised(self, table: ops.Relation) -> ops.Relation:
        if table not in self._normal:
            self._normal[table] = normal(table)
        return self._normal[table]

    def _bound(self, table: ops.Relation) -> ops.Relation:
        if table not in self._on_tables:
            self._on_tables[table] = _on_tables(table, self.engine, within=self.within)
        return self._on_tables[table]


def _plain(
    rows: ir.Table, table: ir.Table, columns: dict[str, ir.Value], engine: Engine, *, clean: bool
) -> ops.Relation:
    """Return the table's columns in these forms, clean if requested, for some of its rows.

    Rows whose columns all stay as they are, are returned unchanged.
    """
    found = {c: cleaned(v, engine) for c, v in columns.items()} if clean else columns
    same = list(found) == list(table.columns) and all(v.equals(table[c]) for c, v in found.items())
    return rows.op() if same else rows.select(*name_values(found)).op()


def cleaned(value: ir.Value, engine: Engine) -> ir.Value:
    """Return a value with NaN and infinities of any type as null, and -0.0 as 0.0 (rule 9)."""
    return engine.bounded(finite(value))


def _physical(
    node: ops.UnboundTable, engine: Engine, *, clean: bool, within: Within | None = None
) -> ops.Relation:
    """Return the engine's table of that name, with its declared columns in the declared types.

    With `within`, only the rows that it selects.
    """
    table = engine.table(node.name, node.namespace.catalog, node.namespace.database)
    types, columns = engine.types(table), {}
    for name, declared in node.schema.items():
        if name not in table.columns:
            close = get_close_matches(name, table.columns, n=1)
            message = (
                f"{node.name} has no column {name!r} on {engine.title}: it has"
                f" {', '.join(table.columns)}{f'; did you mean {close[0]!r}?' if close else ''}"
            )
            raise EngineError(message)
        there, typed = plain(types[name]), engine.typed(table[name], declared)
        if typed is not None:
            columns[name] = typed
            continue
        if alike(there) != alike(declared) and not _widens(there, declared):
            message = (
                f"{node.name}.{name} is {there} on {engine.title} and {declared} in the definition:"
                f" cast it in the warehouse or define it over {there}"
            )
            raise EngineError(message)
        column = engine.plain(table[name], types[name])
        columns[name] = column if alike(there) == alike(declared) else column.cast(declared)
    kept = within(table) if within else []
    return _plain(table.filter(kept) if kept else table, table, columns, engine, clean=clean)


def _widens(there: dt.DataType, declared: dt.DataType) -> bool:
    """Return whether a cast to the declared type keeps every value, or raises, but never rounds."""
    if there.is_integer():
        return (
            declared.is_integer()
            or declared.is_decimal()
            or (declared.is_float64() and there.nbytes <= SHORT)
        )
    if there.is_decimal() and declared.is_decimal():
        return declared.scale is None or (there.scale is not None and there.scale <= declared.scale)
    return (there.is_float32() and declared.is_float64()) or (
        there.is_json() and declared.is_string()
    )


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
        found = {}
        for argument, node in zip(op.__argnames__, op.__args__, strict=True):
            if isinstance(node, ops.Value) and argument not in ("quantile", "sep"):
                found[argument] = self.name(node)
        return found

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
        mine = self.table.op()

        def moved(inner: ops.Value) -> ops.Value | None:
            if isinstance(inner, ops.Field) and inner.rel == mine:
                return table[inner.name].op()
            return element.get(inner)

        return substitute(self._bound.value(node), moved).to_expr()

    def _elements(self, each: Each) -> tuple[ir.Table, dict[ops.Node, ops.Node]]:
        """Return a row for each element, and what replaces `each(...)` in expressions over them."""
        container, node = self._bound.value(each.arg).to_expr(), self._bound.value(each)
        if each.arg.dtype.is_map():
            out = self.engine.entries(self.table, container, MEMBER, "_fw_element")
        else:
            out = self.table.mutate(_fw_element=container).unnest(
                "_fw_element", offset=MEMBER if each.by_position else None
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
        stretch, found = self.stretch, clock(self.group_by.source.table, self.group_by.events.time)
        if stretch is None:
            return Bound(self.engine)
        read = [by for by in (found, self.partition if self.pruned else None) if by is not None]
        return Bound(
            self.engine, lambda table: [c for by in read for c in by.within(table, stretch)]
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
        seen, source, by, at = (
            self.within(reach),
            self.group_by.events,
            self.partition,
            self.instants,
        )
        assert by is not None, "there is a partition"  # noqa: S101 what the caller knows
        assert at is not None, "it is known who asks"  # noqa: S101 what the caller knows
        us = micros(seen.table[source.time])
        value = seen.table[source.partition]
        inside = (us < edge(at, LARGEST, 0, Form(), dt.int64)) & (
            us >= edge(at, LEAST, -reach, Form(), dt.int64)
        )
        return seen.table.filter(inside, ~by.near(value, us)).select(partition=value, us=us)

    def outside(self, ends: Extremes | None) -> EventRows:
        """Return at least the events without a time, or outside [least, largest) of two midnights.

        Without `ends`, all events. Where there is a partition column and a stretch, only the
        stretch's partitions are read.
        """
        found, by, stretch = (
            clock(self.group_by.source.table, self.group_by.events.time),
            self.partition,
            self.stretch,
        )

        def kept(table: ir.Table) -> list[ir.BooleanValue]:
            near = [] if by is None or stretch is None else by.within_or_none(table, stretch)
            return [
                *near,
                *(found.outside(table, ends) if found is not None and ends is not None else []),
            ]

        return evolve(self, conditions=kept)

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
