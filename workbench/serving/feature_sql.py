"""Features of an online plan as Postgres SQL over its cells."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import sqlglot
from sqlglot import exp

from workbench.definitions.aggregations import Feature as Defined
from workbench.definitions.feature_expressions import finish_over, reductions
from workbench.definitions.group_by import GroupBy
from workbench.definitions.reduction_kinds import kind, result_type
from workbench.definitions.reductions import KList
from workbench.definitions.sketch_reductions import Estimate
from workbench.errors import DefinitionError
from workbench.html.definition_view import expression
from workbench.online.plan import Cell, PlanFeature
from workbench.planner.kernel_requests import span
from workbench.planner.pairs_plan import contained
from workbench.planner.pairs_reductions import unfolded
from workbench.portable.rewrites import finite, normal, normal_value
from workbench.serving.stored_columns import SETTINGS, VALUE, Stored, sql_type

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import ibis.expr.types as ir


LISTS = (KList, ops.ArrayCollect)
# reductions that take values of any type
ORDERED = (ops.First, ops.Last, ops.Count, ops.CountStar, *LISTS)


def _listed(op: ops.Reduction) -> str:
    """Return the Postgres type of a list of values: an array, or JSON for lists of lists."""
    inner = dt.float64 if isinstance(op, ops.MultiQuantile) else op.arg.dtype
    return "jsonb" if sql_type(inner) == "jsonb" else f"{sql_type(inner)}[]"


def _cell_type(op: ops.Reduction) -> str:
    if isinstance(op, Estimate):
        return f"{sql_type(op.arg.dtype)}[]"
    return _listed(op) if isinstance(op, (*LISTS, ops.MultiQuantile)) else sql_type(result_type(op))


def cells_of(
    group_by: GroupBy, stored: Stored
) -> dict[tuple[ops.Reduction, Any, str | None], Cell]:
    """Return the cells that a group-by's features need, by reduction, window and bucket column."""
    cells: dict[tuple[ops.Reduction, Any, str | None], Cell] = {}
    for feature in group_by.computed:
        for op in reductions(feature.node):
            if (op, feature.window, feature.by) not in cells:
                cells[op, feature.window, feature.by] = _cell(
                    group_by, stored, op, feature, f"c{len(cells)}"
                )
    return cells


def _cell(
    group_by: GroupBy, stored: Stored, op: ops.Reduction, feature: Defined, name: str
) -> Cell:
    if isinstance(op, Estimate) and (feature.node != op or feature.by or _folds(op)):
        message = (
            f"{feature.name} of {group_by.name} computes with the sketch of {op.written}, which is"
            " made where it is fetched: publish the sketch as it is, without by=, or its exact"
            " twin"
        )
        raise DefinitionError(message)
    nested = [
        a.dtype
        for n, a in zip(op.__argnames__, op.__args__, strict=True)
        if n not in SETTINGS and isinstance(a, ops.Value) and a.dtype.is_nested()
    ]
    elements = unfolded(op)
    if elements is not None and op.arg != elements:
        message = (
            f"{feature.name} of {group_by.name} computes with the elements of"
            f" each({elements.arg.name}): a store reduces elements as they are; compute them in the"
            " table first"
        )
        raise DefinitionError(message)
    if elements is None and nested and not isinstance(op, ORDERED):
        message = (
            f"{feature.name} of {group_by.name} is {type(op).__name__} of {nested[0]}, which a"
            " store does not compare or add: use each(), or leave it out of what is published"
        )
        raise DefinitionError(message)
    normal_op, over = normal(op), span(feature.window, group_by.resolution)
    facts = kind(normal_op)
    arguments = stored.arguments(op)
    value_type, sql = result_type(normal_op), _cell_type(normal_op)
    if elements is None:
        return Cell(
            name,
            facts.name,
            arguments,
            str(value_type),
            sql,
            over.length,
            over.hop,
            dict(facts.settings(normal_op)),
        )
    fold = ("map" if elements.arg.dtype.is_map() else "list") if contained(elements) else None
    element = sql_type(elements.arg.dtype.value_type)
    return Cell(
        name,
        facts.name,
        arguments,
        str(value_type),
        sql,
        over.length,
        over.hop,
        dict(facts.settings(normal_op)),
        arguments["arg"],
        element,
        fold,
    )


def plan_features(
    group_by: GroupBy, stored: Stored, cells: Mapping[Any, Cell]
) -> tuple[PlanFeature, ...]:
    """Return each feature as SQL over the cells, in the order of the group-by's outputs."""
    if group_by.taken:
        features = [_entity_feature(group_by, stored, f) for f in group_by.computed]
    else:
        features = [
            _feature(f, cells, stored.buckets.get(f.by) if f.by else None)
            for f in group_by.computed
        ]
    return tuple(
        replace(m, text=expression(f.node) + (f", by {f.by}" if f.by else ""))
        for m, f in zip(features, group_by.computed, strict=True)
    )


