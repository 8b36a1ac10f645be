"""The registry of what is published under which name.

Each change of it is one transaction.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from workbench.online.errors import StoreError
from workbench.online.fetching import sql_functions
from workbench.online.plan import GroupByPlan, Plan
from workbench.online.storage import migrations, proposal_basis, row_tables
from workbench.online.storage import uploads as loading
from workbench.online.storage.published_plans import unknown, unmade
from workbench.online.storage.store_schema import (
    audit,
    offsets,
    plans,
    published,
    states,
    topic_counts,
    topic_troubles,
    uploads,
)
from workbench.online.storage.table_names import stored

if TYPE_CHECKING:
    from datetime import datetime

    import psycopg
    from sqlalchemy import Connection

    from workbench.online.storage.proposal_basis import Basis
    from workbench.online.storage.store import Store


# one change of what is served at a time
LOCK_REGISTRY = select(func.pg_advisory_xact_lock(func.hashtextextended("workbench.registry", 0)))


@dataclass(frozen=True)
class Version:
    """A version of a published name: its number, hash, creation time, and whether it is served."""

    name: str
    version: int
    hash: str
    made: datetime
    served: bool
    plan: Plan = field(repr=False)


def _raw(con: Connection) -> psycopg.Connection[Any]:
    """The driver's connection, in the same transaction."""
    driver_connection: Any = con.connection.driver_connection
    return driver_connection


def _noted(con: Connection, verb: str, plan: Plan, **detail: Any) -> None:
    con.execute(audit.insert().values(verb=verb, name=plan.name, hash=plan.hash, detail=detail))


def current(store: Store, name: str) -> Version | None:
    """The version that is served under a name, or None."""
    return next((v for v in history(store, name) if v.served), None)


def history(store: Store, name: str) -> list[Version]:
    """Every version that was published under a name, oldest first."""
    if not store.has_catalog():
        return []
    with store.catalog() as con:
        served = con.execute(select(published.c.plan).where(published.c.name == name)).scalar()
        rows = con.execute(
            select(plans).where(plans.c.name == name).order_by(plans.c.version)
        ).all()
    return [
        Version(r.name, r.version, r.hash, r.made, r.id == served, Plan.loads(json.dumps(r.plan)))
        for r in rows
    ]


def served(con: Connection) -> list[Plan]:
    """Every plan that is published now."""
    plan_rows = con.execute(
        select(plans.c.plan).join(published, published.c.plan == plans.c.id)
    ).scalars()
    return [Plan.loads(json.dumps(plan)) for plan in plan_rows]


def batch_ends(store: Store) -> dict[str, int | None]:
    """The time before which everything was uploaded, by table of rows.

    A table that is not stored is left out.
    """
    if not store.has_catalog():
        return {}
    with store.catalog() as con:
        return {r.rows: r.batch_end for r in con.execute(select(states.c.rows, states.c.batch_end))}


def forgetful(store: Store) -> set[str]:
    """The tables of rows that have deleted what is older than their retention."""
    if not store.has_catalog():
        return set()
    with store.catalog() as con:
        return set(
            con.execute(select(states.c.rows).where(states.c.horizon.is_not(None))).scalars()
        )


def uploaded(store: Store, group_by: str) -> list[Any]:
    """The uploads of a group-by, newest first."""
    if not store.has_catalog():
        return []
    with store.catalog() as con:
        return list(
            con.execute(
                select(uploads).where(uploads.c.group_by == group_by).order_by(uploads.c.id.desc())
            ).all()
        )


def conflicts(store: Store, plan: Plan) -> list[tuple[str, Plan, GroupByPlan]]:
    """The plan's group-bys that another served name defines differently."""
    if not store.has_catalog():
        return []
    with store.catalog() as con:
        return proposal_basis.conflicts(con, plan)


