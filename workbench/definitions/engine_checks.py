"""Refusals, by name and before anything runs, of what an engine cannot compute of a group-by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis.expr.operations as ops

from workbench.definitions import feature_names
from workbench.definitions.feature_expressions import reductions
from workbench.definitions.reduction_kinds import kind
from workbench.definitions.sketch_reductions import Estimate, refuse
from workbench.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.backends import Engine
    from workbench.definitions.aggregations import Feature

ELSEWHERE = "compute it on DuckDB, Postgres or Spark"


def check_features(
    owner: str, source: ops.Relation, features: Sequence[Feature], engine: Engine
) -> None:
    """Refuse features of a source that the engine cannot compute.

    The error names the first reduction that no plan of the engine gives, or the first feature whose
    type the engine cannot hold.
    """
    for relation in source.find(ops.Relation):
        feature_names.check_source(f"the source of {owner}", relation.schema.names, engine)
    for feature in features:
        if not engine.holds(feature.dtype):
            message = (
                f"{feature.name} of {owner} is {feature.dtype}, which {engine.title} cannot"
                " hold: compute it on DuckDB or Spark, or reduce the elements, as in each(x).sum()"
            )
            raise DefinitionError(message)
        for op in reductions(feature.node):
            name = kind(op).name
            if not engine.lacking(name):
                continue
            if isinstance(op, Estimate):
                refuse(op, engine.connected.name, ELSEWHERE)
            message = (
                f"{feature.name} of {owner} takes {name}, which {engine.connected.name}"
                f" cannot compute: {ELSEWHERE}, over tables of theirs or with on=, or leave it out"
            )
            raise DefinitionError(message)
