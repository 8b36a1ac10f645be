"""Definitions as text and as HTML, without running a query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ibis.expr.operations as ops

from workbench.definitions.binding import title
from workbench.definitions.reduction_kinds import KINDS
from workbench.definitions.reductions import Each
from workbench.html.markup import Markup, join, row, section, tag
from workbench.online.legible_text import cut, written

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

INFIX = {
    ops.Add: "+",
    ops.Subtract: "-",
    ops.Multiply: "*",
    ops.Divide: "/",
    ops.FloorDivide: "//",
    ops.Modulus: "%",
    ops.Power: "**",
    ops.Equals: "==",
    ops.NotEquals: "!=",
    ops.Less: "<",
    ops.LessEqual: "<=",
    ops.Greater: ">",
    ops.GreaterEqual: ">=",
    ops.And: "&",
    ops.Or: "|",
}
# Ibis's method where it is not the snake case of the node's name; those of reductions stand in
# their own table.
METHODS = {
    "NullIf": "nullif",
    "NotNull": "notnull",
    "IsNull": "isnull",
    "InValues": "isin",
    "ArrayLength": "length",
    "StringLength": "length",
    "MapLength": "length",
    "IsNan": "isnan",
    "IsInf": "isinf",
}
# Operations that are no methods of Ibis.
FUNCTIONS = frozenset({Each, *(op for op in KINDS if not op.__module__.startswith("ibis."))})


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))


def expression(node: Any) -> str:
    """Write an Ibis node as its author would, columns without their table.

    >>> import ibis
    >>> t = ibis.table({"a": "int64", "b": "int64"}, name="t")
    >>> expression((t.a.sum(where=t.b > 1) / t.count()).op())
    'a.sum(where=b > 1) / count()'
    """
    match node:
        case ops.Field():
            return node.name
        case ops.Literal():
            return (
                repr(node.value)
                if node.dtype.is_string() or node.dtype.is_numeric() or node.dtype.is_boolean()
                else str(node.value)
            )
        case ops.Alias():
            return expression(node.arg)
        case ops.Cast():
            return f"{_operand(node.arg)}.cast('{node.to}')"
        case ops.Node() if type(node) in INFIX:
            return f"{_operand(node.left)} {INFIX[type(node)]} {_operand(node.right)}"
        case ops.Node():
            return _call(node)
        case tuple():
            return f"[{', '.join(expression(n) for n in node)}]"
        case _:
            return repr(node)


def _operand(node: Any) -> str:
    return f"({expression(node)})" if type(node) in INFIX else expression(node)


def _call(node: ops.Node) -> str:
    class_name = type(node).__name__
    method = KINDS[type(node)].method if type(node) in KINDS else METHODS.get(class_name)
    name = method or _snake(class_name)
    values = [
        (k, v)
        for k, v in zip(node.__argnames__, node.__args__, strict=True)
        if not isinstance(v, ops.Relation)
    ]
    first, rest = (values[:1], values[1:]) if values else ([], [])
    usual = {k: p.default for k, p in node.__signature__.parameters.items()}
    arguments = [
        (k, v)
        for k, v in rest
        if v is not None and v is not False and v not in ((), "sample", usual[k])
    ]
    argument_texts = [
        (
            f"{k}={expression(v)}"
            if k in ("where", "how", "by_position") or isinstance(usual[k], int)
            else expression(v)
        )
        for k, v in arguments
    ]
    if type(node) in FUNCTIONS:
        return f"{name}({', '.join([expression(v) for _, v in first] + argument_texts)})"
    owner = (
        f"{_operand(first[0][1])}."
        if first and isinstance(first[0][1], ops.Value) and first[0][0] != "where"
        else ""
    )
    if not owner:
        argument_texts = [f"{k}={expression(v)}" for k, v in values if v is not None]
    return f"{owner}{name}({', '.join(argument_texts)})"


# --- what is said of a definition: facts first, then one line a feature


def _source(source: Any) -> str:
    name = title(source.table)
    if hasattr(source, "time"):
        topic = f", topic {source.topic}" if source.topic else ", no topic"
        return f"{name}: events by {source.time}{topic}"
    return (
        f"{name}: snapshots by {source.snapshot}"
        if source.snapshot
        else f"{name}: one table without time"
    )


def _as_of(group_by: Any) -> str:
    if not hasattr(group_by.source, "time"):
        return (
            "the latest snapshot whose day ended at or before t"
            if group_by.source.snapshot
            else "the table as it is, whatever t"
        )
    if group_by.accuracy == "snapshot":
        return "the midnight (UTC) at or before t; a window is [midnight - w, midnight)"
    tail = "[t - w rounded down to a hop, t)" if group_by.resolution == "sawtooth" else "[t - w, t)"
    return f"t itself; a window is {tail}: an event at t does not count"


def _facts(definition: Any) -> list[tuple[str, str]]:
    if hasattr(definition, "left"):
        parts = ", ".join(_part(p) for p in definition.parts)
        facts = [("left", _source(definition.left).replace(", no topic", "")), ("parts", parts)]
    else:
        schema = definition.source.table.schema
        keys = ", ".join(f"{k} ({schema[k]})" for k in definition.keys)
        facts = [
            ("keys", keys),
            ("source", _source(definition.source)),
            ("as of", _as_of(definition)),
        ]
        declared_checks = [*definition.source.checks, *definition.checks]
        facts += [("checks", ", ".join(c.name for c in declared_checks))] if declared_checks else []
    people = [
        ("about", definition.description),
        ("owner", definition.owner),
        ("tags", ", ".join(definition.tags)),
    ]
    return facts + [(k, v) for k, v in people if v]


def _part(part: Any) -> str:
    keys = ", ".join(
        left_column if left_column == key else f"{left_column} = {key}"
        for left_column, key in part.keys
    )
    return f"{part.head} by {keys}"


def _rows(features: Iterable[Any]) -> list[tuple[str, str, str, str]]:
    rows = []
    for f in features:
        by = f", by {f.by}" if f.by else ""
        window = f.window.words if f.window else ("all time" if f.node.find(ops.Reduction) else "")
        rows.append((f.name, str(f.dtype), window, expression(f.node) + by))
    return rows


HEADS = ("feature", "type", "window", "from")


def text(definition: Any) -> str:
    """Write a definition on one screen, for a terminal."""
    facts = [(k, v) for k, v in _facts(definition)]
    wide = max(len(k) for k, _ in facts)
    head = f"{definition.name}  ({type(definition).__name__}, {len(definition.outputs)} features)"
    lines = [
        head,
        *(f"  {k:<{wide}}  {v}" for k, v in facts),
        "",
        *table(HEADS, _rows(definition.outputs)),
    ]
    return written(line.rstrip() for line in lines)


# characters of a column, since one long value would widen all rows, and of the last column
CELL, LAST = 64, 1_000


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()
) -> list[str]:
    """Align rows of text in columns as wide as their widest cell.

    `right` names the columns that are numbers.
    """
    most = [CELL] * (len(heads) - 1) + [LAST]
    lines = [[cut(c, m) for c, m in zip(r, most, strict=True)] for r in (heads, *rows)]
    widths = [max(len(r[i]) for r in lines) for i in range(len(heads))]
    return [
        "  "
        + "  ".join(
            f"{c:>{w}}" if i in right else f"{c:<{w}}"
            for i, (c, w) in enumerate(zip(r, widths, strict=True))
        ).rstrip()
        for r in lines
    ]


def html(definition: Any) -> Markup:
    """Draw a definition for a notebook, in the host's colours."""
    facts = join(part for k, v in _facts(definition) for part in (tag("dt", k), tag("dd", v)))
    body = (row((tag("code", n), d, w, tag("code", e))) for n, d, w, e in _rows(definition.outputs))
    grid = tag(
        "table",
        tag("caption", f"Features of {definition.name}"),
        tag("thead", row(HEADS, "th")),
        tag("tbody", *body),
    )
    head = tag(
        "header",
        tag("h3", definition.name),
        tag("span", type(definition).__name__, class_="chip"),
        tag("span", f"{len(definition.outputs)} features", class_="muted"),
    )
    return section(
        head,
        tag("dl", facts),
        tag("div", grid, class_="scroll", tabindex="0"),
        label=f"{type(definition).__name__} {definition.name}",
    )
