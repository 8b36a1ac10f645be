"""A store's own past: what it answered, from which state, and which rows it had in that state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.online.sql_text import quote_identifier
from workbench.online.storage.table_names import gone, snapshots, stored

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import psycopg

    from workbench.online.plan import GroupByPlan
    from workbench.online.storage.store import Store

CHUNK = 5_000  # answers read at once
LOG = """select request::text, number, hash, at, (extract(epoch from served) * 1000000)::int8,
    reason, keys, context, features, errors, parts
    from workbench.served where name = %s and at >= %s and at < %s order by at, request, number"""
SELECT_HORIZONS = "select rows, since, horizon from workbench.states where rows = any(%s)"
DELETED = (
    "select coalesce(sum(deleted), 0) > 0 from workbench.uploads where group_by = %s and ended >"
    " to_timestamp(%s / 1000000.0)"
)
STATE = ("written", "gone", "in_table", "in_stream", "appended")


def answers(
    con: psycopg.Connection[Any], name: str, since: int, until: int
) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the served log of a name for times in [since, until), in chunks.

    It needs a transaction. Each row has the columns of `LOG`; times are in microseconds.
    """
    with con.cursor(name="answers") as cursor:
        cursor.itersize = CHUNK
        cursor.execute(LOG, (name, since, until))
        while rows := cursor.fetchmany(CHUNK):
            yield rows


def kept_spans(
    con: psycopg.Connection[Any], plans: Sequence[GroupByPlan]
) -> list[tuple[int | None, int | None]]:
    """Since when each group-by's rows are kept, and before when they were forgotten.

    Both are None for a group-by that is not stored, and in microseconds otherwise.
    """
    horizons = {
        table: (since, horizon)
        for table, since, horizon in con.execute(
            SELECT_HORIZONS, ([p.table for p in plans],)
        ).fetchall()
    }
    return [horizons.get(p.table, (None, None)) for p in plans]


def rows_of(
    store: Store,
    plan: GroupByPlan,
    wanted: Mapping[str, Sequence[Any]],
    span: tuple[int, int] | None,
) -> list[tuple[Any, ...]]:
    """The rows of some keys (`k0...`) or ids that the store has, or had until a week ago.

    With `span`, only rows whose time is in [start, end). A row has keys, time, what is stored, then
    `STATE`. An answer saw the row if its part's `written` is at or after the row's `written` and
    before its `gone`. `appended` is when Kafka had the newest message of the row's batch.
    """
    kinds = {f"k{i}": k.sql for i, k in enumerate(plan.keys)} | {c.name: c.sql for c in plan.stored}
    key_arrays = ", ".join(f"%s::{kinds[c]}[]" for c in wanted)
    columns = ", ".join(f"e.{quote_identifier(c)}" for c in wanted)
    among = f"({columns}) in (select * from unnest({key_arrays}))"
    within = "" if span is None else ' and e."time" >= %s and e."time" < %s'
    listed = ", ".join(
        f"e.{quote_identifier(c)}"
        for c in (*(f"k{i}" for i in range(len(plan.keys))), "time", *(c.name for c in plan.stored))
    )
    living = (
        f"select {listed}, e.written, null::int8 as gone, e.in_table, e.in_stream from"
        f" {stored(plan)} e where {among}{within}"
    )
    past = (
        f"select {listed}, e.written, e.gone, true, false from {gone(plan)} e where {among}{within}"
    )
    batch = (
        "select b.appended from workbench.batches b where b.rows = %s and b.visible >= w.written"
        " order by b.visible limit 1"
    )
    sql = f"""with e as materialized ({living} union all {past}),
        w as (select distinct written from e where in_stream)
        select e.*, l.appended from e left join (select w.written, b.appended
            from w cross join lateral ({batch}) b) l on l.written = e.written and e.in_stream"""
    parameters = [*map(list, wanted.values()), *(span or ())]
    with store.connection() as con:
        return con.execute(sql, [*parameters, *parameters, plan.table]).fetchall()


def snapshots_of(store: Store, plan: GroupByPlan) -> list[tuple[int, int]]:
    """The ends of an entity's snapshots that the store has, and when each was written."""
    with store.connection() as con:
        return con.execute(f'select "time", written from {snapshots(plan)}').fetchall()


def deleted_since(store: Store, group_by: str, since: int) -> bool:
    """Whether an upload that ended after `since` took rows away."""
    with store.connection() as con:
        ((was_deleted,),) = con.execute(DELETED, (group_by, since)).fetchall()
    return bool(was_deleted)
