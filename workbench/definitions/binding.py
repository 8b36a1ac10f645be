"""Conversions between bound Ibis expressions and the unbound nodes that definitions hold."""

from __future__ import annotations

import re
from ast import literal_eval
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import ibis.expr.types as ir
from ibis.common.deferred import Deferred
from ibis.common.exceptions import IbisTypeError

from workbench.backends import engine_of
from workbench.backends.stored_types import lengthless
from workbench.errors import DefinitionError, near
from workbench.online import snippets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ibis.backends import BaseBackend

# how Ibis words the error of table["name"]
MISSING = re.compile(r"""Column ('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*") is not found""")
FILE_TABLE_NAME = re.compile(r"ibis_read_([a-z]+)_[a-z0-9]{20,}$")
WIDEST = 38  # digits of a decimal on every engine
SINGLE = 4  # bytes of an integer that every double holds
BOUND = (ops.DatabaseTable, ops.SQLQueryResult)


def member(name: str, owner: str = "_") -> str:
    """Write a column as an author would: `_.price`, or `_['count']` where that is a method."""
    return snippets.member(owner, name, ir.Table)


def recomputed(name: str, then: str, owner: str = "_") -> str:
    """Write how an author replaces a column by something computed from it.

    For example `table.mutate(day=_.day.cast("date"))`.
    """
    return f"table.mutate({snippets.arguments({name: member(name, owner) + then})})"


def plain(dtype: dt.DataType) -> dt.DataType:
    """Return a type without nullability and time scale, which engines report differently."""
    match dtype:
        case dt.Timestamp():
            return dt.Timestamp(timezone=dtype.timezone)
        case dt.Array():
            return dt.Array(plain(dtype.value_type))
        case dt.Map():
            return dt.Map(plain(dtype.key_type), plain(dtype.value_type))
        case _:
            return dtype.copy(nullable=True)


def alike(dtype: dt.DataType) -> dt.DataType:
    """Return a plain type without its length, which changes no comparison."""
    return lengthless(plain(dtype))


def comparable(a: dt.DataType, b: dt.DataType) -> bool:
    """Return whether keys of two types compare without a cast (rule 8).

    Length and precision are no part of a type here, as long as two decimals fit one.
    """
    if a.is_decimal() and b.is_decimal():
        digits = [(d.precision or WIDEST) - (d.scale or 0) for d in (a, b)]
        return None in (a.scale, b.scale) or max(digits) + max(a.scale, b.scale) <= WIDEST
    return alike(a) == alike(b) or (a.is_integer() and b.is_integer())


def lossless(a: dt.DataType, b: dt.DataType) -> tuple[dt.DataType | None, dt.DataType | None]:
    """Return the types to cast keys of types `a` and `b` to, so that no values are lost or merged.

    `None` in place of a type means no cast of that side; two times `None` means that there is no
    such cast.
    """
    lossless_casts: tuple[
        tuple[Callable[[dt.DataType], bool], Callable[[dt.DataType], bool], dt.DataType], ...
    ] = (
        (lambda t: t.is_integer(), lambda t: t.is_decimal(), dt.Decimal(20, 0)),
        (
            lambda t: t.is_float32() or (t.is_integer() and t.nbytes <= SINGLE),
            lambda t: t.is_float64(),
            dt.float64,
        ),
        (
            lambda t: t.is_date() or (t.is_timestamp() and not t.timezone),
            lambda t: t.is_timestamp() and bool(t.timezone),
            dt.Timestamp("UTC"),
        ),
        (lambda t: t.is_date(), lambda t: t.is_timestamp(), dt.timestamp),
        (lambda t: t.is_boolean(), lambda t: t.is_integer(), dt.int64),
        (lambda t: not t.is_nested() and not t.is_string(), lambda t: t.is_string(), dt.string),
    )
    for cast, stays, to in lossless_casts:
        if cast(a) and stays(b):
            return to, None
        if cast(b) and stays(a):
            return None, to
    return None, None


def _unbound(node: ops.Node, kwargs: dict[str, Any] | None) -> ops.Node:
    if isinstance(node, ops.DatabaseTable | ops.UnboundTable):
        dtypes = (
            engine_of(node.source).types(node.to_expr())
            if isinstance(node, ops.DatabaseTable)
            else node.schema
        )
        schema = {name: plain(dtype) for name, dtype in dtypes.items()}
        catalog, database = _place(node)
        return ibis.table(schema, name=node.name, catalog=catalog, database=database).op()
    return node.__recreate__(kwargs) if kwargs else node


def _place(node: ops.DatabaseTable | ops.UnboundTable) -> tuple[str | None, str | None]:
    """Return a table's catalog and database, each `None` where it is the connection's own.

    The connection's own are no part of a definition's meaning.
    """
    catalog, database = node.namespace.catalog, node.namespace.database
    if isinstance(node, ops.DatabaseTable):
        catalog = None if catalog == getattr(node.source, "current_catalog", None) else catalog
        database = (
            None
            if catalog is None and database == getattr(node.source, "current_database", None)
            else database
        )
    return catalog, database


