"""What an upload knows of its group-by's facts: when the newest happened, what time between them is usual, which inputs they lack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from online.aggregates import quoted
from online.places import snapshots, stored

if TYPE_CHECKING:
    import psycopg

    from online.plan import GroupByPlan

DAY = 86_400_000_000  # microseconds
DAYS = 400  # that have facts, of which the time between them is
USUAL = 0.95  # of these times are not longer than what is usual


def facts_of(cursor: psycopg.Cursor[Any], plan: GroupByPlan, end: int) -> dict[str, Any]:
    """What the table has before `end`, as JSON holds it, in the transaction that made it.

    `rows`, how many; `newest`, the last one's time, and `gap`, which 19 of 20 times between days that have facts do not
    exceed, both in microseconds and null where there is none; `nulls`, how many rows have no value in each input, by the
    name that its author gave it. Of an entity the snapshots are meant, without `nulls`; one without snapshots has no facts that happen, and the answer is
    empty. One pass over the rows.
    """
    if plan.timeless:
        return {}
    if plan.kind == "entity":
        ((rows, newest, gap),) = cursor.execute(_statement(snapshots(plan), "true", []), {"end": end}).fetchall()
        return {"rows": rows, "newest": newest, "gap": gap}
    inputs = [c for c in plan.stored if c.name not in plan.order]
    ((rows, newest, gap, *nulls),) = cursor.execute(_statement(stored(plan), "in_table", [quoted(c.name) for c in inputs]), {"end": end}).fetchall()
    return {"rows": rows, "newest": newest, "gap": gap, "nulls": {c.label or c.name: n for c, n in zip(inputs, nulls, strict=True) if n}}


def _statement(table: str, among: str, inputs: list[str]) -> str:
    lacking = "".join(f", count(*) filter (where {c} is null) as n{i}" for i, c in enumerate(inputs))
    totals = "".join(f", coalesce(sum(n{i}), 0)::int8" for i in range(len(inputs)))
    return f"""select coalesce(sum(n), 0)::int8, max(newest), {DAY} * percentile_disc({USUAL}) within group (order by gap) filter (where back <= {DAYS}){totals}
        from (select *, day - lag(day) over (order by day) as gap, row_number() over (order by day desc) as back
            from (select "time" / {DAY} as day, max("time") as newest, count(*) as n{lacking} from {table} where {among} and "time" < %(end)s group by 1) d) g"""
