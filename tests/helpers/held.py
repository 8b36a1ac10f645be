"""Publishes a join over tables of a warehouse, and holds its fetches against its backfill.

A fetch takes one key, many keys, or goes by the SQL function.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime

import ibis
import pyarrow as pa
from psycopg import sql

from workbench import backfill
from workbench.backends.equality import equal
from workbench.online import fetch
from workbench.online.fetching.fetch_sql import stored
from workbench.online.fetching.parameters import parameter
from workbench.online.fetching.value_readers import reader
from workbench.online.storage import registry, uploads
from workbench.serving import history_queries
from workbench.serving.online_plans import plan_of

END = 2**60  # after every event


def group_bys(join):
    return {p.group_by.name: p.group_by for p in join.parts}


def uploaded(store, plan, join, con, end=END):
    """Upload what the warehouse has before `end`."""
    history_queries.uploaded(
        [history_queries.of_definition(g, group_bys(join)[g.name], con) for g in plan.group_bys],
        store,
        end,
    )


@contextmanager
def served(store, join, con, *, upload=True):
    """Publish a join and, by default, upload it; yield its plan.

    Unpublished afterwards.
    """
    plan = plan_of(join)
    registry.prepare(store, plan)
    if upload:
        uploaded(store, plan, join, con)
    registry.register(store, plan)
    try:
        yield plan
    finally:
        registry.unpublish(store, plan.name)


def asked(store, plan, keys, t, context):
    """Return what the SQL function answers, read as fetches are."""
    given = {k.name: (k.sql, parameter(k, keys[k.name])) for k in plan.keys} | {
        "at": ("timestamptz", t)
    }
    given |= {c.name: (c.sql, parameter(c, context.get(c.name))) for c in plan.context}
    named = sql.SQL(", ").join(
        sql.SQL("{} => {}::" + kind).format(sql.Identifier(n), sql.Placeholder())
        for n, (kind, _) in given.items()
    )
    call = sql.SQL("select * from features.{}({})").format(sql.Identifier(plan.name), named)
    with store.connection() as con:
        cursor = con.execute(call, [value for _, value in given.values()])
        (row,) = cursor.fetchall()
        names = [c.name for c in cursor.description]
    types = {name: f.type for _, f, name in plan.outputs}
    return {n: reader(types[n])(v) for n, v in zip(names, row, strict=True)}


def hold(store, join, con, *, scale=0.0, answers=None):
    """Check that every left row's fetch is its backfill row.

    Returns these rows, in the order of the left's `row`.
    """
    left = (
        con.table(join.left.table.find(ibis.expr.operations.UnboundTable)[0].name)
        .order_by("row")
        .to_pyarrow()
        .to_pylist()
    )
    offline = sorted(
        backfill(join, plan="pairs").to_pyarrow().to_pylist(maps_as_pydicts="strict"),
        key=lambda r: r["row"],
    )
    with served(store, join, con) as plan:
        for row, want in zip(left, offline, strict=True):
            at = row[join.left.time]
            at = at if at.tzinfo else at.replace(tzinfo=UTC)
            keys, context = (
                {k.name: row[k.name] for k in plan.keys},
                {c.name: row[c.name] for c in plan.context},
            )
            alone, (among, _) = (
                fetch(store, plan.name, keys, at=at, context=context),
                fetch(store, plan.name, [keys, keys], at=at, context=context),
            )
            assert {} == alone.errors | among.errors
            for got in (dict(alone), dict(among), asked(store, plan, keys, at, context)):
                assert [name for *_, name in plan.outputs] == list(got)
                for name, value in got.items():
                    assert equal(want[name], value, scale), (name, row, want[name], value)
                    assert type(want[name]) is type(value), (name, row, want[name], value)
    return offline


def table(con, name, rows, types):
    """Make a table of the warehouse from rows and Arrow types."""
    return con.create_table(name, pa.Table.from_pylist(rows, pa.schema(types)), overwrite=True)


__all__ = ["END", "UTC", "datetime", "hold", "served", "stored", "table", "uploaded", "uploads"]
