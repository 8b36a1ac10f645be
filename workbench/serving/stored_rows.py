"""A group-by's rows as its store keeps them, and the ends of an entity's snapshots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.definitions.group_by import GroupBy
from workbench.planner.entity_snapshots import EntityRows
from workbench.planner.source_rows import EVENT
from workbench.serving.feature_sql import cells_of, plan_features
from workbench.serving.stored_columns import TIME, Stored

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from workbench.backends import Engine


def stored_of(group_by: GroupBy) -> Stored:
    """Return the rows that a group-by's store keeps, with all that its features need."""
    stored = Stored(group_by)
    plan_features(group_by, stored, {} if group_by.taken else cells_of(group_by, stored))
    return stored


def stored_rows(group_by: GroupBy, engine: Engine) -> ir.Table:
    """Return a group-by's rows on an engine, as its store keeps them."""
    return stored_of(group_by).rows(engine)


def snapshot_ends(group_by: GroupBy, engine: Engine) -> ir.Table:
    """Return the end of the day of each of an entity's snapshots, as `time`."""
    return EntityRows(group_by, engine).snapshots().distinct().rename(**{TIME: EVENT})
