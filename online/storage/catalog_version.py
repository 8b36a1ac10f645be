"""The version of a store's catalog, read without SQLAlchemy, which a fetch must not load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.online.errors import StoreError
from workbench.online.storage.postgres_address import place

if TYPE_CHECKING:
    import psycopg

# The number of MIGRATIONS: a constant, since the migrations themselves need SQLAlchemy.
CATALOG_VERSION = 6
# The column `breaking` came with the fourth version; a row is read whatever columns it has.
SELECT_MIGRATIONS = """select version, coalesce((to_jsonb(m) ->> 'breaking')::bool, false)
    from workbench.migrations m order by version"""
CATALOG_EXISTS = """select exists (select from pg_catalog.pg_class c join pg_catalog.pg_namespace n
    on n.oid = c.relnamespace where n.nspname = 'workbench' and c.relname = 'migrations')"""
HOW = "an owner brings it up by workbench migrate --store URL"


def version(con: psycopg.Connection[Any]) -> int:
    """The version of the catalog; 0 where there is none."""
    return max((number for number, _ in _versions(con)), default=0)


def _versions(con: psycopg.Connection[Any]) -> list[tuple[int, bool]]:
    if con.execute(CATALOG_EXISTS).fetchall() != [(True,)]:
        return []
    return con.execute(SELECT_MIGRATIONS).fetchall()


def refuse_newer(con: psycopg.Connection[Any]) -> None:
    """Raise StoreError where a newer workbench made a breaking change to the catalog.

    Changes that only add to it do no harm.
    """
    catalog_versions = _versions(con)
    if any(breaking and number > CATALOG_VERSION for number, breaking in catalog_versions):
        raise newer(max(number for number, _ in catalog_versions))


def lacking(con: psycopg.Connection[Any], url: str, error: psycopg.Error) -> StoreError | None:
    """The StoreError for a missing table or column, where the catalog is missing or older.

    None where the catalog is at this version.
    """
    catalog_version = version(con)
    if not catalog_version:
        message = (
            f"there is no store in the database of {place(url)} yet: publish(...,"
            " store) makes one, and so does workbench migrate --store URL, by a role that owns it"
        )
        return StoreError(message, "unknown")
    return (
        older(catalog_version, str(error).splitlines()[0])
        if catalog_version < CATALOG_VERSION
        else None
    )


def older(catalog_version: int, why: str = "") -> StoreError:
    """The StoreError where the catalog is at an older version than this package needs."""
    because = f" ({why})" if why else ""
    return StoreError(
        f"the store's catalog is at version {catalog_version}, and this needs version"
        f" {CATALOG_VERSION}{because}: {HOW}",
        "broken",
    )


def newer(catalog_version: int) -> StoreError:
    """The StoreError where the catalog is at a version that this package does not know."""
    return StoreError(
        "this store was made by a newer feature-workbench, whose catalog is at version"
        f" {catalog_version}, and this one knows {CATALOG_VERSION}: upgrade the package"
    )
