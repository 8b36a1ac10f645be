"""The connection and the engine that a definition's tables are of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis
import ibis.expr.operations as ops

from workbench.backends import engine_of
from workbench.definitions.engine_checks import check_features
from workbench.errors import DefinitionError
from workbench.planner import name_checks

if TYPE_CHECKING:
    from ibis.backends import BaseBackend

    from workbench.backends import Engine
    from workbench.definitions.join import Join


def connections(join: Join) -> list[BaseBackend]:
    """Return the connections that the join's tables came from, each once."""
    join_connections = [join.left.connection, *(p.group_by.source.connection for p in join.parts)]
    return list({id(c): c for c in join_connections if c is not None}.values())


def connection_of(join: Join, on: BaseBackend | None) -> BaseBackend:
    """Return `on`, or the one connection that the join's tables came from.

    DefinitionError where there is none or several.
    """
    if on is not None:
        return on
    join_connections = connections(join)
    if len(join_connections) == 1:
        return join_connections[0]
    if not any(
        table.find(ops.UnboundTable)
        for table in (join.left.table, *(p.group_by.source.table for p in join.parts))
    ):
        return ibis.get_backend()  # all in memory: Ibis's own DuckDB
    if join_connections:
        message = (
            f"{join.name} reads tables of {len(join_connections)} connections: pass on= the one"
            " that has them all"
        )
    else:
        message = (
            f"{join.name} is made of unbound tables: pass on=, for example"
            " on=ibis.duckdb.connect('warehouse.duckdb')"
        )
    raise DefinitionError(message)


def engine_for(join: Join, con: BaseBackend) -> Engine:
    """Return the engine of a connection; DefinitionError where it cannot compute the join."""
    engine = engine_of(con)
    name_checks.check_join(join, engine)
    for part in join.parts:
        group_by = part.group_by
        check_features(group_by.name, group_by.source.table, group_by.computed, engine)
    return engine
