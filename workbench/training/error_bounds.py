"""Scales that the error of a float feature is relative to (semantics rule 11).

They are computed by a join of their own over the same windows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis.expr.operations as ops
from attrs import evolve

from workbench.definitions.aggregations import Aggregation
from workbench.definitions.join import JoinPart
from workbench.definitions.reduction_kinds import KINDS
from workbench.definitions.reductions import Each

if TYPE_CHECKING:
    from workbench.definitions.aggregations import Feature
    from workbench.definitions.group_by import GroupBy
    from workbench.definitions.join import Join


def scale_of(feature: Feature) -> ops.Value | None:
    """Return the reduction of the same events that a feature's error is relative to.

    `None` where it is relative to the value itself.
    """
    node = feature.node
    scale = KINDS[type(node)].scale if type(node) in KINDS else None
    if (
        scale is None
        or feature.by is not None
        or node.find(Each, filter=ops.Value)
        or not (node.arg.dtype.is_numeric())
    ):
        return None
    where = None if node.where is None else node.where.to_expr()
    return scale(node.arg.to_expr().cast("float64"), where).op()


def scales(join: Join) -> tuple[Join, dict[str, str]] | None:
    """Return a join that computes each feature's scale over the left, and the scales' columns.

    `None` where no feature has a scale.
    """
    parts: list[JoinPart] = []
    named: dict[str, str] = {}
    for part in join.parts:
        features = {
            f"s{i}": f for i, f in enumerate(part.group_by.computed) if scale_of(f) is not None
        }
        if not features:
            continue
        aggregations = [_scale_aggregation(name, f) for name, f in features.items()]
        parts.append(
            JoinPart(_only(part.group_by, aggregations), keys=dict(part.keys), prefix=part.prefix)
        )
        named |= {
            f"{part.head}_{f.name}": f"{part.head}_{a.features[0].name}"
            for f, a in zip(features.values(), aggregations, strict=True)
        }
    return (evolve(join, parts=tuple(parts), derivations={}), named) if parts else None


def _scale_aggregation(name: str, feature: Feature) -> Aggregation:
    scale = scale_of(feature)
    assert scale is not None  # noqa: S101 the caller has looked
    return Aggregation(
        scale.to_expr().name(name), () if feature.window is None else (feature.window,)
    )


def _only(group_by: GroupBy, aggregations: list[Aggregation]) -> GroupBy:
    return evolve(group_by, aggregations=tuple(aggregations), derivations={})
