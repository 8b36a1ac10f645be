"""What each event of a key adds to a value: the feature recomputed over some of the events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ibis.expr.operations as ops
import pyarrow as pa
from attrs import evolve

from workbench.definitions.nodes import substitute
from workbench.definitions.sources import EventSource
from workbench.planner.source_rows import AT
from workbench.portable.arrow_types import typed
from workbench.previews.event_history import MAX_LEAKED_EVENTS
from workbench.previews.event_status import COUNTS, LATER, HistoryEvent, inputs

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from workbench.definitions.aggregations import Aggregation
    from workbench.previews.key_feature import KeyFeature

AFTER = 4  # events shown from the instant on
# columns of the source shown beside the input, of those that tell events apart
MAX_COLUMNS_BESIDE = 3
CASE = "fw case"  # no name that a plan or an author uses


def explain_events(
    subject: KeyFeature, events: list[dict[str, Any]], *, whole: bool
) -> dict[str, Any]:
    """Return the shown events, each that counts with the value up to it and without it.

    Also the value with a leak.
    """
    counting = [e for e in events if e["status"] == COUNTS]
    later = [e for e in events if e["status"] == LATER]
    parts = (
        [counting[: i + 1] for i in range(len(counting))]
        + [counting[:i] + counting[i + 1 :] for i in range(len(counting))]
        if whole
        else []
    )
    values = _values_of(
        subject,
        [*parts, counting + [_before(subject, e, i, len(later)) for i, e in enumerate(later)]],
    )
    running, without, leaked = (
        values[: len(parts) // 2],
        values[len(parts) // 2 : -1],
        values[-1],
    )
    shown_events = [e for e in events if e["status"] != LATER] + later[:AFTER]
    return {
        "events": _history(subject, shown_events, running, without),
        "leaked": leaked if whole and len(later) < MAX_LEAKED_EVENTS else None,
    }


def _history(
    subject: KeyFeature, shown_events: list[dict[str, Any]], running: list[Any], without: list[Any]
) -> tuple[HistoryEvent, ...]:
    """Return the shown events, with the columns that tell them apart.

    Those that count have the value up to each and without it, where these are known.
    """
    hidden = {subject.group_by.events.time, *subject.group_by.keys, *inputs(subject.feature)}
    telling = [
        c
        for c in shown_events[0]["source"]
        if c not in hidden and len({str(e["source"][c]) for e in shown_events}) > 1
    ]
    history, i = [], 0
    for e in shown_events:
        beside = {c: e["source"][c] for c in telling[:MAX_COLUMNS_BESIDE]}
        extra = {}
        if running and e["status"] == COUNTS:
            extra = {"running": running[i], "without": without[i]}
            i += 1
        history.append(
            HistoryEvent(e["time"], e["value"], e["status"], beside, e["source"], **extra)
        )
    return tuple(history)


def _before(subject: KeyFeature, event: dict[str, Any], i: int, n: int) -> dict[str, Any]:
    """Return an event at or after the instant as if it had come just before it.

    It is event `i` of `n` such events, and keeps its place among them.
    """
    time = subject.group_by.events.time
    kind = subject.group_by.source.table.schema.to_pyarrow().field(time).type
    return {
        **event,
        "source": {
            **event["source"],
            time: (
                pa.array([subject.at - n + i], pa.timestamp("us")).cast(kind, safe=False)[0].as_py()
            ),
        },
    }


def _values_of(subject: KeyFeature, subsets: list[list[dict[str, Any]]]) -> list[Any]:
    """Return the feature at the instant over each subset of events.

    Every subset is a key of a small table, so that one query computes all.
    """
    schema = subject.group_by.source.table.schema.to_pyarrow().append(pa.field(CASE, pa.int64()))
    rows = pa.Table.from_pylist(
        [{**e["source"], CASE: n} for n, subset in enumerate(subsets) for e in subset], schema
    )
    spine = pa.table(
        {
            "_fw_key0": pa.array(range(len(subsets)), pa.int64()),
            AT: pa.array([subject.at] * len(subsets), pa.int64()),
        }
    )
    is_local, source = subject.engine is subject.near.engine, subject.group_by.events
    if is_local:
        subject.near.hold("_fw_cases", rows, subject.group_by.source.table.schema)

    def query(spine_: ir.Table) -> ir.Table:
        table = (
            subject.near.con.table("_fw_cases")
            if is_local
            else typed(subject.engine.local(rows), subject.group_by.source.table.schema)
        )
        moved = EventSource(table, time=source.time, order=source.order)
        cases = evolve(
            subject.only(), source=moved, keys=[CASE], aggregations=[_over(subject, moved.table)]
        )
        return subject.features_over(spine_, cases, "_fw_key0")

    return subject.answers("cases", spine, query)


def _over(subject: KeyFeature, table: ops.Relation) -> Aggregation:
    """Return the feature's aggregation over another table of the same columns."""
    source_table = subject.group_by.source.table

    def move(node: Any) -> Any:
        if isinstance(node, ops.CountStar):
            where = None if node.where is None else substitute(node.where, move)
            return ops.CountStar(table, where)
        return (
            ops.Field(table, node.name)
            if isinstance(node, ops.Field) and node.rel == source_table
            else None
        )

    return subject.aggregation(substitute(subject.feature.node, move))
