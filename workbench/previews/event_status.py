"""The key's events, and why each counts for a feature as of an instant or does not."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.operations as ops
from attrs import frozen

from workbench.definitions.feature_expressions import reductions
from workbench.definitions.reductions import Each
from workbench.planner.source_rows import EVENT, EventRows
from workbench.portable.rewrites import finite
from workbench.portable.time_rewrites import micros

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from workbench.definitions.aggregations import Feature
    from workbench.previews.key_feature import KeyFeature

COUNTS, OLD, FILTERED, EMPTY, LATER = STATUSES = (
    "counts",
    "too old",
    "filtered out",
    "input null",
    "at or after t",
)
INSIDE = (COUNTS, FILTERED, EMPTY)
STATUS = "_fw_status"


@frozen
class HistoryEvent:
    """One event of the key: its time, what the reduction takes from it, and whether it counts."""

    time: int
    value: Any
    status: str
    beside: dict[str, Any]
    source: dict[str, Any]
    running: Any = None
    without: Any = None


def inputs(feature: Feature) -> frozenset[str]:
    """Return the columns that a feature's reductions take."""
    return frozenset(
        f.name for op in reductions(feature.node) for f in op.find(ops.Field, filter=ops.Value)
    )


def arguments(op: ops.Reduction) -> dict[str, ops.Value]:
    """Return what a reduction reads of an event: input, second input and filter, by name.

    Under `each()` the input is the whole list.
    """
    nodes = {}
    for name, node in zip(op.__argnames__, op.__args__, strict=True):
        if isinstance(node, ops.Value) and name not in ("quantile", "sep"):
            unfolded = node.find(Each, filter=ops.Value)
            nodes["input" if name in ("arg", "left") else name] = (
                unfolded[0].arg if unfolded else node
            )
    return nodes


def contributes(taken: list[tuple[bool, dict[str, ir.Value]]]) -> ir.BooleanValue:
    """Return whether any of the feature's reductions takes something of the event."""
    conditions = [
        reduce(
            lambda a, b: a & b,
            (
                (
                    v.fill_null(False)
                    if n == "where"
                    else v.length() > 0
                    if unfolded and n == "input"
                    else v.notnull()
                )
                for n, v in some.items()
            ),
            ibis.literal(value=True),
        )
        for unfolded, some in taken
    ]
    return reduce(lambda a, b: a | b, conditions)


def events_with_status(
    subject: KeyFeature, at: Any, start: Any, key: list[Any] | None = None
) -> ir.Table:
    """Return every event of the key, with the reduction's input and why it counts or not."""
    rows = EventRows(subject.group_by, subject.engine)
    table = rows.table
    taken = _reduction_inputs(subject.feature, rows)
    first = taken[0][1]
    by = subject.feature.by
    has_group = ibis.literal(value=True) if by is None else table[by].notnull()
    counts = contributes(taken) & has_group
    key_events = table.mutate(
        **{EVENT: micros(table[subject.group_by.events.time])},
        **{f"_fw_{name}": value for name, value in first.items()},
        _fw_counts=counts,
    )
    of_key = (
        key_events[k] == v
        for k, v in zip(subject.group_by.keys, key or subject.compared_key, strict=True)
    )
    key_events = key_events.filter(reduce(lambda a, b: a & b, of_key), key_events[EVENT].notnull())
    passes = (
        key_events["_fw_where"].fill_null(False) if "where" in first else ibis.literal(value=True)
    )
    outside = [(key_events[EVENT] >= at, LATER)]
    if start is not None:
        outside.append((key_events[EVENT] < start, OLD))
    status = ibis.cases(
        *outside, (key_events["_fw_counts"], COUNTS), (passes, EMPTY), else_=FILTERED
    )
    return key_events.mutate(**{STATUS: status})


def _reduction_inputs(feature: Feature, rows: EventRows) -> list[tuple[bool, dict[str, ir.Value]]]:
    """Return what each reduction reads of an event, and whether it is under `each()`."""
    return [
        (
            bool(op.find(Each, filter=ops.Value)),
            {
                name: finite(rows.value(node, rows.table, {}))
                for name, node in arguments(op).items()
            },
        )
        for op in reductions(feature.node)
    ]
