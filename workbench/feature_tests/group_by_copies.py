"""A group-by over another base table of the same columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import evolve

from workbench.definitions.aggregations import Aggregation
from workbench.definitions.binding import relation, unbind
from workbench.definitions.group_by import GroupBy
from workbench.definitions.nodes import base
from workbench.definitions.sources import EntitySource, EventSource

if TYPE_CHECKING:
    import ibis.expr.types as ir


def group_by_over(group_by: GroupBy, table: ir.Table) -> GroupBy:
    """Return the definition over another base table of the same columns."""
    old, new = base(group_by.source.table), unbind(relation(table, "a check"))
    rows = group_by.source.table.replace({old: new}).to_expr()
    if isinstance(group_by.source, EntitySource):
        source: Any = EntitySource(rows, snapshot=group_by.source.snapshot)
    else:
        source = EventSource(
            rows,
            time=group_by.source.time,
            topic=group_by.source.topic,
            order=group_by.source.order,
            id=group_by.source.id,
        )
    moved = [
        Aggregation(a.reduction.replace({old: new}), a.windows, a.by) for a in group_by.aggregations
    ]
    return evolve(group_by, source=source, aggregations=moved)
