"""Columns that a topic carries less exactly than its table has them.

Events and messages then meet at the topic's precision, or are refused where they cannot meet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ibis.expr.operations as ops

from workbench.backends import engine_of
from workbench.definitions.nodes import base, inline
from workbench.errors import DefinitionError
from workbench.online.messages import avro
from workbench.online.messages.connect_values import INSTANTS, TIMES
from workbench.online.messages.event_precision import LOST, UNITS
from workbench.online.messages.message_formats import FORMATS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import ibis.expr.datatypes as dt
    from ibis.backends import BaseBackend

    from workbench.definitions.group_by import GroupBy
    from workbench.online.plan import GroupByPlan, TopicPlan
    from workbench.serving.stored_columns import Stored

WORDS = {
    "s": "in seconds",
    "ms": "in milliseconds",
    "float32": "as a float of 32 bits",
    LOST: "with fewer digits",
}
# Operations that give the same for a time cut down to the second as for the time itself, as do all
# parts of a time that are longer than its unit.
SECOND_PARTS = (
    ops.Date,
    ops.ExtractDateField,
    ops.ExtractHour,
    ops.ExtractMinute,
    ops.ExtractSecond,
    ops.DayOfWeekIndex,
    ops.DayOfWeekName,
    ops.Strftime,
)
LONG = frozenset("YQMWDhms")  # units of intervals and of what is truncated to, from the second on
EDGES = {
    ops.GreaterEqual: ("left", "right"),
    ops.Less: ("left", "right"),
    ops.LessEqual: ("right", "left"),
    ops.Greater: ("right", "left"),
}


def coarse(group_by: GroupBy, stored: Stored) -> dict[str, str]:
    """Return the topic's precision of each stored column that identifies an event.

    Columns that the topic carries as the table has them are left out.

    Raises DefinitionError where a column is computed from what the topic carries less exactly, so
    that an event of the table cannot be matched with its message; of a source with an `id` it is
    `LOST`.
    """
    topic = group_by.events.topic
    if topic is None:
        return {}
    table = group_by.source.table
    lossy = _lossy(topic.plan, base(table).schema)
    if not lossy:
        return {}
    named = {f"k{i}": ops.Field(table, k) for i, k in enumerate(group_by.keys)} | {
        "time": ops.Field(table, group_by.events.time)
    }
    named |= {name: ops.Field(table, c) for name, c in stored.named.items()}
    named |= {name: ops.Field(table, by) for by, name in stored.buckets.items()}
    named |= {name.replace("_fw_in", "i"): node for node, name in stored.inputs.columns.items()}
    precisions = {name: _TopicPrecision(lossy).of(inline(node)) for name, node in named.items()}
    if group_by.events.id is None and (
        unmet := [name for name, precision in precisions.items() if precision == LOST]
    ):
        raise DefinitionError(_refusal(group_by, named[unmet[0]], lossy))
    return {name: precision for name, precision in precisions.items() if precision is not None}


def padded(group_by: GroupBy, con: BaseBackend | None) -> tuple[str, ...]:
    """Return the columns of a streamed source's table that its engine pads with blanks.

    Messages may have the blanks too. There are none without a connection.
    """
    table = base(group_by.source.table)
    if (
        con is None
        or not isinstance(table, ops.UnboundTable | ops.DatabaseTable)
        or not any(_texts(t) for t in table.schema.types)
    ):
        return ()
    padded_columns = engine_of(con).padded(
        table.name, table.namespace.catalog, table.namespace.database
    )
    return tuple(c for c in table.schema if c in padded_columns)


def _texts(dtype: dt.DataType) -> bool:
    return dtype.is_string() or (dtype.is_array() and dtype.value_type.is_string())


def meeting(plan: GroupByPlan) -> str:
    """Say how exactly the topic carries events whose table has more, and what then counts."""
    labels = (
        {c.name: c.label or c.name for c in plan.stored}
        | {f"k{i}": k.name for i, k in enumerate(plan.keys)}
        | {"time": plan.needs[-1].name}
    )
    told = ", ".join(
        f"{labels[name]} {WORDS[precision]}" for name, precision in plan.coarse.items()
    )
    known = "by its id" if plan.id else "by what the topic tells"
    return (
        f"its topic tells {told}; an event that comes by both is known again {known}, and after the"
        " next upload it is as the table has it"
    )


def _refusal(group_by: GroupBy, node: ops.Value, lossy: Mapping[str, str]) -> str:
    """Return the sentence of the refusal, with what to do."""
    topic = group_by.events.topic
    column = next(f.name for f in inline(node).find(ops.Field) if f.name in lossy)
    finer = (
        ""
        if lossy[column] not in UNITS or topic is None or FORMATS[topic.format].kinds(topic.plan)
        else f", let messages say it whole with Topic({topic.name!r}, ..., time='us')"
    )
    what = (
        column if isinstance(inline(node), ops.Field) else f"a value that is computed with {column}"
    )
    return (
        f"{group_by.name} keeps {what}, which the topic {topic.plan.name if topic else ''} tells"
        f" {WORDS[lossy[column]]} and the table more exactly, so that an event which comes by both"
        " would count twice: name the column that identifies an event, EventSource(...,"
        f" id=...){finer}, or cut the table's own column down to what messages tell"
    )


def _lossy(topic: TopicPlan, schema: Mapping[str, dt.DataType]) -> dict[str, str]:
    """Return the columns that messages carry less exactly than the table, with their precision."""
    kinds = FORMATS[topic.format].kinds(topic)
    losses = {}
    for name, dtype in schema.items():
        loss = _avro(kinds[name], dtype, topic) if kinds else _text(dtype, topic)
        if loss is not None:
            losses[name] = loss
    return losses


def _text(dtype: dt.DataType, topic: TopicPlan) -> str | None:
    return topic.time if dtype.is_timestamp() and topic.time in UNITS else None


def _avro(kind: Any, dtype: dt.DataType, topic: TopicPlan) -> str | None:
    """Return how exactly an Avro field of this kind carries a column."""
    if dtype.is_timestamp() and kind == "long":
        return _text(dtype, topic)
    if dtype.is_float64() and kind == "float":
        return "float32"
    if isinstance(kind, dict):
        logical = str(kind.get("logicalType", ""))
        if logical.endswith("-millis") or (TIMES | INSTANTS).get(avro.connect_name(kind)) == "ms":
            return "ms"
        if logical == "decimal" and dtype.is_decimal():
            return LOST if kind.get("scale", 0) < (dtype.scale or 0) else None
        return LOST if dtype.is_nested() and _narrow(kind, dtype) else None
    return None


def _narrow(kind: Any, dtype: dt.DataType) -> bool:
    """Return whether something within has fewer bits or digits than the column."""
    if isinstance(kind, list):
        return any(_narrow(k, dtype) for k in kind)
    if dtype.is_array() or dtype.is_map():
        return isinstance(kind, dict) and _narrow(
            kind.get("items", kind.get("values")), dtype.value_type
        )
    if dtype.is_struct():
        fields = (
            {f["name"]: f["type"] for f in kind.get("fields", ())} if isinstance(kind, dict) else {}
        )
        return any(_narrow(fields[n], t) for n, t in dtype.items() if n in fields)
    if isinstance(kind, dict) and kind.get("logicalType") == "decimal":
        return dtype.is_decimal() and kind.get("scale", 0) < (dtype.scale or 0)
    return dtype.is_float64() and (
        kind == "float" or (isinstance(kind, dict) and kind.get("type") == "float")
    )


class _TopicPrecision:
    """The topic's precision of values of the base table's columns.

    It is `None` where the topic carries the value wholly, and `LOST` where what is computed
    differs.
    """

    def __init__(self, lossy: Mapping[str, str]) -> None:
        self.lossy = lossy

    def of(self, node: ops.Value) -> str | None:
        """Return the precision of one value."""
        if isinstance(node, ops.Field):
            return self.lossy.get(node.name)
        if isinstance(node, ops.IsNull | ops.NotNull):
            return None
        if type(node) in EDGES:
            return self._edge(node)
        inner = [self.of(a) for a in node.args if isinstance(a, ops.Value)]
        inner += [
            self.of(a)
            for many in node.args
            if isinstance(many, tuple)
            for a in many
            if isinstance(a, ops.Value)
        ]
        precisions = {p for p in inner if p is not None}
        if not precisions:
            return None
        precision = precisions.pop()
        if precisions or precision not in UNITS:
            return LOST
        return self._of_time(node, precision)

    def _of_time(self, node: ops.Value, precision: str) -> str | None:
        """Return the precision of what is computed of one time that is cut down."""
        if isinstance(node, SECOND_PARTS) or (
            isinstance(node, ops.ExtractMillisecond) and precision == "ms"
        ):
            return None
        if isinstance(node, ops.TimestampTruncate) and (
            node.unit.value in LONG or node.unit.value == precision
        ):
            return None
        if isinstance(node, ops.Cast):
            return precision if node.to.is_timestamp() else None if node.to.is_date() else LOST
        if isinstance(node, ops.TimestampAdd | ops.TimestampSub) and _in_whole_units(
            node.right, precision
        ):
            return precision
        return LOST

    def _edge(self, node: ops.Value) -> str | None:
        """Return the precision of a comparison: with a whole instant, cut times compare alike."""
        time, instant = (getattr(node, side) for side in EDGES[type(node)])
        precision = self.of(time)
        if precision is None and self.of(instant) is None:
            return None
        return (
            None
            if precision in UNITS and isinstance(time, ops.Field) and _aligned(instant, precision)
            else LOST
        )


def _in_whole_units(node: ops.Value, precision: str) -> bool:
    """Return whether an interval is of whole units of the topic."""
    return (
        isinstance(node, ops.Literal)
        and node.dtype.is_interval()
        and (node.dtype.unit.value in LONG or node.dtype.unit.value == precision)
    )


def _aligned(node: ops.Value, precision: str) -> bool:
    """Return whether a literal is a whole instant in the topic's unit."""
    while isinstance(node, ops.Cast):
        node = node.arg
    if not isinstance(node, ops.Literal) or not (node.dtype.is_timestamp() or node.dtype.is_date()):
        return False
    return getattr(node.value, "microsecond", 0) % UNITS[precision] == 0


__all__ = ["coarse", "meeting", "padded"]