def _entity_feature(group_by: GroupBy, stored: Stored, feature: Defined) -> PlanFeature:
    name = stored.input(ops.Field(group_by.source.table, feature.name))
    return PlanFeature(feature.name, str(feature.dtype), sql_type(feature.dtype), f'a."{name}"')


def _feature(feature: Defined, cells: Mapping[Any, Cell], by: str | None) -> PlanFeature:
    cells_by_op = {op: cells[op, feature.window, feature.by] for op in reductions(feature.node)}
    names = tuple(c.name for c in cells_by_op.values())
    if feature.node in cells_by_op:
        cell = cells_by_op[feature.node]
        sql = "jsonb" if by or cell.fold == "map" else cell.sql
        if cell.fold == "list":
            sql = "jsonb"
        counts = cell.reduction in ("count", "unique_count") and cell.fold is None
        if isinstance(feature.node, Estimate):
            return _sketch(feature, cell)
        return PlanFeature(
            feature.name, str(feature.dtype), sql, f'a."{cell.name}"', names, by, never_null=counts
        )
    table = ibis.table({c.name: result_type(normal(op)) for op, c in cells_by_op.items()}, name="a")
    value = finite(
        normal_value(
            finish_over(feature.node, {op: table[c.name].op() for op, c in cells_by_op.items()})
        ).to_expr()
    )
    sql = sql_type(value.type())
    return PlanFeature(
        feature.name,
        str(feature.dtype),
        "jsonb" if by else sql,
        typed(scalar_sql(table, value, "a", feature.name), sql),
        names,
        by,
        never_null=True,
    )


def _folds(op: ops.Reduction) -> bool:
    elements = unfolded(op)
    return elements is not None and contained(elements)


def _sketch(feature: Defined, cell: Cell) -> PlanFeature:
    """Return the window's values, of which the fetch makes the sketch; counts over none are 0."""
    counts = cell.reduction == "approx_unique_count"
    elements = unfolded(feature.node)
    sketch = {
        "reduction": cell.reduction,
        "options": cell.options,
        "element": str((elements or feature.node.arg).dtype),
    }
    listed = f"coalesce(a.\"{cell.name}\", '{{}}')" if counts else f'a."{cell.name}"'
    return PlanFeature(
        feature.name,
        str(feature.dtype),
        cell.sql,
        listed,
        (cell.name,),
        sketch=sketch,
        never_null=counts,
    )


def scalar_sql(table: ir.Table, value: ir.Value, alias: str, name: str) -> str:
    """Write a scalar expression over a table's columns as Postgres SQL; `alias` is the table."""
    if any(
        t.is_map() for t in (value.type(), *(f.dtype for f in value.op().find(ops.Field)))
    ) and not isinstance(value.op(), ops.Field):
        message = (
            f"{name} computes with a map, which Postgres keeps as JSON: take it as it is, or derive"
            " it where it is fetched"
        )
        raise DefinitionError(message)
    text = ibis.to_sql(table.select(**{VALUE: value}), dialect="postgres")
    select = sqlglot.parse_one(str(text), dialect="postgres")
    plain = (
        isinstance(select, exp.Select)
        and isinstance(select.args["from_"].this, exp.Table)
        and len(select.expressions) == 1
    )
    if not plain:
        message = f"{name} is no scalar expression on Postgres: {text}"
        raise DefinitionError(message)
    scalar = select.expressions[0].unalias()
    for inner in scalar.find_all(exp.Column):
        inner.set("table", exp.to_identifier(alias))
    return str(scalar.sql("postgres"))


def typed(expression: str, sql: str) -> str:
    """Cast an SQL expression to its feature's type.

    Postgres gives some expressions another type, such as numeric for an hour.
    """
    return expression if sql == "jsonb" else f"({expression})::{sql}"


def derived_features(
    features: Sequence[Defined],
    inputs: Mapping[str, dt.DataType],
    known: Mapping[str, str],
    context: Sequence[str] = (),
    sketches: Sequence[str] = (),
) -> tuple[PlanFeature, ...]:
    """Return derivations as SQL over `f`, in which each input is a column named in `known`.

    Those of `context` come with a request.
    """
    derived = []
    for feature in features:
        used = {node.name for node in feature.node.find(ops.Field)}
        table = ibis.table({known[n]: t for n, t in inputs.items() if n in known}, name="f")
        fields = {
            node: finite(table[known[node.name]]).op() for node in feature.node.find(ops.Field)
        }
        value = finite(normal(feature.node).replace(fields).to_expr())
        if sketched := sorted(used & set(sketches)):
            message = (
                f"derivation {feature.name} computes with {sketched[0]}, a sketch, which is made"
                " where it is fetched: derive it there, or from its exact twin"
            )
            raise DefinitionError(message)
        needs = tuple(c for c in context if c in used)
        derived.append(
            PlanFeature(
                feature.name,
                str(feature.dtype),
                sql := sql_type(value.type()),
                typed(scalar_sql(table, value, "f", feature.name), sql),
                context=needs,
                never_null=True,
                text=expression(feature.node),
            )
        )
    return tuple(derived)
