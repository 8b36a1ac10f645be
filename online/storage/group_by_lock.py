"""The lock of a group-by's one writer: an upload, or a batch of messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

    from workbench.online.plan import GroupByPlan


# one writer of a group-by at a time: an upload, or a batch of messages
LOCK = "select pg_advisory_xact_lock(hashtextextended(%s, 0))"


def locked(cursor: psycopg.Cursor[Any], plan: GroupByPlan) -> None:
    """Take the lock of the group-by's one writer until the transaction ends."""
    cursor.execute(LOCK, (f"workbench.{plan.table}",))