def prepare(store: Store, plan: Plan, seen: Basis | None = None) -> None:
    """Create the store and the tables of the plan's group-bys where missing; serve nothing yet.

    Raises StoreError where the store has changed since it was `seen`.
    """
    migrations.ready(store)
    if seen is not None:
        with store.catalog() as catalog:
            proposal_basis.refuse_moved(catalog, plan, seen)
    with store.connection() as con, con.transaction(), con.cursor() as cursor:
        # in one order, so that two transactions do not wait for each other
        for group_by in sorted(plan.group_bys, key=lambda g: g.table):
            loading.created(cursor, group_by)


def register(store: Store, plan: Plan, seen: Basis | None = None, *, verb: str = "publish") -> int:
    """Serve a plan under its name with its SQL function; return the version.

    Tables that only the plan before it used are dropped. Raises StoreError where the store has
    changed since it was `seen`; then tables that were uploaded for the plan are dropped.
    """
    try:
        with store.catalog() as con:
            con.execute(LOCK_REGISTRY)
            if seen is not None:
                proposal_basis.refuse_moved(con, plan, seen)
                proposal_basis.refuse_lacking(con, plan, seen)
            return _registered(con, plan, verb)
    except proposal_basis.MovedError:
        discard(store, plan)
        raise


def refuse_emptied(store: Store, before: Plan, after: Plan) -> None:
    """Raise StoreError where the new plan has no row of a group-by of which the old one has some.

    Tables that were uploaded for the new plan are dropped then.
    """
    old_group_bys = {g.name: g for g in before.group_bys}
    with store.connection() as con:
        emptied = [
            g.name
            for g in after.group_bys
            if g.name in old_group_bys and _some(con, old_group_bys[g.name]) and not _some(con, g)
        ]
    if emptied:
        discard(store, after)
        message = (
            f"{after.name} stays as it is: the warehouse has no row of {', '.join(emptied)}, of"
            " which rows are served; mend the table, or allow it by --allow-deletes"
            " (allow_deletes=True)"
        )
        raise StoreError(message)


def _some(con: psycopg.Connection[Any], group_by: GroupByPlan) -> bool:
    return con.execute("select to_regclass(%s)", (stored(group_by),)).fetchone() != (
        None,
    ) and con.execute(f"select exists (select from {stored(group_by)})").fetchone() == (True,)


def discard(store: Store, plan: Plan) -> None:
    """Drop the tables that were created for a plan and that nothing served uses."""
    with store.catalog() as con:
        con.execute(LOCK_REGISTRY)
        _collect(con, plan)


def _registered(con: Connection, plan: Plan, verb: str) -> int:
    """Serve a plan, under the lock; return its version."""
    _refuse_lacking(con, plan)
    before = next((p for p in served(con) if p.name == plan.name), None)
    key, number = _version(con, plan)
    con.execute(published.delete().where(published.c.name == plan.name))
    con.execute(published.insert().values(name=plan.name, plan=key))
    raw = _raw(con)
    if before is not None:
        raw.execute(sql_functions.dropped(before))
    if sql_functions.lacking(plan) is None:
        for statement in [sql_functions.ROLE, sql_functions.GRANTED, *sql_functions.created(plan)]:
            raw.execute(statement)
    if before is not None and before.hash != plan.hash:
        _collect(con, before)
    _retain(con, plan)
    _noted(con, verb, plan, version=number)
    return number


def _version(con: Connection, plan: Plan) -> tuple[int, int]:
    """The id and number of a plan in the catalog, where it is added if missing."""
    version_row = con.execute(
        select(plans).where(plans.c.name == plan.name, plans.c.hash == plan.hash)
    ).first()
    columns = {
        "plan": json.loads(plan.dumps()),
        "owner": plan.owner,
        "description": plan.description,
        "tags": list(plan.tags),
    }
    if version_row is not None:
        con.execute(plans.update().where(plans.c.id == version_row.id).values(**columns))
        return version_row.id, version_row.version
    number = (
        con.execute(select(func.max(plans.c.version)).where(plans.c.name == plan.name)).scalar()
        or 0
    ) + 1
    inserted_key = con.execute(
        plans.insert().values(
            name=plan.name, version=number, hash=plan.hash, kind=plan.kind, **columns
        )
    ).inserted_primary_key
    assert inserted_key is not None  # noqa: S101 a row that was inserted has one
    return inserted_key[0], number


