"""Sources: tables whose rows are events at a time, and tables of daily snapshots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ibis.expr.operations as ops
from attrs import field, frozen

from workbench.definitions import data_checks
from workbench.definitions.binding import (
    column,
    columns,
    connections,
    recomputed,
    relation,
    title,
    unbind,
)
from workbench.definitions.canonical import IDLE, SERVING, Meaningful
from workbench.definitions.partition_columns import partition_of
from workbench.definitions.topics import Topic, carried
from workbench.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta

    import ibis.expr.types as ir
    from ibis.backends import BaseBackend

    from workbench.definitions.data_checks import DataCheck

# Relations that can be computed for one event at a time, so that the updater gives the backfill's
# value.
ROWWISE = (
    ops.Project,
    ops.Filter,
    ops.DropColumns,
    ops.FillNull,
    ops.DropNull,
    ops.AliasedRelation,
    ops.SelfReference,
)
TABLES = (ops.UnboundTable, ops.InMemoryTable)
NEEDS_OTHER_ROWS = (ops.Reduction, ops.Analytic, ops.WindowFunction, ops.Subquery, ops.Unnest)
NOT_REPEATABLE = (ops.TimestampNow, ops.DateNow, ops.RandomScalar, ops.RandomUUID)


def _time(table: ops.Relation, value: Any, subject: str) -> str:
    name = column(table, value, subject)
    dtype = table.schema[name]
    if dtype.is_timestamp():
        return name
    first = recomputed(name, '.cast("timestamp")', "table")
    if dtype.is_integer():
        how = recomputed(name, '.as_timestamp("ms")', "table")
        fix = f'convert it in the table: {how}, with "s", "ms" or "us" as its unit'
    elif dtype.is_string():
        fix = f"preview(table) shows the line that reads it, which for ISO texts is {first}"
    elif dtype.is_date():
        fix = f"a date is no instant; say which: {first} is its first, UTC"
    else:
        fix = "name the column that says when each row happened"
    message = f"{subject} {name!r} of {title(table)} is {dtype}, not a timestamp: {fix}"
    raise DefinitionError(message)


def _connection(table: ops.Relation) -> BaseBackend | None:
    source_connections = connections(table)
    if len(source_connections) > 1:
        message = (
            f"{title(table)} is read through {len(source_connections)} connections: use one for a"
            " table and everything joined to it"
        )
        raise DefinitionError(message)
    return source_connections[0] if source_connections else None


@frozen(init=False, eq=False)
class EventSource(Meaningful):
    """Facts that happen at a time and never change, in a table and perhaps on a topic.

    Parameters
    ----------
    table
        An Ibis table, one row an event; a DataFrame or Arrow table is taken too.
    time
        The timestamp column that says when each event happened. A naive one is UTC (semantics rule
        1).
    topic
        The Kafka topic on which the same events arrive live: its name, or a `Topic` that says what
        its messages are; `None` for events that only the table has.
    order
        Columns that order events of one time, such as an offset; nulls come first (semantics
        rule 10).
    id
        The column that identifies an event, by which a repeated message is dropped (semantics rule
        21).
    checks
        What must be true of the rows, `[_.price >= 0, unique("purchase_id")]`: boolean expressions,
        or `DataCheck`s. They are asked at each upload, which they refuse where they do not hold,
        and of a join's left by `backfill`; they change no value.
    partition
        The stored column that says which day's partition a row lies in: a date, a text as
        `2024-01-31` or `20240131`, or a number as `20240131`. A backfill then skips partitions that
        no window can see (semantics rule 5); it first counts rows whose time is further from their
        partition's day, UTC, than `slack`, and refuses where there are any.
    slack
        How far before or after its partition's day a row's time may lie, such as `days(1)`; by
        default not at all.
    """

    table: ops.Relation
    time: str
    topic: Topic | None = field(default=None, metadata=SERVING)
    order: tuple[str, ...] = ()
    id: str | None = field(default=None, metadata=SERVING)
    checks: tuple[DataCheck, ...] = field(default=(), repr=False, metadata=IDLE)
    partition: str | None = field(default=None, repr=False, metadata=IDLE)
    slack: timedelta | None = field(default=None, repr=False, metadata=IDLE)
    connection: BaseBackend | None = field(default=None, repr=False, metadata=IDLE)
    # a reference that keeps a temporary table alive
    origin: ops.Relation | None = field(default=None, repr=False, metadata=IDLE)

    def __init__(
        self,
        table: ir.Table,
        *,
        time: Any,
        topic: str | Topic | None = None,
        order: Any = (),
        id: Any = None,  # noqa: A002 the design's names
        checks: Any = (),
        partition: Any = None,
        slack: Any = None,
    ) -> None:
        bound = relation(table, "EventSource")
        node = unbind(bound)
        self.__attrs_init__(
            node,
            _time(node, time, "time"),
            None if topic is None else carried(topic, node),
            columns(node, order, "order"),
            None if id is None else column(node, id, "id"),
            data_checks.checks(checks, node, title(node)),
            *partition_of(node, partition, slack),
            _connection(bound),
            bound,
        )


@frozen(init=False, eq=False)
class EntitySource(Meaningful):
    """State in daily snapshots: a snapshot of day D is the state at the end of D, UTC.

    Parameters
    ----------
    table
        An Ibis table, one row a key and snapshot.
    snapshot
        The date (or ISO date text) column with the day at whose end the row was the state. The
        value at `t` comes from the latest snapshot whose day ended at or before `t` (semantics rule
        6). `None`, written out, is a table without time.
    checks
        What must be true of the rows of the newest snapshot; see `EventSource`.
    """

    table: ops.Relation
    snapshot: str | None
    checks: tuple[DataCheck, ...] = field(default=(), repr=False, metadata=IDLE)
    connection: BaseBackend | None = field(default=None, repr=False, metadata=IDLE)

    def __init__(self, table: ir.Table, *, snapshot: Any = ..., checks: Any = ()) -> None:
        bound = relation(table, "EntitySource")
        node = unbind(bound)
        if snapshot is ...:
            days = [n for n, t in node.schema.items() if t.is_date()]
            dates = f" (its dates are {', '.join(days)})" if days else ""
            message = (
                f"EntitySource of {title(node)} needs snapshot=, the column that says of which"
                f" day's end each row tells{dates}, or snapshot=None where a key has one row that"
                " holds at all times"
            )
            raise DefinitionError(message)
        name = None if snapshot is None else column(node, snapshot, "snapshot")
        if name is not None and not (node.schema[name].is_date() or node.schema[name].is_string()):
            message = (
                f"snapshot {name!r} of {title(node)} is {node.schema[name]}, not a date or ISO date"
                " text: convert it in the table with .date(), or say snapshot=None for a table"
                " without time"
            )
            raise DefinitionError(message)
        self.__attrs_init__(
            node, name, data_checks.checks(checks, node, title(node)), _connection(bound)
        )


Source = EventSource | EntitySource


def check_rowwise(name: str, table: ops.Relation) -> None:
    """Refuse tables that are not row-wise, since the updater sees one event at a time (rule 7)."""
    for node in table.find(ops.Relation):
        if not isinstance(node, (*ROWWISE, *TABLES)):
            message = (
                f"the source of {name} uses {_verb(node)}: a source takes filters, projections and"
                " casts, which need one row only; aggregate in the GroupBy, or store the result as"
                " a table"
            )
            raise DefinitionError(message)
    for value_name, value in _values(table):
        if value.find(NEEDS_OTHER_ROWS, filter=ops.Value):
            message = (
                f"the source of {name} computes {value_name} from other rows: a source takes"
                " expressions of one row; aggregate in the GroupBy"
            )
            raise DefinitionError(message)
        if value.find(NOT_REPEATABLE, filter=ops.Value):
            message = (
                f"the source of {name} computes {value_name} from the clock or at random: give the"
                " same value for the same row, every time"
            )
            raise DefinitionError(message)


def _verb(node: ops.Relation) -> str:
    words = {
        ops.Aggregate: "an aggregation",
        ops.JoinChain: "a join",
        ops.Sort: "a sort",
        ops.Limit: "a limit",
        ops.Distinct: "distinct",
        ops.Sample: "a sample",
        ops.Union: "a union",
        ops.SQLQueryResult: "raw SQL",
        ops.SQLStringView: "raw SQL",
    }
    return words.get(type(node), type(node).__name__)


def _values(table: ops.Relation) -> Iterable[tuple[str, ops.Value]]:
    """Yield the values that a row-wise table computes, each with its name."""
    for node in table.find((ops.Project, ops.Filter)):
        yield from (
            node.values.items()
            if isinstance(node, ops.Project)
            else (("a filter", p) for p in node.predicates)
        )
