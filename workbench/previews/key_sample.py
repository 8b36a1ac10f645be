"""A group-by, or a reduction without a name yet, previewed for a sample of its keys.

Each key has its whole history, as of one time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir
import pyarrow as pa
from attrs import evolve
from ibis.common.deferred import Deferred

from workbench.backends import engine_of
from workbench.definitions.aggregations import Aggregation, flat
from workbench.definitions.group_by import GroupBy
from workbench.definitions.join import Join
from workbench.definitions.sources import EntitySource, EventSource
from workbench.errors import DefinitionError
from workbench.online.own_columns import name_beside
from workbench.online.time_units import DAY_US
from workbench.planner.entity_snapshots import EntityRows
from workbench.planner.source_rows import EventRows
from workbench.portable.arrow_types import fetched, typed
from workbench.portable.time_rewrites import micros

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from ibis.backends import BaseBackend

    from workbench.backends import Engine

KEYS = 200
NAME, TIME = "preview", "t"  # of what has no name yet, and of the sample's time
ANY_DAY_US = 946_684_800_000_000  # 2000-01-01, for a table that holds at all times


def unnamed(what: Any, of: GroupBy | None, keys: Any, time: Any, spans: Any = ()) -> GroupBy:
    """Return a group-by of aggregations or bare reductions.

    Its keys and source are those of `of`, or of the table that the reductions are over. A reduction
    that is more than one of a plain column is called `value`, `value_2`, ... until it has a name.
    """
    some = [_named(reduction, i, spans) for i, reduction in enumerate(flat(what))]
    if isinstance(of, GroupBy):
        return evolve(of, name=NAME, aggregations=some, features=(), derivations={})
    if of is not None:
        message = (
            f"of= takes a GroupBy, whose keys and source a reduction has, not {type(of).__name__}:"
            " give one, or keys= and time= of the reduction's own table"
        )
        raise DefinitionError(message)
    if keys is None or time is None:
        message = (
            "a reduction is previewed with the keys and time of a group-by, preview(...,"
            " of=group_by), or with its own, preview(..., keys='user_id', time='ts')"
        )
        raise DefinitionError(message)
    return GroupBy(
        name=NAME,
        source=EventSource(_table(flat(what)), time=time),
        keys=[keys] if isinstance(keys, str | ir.Value | Deferred) else keys,
        aggregations=some,
    )


def _named(reduction: Any, i: int, spans: Any) -> Aggregation:
    if isinstance(reduction, Aggregation):
        return reduction
    aggregation = Aggregation(reduction, spans)
    if not aggregation.bound:
        return aggregation
    try:
        aggregation.features  # noqa: B018 whether it names itself
    except DefinitionError:
        return Aggregation(reduction.name("value" if not i else f"value_{i + 1}"), spans)
    return aggregation


def _table(some: Iterable[Any]) -> ir.Table:
    """Return the table that bound reductions are over."""
    for reduction in some:
        node = (
            reduction.op()
            if isinstance(reduction, ir.Value)
            else reduction.reduction
            if isinstance(reduction, Aggregation) and reduction.bound
            else None
        )
        for operand in node.find((ops.Field, ops.CountStar)) if node is not None else ():
            return (operand.rel if isinstance(operand, ops.Field) else operand.arg).to_expr()
    message = (
        "a deferred expression such as _.price.sum() has no table: preview(..., of=group_by) gives"
        " it one"
    )
    raise DefinitionError(message)


def sampled(
    group_by: GroupBy, con: BaseBackend, keys: int = KEYS, at: datetime | str | int | None = None
) -> Join:
    """Return the group-by for a sample of keys, by their hash, as of one time.

    The default time is just after its newest event or snapshot.
    """
    engine = engine_of(con)
    entity = isinstance(group_by.source, EntitySource)
    table = (EntityRows if entity else EventRows)(group_by, engine).table
    named = table.select(*(table[k] for k in group_by.keys))
    known_keys = named.filter([named[k].notnull() for k in group_by.keys]).distinct()
    order = [
        *(engine.hashed(known_keys[k]) for k in group_by.keys),
        *(known_keys[k] for k in group_by.keys),
    ]
    key_table = fetched(engine, known_keys.order_by(order).limit(keys), known_keys.schema())
    if not len(key_table):
        message = (
            f"{group_by.name} has no key to look at: its source has no rows with"
            f" {', '.join(group_by.keys)}"
        )
        raise DefinitionError(message)
    us = _newest(group_by, engine, table) if at is None else at if isinstance(at, int) else _us(at)
    time = name_beside(TIME, key_table.column_names)
    rows = key_table.append_column(time, pa.array([us] * len(key_table), pa.timestamp("us")))
    left = typed(
        ibis.memtable(rows),
        ibis.schema({k: group_by.source.table.schema[k] for k in group_by.keys}),
    )
    return Join(
        name=group_by.name,
        left=EventSource(left, time=time),
        parts=[group_by],
        description=group_by.description,
        owner=group_by.owner,
    )


def _newest(group_by: GroupBy, engine: Engine, table: ir.Table) -> int:
    """Return the first instant at which everything in the source is known.

    That is after its newest event, or the end of its newest day.
    """
    if isinstance(group_by.source, EntitySource):
        ends = EntityRows(group_by, engine).ended(table)
        ((newest,),) = engine.rows(table.mutate(**ends).agg(t=lambda t: t[next(iter(ends))].max()))
        return int(newest or ANY_DAY_US)
    ((newest,),) = engine.rows(table.agg(t=micros(table[group_by.events.time]).max()))
    after = int(newest or 0) + 1
    return -(-after // DAY_US) * DAY_US if group_by.accuracy == "snapshot" else after


def _us(at: datetime | str) -> int:
    from workbench.online.fetching.answers import microseconds  # noqa: PLC0415 one reading of times

    return microseconds(at)
