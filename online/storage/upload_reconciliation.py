"""Reconciliation of staged rows with those of the store: what an upload changes in one group-by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.online.errors import StoreError
from workbench.online.storage import deletions, erosion, hot_keys, retained_totals, row_changes
from workbench.online.storage import row_tables as rows
from workbench.online.storage.group_by_lock import locked
from workbench.online.time_units import DAY_US, utc_time

if TYPE_CHECKING:
    import psycopg

    from workbench.online.plan import GroupByPlan
    from workbench.online.storage.deletions import Loss
    from workbench.online.storage.store import Store


# Events that only the totals still hold were forgotten for good: then the horizon does not go back.
# Nobody changes the retention until the upload is done.
HORIZON = (
    "greatest(case when %(kept)s then horizon end, case when retain is null then null else"
    " greatest(batch_end, %(end)s) - retain end)"
)
SELECT_HORIZON = f"select {HORIZON} from workbench.states where rows = %(rows)s for update"


def forget(store: Store, plan: GroupByPlan) -> int:
    """Delete what lies before the retention now, as an upload does at its end.

    Returns how many rows were deleted.
    """
    with store.connection() as con, con.transaction(), con.cursor() as cursor:
        locked(cursor, plan)
        horizon_row = cursor.execute(
            "select horizon from workbench.states where rows = %s", (plan.table,)
        ).fetchone()
        return (
            0
            if horizon_row is None or horizon_row[0] is None
            else _forgotten(cursor, plan, horizon_row[0])
        )


def _events(
    cursor: psycopg.Cursor[Any], plan: GroupByPlan, end: int, most: float
) -> tuple[int, int, list[Loss]]:
    was, counts = deletions.before(cursor, plan, end), {}
    fewer = deletions.fewer_rows(cursor, was, end)
    if retained_totals.possible(plan):
        _carried(cursor, plan, end)
    for name, statement in row_changes.reconciled(plan).items():
        cursor.execute(statement, {"end": end})
        counts[name] = cursor.rowcount
    lost = [
        *deletions.of_events(cursor, plan, was, counts, most),
        *erosion.of_events(cursor, plan, was, counts, most),
    ]
    return counts["inserted"], counts["deleted"], [*lost, *([fewer] if fewer else [])]


def _carries(cursor: psycopg.Cursor[Any], plan: GroupByPlan) -> bool:
    """Whether totals alone keep some events of the group-by.

    Once an upload's own rows are in place, these are only the events that it lacks.
    """
    return retained_totals.possible(plan) and cursor.execute(
        f"select exists (select from {retained_totals.table(plan)})"
    ).fetchone() == (True,)


def _carried(cursor: psycopg.Cursor[Any], plan: GroupByPlan, end: int) -> None:
    """Make rows again of events in the totals, and fold the upload's events before the horizon.

    So the upload is reconciled with all events. StoreError where its end is before the horizon.
    """
    ((horizon,),) = cursor.execute(
        "select horizon from workbench.states where rows = %s", (plan.table,)
    ).fetchall()
    if _carries(cursor, plan):
        if end < horizon:
            message = (
                f"{plan.name} has forgotten the events before {utc_time(horizon)}, and an upload to"
                f" {utc_time(end)} would take away what it carries of them: give an end that is not"
                " earlier"
            )
            raise StoreError(message)
        for statement in row_changes.revived(plan).values():
            cursor.execute(statement, {"horizon": horizon})
    horizon_row = cursor.execute(
        SELECT_HORIZON, {"end": end, "rows": plan.table, "kept": _carries(cursor, plan)}
    ).fetchone()
    if horizon_row is not None and horizon_row[0] is not None:
        cursor.execute(row_changes.ahead(plan), {"horizon": horizon_row[0]})


def kept_hot(cursor: psycopg.Cursor[Any], plan: GroupByPlan, rows_: str | None) -> None:
    """Bring the tiles of hot keys up to date with rows that came and went, in the table `rows_`.

    With None, they are computed from all rows.
    """
    if not hot_keys.partials(plan) or (
        rows_ is not None and cursor.execute(hot_keys.concerned(plan, rows_)).fetchone() == (False,)
    ):
        return
    cursor.execute(hot_keys.changing(plan))
    cursor.execute(hot_keys.promoted(plan, rows_))
    fresh = cursor.rowcount
    if rows_ is not None:
        cursor.execute(hot_keys.touched(plan, rows_))
        fresh += cursor.rowcount
    for statement in [*(hot_keys.refreshed(plan) if fresh else ()), "drop table changed"]:
        cursor.execute(statement)


def _entity(
    cursor: psycopg.Cursor[Any], plan: GroupByPlan, end: int, ends: str, most: float
) -> tuple[int, int, list[Loss]]:
    reached = cursor.execute(
        "select batch_end from workbench.states where rows = %s", (plan.table,)
    ).fetchone()
    if not plan.timeless and reached and reached[0] is not None and end < reached[0]:
        message = (
            f"{plan.name} has the snapshots before {utc_time(reached[0])}, and an upload to"
            f" {utc_time(end)} would take the newest away: give an end that is not earlier"
        )
        raise StoreError(message)
    was, counts = deletions.before(cursor, plan, end), {}
    for name, statement in rows.replaced(plan, ends).items():
        cursor.execute(statement)
        counts[name] = cursor.rowcount
    return (
        counts["inserted"],
        counts["deleted"],
        [*deletions.of_entity(cursor, plan, was), *erosion.of_entity(cursor, plan, most)],
    )


def _forgotten(cursor: psycopg.Cursor[Any], plan: GroupByPlan, horizon: int) -> int:
    """Delete rows older than the retention; return how many.

    Rows stay that are in force or that a feature over all time shows; totals keep the others.
    """
    if retained_totals.possible(plan):
        ((deleted_rows,),) = cursor.execute(rows.forgotten(plan), {"horizon": horizon}).fetchall()
        return int(deleted_rows)
    if hot_keys.partials(plan):  # no window that is answered reaches a tile before it
        cursor.execute(f"delete from {hot_keys.tiles(plan)} where hop < %s", (horizon - DAY_US,))
    return cursor.execute(rows.forgotten(plan), {"horizon": horizon}).rowcount
