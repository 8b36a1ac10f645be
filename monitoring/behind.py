"""What stands behind one answer that differs, as the preview draws it: the key's events in the warehouse, and which of them count at its time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis
import pyarrow as pa
from attrs import evolve

from monitoring.offline import as_join
from workbench.arrows import arrow, typed
from workbench.plans import plan_of
from workbench.sources import EventSource
from workbench.timeline import page as drawn
from workbench.timeline.view import feature_preview
from workbench.training import connection_of

if TYPE_CHECKING:
    from ibis.backends import BaseBackend

    from monitoring.board import Offending
    from workbench.definitions import GroupBy
    from workbench.joins import Join
    from workbench.markup import Markup


def behind(definition: GroupBy | Join, feature: str, row: Offending, *, on: BaseBackend | None = None) -> Markup:
    """The preview of one key at one time, by the warehouse. Runs.

    What the request brought besides keys and time is null here. Raises DefinitionError and EngineError as `preview` does.
    """
    join = as_join(definition)
    names = {name: made.name for made, (_, _, name) in zip(join.outputs, plan_of(definition).outputs, strict=True)}
    schema = join.left.table.schema
    zone = schema[join.left.time].timezone
    told = {**row.keys, join.left.time: row.at}
    columns = {n: pa.array([told.get(n)], pa.int64() if n == join.left.time else arrow(t)) for n, t in schema.items()}
    columns[join.left.time] = columns[join.left.time].cast(pa.timestamp("us", zone))
    left = typed(ibis.memtable(pa.table(columns)), schema)
    found = feature_preview(evolve(join, left=EventSource(left, time=join.left.time)), 1, names[feature], on=connection_of(join, on))
    return drawn.alone(found.page, found.moment, found.chosen, found.feature)
