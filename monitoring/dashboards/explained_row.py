"""The explanation of one answer that differs: a preview of its key's events in the warehouse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis
import pyarrow as pa
from attrs import evolve

from workbench.definitions.sources import EventSource
from workbench.monitoring.comparison.recompute import as_join
from workbench.portable.arrow_types import arrow, typed
from workbench.previews import preview_html as drawn
from workbench.previews.preview_view import feature_preview
from workbench.serving.online_plans import plan_of
from workbench.training.source_connections import connection_of

if TYPE_CHECKING:
    from ibis.backends import BaseBackend

    from workbench.definitions.group_by import GroupBy
    from workbench.definitions.join import Join
    from workbench.html.markup import Markup
    from workbench.monitoring.dashboards.board import Offending


def behind(
    definition: GroupBy | Join, feature: str, row: Offending, *, on: BaseBackend | None = None
) -> Markup:
    """Returns the preview of one key at one time, by the warehouse. Runs.

    Request columns besides keys and time are null here. Raises DefinitionError and EngineError as
    `preview` does.
    """
    join = as_join(definition)
    names = {
        name: output.name
        for output, (_, _, name) in zip(join.outputs, plan_of(definition).outputs, strict=True)
    }
    schema = join.left.table.schema
    zone = schema[join.left.time].timezone
    values = {**row.keys, join.left.time: row.at}
    columns = {
        n: pa.array([values.get(n)], pa.int64() if n == join.left.time else arrow(t))
        for n, t in schema.items()
    }
    columns[join.left.time] = columns[join.left.time].cast(pa.timestamp("us", zone))
    left = typed(ibis.memtable(pa.table(columns)), schema)
    preview = feature_preview(
        evolve(join, left=EventSource(left, time=join.left.time)),
        1,
        names[feature],
        on=connection_of(join, on),
    )
    return drawn.value_detail(preview.page, preview.moment, preview.chosen, preview.feature)
