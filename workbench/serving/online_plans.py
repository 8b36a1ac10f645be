"""Online plans of definitions: what a store keeps, and each feature as Postgres SQL."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ibis.expr.operations as ops

from workbench.backends import engine_of
from workbench.backends.engine_table import ENGINES
from workbench.definitions.aggregations import Feature as Defined
from workbench.definitions.binding import title
from workbench.definitions.canonical import canonical, fingerprint
from workbench.definitions.group_by import GroupBy
from workbench.definitions.nodes import as_it_stands, base
from workbench.definitions.sources import EntitySource
from workbench.errors import DefinitionError
from workbench.online.plan import Column, GroupByPlan, PartPlan, Plan, PlanFeature
from workbench.online.storage.check_outcomes import END
from workbench.online.time_units import in_us
from workbench.planner.entity_snapshots import EntityRows
from workbench.planner.source_rows import EVENT
from workbench.serving.feature_sql import cells_of, derived_features, plan_features
from workbench.serving.message_needs import message_needs
from workbench.serving.stored_columns import TIME, Stored, column, sql_type
from workbench.serving.topic_precision import coarse, padded
from workbench.training import data_check_scan

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import ibis.expr.types as ir

    from workbench.backends import Engine
    from workbench.definitions.data_checks import DataCheck
    from workbench.definitions.join import Join


# --- types


# --- one group-by


def stored_of(group_by: GroupBy) -> Stored:
    """Return the rows that a group-by's store keeps, with all that its features need."""
    stored = Stored(group_by)
    plan_features(group_by, stored, {} if group_by.taken else cells_of(group_by, stored))
    return stored


def stored_rows(group_by: GroupBy, engine: Engine) -> ir.Table:
    """Return a group-by's rows on an engine, as its store keeps them."""
    return stored_of(group_by).rows(engine)


def snapshot_ends(group_by: GroupBy, engine: Engine) -> ir.Table:
    """Return the end of the day of each of an entity's snapshots, as `time`."""
    return EntityRows(group_by, engine).snapshots().distinct().rename(**{TIME: EVENT})


def group_by_plan(group_by: GroupBy) -> GroupByPlan:
    """Return what a store keeps of a group-by; DefinitionError for what it cannot serve."""
    stored, entity = Stored(group_by), isinstance(group_by.source, EntitySource)
    table = group_by.source.table
    cells = {} if group_by.taken else cells_of(group_by, stored)
    features = plan_features(group_by, stored, cells)
    sql_names = {f.name: f"f{i}" for i, f in enumerate(group_by.computed)}
    rows, snapshots = _texts(stored.rows), {}
    if entity:
        snapshots = _texts(lambda e: snapshot_ends(group_by, e))
    return GroupByPlan(
        name=group_by.name,
        hash=fingerprint(group_by),
        kind="entity" if entity else "events",
        keys=tuple(column(k, table.schema[k]) for k in group_by.keys),
        stored=tuple(
            replace(column(n, t), label=stored.labels.get(n, n)) for n, t in stored.columns.items()
        ),
        order=tuple(stored.named),
        id=stored.id,
        cells=tuple(cells.values()),
        features=features,
        derivations=derived_features(
            group_by.derivations,
            group_by.inputs,
            sql_names,
            sketches=[f.name for f in features if f.sketch],
        ),
        daily=entity or group_by.accuracy == "snapshot",
        timeless=entity and group_by.entity.snapshot is None,
        topic=None if entity or group_by.events.topic is None else group_by.events.topic.plan,
        rows=rows,
        snapshots=snapshots,
        source={n: str(t) for n, t in base(table).schema.items()},
        source_name=title(base(table)),
        **({} if entity else message_needs(group_by, stored)),
        coarse={} if entity else coarse(group_by, stored),
        padded=(
            ()
            if entity or group_by.events.topic is None
            else padded(group_by, group_by.source.connection)
        ),
        time=None if entity else as_it_stands(table, group_by.events.time),
        owner=group_by.owner,
        description=group_by.description,
        tags=group_by.tags,
        checks=(
            data_check_scan.plans(
                group_by, _texts, lambda check: _checked(group_by, check, features, sql_names)
            )
            if group_by.source.checks or group_by.checks
            else ()
        ),
        checked=(
            _texts(lambda e: data_check_scan.scan(group_by, e, END))
            if group_by.source.checks
            else {}
        ),
    )


