"""The explanation of one value: the key's events, which of them count, and the value over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ibis.expr.operations as ops
import pyarrow as pa
from attrs import evolve, field, frozen

from workbench.definitions.sources import EventSource
from workbench.html.definition_view import expression
from workbench.online.time_units import HOUR_US
from workbench.planner.row_numbers import ROW
from workbench.planner.training_set import instant
from workbench.previews.event_history import WITHIN, key_events_around
from workbench.previews.event_status import INSIDE, HistoryEvent, inputs
from workbench.previews.grid_page import LEFT, grid
from workbench.previews.key_feature import KeyFeature
from workbench.previews.value_effects import explain_events
from workbench.previews.value_steps import nearest_change, value_steps

if TYPE_CHECKING:
    from workbench.definitions.aggregations import Feature
    from workbench.definitions.join import JoinPart
    from workbench.previews.preview_page_values import Page


@frozen
class ExplainedValue:
    """One value and the events behind it; times in microseconds since 1970, UTC."""

    part: JoinPart
    feature: Feature
    name: str
    value: Any
    row: dict[str, Any]
    at: int
    asked: int
    start: int | None
    events: tuple[HistoryEvent, ...] = ()
    steps: tuple[tuple[int, Any], ...] = ()
    totals: dict[str, int] = field(factory=dict)
    derived: str = ""
    others: tuple[tuple[str, tuple[tuple[str, Any], ...]], ...] = field(default=())
    leaked: Any = None
    story: KeyFeature | None = field(default=None, repr=False, eq=False)
    times: Any = field(default=None, repr=False, eq=False)

    @property
    def timed(self) -> bool:
        """Whether events stand behind the value; an entity's column has none."""
        return isinstance(self.part.group_by.source, EventSource)

    def change(self, direction: int) -> int | None:
        """Return the nearest instant at which the value changes, after `at` (1) or before it (-1).

        All of the key's history is searched; `None` where there is no such instant.
        """
        if self.story is not None and self.times is not None:
            self.story.page.at_hand()
            return nearest_change(self.story, direction, self.times)
        drawn = [t for t, _ in self.steps[1:] if (t > self.at if direction > 0 else t < self.at)]
        return min(drawn, key=lambda t: abs(t - self.at), default=None)

    def count(self, status: str) -> int:
        """Return how many of the key's events have this status, shown or not."""
        return self.totals.get(status, 0)

    @property
    def whole(self) -> bool:
        """Whether every event in the window is shown, so that running values are known."""
        return sum(self.totals.get(s, 0) for s in INSIDE) <= WITHIN

    @property
    def span(self) -> tuple[int, int]:
        """The times that the drawing covers: from before the oldest shown to a little after `t`."""
        times = [e.time for e in self.events] + [t for t in (self.start, self.at) if t is not None]
        first = min(times)
        wide = max(self.at - first, HOUR_US)
        return first - wide // 20, max(
            self.at + wide // 12, *(min(t, self.at + wide // 6) for t in times)
        )

    @property
    def total(self) -> int:
        """The number of the key's events."""
        return sum(self.totals.values())


def moment(page: Page, row: dict[str, Any], name: str, at: int | None = None) -> ExplainedValue:
    """Explain the feature `name` of one row of a page.

    It is as of the row's time, or as of `at`, in microseconds.
    """
    page.at_hand()
    if at is not None:
        row = _moved(page, row, at)
    part, feature, derived = _subject(page, name)
    left_time = _us(row[page.join.left.time])
    at = instant(left_time, part.group_by)
    full = f"{part.head}_{feature.name}"
    plain = ExplainedValue(
        part,
        feature,
        full if derived else name,
        row[full],
        row,
        at,
        left_time,
        None,
        derived=derived,
        others=_sibling_values(part, feature, row),
    )
    key = tuple(row[left_key] for left_key, _ in part.keys)
    if not plain.timed or None in key:
        return plain
    story = KeyFeature(page, part, feature, key, at)
    events, totals, times = key_events_around(story)
    counted = evolve(plain, start=story.start, totals=totals, story=story, times=times)
    if not events:
        return counted
    explained = evolve(counted, **explain_events(story, events, whole=counted.whole))
    return evolve(explained, steps=value_steps(story, explained.span, times))


def _moved(page: Page, row: dict[str, Any], at: int) -> dict[str, Any]:
    """Return the row with its features as of another time."""
    schema, time = page.join.left.table.schema.to_pyarrow(), page.join.left.time
    # the time has the precision of the left's
    moment_ = pa.array([at], pa.timestamp("us")).cast(schema.field(time).type, safe=False)
    columns = [moment_ if f.name == time else pa.array([row[f.name]], f.type) for f in schema]
    rows = pa.Table.from_arrays([*columns, pa.array([0], pa.int64())], names=[*schema.names, ROW])
    left_table = page.near.lefts(LEFT, rows, page.engine, keep=False)
    (features,) = grid(page.near, page.engine, left_table).to_pylist(maps_as_pydicts="strict")
    return row | {**features, ROW: row[ROW]}


def _us(value: Any) -> int:
    array = pa.array([value])
    return array.cast(pa.timestamp("us", tz=array.type.tz)).cast(pa.int64())[0].as_py()


def _subject(page: Page, name: str) -> tuple[JoinPart, Feature, str]:
    """Return the part and feature to draw: of a derivation, the first feature that it uses."""
    join = page.join
    named = {f"{p.head}_{f.name}": (p, f) for p in join.parts for f in p.group_by.outputs}
    derived = ""
    derivations = {f.name: f for f in join.derivations}
    if name in derivations:
        derived = f"{name} = {expression(derivations[name].node)}"
        name = next(
            (f.name for f in derivations[name].node.find(ops.Field) if f.name in named),
            next(iter(named)),
        )
    part, feature = named[name]
    if feature in part.group_by.derivations:
        derived = derived or f"{name} = {expression(feature.node)}"
        used = {f.name for f in feature.node.find(ops.Field)}
        feature = next(f for f in part.group_by.computed if f.name in used)
    return part, feature, derived


def _sibling_values(
    part: JoinPart, feature: Feature, row: dict[str, Any]
) -> tuple[tuple[str, tuple[tuple[str, Any], ...]], ...]:
    """Return every feature of the same input in this row: by window, then by expression."""
    feature_inputs = inputs(feature)
    table: dict[str, dict[str, Any]] = {}
    for sibling in part.group_by.computed:
        if inputs(sibling) == feature_inputs and sibling.by == feature.by:
            window = sibling.window.words if sibling.window else "all time"
            table.setdefault(window, {})[_reduced(sibling, feature_inputs)] = row[
                f"{part.head}_{sibling.name}"
            ]
    return tuple((w, tuple(values.items())) for w, values in table.items())


def _reduced(feature: Feature, inputs: frozenset[str]) -> str:
    """Write the expression without its column where all beside it are of that column: `sum()`."""
    text = expression(feature.node)
    return text.removeprefix(f"{next(iter(inputs))}.") if len(inputs) == 1 else text