def unbind(node: ops.Node) -> ops.Node:
    """Return the node over unbound tables: equal for equal meaning, whatever the connection."""
    return node.replace(_unbound)


def connections(*nodes: ops.Node) -> tuple[BaseBackend, ...]:
    """Return the connections that the bound tables under `nodes` belong to, each once."""
    source_connections = (table.source for node in nodes for table in node.find(BOUND))
    return tuple({id(con): con for con in source_connections}.values())


def title(relation: ops.Relation) -> str:
    """Name a relation for a message by its tables' names, however they are filtered."""
    names = (_called(t) for t in relation.find(ops.PhysicalTable))
    return ", ".join(dict.fromkeys(names)) or "the table"


def _called(table: ops.PhysicalTable) -> str:
    """Name a table, or describe one to which Ibis gave a random name."""
    if isinstance(table, ops.InMemoryTable):
        return "the in-memory table"
    file_match = FILE_TABLE_NAME.match(table.name)
    return f"the {file_match[1]} file" if file_match else str(table.name)


def relation(table: Any, what: str) -> ops.Relation:
    """Return the node of an Ibis table, or of a DataFrame or Arrow table as an in-memory table."""
    if isinstance(table, ir.Table):
        return table.op()
    try:
        return ibis.memtable(table).op()
    # whatever the error is, the value is no table, and the message says what is one
    except Exception:  # noqa: BLE001
        message = (
            f"{what} takes an Ibis table, not {type(table).__name__}: for example"
            " con.table('purchases')"
        )
        raise DefinitionError(message) from None


def _unresolved(error: Exception, table: ops.Relation, value: Deferred, subject: str) -> str:
    """Say why a deferred expression cannot be resolved over a table.

    Either a column has no such method, or the table has no such column.
    """
    lacks = getattr(error, "obj", None)
    if isinstance(lacks, ir.Value):  # a table's own error has no object of ours
        field_node = lacks.op()
        called = f"{getattr(error, 'name', None) or 'such method'}()"
        if not isinstance(field_node, ops.Field):
            return (
                f"{subject} {value} cannot be: a part of it is {lacks.type()}, which has no"
                f" {called}; cast it first, as in .cast('float64'), or take another reduction"
            )
        return (
            f"{subject} {value} cannot be: {title(table)}.{field_node.name} is {field_node.dtype},"
            f" which has no {called}; cast it first, as in"
            f" {member(field_node.name)}.cast('float64'), or take another reduction"
        )
    missing = MISSING.search(str(error))
    name = literal_eval(missing[1]) if missing else getattr(error, "name", None) or str(value)
    return f"{subject} {value} names no column of {title(table)}: {near(name, table.schema.names)}"


def bind(table: ops.Relation, value: Any, what: str) -> ops.Value:
    """Return `value` (a name, a column, an expression or a deferred one) as a node over `table`.

    Columns of an earlier step of the same table become this step's, as in Ibis.
    """
    expr = table.to_expr()
    if isinstance(value, str):
        if value not in expr.columns:
            message = (
                f"{what} {value!r} is no column of {title(table)}: {near(value, expr.columns)}"
            )
            raise DefinitionError(message)
        return expr[value].op()
    if isinstance(value, Deferred):
        try:
            value = value.resolve(expr)
        except (AttributeError, IbisTypeError) as error:
            raise DefinitionError(_unresolved(error, table, value, what)) from None
    if not isinstance(value, ir.Value):
        message = (
            f"{what} takes a column of {title(table)}, as in {member(expr.columns[0])}, not a"
            f" {type(value).__name__}"
        )
        raise DefinitionError(message)
    return expr.bind(unbind(value.op()).to_expr())[0].op()


def column(table: ops.Relation, value: Any, what: str) -> str:
    """Return the name of one column of `table`, given as a name, a column or a deferred one."""
    node = bind(table, value, what)
    if not isinstance(node, ops.Field):
        message = (
            f"{what} takes a column, not {node.name}: compute it in the table first, as in"
            " table.mutate(name=...), and say its name"
        )
        raise DefinitionError(message)
    if node.rel != table:
        columns = table.schema.names
        hint = (
            f"write {member(node.name)}, which is the source's own {node.name}"
            if node.name in columns
            else near(node.name, columns)
        )
        message = (
            f"{what} {node.name!r} belongs to another step or table than {title(table)}: {hint}"
        )
        raise DefinitionError(message)
    return node.name


def columns(table: ops.Relation, values: Any, what: str) -> tuple[str, ...]:
    """Return the names of several columns; one alone may be given without a list."""
    column_values: Iterable[Any] = (
        (values,) if isinstance(values, str | ir.Value | Deferred) else values
    )
    return tuple(column(table, value, what) for value in column_values)
