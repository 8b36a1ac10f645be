"""A value of a preview as the source of a test: a call of `check` with the events behind it."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import reduce
from typing import TYPE_CHECKING, Any

import ibis.expr.operations as ops

from workbench.definitions.nodes import inline, inline_rows
from workbench.errors import DefinitionError
from workbench.guards.source_guards import US, Events
from workbench.training.source_checks import EPOCH

if TYPE_CHECKING:
    from workbench.backends import Engine
    from workbench.definitions.group_by import GroupBy
    from workbench.previews.explained_value import Moment
    from workbench.previews.preview_view import Preview

MOST = 200  # events that a person would still keep in a test


def pinned(preview: Preview, *, name: str | None = None) -> str:
    """Return a test of the preview's chosen value as Python source.

    It is a `check` of the value's key, its time and the events that count, with the one before the
    window and the one after. `name` is what the group-by's variable is called, by default the
    group-by's own name. Of a value that is derived from others, the feature that the preview draws
    is pinned.

    Raises DefinitionError where no events stand behind the value, or more than 200.
    """
    return written(preview.moment, preview.feature, preview.page.near.origin, name)


def written(moment: Moment | None, feature: str, engine: Engine, name: str | None = None) -> str:
    """Return a test of a value as source, with its events read from an engine."""
    if (
        moment is None
        or not moment.timed
        or None in (moment.row[left] for left, _ in moment.part.keys)
    ):
        message = (
            f"{feature} has no events of a key behind it to pin: choose a feature of events, in a"
            " row with a key"
        )
        raise DefinitionError(message)
    group_by = moment.part.group_by
    events = [_written(e) for e in _rows(moment, group_by, engine)]
    key = {k: moment.row[left] for left, k in moment.part.keys}
    lines = [
        f"    {name or group_by.name},",
        "    events=[",
        *(f"        {e}," for e in events),
        "    ],",
        f"    key={_written(key)},",
        f"    at={_written((EPOCH + timedelta(microseconds=moment.asked)).replace(tzinfo=None))},",
        f"    expect={{{moment.feature.name!r}: {_written(moment.value)}}},",
    ]
    return "\n".join(["check(", *lines, ")"])


def _rows(moment: Moment, group_by: GroupBy, engine: Engine) -> list[dict[str, Any]]:
    """Return the key's rows of the base table in the window, and the nearest on either side.

    They have the columns that the group-by reads.
    """
    events = Events(group_by, engine)
    mine = reduce(
        lambda a, b: a & b, (events.value(k) == moment.row[left] for left, k in moment.part.keys)
    )
    table = events.table.filter(mine)
    table = table.filter(table[US].notnull())
    begins = moment.start
    before = table.filter(table[US] < (moment.at if begins is None else begins))
    inside = (
        table.filter(table[US] < moment.at)
        if begins is None
        else table.filter((table[US] >= begins) & (table[US] < moment.at))
    )
    after = table.filter(table[US] >= moment.at)
    parts = [inside.limit(MOST + 1), after.order_by(US).limit(1)] + (
        [] if begins is None else [before.order_by(before[US].desc()).limit(1)]
    )
    found = [engine.fetch(p).to_pylist(maps_as_pydicts="strict") for p in parts]
    if len(found[0]) > MOST:
        message = (
            f"more than {MOST} events stand behind {moment.name}: pin a value of fewer, with a"
            " shorter window or another key"
        )
        raise DefinitionError(message)
    columns = _columns(group_by)
    rows = sorted(
        (r for some in found for r in some), key=lambda r: (r[US], repr([r[c] for c in columns]))
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


def _written(value: Any) -> str:
    """Write a value as source that `check` reads back: times and decimals as text."""
    match value:
        case datetime():
            return repr(value.isoformat(sep=" "))
        case date():
            return repr(value.isoformat())
        case Decimal():
            return repr(str(value))
        case dict():
            return f"{{{', '.join(f'{k!r}: {_written(v)}' for k, v in value.items())}}}"
        case list():
            return f"[{', '.join(map(_written, value))}]"
        case _:
            return repr(value)
