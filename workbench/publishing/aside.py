"""A connection of a worker's own, so that checks and uploads do not run on the one that cells use meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis
import ibis.expr.operations as ops
from sqlglot import exp

from workbench.definitions import GroupBy

if TYPE_CHECKING:
    from ibis.backends import BaseBackend

    from workbench.joins import Join

TEMPORARY = "select table_name from duckdb_tables() where temporary union select view_name from duckdb_views() where temporary and not internal"


def aside(con: BaseBackend, definition: GroupBy | Join) -> BaseBackend:
    """Another session of the same DuckDB, where it has the definition's tables; else the connection itself, which is then shared.

    A session sees no temporary tables and views of another one, and may have others of the same name.
    """
    if con.name != "duckdb":
        return con
    tables = _named(definition)
    passing = {name for (name,) in con.con.execute(TEMPORARY).fetchall()}
    if any(t.name in passing for t in tables):
        return con
    other = ibis.duckdb.from_connection(con.con.cursor())
    other.con.execute(f"USE {_quoted(con.current_catalog)}.{_quoted(con.current_database)}")
    return other if all(_sees(other, table) for table in tables) else con


def _quoted(name: str) -> str:
    return exp.to_identifier(name, quoted=True).sql("duckdb")


def _sees(con: BaseBackend, table: ops.UnboundTable) -> bool:
    place = (table.namespace.catalog, table.namespace.database)
    try:
        con.table(table.name, database=place if all(place) else place[1])
    except Exception:  # noqa: BLE001 each engine has its own error for it
        return False
    return True


def _named(definition: GroupBy | Join) -> list[ops.UnboundTable]:
    tables = [definition.source.table] if isinstance(definition, GroupBy) else [definition.left.table, *(p.group_by.source.table for p in definition.parts)]
    return list(dict.fromkeys(t for table in tables for t in table.find(ops.UnboundTable)))


def interrupt(con: BaseBackend) -> None:
    """Cancel what runs on a connection, from another thread."""
    if con.name == "duckdb":
        con.con.interrupt()
    elif con.name == "postgres":
        con.con.cancel()
