"""Online plans of definitions: what is served under a name, of which group-bys and keys."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ibis.expr.operations as ops

from workbench.definitions.canonical import canonical, fingerprint
from workbench.definitions.group_by import GroupBy
from workbench.errors import DefinitionError
from workbench.online.plan import Column, GroupByPlan, PartPlan, Plan, PlanFeature
from workbench.online.time_units import in_us
from workbench.serving.feature_sql import derived_features
from workbench.serving.group_by_plans import group_by_plan
from workbench.serving.stored_columns import column, sql_type

if TYPE_CHECKING:
    from workbench.definitions.join import Join


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
        group_by = part.group_by
        # A group-by may be a part under several heads: its plan is made once.
        if group_by.name not in plans:
            plans[group_by.name] = group_by_plan(group_by)
        plan = plans[group_by.name]
        if plan.hash != fingerprint(group_by):
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
    derivations, context, reads_time = _join_derivations(join, tuple(keys), parts, plans)
    join_plan = _plan(
        join,
        "join",
        tuple(keys.values()),
        context,
        tuple(parts),
        derivations,
        tuple(plans.values()),
    )
    clock = sql_type(join.left.table.schema[join.left.time]) if reads_time else ""
    return replace(join_plan, clock=clock)


def _join_derivations(
    join: Join, keys: tuple[str, ...], parts: list[PartPlan], plans: dict[str, GroupByPlan]
) -> tuple[tuple[PlanFeature, ...], tuple[Column, ...], bool]:
    """Return a join's derivations, the left columns that they need, and whether one reads the time.

    A left column that is no key comes with the request, as its context.
    """
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
    return derivations, context, time in used and time not in keys


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
