"""Facts about the table behind an upload: its newest row, its usual gaps, and nulls by input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.online.sql_text import quote_identifier
from workbench.online.storage.row_tables import FOREVER_US
from workbench.online.storage.table_names import snapshots, stored
from workbench.online.time_units import DAY_US

if TYPE_CHECKING:
    import psycopg

    from workbench.online.plan import GroupByPlan

LATE = 3  # times the usual time between facts, after which the newest is worth a look
DAYS = 400  # newest days with facts, between which times are measured
USUAL = 0.95  # the share of these times that are at most the usual time
AMONG = 'in_table and "time" < %(end)s'  # the rows that the table has


def facts_of(cursor: psycopg.Cursor[Any], plan: GroupByPlan, end: int) -> dict[str, Any]:
    """Facts about what the table has before `end`, as JSON types, in the upload's transaction.

    `rows` is how many rows there are; `newest` the last one's time, and `gap` the time that 19 of
    20 gaps between days with rows do not exceed, both in microseconds and null where there is none;
    `nulls` is how many rows have no value in each input, by its author's name. For an entity they
    are about the ends of its snapshots, without `nulls`, and `in_force` is how many rows its newest
    state has. An entity without snapshots gives an empty dict. It takes one pass over the rows.
    """
    if plan.timeless:
        return {}
    if plan.kind == "entity":
        facts_sql = _statement(snapshots(plan), '"time" <= %(end)s', [])
        ((rows, newest, gap),) = cursor.execute(facts_sql, {"end": end}).fetchall()
        return {"rows": rows, "newest": newest, "gap": gap, "in_force": in_force(cursor, plan)}
    inputs = [c for c in plan.stored if c.name not in plan.order]
    facts_sql = _statement(stored(plan), AMONG, [quote_identifier(c.name) for c in inputs])
    ((rows, newest, gap, *nulls),) = cursor.execute(facts_sql, {"end": end}).fetchall()
    lacking = {c.label or c.name: n for c, n in zip(inputs, nulls, strict=True)}
    return {"rows": rows, "newest": newest, "gap": gap, "nulls": lacking}


def in_force(cursor: psycopg.Cursor[Any], plan: GroupByPlan) -> int:
    """How many rows an entity's newest state has."""
    ((rows,),) = cursor.execute(
        f"select count(*) from {stored(plan)} where until = {FOREVER_US}"
    ).fetchall()
    return int(rows)


def _statement(table: str, among: str, inputs: list[str]) -> str:
    lacking = "".join(
        f", count(*) filter (where {c} is null) as n{i}" for i, c in enumerate(inputs)
    )
    totals = "".join(f", coalesce(sum(n{i}), 0)::int8" for i in range(len(inputs)))
    recent = f"filter (where back <= {DAYS})"
    return f"""select coalesce(sum(n), 0)::int8, max(newest),
            {DAY_US} * percentile_disc({USUAL}) within group (order by gap) {recent}{totals}
        from (select *, day - lag(day) over (order by day) as gap,
                row_number() over (order by day desc) as back
            from (select "time" / {DAY_US} as day, max("time") as newest, count(*) as n{lacking}
                from {table} where {among} group by 1) d) g"""
