"""Creation and migration of a store's catalog, by its owner, in one transaction."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select, text
from sqlalchemy import inspect as inspected

from workbench.online.fetching import sql_functions
from workbench.online.plan import FORMAT, Plan
from workbench.online.storage import catalog_version
from workbench.online.storage.store_schema import (
    SCHEMA,
    checks,
    edges,
    frozen,
    metadata,
    plans,
    published,
    tiles,
    topic_counts,
    topic_troubles,
    versions,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from workbench.online.storage.published_plans import PublishedPlans

LOCK = 7_262_501  # the advisory lock that one migration at a time holds
SCHEMAS = (SCHEMA, "workbench_data", sql_functions.SCHEMA)


@dataclass(frozen=True)
class Migration:
    """A step between versions of the catalog.

    After a `breaking` one, clients that do not know it can no longer read the catalog.
    """

    apply: Callable[[Connection], None]
    breaking: bool = False


def _first(con: Connection) -> None:
    metadata.create_all(con)


def _second(con: Connection) -> None:
    checks.create(con, checkfirst=True)


def _third(con: Connection) -> None:
    topic_troubles.create(con, checkfirst=True)
    topic_counts.create(con, checkfirst=True)


def _fourth(con: Connection) -> None:
    """Let migrations say whether they break, add a monitor's tables, and recreate SQL functions.

    The functions then set every setting that values depend on.
    """
    con.execute(
        text(
            f"alter table {SCHEMA}.migrations add column if not exists breaking boolean not null"
            " default false"
        )
    )
    for table in (edges, tiles, frozen):
        table.create(con, checkfirst=True)
    for plan_json in (
        con.execute(select(plans.c.plan).join(published, published.c.plan == plans.c.id))
        .scalars()
        .all()
    ):
        if (
            plan_json["format"] == FORMAT
            and sql_functions.lacking(plan := Plan.loads(json.dumps(plan_json))) is None
        ):
            raw: Any = con.connection.driver_connection
            raw.execute(sql_functions.created(plan)[0])


def _fifth(con: Connection) -> None:
    con.execute(text(f"alter table {SCHEMA}.uploads add column if not exists facts jsonb"))


def _sixth(con: Connection) -> None:
    """Add the keys and headers of dead letters, which columns may come from."""
    con.execute(
        text(
            f"alter table {SCHEMA}.dead_letters add column if not exists key bytea, add column if"
            " not exists headers jsonb"
        )
    )


# In order; one that was released is never edited.
MIGRATIONS = (
    Migration(_first),
    Migration(_second),
    Migration(_third),
    Migration(_fourth),
    Migration(_fifth),
    Migration(_sixth),
)


def migrate(store: PublishedPlans) -> tuple[int, int]:
    """Create the catalog or migrate it to this version; return the versions before and after.

    The version is 0 where there was none. Raises StoreError where a newer workbench made the
    catalog, or this role may not change it.
    """
    with store.catalog() as con:
        con.execute(text(f"select pg_advisory_xact_lock({LOCK})"))
        schemas = set(inspected(con).get_schema_names())
        for schema in SCHEMAS:  # "if not exists" asks for the right to make one all the same
            if schema not in schemas:
                con.execute(text(f"create schema {schema}"))
        versions.create(con, checkfirst=True)
        before = con.execute(select(func.max(versions.c.version))).scalar() or 0
        if before > catalog_version.CATALOG_VERSION:
            raise catalog_version.newer(before)
        for number, migration in enumerate(MIGRATIONS[before:], before + 1):
            migration.apply(con)
            breaking = {"breaking": True} if migration.breaking else {}
            con.execute(versions.insert().values(version=number, **breaking))
    return before, catalog_version.CATALOG_VERSION


def ready(store: PublishedPlans) -> None:
    """Create the catalog where there is none, before something is written.

    StoreError where it is an older version.
    """
    if not store.has_catalog():
        migrate(store)
        return
    with store.connection() as con:
        current_version = catalog_version.version(con)
    if current_version < catalog_version.CATALOG_VERSION:
        raise catalog_version.older(current_version)
