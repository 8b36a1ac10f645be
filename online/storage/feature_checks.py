"""Data-quality checks in a store: it runs those of features and keeps the outcomes of all.

Checks of features run before readers see the upload.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from workbench.online.fetching.fetch_sql import Block
from workbench.online.storage.check_outcomes import DELETIONS, ERROR, UPLOAD, Outcome, outcome
from workbench.online.storage.store_schema import checks as table
from workbench.online.storage.table_names import stored

if TYPE_CHECKING:
    from collections.abc import Iterable

    import psycopg
    from sqlalchemy import ColumnElement

    from workbench.online.plan import GroupByPlan
    from workbench.online.storage.store import Store

KEYS = 10_000  # of which features are checked; of more, those whose hashes are least
OUTCOMES_RETENTION = "30 days"


def of_features(cursor: psycopg.Cursor[Any], plan: GroupByPlan, end: int) -> list[Outcome]:
    """The outcomes of the checks of features as of `end`, in microseconds since 1970.

    They look at up to 10,000 stored keys, those with the least hashes.
    """
    checks = [c for c in plan.checks if c.of == "feature"]
    if not checks:
        return []
    names = [f"k{i}" for i in range(len(plan.keys))]
    keys = (
        f"select {', '.join(names)} from {stored(plan)} group by {', '.join(names)} order by"
        f" hashtextextended(concat_ws('/', {', '.join(n + '::text' for n in names)}), 0),"
        f" {', '.join(names)} limit {KEYS}"
    )
    block = Block(plan, [f"r.{n}" for n in names], f"{end}::int8").sql()
    values = (
        f"select {', '.join('r.' + n for n in names)},"
        f" {', '.join(f'({c.expression}) as c{i}' for i, c in enumerate(checks))} from ({keys}) r"
        f" cross join lateral ({block}) f"
    )
    counts_sql = ", ".join(
        f"count(*) filter (where not v.c{i}), (array_agg(concat_ws(', ',"
        f" {', '.join('v.' + n for n in names)}) order by {', '.join('v.' + n for n in names)})"
        f" filter (where not v.c{i}))[1:3]"
        for i in range(len(checks))
    )
    ((rows, *counts),) = cursor.execute(
        f"select count(*), {counts_sql} from ({values}) v"
    ).fetchall()
    outcomes = []
    for i, check in enumerate(checks):
        check_outcome = outcome(plan.name, check, rows, counts[2 * i], end)
        keyed = (
            f"{', '.join(k.name for k in plan.keys)} {'; '.join(map(str, counts[2 * i + 1] or ()))}"
        )
        outcomes.append(
            replace(check_outcome, detail=keyed) if check_outcome.status == ERROR else check_outcome
        )
    return outcomes


# --- kept


def write_outcomes(store: Store, found: Iterable[Outcome]) -> None:
    """Store the outcomes of checks, and delete those older than 30 days."""
    rows = [
        {
            "group_by": o.group_by,
            "name": o.check,
            "of": o.of,
            "blocks": o.blocks,
            "rows": o.rows,
            "failing": o.failing,
            "over": o.over,
            "status": o.status,
            "batch_end": o.end,
            "detail": o.detail,
        }
        for o in found
    ]
    if not rows:
        return
    with store.catalog() as con:
        con.exec_driver_sql(
            f"delete from workbench.checks where at < now() - interval '{OUTCOMES_RETENTION}'"
        )
        con.execute(insert(table), rows)


def latest(store: Store, group_bys: Iterable[GroupByPlan]) -> list[Outcome]:
    """The newest outcome of each check of these group-bys, by group-by and name."""
    return _newest(
        store, {(g.name, c.name) for g in group_bys for c in g.checks}, table.c.of != UPLOAD
    )


def deletions(store: Store, group_bys: Iterable[GroupByPlan]) -> list[Outcome]:
    """What the newest upload took away, or would have, for group-bys with a recent refusal.

    A group-by is included where one of its uploads of the last 30 days was refused for that.
    """
    names = [g.name for g in group_bys]
    with store.catalog() as con:
        group_by_names = con.execute(
            select(table.c.group_by)
            .where(table.c.group_by.in_(names), table.c.of == UPLOAD, table.c.status == ERROR)
            .distinct()
        ).scalars()
        refused = {(name, DELETIONS) for name in group_by_names}
    return _newest(store, refused, table.c.of == UPLOAD)


def _newest(store: Store, declared: set[tuple[str, str]], of: ColumnElement[bool]) -> list[Outcome]:
    columns = table.c
    if not declared:
        return []
    newest = (
        select(func.max(columns.id))
        .where(columns.group_by.in_({g for g, _ in declared}), of)
        .group_by(columns.group_by, columns.name)
    )
    with store.catalog() as con:
        rows = con.execute(
            select(table).where(columns.id.in_(newest)).order_by(columns.group_by, columns.name)
        ).all()
    return [
        Outcome(
            r.group_by,
            r.name,
            r.of,
            r.blocks,
            r.rows,
            r.failing,
            r.over,
            r.status,
            r.batch_end,
            r.detail,
            r.at,
        )
        for r in rows
        if (r.group_by, r.name) in declared
    ]