def _checked(
    group_by: GroupBy,
    check: DataCheck,
    features: Sequence[PlanFeature],
    sql_names: Mapping[str, str],
) -> str:
    """Write a check of features as SQL over `f`."""
    names = {
        **sql_names,
        **{d.name: f"f{len(sql_names) + i}" for i, d in enumerate(group_by.derivations)},
    }
    inputs = {f.name: f.dtype for f in group_by.outputs}
    (check_feature,) = derived_features(
        [Defined(check.name, check.expression.dtype, check.expression)],
        inputs,
        names,
        sketches=[f.name for f in features if f.sketch],
    )
    return check_feature.expression


def _texts(query: Callable[[Engine], ir.Table]) -> dict[str, str]:
    """Return the SQL of an expression in each dialect that Ibis writes it in."""
    found = {}
    for name in ENGINES:
        engine = engine_of(None, name)
        try:
            found[name] = engine.sql(query(engine))
        except Exception:  # noqa: BLE001, S112 what Ibis lacks for an engine is missed only there
            continue
    return found


# --- what is served


def plan_of(definition: GroupBy | Join) -> Plan:
    """Return the plan of a join, or of a group-by alone; DefinitionError if it cannot be served."""
    if isinstance(definition, GroupBy):
        group_by = group_by_plan(definition)
        parts = (PartPlan("", group_by.name, tuple((k.name, k.name) for k in group_by.keys)),)
        return _plan(definition, "group_by", group_by.keys, (), parts, (), (group_by,))
    return _join_plan(definition)


def _join_plan(join: Join) -> Plan:
    plans: dict[str, GroupByPlan] = {}
    parts: list[PartPlan] = []
    keys: dict[str, Column] = {}
    for part in join.parts:
        plan = plans.setdefault(part.group_by.name, group_by_plan(part.group_by))
        if plan.hash != fingerprint(part.group_by):
            message = (
                f"{join.name} has two different group-bys named {plan.name}: name one of them"
                " otherwise"
            )
            raise DefinitionError(message)
        age = None if part.max_age is None else in_us(part.max_age)
        parts.append(PartPlan(part.head, plan.name, tuple(part.keys), age))
        keys |= {
            left_key: column(left_key, join.left.table.schema[left_key])
            for left_key, _ in part.keys
        }
    time, schema = join.left.time, join.left.table.schema
    output_names = [f"{p.head}_{f.name}" for p in join.parts for f in p.group_by.outputs]
    sql_names = (
        {n: f"f{i}" for i, n in enumerate(output_names)}
        | {n: f"k{i}" for i, n in enumerate(keys)}
        | {time: "t"}
    )
    used = {field.name for d in join.derivations for field in d.node.find(ops.Field)}
    sketches = [f"{p.head}_{f.name}" for p in parts for f in plans[p.group_by].features if f.sketch]
    needed = [c for c in schema.names if c in used and c not in sql_names]
    derivations = derived_features(
        join.derivations,
        join.inputs,
        sql_names | {n: f"x{i}" for i, n in enumerate(needed)},
        needed,
        sketches,
    )
    context = tuple(column(c, schema[c]) for c in needed)
    made_plan = _plan(
        join,
        "join",
        tuple(keys.values()),
        context,
        tuple(parts),
        derivations,
        tuple(plans.values()),
    )
    return replace(
        made_plan, clock=sql_type(schema[time]) if time in used and time not in keys else ""
    )


def _plan(
    definition: GroupBy | Join,
    kind: str,
    keys: Any,
    context: Any,
    parts: Any,
    derivations: Any,
    group_bys: Any,
) -> Plan:
    named = (definition.name, kind, fingerprint(definition))
    return Plan(
        *named,
        tuple(keys),
        context,
        parts,
        derivations,
        group_bys,
        owner=definition.owner,
        description=definition.description,
        tags=definition.tags,
        definition=canonical(definition),
    )