def unpublish(store: Store, name: str) -> Plan:
    """Stop serving a name; drop rows that nothing else uses, and keep its versions.

    StoreError where nothing is served under it.
    """
    if not store.has_catalog():
        raise unmade(store.access.url, name)
    with store.catalog() as con:
        con.execute(LOCK_REGISTRY)
        plan = next((p for p in served(con) if p.name == name), None)
        if plan is None:
            raise unknown(
                name,
                [p.name for p in served(con)],
                [p.name for p in served(con) if any(g.name == name for g in p.group_bys)],
            )
        con.execute(published.delete().where(published.c.name == name))
        _raw(con).execute(sql_functions.dropped(plan))
        _collect(con, plan)
        _noted(con, "unpublish", plan)
    store.forget(name)
    return plan


def _collect(con: Connection, plan: Plan) -> None:
    """Drop the rows of a plan's group-bys that no served plan uses."""
    used = {g.table for p in served(con) for g in p.group_bys}
    for group_by in plan.group_bys:
        if group_by.table not in used:
            for statement in row_tables.dropped(group_by):
                _raw(con).execute(statement)
            con.execute(states.delete().where(states.c.rows == group_by.table))
            for topic_table in (topic_troubles, topic_counts):
                con.execute(topic_table.delete().where(topic_table.c.rows == group_by.table))
            # or its messages would be taken for applied when it is stored again
            con.execute(offsets.delete().where(offsets.c.rows == group_by.table))


def _refuse_lacking(con: Connection, plan: Plan) -> None:
    """Raise StoreError where a group-by's rows were dropped during their upload.

    That happens where something unpublished the last plan that used them.
    """
    for group_by in plan.group_bys:
        if con.execute(select(func.to_regclass(stored(group_by)))).scalar() is None:
            message = (
                f"{group_by.name} was unpublished while {plan.name} was published: publish it again"
            )
            raise StoreError(message)


def _retain(con: Connection, plan: Plan) -> None:
    """Keep rows as long as any served plan wants them.

    Raises StoreError where the plan wants all events of a table that has forgotten some.
    """
    retentions: dict[str, list[int | None]] = {g.table: [] for g in plan.group_bys}
    for group_by in (g for p in served(con) for g in p.group_bys if g.table in retentions):
        retentions[group_by.table].append(group_by.retain)
    for table, retains in sorted(retentions.items()):
        spans = [r for r in retains if r is not None]
        everything = len(spans) < len(retains)
        horizon = con.execute(
            states.update()
            .where(states.c.rows == table)
            .values(retain=max(spans) if spans and not everything else None)
            .returning(states.c.horizon)
        ).scalar()
        if (
            everything
            and horizon is not None
            and any(g.table == table and g.retain is None for g in plan.group_bys)
        ):
            message = (
                f"{table} has forgotten events that {plan.name} is to keep, some of which its"
                " warehouse lacks by now: publish it with retain=, or unpublish what is served of"
                " it first"
            )
            raise StoreError(message)


def sizes(store: Store, plan: Plan) -> dict[str, tuple[int, int]]:
    """By group-by, about how many rows are stored and how many bytes they take with indexes."""
    sizes_by_name = {}
    with store.connection() as con:
        for group_by in plan.group_bys:
            row = con.execute(
                "select greatest(reltuples, 0)::int8, pg_total_relation_size(oid) from pg_class"
                " where oid = to_regclass(%s)",
                (stored(group_by),),
            ).fetchone()
            sizes_by_name[group_by.name] = (0, 0) if row is None else (row[0], row[1])
    return sizes_by_name
