"""Numbers of left rows: each row's place in order of time, by which previews and guards name it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis

from workbench.planner.bound_tables import rebound

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from workbench.backends import Engine
    from workbench.definitions.join import Join

ROW = "_fw_row"


def numbered(join: Join, engine: Engine) -> ir.Table:
    """Return the left with each row's number from 0, in order of time.

    Rows of one time are ordered by every other column that has an order.
    """
    left = rebound(join.left.table, engine, clean=False).to_expr()
    return left.mutate(**{ROW: ibis.row_number().over(order_by=order(join, left))})


def order(join: Join, left: ir.Table) -> list[ir.Column]:
    """Return time, and then every column that has an order, so that no row has two places."""
    return [
        left[join.left.time],
        *(left[c] for c in left.columns if c != join.left.time and _sortable(left[c])),
    ]


def _sortable(column: ir.Column) -> bool:
    dtype = column.type()
    return dtype.is_numeric() or dtype.is_string() or dtype.is_temporal() or dtype.is_boolean()
