"""The source of a test: the events behind a value, as Python."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import reduce
from typing import TYPE_CHECKING, Any

import ibis.expr.operations as ops

from workbench.definitions.nodes import inline, inline_rows
from workbench.errors import DefinitionError
from workbench.guards.guarded_events import US, GuardedEvents
from workbench.online.time_units import EPOCH

if TYPE_CHECKING:
    from workbench.backends import Engine
    from workbench.definitions.group_by import GroupBy
    from workbench.previews.explained_value import ExplainedValue


MAX_EVENTS_PINNED = 200  # events that a person would still keep in a test


def source_of_test(
    moment: ExplainedValue | None, feature: str, engine: Engine, name: str | None = None
) -> str:
    """Return a test of a value as source, with its events read from an engine."""
    if (
        moment is None
        or not moment.timed
        or None in (moment.row[left_column] for left_column, _ in moment.part.keys)
    ):
        message = (
            f"{feature} has no events of a key behind it to pin: choose a feature of events, in a"
            " row with a key"
        )
        raise DefinitionError(message)
    group_by = moment.part.group_by
    events = [_value_source(e) for e in _rows(moment, group_by, engine)]
    key = {k: moment.row[left_column] for left_column, k in moment.part.keys}
    at = EPOCH + timedelta(microseconds=moment.asked)
    lines = [
        f"    {name or group_by.name},",
        "    events=[",
        *(f"        {e}," for e in events),
        "    ],",
        f"    key={_value_source(key)},",
        f"    at={_value_source(at.replace(tzinfo=None))},",
        f"    expect={{{moment.feature.name!r}: {_value_source(moment.value)}}},",
    ]
    return "\n".join(["check(", *lines, ")"])


def _rows(moment: ExplainedValue, group_by: GroupBy, engine: Engine) -> list[dict[str, Any]]:
    """Return the key's rows of the base table in the window, and the nearest on either side.

    They have the columns that the group-by reads.
    """
    events = GuardedEvents(group_by, engine)
    key_condition = reduce(
        lambda a, b: a & b,
        (events.value(k) == moment.row[left_column] for left_column, k in moment.part.keys),
    )
    table = events.table.filter(key_condition)
    table = table.filter(table[US].notnull())
    begins = moment.start
    before = table.filter(table[US] < (moment.at if begins is None else begins))
    inside = (
        table.filter(table[US] < moment.at)
        if begins is None
        else table.filter((table[US] >= begins) & (table[US] < moment.at))
    )
    after = table.filter(table[US] >= moment.at)
    parts = [inside.limit(MAX_EVENTS_PINNED + 1), after.order_by(US).limit(1)] + (
        [] if begins is None else [before.order_by(before[US].desc()).limit(1)]
    )
    part_rows = [engine.fetch(p).to_pylist(maps_as_pydicts="strict") for p in parts]
    if len(part_rows[0]) > MAX_EVENTS_PINNED:
        message = (
            f"more than {MAX_EVENTS_PINNED} events stand behind {moment.name}: pin a value of"
            " fewer, with a shorter window or another key"
        )
        raise DefinitionError(message)
    columns = _columns(group_by)
    rows = sorted(
        (r for some in part_rows for r in some),
        key=lambda r: (r[US], repr([r[c] for c in columns])),
    )
    return [{c: r[c] for c in columns if r[c] is not None} for r in rows]


def _columns(group_by: GroupBy) -> list[str]:
    """Return the columns of the base table that a check needs, in the table's order.

    They are those that its rows, keys, time, order and features are computed from.
    """
    table = group_by.source.table
    base, *filters = inline_rows(table)
    named = [
        group_by.events.time,
        *group_by.keys,
        *group_by.events.order,
        *([group_by.events.id] if group_by.events.id else []),
    ]
    named += [f.by for f in group_by.computed if f.by]
    nodes = [
        *filters,
        *(inline(ops.Field(table, c)) for c in named),
        *(inline(f.node) for f in group_by.computed),
    ]
    used = {f.name for node in nodes for f in node.find(ops.Field, filter=ops.Value)}
    return [c for c in base.schema.names if c in used]


def _value_source(value: Any) -> str:
    """Write a value as source that `check` reads back: times and decimals as text."""
    match value:
        case datetime():
            return repr(value.isoformat(sep=" "))
        case date():
            return repr(value.isoformat())
        case Decimal():
            return repr(str(value))
        case dict():
            return f"{{{', '.join(f'{k!r}: {_value_source(v)}' for k, v in value.items())}}}"
        case list():
            return f"[{', '.join(map(_value_source, value))}]"
        case _:
            return repr(value)
