"""Roles of a store: the SQL by which an owner lets others own, write or read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.online.errors import StoreError
from workbench.online.fetching.sql_functions import MAX_NAME_BYTES
from workbench.online.fetching.sql_functions import SCHEMA as FEATURES
from workbench.online.sql_text import quote_identifier
from workbench.online.storage.store_schema import (
    SCHEMA,
    audit,
    metadata,
    plans,
    published,
    versions,
)
from workbench.online.storage.table_names import DATA

if TYPE_CHECKING:
    from workbench.online.storage.store import Store

ROLES = ("owner", "writer", "reader")
# the tables that say what is served, which an owner alone changes
OWNED_TABLES = (plans, published, audit, versions)
SCHEMAS = (SCHEMA, DATA, FEATURES)
MAINTAINED = 170_000  # the version from which a role that owns no table may be let analyze it
OWNERS = """select distinct pg_catalog.pg_get_userbyid(o.owner) from (
        select nspowner as owner from pg_catalog.pg_namespace where nspname = any(%(schemas)s)
        union select c.relowner from pg_catalog.pg_class c
            where c.relnamespace in (select oid from pg_catalog.pg_namespace
                where nspname = any(%(schemas)s))) o
    order by 1"""
FACTS = """select pg_catalog.current_database(), exists (select from pg_catalog.pg_roles
    where rolname = %s),
    pg_catalog.current_setting('server_version_num')::int4"""


def grants(store: Store, role: str, name: str) -> list[str]:
    """The statements that make the database role `name` an owner, a writer or a reader of a store.

    A reader fetches, browses the catalog and reads what monitors keep; a writer uploads, streams
    and monitors too; an owner publishes and migrates as the store's owner. Tables that are created
    later are included, except those of a migration, after which a writer's grants are run again.
    """
    if not name or "\x00" in name or len(name.encode()) > MAX_NAME_BYTES:
        message = f"{name!r:.80} is no name of a role: give one of 1 to {MAX_NAME_BYTES} bytes"
        raise StoreError(message)
    with store.connection() as con:
        ((database, role_exists, version),) = con.execute(FACTS, (name,)).fetchall()
        owners = [o for (o,) in con.execute(OWNERS, {"schemas": list(SCHEMAS)}).fetchall()]
    creation = [] if role_exists else [f"create role {quote_identifier(name)} login"]
    on = f"on database {quote_identifier(database)} to {quote_identifier(name)}"
    if role == "owner":
        return [
            *creation,
            f"grant connect, temporary {on}",
            *_owning(store, database, owners, name),
        ]
    if not store.has_catalog():
        message = (
            f"there is no store in the database {database} yet, and a {role} could do nothing: make"
            " it by workbench migrate, then ask again"
        )
        raise StoreError(message)
    statements = [*creation, f"grant connect {on}", *_reading(owners, name)]
    return (
        [*statements, f"grant temporary {on}", *_writing(owners, name, version)]
        if role == "writer"
        else statements
    )


def _owning(store: Store, database: str, owners: list[str], name: str) -> list[str]:
    """The statements that let a role act as the store's owner, or own a store yet to be created."""
    if not store.has_catalog():
        return [
            f"create schema if not exists {s} authorization {quote_identifier(name)}"
            for s in SCHEMAS
        ]
    owner = owners[0]
    if owner == name:
        return []
    of_login, of_owner = quote_identifier(name), quote_identifier(owner)
    return [
        f"grant {of_owner} to {of_login}",
        f"alter role {of_login} in database {quote_identifier(database)} set role to {of_owner}",
    ]


def _reading(owners: list[str], name: str) -> list[str]:
    statements = [
        f"grant usage on schema {', '.join(SCHEMAS)} to {quote_identifier(name)}",
        f"grant select on all tables in schema {SCHEMA}, {DATA} to {quote_identifier(name)}",
        f"grant execute on all functions in schema {DATA}, {FEATURES} to {quote_identifier(name)}",
    ]
    for owner in owners:
        statements += [
            _later(owner, f"{SCHEMA}, {DATA}", "select on tables", name),
            _later(owner, f"{DATA}, {FEATURES}", "execute on functions", name),
        ]
    return statements


def _writing(owners: list[str], name: str, version: int) -> list[str]:
    tables = [
        f"{SCHEMA}.{quote_identifier(t.name)}"
        for t in metadata.sorted_tables
        if t not in OWNED_TABLES
    ]
    rows = "insert, update, delete" + (", maintain" if version >= MAINTAINED else "")
    return [
        f"grant insert, update, delete on {', '.join(tables)} to {quote_identifier(name)}",
        f"grant usage on all sequences in schema {SCHEMA} to {quote_identifier(name)}",
        f"grant {rows} on all tables in schema {DATA} to {quote_identifier(name)}",
        *(_later(owner, DATA, f"{rows} on tables", name) for owner in owners),
    ]


def _later(owner: str, schemas: str, privilege: str, name: str) -> str:
    return (
        f"alter default privileges for role {quote_identifier(owner)} in schema {schemas} grant"
        f" {privilege}"
        f" to {quote_identifier(name)}"
    )
