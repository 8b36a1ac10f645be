"""The updater's needs of a source: which messages give no event, which columns are read."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.operations as ops

from workbench.backends import engine_of
from workbench.definitions.binding import title
from workbench.definitions.nodes import base, inline, inline_rows
from workbench.online.plan import Need
from workbench.planner.bound_tables import rebound

if TYPE_CHECKING:
    from collections.abc import Iterable

    import ibis.expr.types as ir

    from workbench.backends import Engine
    from workbench.definitions.group_by import GroupBy
    from workbench.serving.stored_columns import Stored

PLACE = "_fw_place"  # a message's number in its batch


def message_needs(group_by: GroupBy, stored: Stored) -> dict[str, Any]:
    """Return the fields of a plan that say how messages are read.

    Without a topic, they only say how rows are made of messages.
    """
    engine = engine_of(None, "duckdb")
    try:
        rows = streamed(group_by, stored, engine)
        question = "" if group_by.events.topic is None else engine.sql(keyless(group_by, engine))
    except Exception:  # noqa: BLE001 what Ibis lacks for DuckDB is said where the rows are
        question, rows = "", ""
    if group_by.events.topic is None:
        return {"streamed": rows} if rows else {}
    beside = [*stored.named.values(), *stored.buckets, *([stored.id] if stored.id else [])]
    reads = read_columns(group_by, stored.inputs.columns, beside)
    return {"needs": needed(group_by), "keyless": question, "reads": reads, "streamed": rows}


def streamed(group_by: GroupBy, stored: Stored, engine: Engine) -> str:
    """Return the SQL of rows from messages, or an empty text where the warehouse's SQL serves.

    It is needed where the updater's table of messages has another name than the warehouse's.
    """
    table = base(group_by.source.table)
    place = (
        (table.namespace.catalog, table.namespace.database)
        if isinstance(table, ops.UnboundTable)
        else ()
    )
    if not isinstance(table, ops.UnboundTable | ops.InMemoryTable) or (
        table.name == title(table) and not any(place)
    ):
        return ""
    messages = ibis.table(dict(table.schema.items()), name=title(table))
    return engine.sql(stored.rows(engine).op().replace({table: messages.op()}).to_expr())


def needed(group_by: GroupBy) -> tuple[Need, ...]:
    """Return each key and the time of events, without which no message is an event."""
    table, time = group_by.source.table, group_by.events.time
    keys = [Need(k, _columns([ops.Field(table, k)])) for k in group_by.keys if k != time]
    return (*keys, Need(time, _columns([ops.Field(table, time)]), "time"))


def read_columns(
    group_by: GroupBy, inputs: Iterable[ops.Value], columns: Iterable[str]
) -> tuple[str, ...]:
    """Return the base table's columns from which reductions' inputs and other stored columns come.

    Keys and the time are left out.
    """
    table = group_by.source.table
    aside = {c for need in needed(group_by) for c in need.columns}
    base_columns = _columns([*inputs, *(ops.Field(table, c) for c in columns)])
    return tuple(c for c in base_columns if c not in aside)


def _columns(values: Iterable[ops.Value]) -> tuple[str, ...]:
    """Return the columns of the base table that expressions use, each once."""
    fields = (f.name for v in values for f in inline(v).find(ops.Field))
    return tuple(dict.fromkeys(fields))


def keyless(group_by: GroupBy, engine: Engine) -> ir.Table:
    """Return the numbered rows of the base table that pass every filter and lack a key or a time.

    Columns: the number, and for each of `needed` in order, `n0` and so on, whether it is null.
    """
    table, *filters = inline_rows(group_by.source.table)
    if not isinstance(table, ops.UnboundTable | ops.InMemoryTable):
        message = f"the rows of {group_by.name} do not begin at a table"
        raise TypeError(message)
    wider = ibis.table({**dict(table.schema.items()), PLACE: "int64"}, name=title(table))
    moved = {ops.Field(table, c): wider[c].op() for c in table.schema.names}
    filtered = wider.filter([f.replace(moved).to_expr() for f in filters]) if filters else wider
    fields = {ops.Field(wider, c): filtered[c].op() for c in wider.columns}
    values = [inline(ops.Field(group_by.source.table, n.name)) for n in needed(group_by)]
    nulls = [v.replace(moved).replace(fields).to_expr().isnull() for v in values]
    flags = filtered.select(filtered[PLACE], **{f"n{i}": null for i, null in enumerate(nulls)})
    names = [n for n in flags.columns if n != PLACE]
    lacking = flags.filter(reduce(lambda a, b: a | b, (flags[n] for n in names)))
    return rebound(lacking.op(), engine).to_expr()
