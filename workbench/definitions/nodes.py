"""Walks over Ibis value nodes that leave the relations under them alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ibis.expr.operations as ops

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import ibis.expr.types as ir


def name_values(values: Mapping[str, ir.Value]) -> list[ir.Value]:
    """Name values by a mapping, since `self` and `by` as keywords would be Ibis's own arguments."""
    return [value.name(name) for name, value in values.items()]


def substitute(node: ops.Value, replacement: Callable[[ops.Value], ops.Value | None]) -> ops.Value:
    """Return the expression with values replaced where `replacement` gives one.

    Relations under it are left alone.
    """
    changed_nodes: dict[ops.Value, ops.Value] = {}  # a value may stand in an expression many times

    def walk(inner: Any) -> Any:
        if isinstance(inner, tuple):
            return tuple(walk(item) for item in inner)
        if not isinstance(inner, ops.Value):
            return inner
        if inner not in changed_nodes:
            replacement_node = replacement(inner)
            changed_nodes[inner] = (
                _changed(inner, walk) if replacement_node is None else replacement_node
            )
        return changed_nodes[inner]

    return walk(node)


def rebuild(
    node: ops.Value,
    step: Callable[[ops.Value], ops.Value],
    relation: Callable[[ops.Relation], ops.Relation] = lambda rel: rel,
) -> ops.Value:
    """Return the expression with `step` applied to every value, innermost first.

    `relation` is applied to the relations that the values are columns of.
    """
    changed_nodes: dict[ops.Value, ops.Value] = {}

    def walk(inner: Any) -> Any:
        if isinstance(inner, tuple):
            return tuple(walk(item) for item in inner)
        if isinstance(inner, ops.Relation):
            return relation(inner)
        if not isinstance(inner, ops.Value):
            return inner
        if inner not in changed_nodes:
            changed_nodes[inner] = step(_changed(inner, walk))
        return changed_nodes[inner]

    return walk(node)


def _changed(node: ops.Value, walk: Callable[[Any], Any]) -> ops.Value:
    """Return the value with its arguments walked, or itself where that changes none."""
    arguments = dict(zip(node.__argnames__, node.__args__, strict=True))
    changed = {k: walk(v) for k, v in arguments.items()}
    return (
        node if all(changed[k] is v for k, v in arguments.items()) else node.__recreate__(changed)
    )


def inline(node: ops.Value) -> ops.Value:
    """Return the expression over its base table.

    Fields of projections are replaced by what they project, and names are dropped.
    """
    return substitute(node, _resolved)


def _resolved(node: ops.Value) -> ops.Value | None:
    if isinstance(node, ops.Alias):
        return inline(node.arg)
    if isinstance(node, ops.Field):
        rel = node.rel
        if isinstance(rel, ops.Project):
            return inline(rel.values[node.name])
        if isinstance(rel, ops.Filter | ops.DropColumns):
            return inline(ops.Field(rel.parent, node.name))
    if isinstance(node, ops.CountStar):
        return ops.CountStar(base(node.arg), None if node.where is None else inline(node.where))
    return None


def base(table: ops.Relation) -> ops.Relation:
    """Return the table under projections and filters."""
    while isinstance(table, ops.Project | ops.Filter | ops.DropColumns):
        table = table.parent
    return table


def as_it_stands(table: ops.Relation, name: str) -> str | None:
    """Return the stored column that a column is unchanged, or `None` where it is computed."""
    while isinstance(table, ops.Project | ops.Filter | ops.DropColumns):
        if isinstance(table, ops.Project):
            value = table.values[name]
            if not isinstance(value, ops.Field):
                return None
            name = value.name
        table = table.parent
    return name if isinstance(table, ops.UnboundTable | ops.InMemoryTable) else None


def inline_rows(table: ops.Relation) -> tuple[Any, ...]:
    """Return what decides a row-wise table's rows: its base table, and its filters in order."""
    filters: list[Any] = []
    while isinstance(table, ops.Project | ops.Filter | ops.DropColumns):
        if isinstance(table, ops.Filter):
            filters = [*(inline(p) for p in table.predicates), *filters]
        table = table.parent
    return (table, *filters)


def with_argument(node: Any, value: ir.Value) -> ir.Value:
    """Apply the node's function to another value."""
    return node.__recreate__(
        {**dict(zip(node.__argnames__, node.__args__, strict=True)), "arg": value.op()}
    ).to_expr()
