"""A definition's tables bound to an engine: base tables rebound, stored types as plain ones."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import ibis.expr.types as ir

from workbench.backends import EngineError
from workbench.definitions.binding import alike, plain
from workbench.definitions.nodes import name_values, rebuild
from workbench.portable.rewrites import finite, normal, rewritten

if TYPE_CHECKING:
    from workbench.backends import Engine


Within = Callable[[ir.Table], list[ir.BooleanValue]]  # conditions on a stored table's own columns
TABLE_NODES = (ops.UnboundTable, ops.InMemoryTable, ops.SQLQueryResult)
SHORT = 4  # bytes of an integer that every double holds


def rebound(node: ops.Node, engine: Engine, *, clean: bool = True) -> ops.Node:
    """Return the normalised node over the engine's own tables.

    Without a connection the tables stay unbound. What the engine names or types in its own way is
    plain from there on (`Engine.plain`). `clean` makes NaN and infinities nulls at the tables (rule
    9), as for every source; a left keeps what it has.
    """
    return _on_tables(normal(node), engine, clean=clean)


def _on_tables(
    node: ops.Node, engine: Engine, *, clean: bool = True, within: Within | None = None
) -> ops.Node:
    """Return a normalised node over the engine's tables; of stored ones, only what is `within`."""

    def step(inner: ops.Node, kwargs: dict[str, Any] | None) -> ops.Node:
        new = inner.__recreate__(kwargs) if kwargs else inner
        if isinstance(new, ops.UnboundTable) and engine.con is not None:
            return _physical(new, engine, clean=clean, within=within)
        if isinstance(new, TABLE_NODES):
            table = new.to_expr()
            return _plain(
                table,
                table,
                {c: engine.plain(table[c], t) for c, t in table.schema().items()},
                engine,
                clean=clean,
            )
        return new

    return node.replace(step)


class Bound:
    """A source's table and expressions over it on an engine, as `rebound` gives them.

    Each table is looked up and cleaned once.
    """

    def __init__(self, engine: Engine, within: Within | None = None) -> None:
        self.engine, self.within = engine, within
        self._normal: dict[ops.Relation, ops.Relation] = {}
        self._on_tables: dict[ops.Relation, ops.Relation] = {}

    def __getitem__(self, table: ops.Relation) -> ops.Relation:
        return self._bound(self._normalised(table))

    def value(self, node: ops.Value) -> ops.Value:
        """Return an expression over the engine's tables.

        It is made normal over the tables as they are declared first, since rewrites depend on
        types.
        """
        return rebuild(rebuild(node, rewritten, self._normalised), lambda inner: inner, self._bound)

    def _normalised(self, table: ops.Relation) -> ops.Relation:
        if table not in self._normal:
            self._normal[table] = normal(table)
        return self._normal[table]

    def _bound(self, table: ops.Relation) -> ops.Relation:
        if table not in self._on_tables:
            self._on_tables[table] = _on_tables(table, self.engine, within=self.within)
        return self._on_tables[table]


def _plain(
    rows: ir.Table, table: ir.Table, columns: dict[str, ir.Value], engine: Engine, *, clean: bool
) -> ops.Relation:
    """Return the table's columns in these forms, clean if requested, for some of its rows.

    Rows whose columns all stay as they are, are returned unchanged.
    """
    clean_columns = {c: cleaned(v, engine) for c, v in columns.items()} if clean else columns
    is_unchanged = list(clean_columns) == list(table.columns) and all(
        v.equals(table[c]) for c, v in clean_columns.items()
    )
    return rows.op() if is_unchanged else rows.select(*name_values(clean_columns)).op()


def cleaned(value: ir.Value, engine: Engine) -> ir.Value:
    """Return a value with NaN and infinities of any type as null, and -0.0 as 0.0 (rule 9)."""
    return engine.bounded(finite(value))


def _physical(
    node: ops.UnboundTable, engine: Engine, *, clean: bool, within: Within | None = None
) -> ops.Relation:
    """Return the engine's table of that name, with its declared columns in the declared types.

    With `within`, only the rows that it selects.
    """
    table = engine.table(node.name, node.namespace.catalog, node.namespace.database)
    types, columns = engine.types(table), {}
    for name, declared in node.schema.items():
        if name not in table.columns:
            close = get_close_matches(name, table.columns, n=1)
            message = (
                f"{node.name} has no column {name!r} on {engine.title}: it has"
                f" {', '.join(table.columns)}{f'; did you mean {close[0]!r}?' if close else ''}"
            )
            raise EngineError(message)
        bound_type, typed = plain(types[name]), engine.typed(table[name], declared)
        if typed is not None:
            columns[name] = typed
            continue
        if alike(bound_type) != alike(declared) and not _widens(bound_type, declared):
            message = (
                f"{node.name}.{name} is {bound_type} on {engine.title} and {declared} in the"
                f" definition: cast it in the warehouse or define it over {bound_type}"
            )
            raise EngineError(message)
        column = engine.plain(table[name], types[name])
        columns[name] = column if alike(bound_type) == alike(declared) else column.cast(declared)
    conditions = within(table) if within else []
    return _plain(
        table.filter(conditions) if conditions else table, table, columns, engine, clean=clean
    )


def _widens(bound_type: dt.DataType, declared: dt.DataType) -> bool:
    """Return whether a cast to the declared type keeps every value, or raises, but never rounds."""
    if bound_type.is_integer():
        return (
            declared.is_integer()
            or declared.is_decimal()
            or (declared.is_float64() and bound_type.nbytes <= SHORT)
        )
    if bound_type.is_decimal() and declared.is_decimal():
        return declared.scale is None or (
            bound_type.scale is not None and bound_type.scale <= declared.scale
        )
    return (bound_type.is_float32() and declared.is_float64()) or (
        bound_type.is_json() and declared.is_string()
    )
