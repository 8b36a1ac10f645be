"""Names of the tables of a group-by's rows, and arithmetic of instants in SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.online.sql_text import quote_identifier

if TYPE_CHECKING:
    from workbench.online.plan import GroupByPlan

DATA = "workbench_data"  # the schema of the rows


def stored(plan: GroupByPlan) -> str:
    """The name of the table of a group-by's rows."""
    return f"{DATA}.{quote_identifier(plan.table)}"


def snapshots(plan: GroupByPlan) -> str:
    """The name of the table of the ends of an entity's snapshots."""
    return f"{DATA}.{quote_identifier(plan.table + '__snapshots')}"


def gone(plan: GroupByPlan) -> str:
    """The name of the table that keeps, for a week, rows that an upload took away or changed."""
    return f"{DATA}.{quote_identifier(plan.table + '__gone')}"


def floor_to(value: str, unit: int) -> str:
    """SQL that rounds down to a multiple; below zero too, where Postgres's `%` is negative."""
    return f"({value} - ((({value}) % {unit}) + {unit}) % {unit})"


def start(at: str, length: int, hop: int | None) -> str:
    """SQL of the first instant inside a window (rules 2 and 3)."""
    first = f"({at} - {length})"
    return floor_to(first, hop) if hop else first
