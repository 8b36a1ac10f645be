"""A cache of SQL for all previews of a process.

Ibis takes longer to write the SQL than DuckDB takes to run it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import ibis.expr.operations as ops

from workbench.definitions.canonical import canonical
from workbench.definitions.join import Join

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    import ibis

    from workbench.definitions.group_by import GroupBy

MAX_STATEMENTS_KEPT = 512  # statements; some 20 kB each
# nodes that a connection must register before it runs them
TIED = (ops.InMemoryTable, ops.SQLQueryResult, ops.ScalarUDF, ops.AggUDF)
STATEMENTS: OrderedDict[Hashable, tuple[str, ibis.Schema]] = OrderedDict()
LOCK = threading.Lock()


def identity(definition: GroupBy | Join) -> Hashable | None:
    """Return what a definition's SQL depends on: its meaning, tables and expressions.

    `None` where a connection must register something first.
    """
    nodes = tuple(_nodes(definition))
    return (
        None
        if any(node.find(TIED) for node in nodes)
        else (canonical(definition, serving=False), nodes)
    )


def _nodes(definition: GroupBy | Join) -> Iterable[ops.Node]:
    if isinstance(definition, Join):
        yield definition.left.table
        for part in definition.parts:
            yield from _nodes(part.group_by)
        yield from (f.node for f in definition.derivations)
    else:
        yield definition.source.table
        yield from (f.node for f in definition.outputs)


def cached_statement(
    key: Hashable, write: Callable[[], tuple[str, ibis.Schema]]
) -> tuple[str, ibis.Schema]:
    """Return a key's statement and its columns, written once while among the last ones."""
    with LOCK:
        if key in STATEMENTS:
            STATEMENTS.move_to_end(key)
            return STATEMENTS[key]
    statement = write()
    with LOCK:
        STATEMENTS[key] = statement
        while len(STATEMENTS) > MAX_STATEMENTS_KEPT:
            STATEMENTS.popitem(last=False)
    return statement
