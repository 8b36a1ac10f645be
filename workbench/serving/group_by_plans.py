"""The stored plan of one group-by: its columns, cells and features, with the SQL that reads it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from workbench.backends import engine_of
from workbench.backends.engine_table import ENGINES
from workbench.definitions.aggregations import Feature as Defined
from workbench.definitions.binding import title
from workbench.definitions.canonical import fingerprint
from workbench.definitions.group_by import GroupBy
from workbench.definitions.nodes import as_it_stands, base
from workbench.definitions.sources import EntitySource
from workbench.online.plan import GroupByPlan, PlanFeature
from workbench.online.storage.check_outcomes import END
from workbench.serving.feature_sql import cells_of, derived_features, plan_features
from workbench.serving.message_needs import message_needs
from workbench.serving.stored_columns import Stored, column
from workbench.serving.stored_rows import snapshot_ends
from workbench.serving.topic_precision import coarse, padded
from workbench.training import data_check_scan

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import ibis.expr.types as ir

    from workbench.backends import Engine
    from workbench.definitions.data_checks import DataCheck


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
        rows=rows,
        snapshots=snapshots,
        source={n: str(t) for n, t in base(table).schema.items()},
        source_name=title(base(table)),
        **({} if entity else _event_fields(group_by, stored)),
        owner=group_by.owner,
        description=group_by.description,
        tags=group_by.tags,
        **_check_fields(group_by, features, sql_names),
    )


def _event_fields(group_by: GroupBy, stored: Stored) -> dict[str, Any]:
    """Return the fields of a plan that only events have: their time, and how messages give them."""
    events = group_by.events
    streamed = events.topic is not None
    return message_needs(group_by, stored) | {
        "topic": events.topic.plan if events.topic is not None else None,
        "coarse": coarse(group_by, stored),
        "padded": padded(group_by, group_by.source.connection) if streamed else (),
        "time": as_it_stands(group_by.source.table, events.time),
    }


def _check_fields(
    group_by: GroupBy, features: Sequence[PlanFeature], sql_names: Mapping[str, str]
) -> dict[str, Any]:
    """Return the declared checks, and the SQL that asks those of the source in one scan."""
    declared = group_by.source.checks or group_by.checks
    return {
        "checks": data_check_scan.plans(
            group_by, _texts, lambda check: _checked(group_by, check, features, sql_names)
        )
        if declared
        else (),
        "checked": _texts(lambda e: data_check_scan.scan(group_by, e, END))
        if group_by.source.checks
        else {},
    }


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
