"""The stored column or the expression over stored columns that a computed column is."""

from __future__ import annotations

from typing import Any

import ibis.expr.operations as ops

from workbench.definitions.nodes import substitute

TABLES = (ops.UnboundTable, ops.InMemoryTable)
SAME_ROWS = (ops.Filter, ops.DropColumns, ops.DropNull, ops.SelfReference, ops.AliasedRelation)


def stored_column(table: ops.Relation, name: str) -> str | None:
    """Return the stored column that a column is unchanged; `None` where it is computed."""
    value = over_stored(ops.Field(table, name))
    return value.name if isinstance(value, ops.Field) and isinstance(value.rel, TABLES) else None


def over_stored(node: ops.Value) -> ops.Value:
    """Return the expression over the stored table."""

    def resolved(value: Any) -> ops.Value | None:
        if isinstance(value, ops.Alias):
            return over_stored(value.arg)
        if isinstance(value, ops.Field) and isinstance(value.rel, ops.Project):
            return over_stored(value.rel.values[value.name])
        if isinstance(value, ops.Field) and isinstance(value.rel, SAME_ROWS):
            return over_stored(ops.Field(value.rel.parent, value.name))
        return None

    return substitute(node, resolved)
