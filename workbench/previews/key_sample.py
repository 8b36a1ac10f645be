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
from workbench.definitions.group_by import Aggregation, GroupBy, flat
from workbench.definitions.join import Join
from workbench.definitions.sources import EntitySource, EventSource
from workbench.errors import DefinitionError
from workbench.online.own_columns import name_beside
from workbench.planner.entity_snapshots import EntityRows
from workbench.planner.source_rows import EventRows
from workbench.portable.arrow_types import fetched, typed
from workbench.portable.rewrites import micros

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from ibis.backends import BaseBackend

    from workbench.backends import Engine

KEYS = 200
NAME, TIME = "preview", "t"  # of what has no name yet, and of the sample's time
DAY_US = 86_400_000_000
ANY_DAY_US = 946_684_800_000_000  # 2000-01-01, for a table that holds at all times


def unnamed(what: Any, of: GroupBy | None, keys: Any, time: Any, spans: Any = ()) -> GroupBy:
    """Return a group-by of aggregations or bare reductions.

    Its keys and source are those of `of`, or of the table that the reductions are over. A reduction
    that is more than one of a plain column is called `value`, `value_2`, ... until it has a name.
    """
    some = [_named(one, i, spans) for i, one in enumerate(flat(what))]
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


def _named(one: Any, i: int, spans: Any) -> Aggregation:
    if isinstance(one, Aggregation):
        return one
    made = Aggregation(one, spans)
    if not made.bound:
        return made
    try:
        made.features  # noqa: B018 whether it names itself
    except DefinitionError:
        return Aggregation(one.name("value" if not i else f"value_{i + 1}"), spans)
    return made


def _table(some: Iterable[Any]) -> ir.Table:
    """Return the table that bound reductions are over."""
    for one in some:
        node = (
            one.op()
            if isinstance(one, ir.Value)
            else one.reduction
            if isinstance(one, Aggregation) and one.bound
            else None
        )
        for read in node.find((ops.Field, ops.CountStar)) if node is not None else ():
            return (read.rel if isinstance(read, ops.Field) else read.arg).to_expr()
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
    known = named.filter([named[k].notnull() for k in group_by.keys]).distinct()
    order = [*(engine.hashed(known[k]) for k in group_by.keys), *(known[k] for k in group_by.keys)]
    found = fetched(engine, known.order_by(order).limit(keys), known.schema())
    if not len(found):
        message = (
            f"{group_by.name} has no key to look at: its source has no rows with"
            f" {', '.join(group_by.keys)}"
        )
        raise DefinitionError(message)
    us = _newest(group_by, engine, table) if at is None else at if isinstance(at, int) else _us(at)
    time = name_beside(TIME, found.column_names)
    rows = found.append_column(time, pa.array([us] * len(found), pa.timestamp("us")))
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
