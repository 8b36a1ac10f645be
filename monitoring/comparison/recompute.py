"""Recomputation of answers from the warehouse, and the tolerance within which two are equal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ibis
import pyarrow as pa
from attrs import evolve, frozen

from workbench.backends.equality import equal
from workbench.definitions.aggregations import Aggregation
from workbench.definitions.group_by import GroupBy
from workbench.definitions.join import Join, JoinPart
from workbench.definitions.sketch_reductions import (
    ApproxHistogram,
    ApproxPercentile,
    ApproxPercentiles,
    Estimate,
)
from workbench.definitions.sources import EventSource
from workbench.monitoring.comparison.served_answers import ROW
from workbench.planner.plan_choice import Chooser
from workbench.planner.training_set import training_set
from workbench.portable.arrow_types import arrow, fetched, typed
from workbench.training.error_bounds import scales

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import ibis.expr.types as ir

    from workbench.backends import Engine
    from workbench.definitions.aggregations import Feature
    from workbench.monitoring.comparison.served_answers import ServedAnswers

TIME = "_at"
BOUNDS = 2  # times a sketch's own error, which one of a hundred sketches exceeds


def as_join(definition: GroupBy | Join) -> Join:
    """Returns a definition as a join: a group-by alone is one part, looked up by its own keys."""
    if isinstance(definition, Join):
        return definition
    schema = definition.source.table.schema
    columns = {k: schema[k] for k in definition.keys}
    name = next(n for n in (TIME, *(f"{TIME}{i}" for i in range(len(columns)))) if n not in columns)
    left = ibis.table(columns | {name: "timestamp"}, name="answers")
    return Join(
        name=definition.name, left=EventSource(left, time=name), parts=[JoinPart(definition)]
    )


def lefts(join: Join, told: ServedAnswers, rows: pa.Table) -> pa.Table:
    """Returns answers as left rows of the join, in the left's types.

    Columns are the answer's number, keys, time and context.
    """
    schema, plan = join.left.table.schema, told.plan
    named = {k.name: rows[f"k{i}"] for i, k in enumerate(plan.keys)} | {
        c.name: rows[f"x{i}"] for i, c in enumerate(plan.context)
    }
    zone = schema[join.left.time].timezone
    named.setdefault(join.left.time, rows["at"].cast(pa.timestamp("us", zone)))
    kinds = {
        n: c.type if n == join.left.time or schema[n].is_uuid() else arrow(schema[n])
        for n, c in named.items()
    }
    return pa.table({ROW: rows[ROW], **{n: c.cast(kinds[n]) for n, c in named.items()}})


def left_on(join: Join, told: ServedAnswers, rows: pa.Table, engine: Engine) -> ir.Table:
    """Returns answers as left rows in a table of an engine, with UUIDs where ids come as texts."""
    return typed(engine.keep(lefts(join, told, rows)), join.left.table.schema)


def recomputed(join: Join, told: ServedAnswers, rows: pa.Table, engine: Engine) -> pa.Table:
    """Returns the features of answers from all that the warehouse has now.

    Columns are `_fw_row`, then `a0...` in the features' types.
    """
    names = [f.name for f in join.outputs]
    if not rows.num_rows:
        return pa.schema(
            [(ROW, pa.int64()), *((f"a{i}", arrow(f.dtype)) for i, f in enumerate(join.outputs))]
        ).empty_table()
    left = left_on(join, told, rows, engine)
    table = engine.keep(training_set(join, engine, left, Chooser(engine)))
    schema = ibis.schema({ROW: "int64"} | {f.name: f.dtype for f in join.outputs})
    return fetched(engine, table.select(ROW, *names), schema).rename_columns(
        [ROW, *(f"a{i}" for i in range(len(names)))]
    )


# --- when two values are the same number


@frozen
class Tolerance:
    """The allowed difference of two values of each row's feature.

    It is rule 11's scale (`scales`), or the values between which a sketch's may lie (`bounds`).
    """

    join: Join
    scales: Mapping[tuple[int, str], float]
    bounds: Mapping[tuple[int, str], Any]

    def same(self, row: int, feature: Feature, a: Any, b: Any, others: Mapping[str, Any]) -> bool:
        """Returns whether two values of a row's feature are the same number.

        `others` are the row's values, which derivations are made of.
        """
        if (row, feature.name) in self.bounds and a is not None and b is not None:
            return equal(a, b) or _within(feature.node, a, b, self.bounds[row, feature.name])
        scale = self.scales.get((row, feature.name), 0.0)
        if any(d.name == feature.name for d in self.join.derivations):
            used = {n.name for n in feature.node.find(ibis.expr.operations.Field)}
            scale = max(
                (abs(v) for n, v in others.items() if n in used and isinstance(v, float)),
                default=0.0,
            )
        return equal(_plain(a), _plain(b), scale)


def _plain(value: Any) -> Any:
    """Returns maps, which Arrow gives as lists of pairs, as mappings."""
    if (
        isinstance(value, list)
        and value
        and all(isinstance(v, tuple) and len(v) == 2 for v in value)  # noqa: PLR2004 key and value
    ):
        return dict(value)
    return value


def tolerance(join: Join, told: ServedAnswers, rows: pa.Table, engine: Engine) -> Tolerance:
    """Returns the tolerances of these answers, computed from the warehouse.

    Callers pass only answers that are not equal as they stand.
    """
    return Tolerance(
        join, _values(scales(join), told, rows, engine), _values(bounds(join), told, rows, engine)
    )


def _values(
    join_and_columns: tuple[Join, Mapping[str, Any]] | None,
    answers: ServedAnswers,
    rows: pa.Table,
    engine: Engine,
) -> dict[tuple[int, str], Any]:
    if join_and_columns is None or not rows.num_rows:
        return {}
    join, named = join_and_columns
    left = left_on(join, answers, rows, engine)
    table = engine.keep(training_set(join, engine, left, Chooser(engine)))
    schema = ibis.schema({ROW: "int64"} | {f.name: f.dtype for f in join.outputs})
    values_by_feature: dict[tuple[int, str], Any] = {}
    for row in fetched(
        engine, table.select(ROW, *(f.name for f in join.outputs)), schema
    ).to_pylist():
        for feature, columns in named.items():
            values = row[columns] if isinstance(columns, str) else tuple(row[c] for c in columns)
            if values is not None and values != (None,) * 3:
                values_by_feature[row[ROW], feature] = values
    return values_by_feature


def bounds(join: Join) -> tuple[Join, dict[str, tuple[str, ...]]] | None:
    """Returns a join of the exact values between which a sketch's values lie, with their count.

    It is None where no sketch has bounds (rule 13).
    """
    parts: list[JoinPart] = []
    named: dict[str, tuple[str, ...]] = {}
    for part in join.parts:
        sketches = {
            f"b{i}": f
            for i, f in enumerate(part.group_by.computed)
            if isinstance(f.node, ApproxPercentile | ApproxPercentiles | ApproxHistogram)
            and f.by is None
        }
        if not sketches:
            continue
        aggregations = [a for name, f in sketches.items() for a in _edges(name, f)]
        parts.append(
            JoinPart(
                evolve(part.group_by, aggregations=tuple(aggregations), derivations={}),
                keys=dict(part.keys),
                prefix=part.prefix,
            )
        )
        columns = [f"{part.head}_{a.features[0].name}" for a in aggregations]
        named |= {
            f"{part.head}_{f.name}": tuple(columns[3 * i : 3 * i + 3])
            for i, f in enumerate(sketches.values())
        }
    return (evolve(join, parts=tuple(parts), derivations={}), named) if parts else None


def _edges(name: str, feature: Feature) -> list[Aggregation]:
    """Returns the lowest and highest value that a sketch of these events may give, and a count.

    The count is that of the sketch's values.
    """
    node: Any = feature.node
    value, where = node.arg.to_expr(), None if node.where is None else node.where.to_expr()
    error, spans = BOUNDS * node.bound, () if feature.window is None else (feature.window,)
    counted = value.count(where=where)
    if isinstance(node, ApproxHistogram):
        expressions = [counted, counted, counted]
    else:
        quantiles = [node.quantile] if isinstance(node, ApproxPercentile) else list(node.quantiles)
        expressions = [
            _ranked(value, [max(q - error, 0.0) for q in quantiles], where),
            _ranked(value, [min(q + error, 1.0) for q in quantiles], where),
            counted,
        ]
    return [Aggregation(e.name(f"{name}_{i}"), spans) for i, e in enumerate(expressions)]


def _ranked(value: Any, quantiles: Sequence[float], where: Any) -> Any:
    value = value.cast("float64")
    return (
        value.quantile(quantiles, where=where)
        if len(quantiles) > 1
        else value.quantile(quantiles[0], where=where)
    )


def _within(node: Estimate, a: Any, b: Any, edges: tuple[Any, Any, Any]) -> bool:
    """Returns whether both values are possible for a sketch of the same events."""
    low, high, count = edges
    if isinstance(node, ApproxHistogram):
        a, b = dict(_plain(a)), dict(_plain(b))
        most = BOUNDS * node.bound * count
        return all(abs(a.get(k, 0) - b.get(k, 0)) <= most for k in {*a, *b})
    lows, highs = (v if isinstance(v, list) else [v] for v in (low, high))
    return all(
        lo <= x <= hi
        for side in (a, b)
        for x, lo, hi in zip(side if isinstance(side, list) else [side], lows, highs, strict=True)
    )
