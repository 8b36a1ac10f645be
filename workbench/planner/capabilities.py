"""Refusals, by name and before anything runs, of what an engine cannot compute of a definition."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis.expr.operations as ops

from workbench.definitions import feature_names
from workbench.definitions.feature_expressions import reductions
from workbench.definitions.sketch_reductions import Estimate, refuse
from workbench.errors import DefinitionError
from workbench.planner.kernel_requests import KERNEL_REDUCTIONS

if TYPE_CHECKING:
    from workbench.backends import Engine
    from workbench.definitions.group_by import GroupBy

ELSEWHERE = "compute it on DuckDB, Postgres or Spark"


def check_engine(group_by: GroupBy, engine: Engine) -> None:
    """Refuse a group-by that the engine cannot compute.

    The error names the first reduction that no plan of the engine gives, or the first feature whose
    type the engine cannot hold.
    """
    for relation in group_by.source.table.find(ops.Relation):
        feature_names.check_source(f"the source of {group_by.name}", relation.schema.names, engine)
    for feature in group_by.computed:
        if not engine.holds(feature.dtype):
            message = (
                f"{feature.name} of {group_by.name} is {feature.dtype}, which {engine.title} cannot"
                " hold: compute it on DuckDB or Spark, or reduce the elements, as in each(x).sum()"
            )
            raise DefinitionError(message)
        for op in reductions(feature.node):
            name = KERNEL_REDUCTIONS[type(op)][0] if type(op) in KERNEL_REDUCTIONS else ""
            if not engine.lacking(name):
                continue
            if isinstance(op, Estimate):
                refuse(op, engine.connected.name, ELSEWHERE)
            message = (
                f"{feature.name} of {group_by.name} takes {name}, which {engine.connected.name}"
                f" cannot compute: {ELSEWHERE}, over tables of theirs or with on=, or leave it out"
            )
            raise DefinitionError(message)
