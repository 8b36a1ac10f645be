"""A sample of a definition's rows, with its values by one plan or another, for the checks."""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.operations as ops
from attrs import evolve, frozen

from workbench.backends import engine_of
from workbench.backends.equality import equal
from workbench.definitions.group_by import GroupBy
from workbench.definitions.join import Join
from workbench.definitions.sources import EventSource
from workbench.online.fetching.answers import microseconds
from workbench.online.own_columns import name_beside
from workbench.online.time_units import utc_time
from workbench.planner.bound_tables import rebound
from workbench.planner.kernel_plan import Sweep
from workbench.planner.pairs_plan import Evaluation
from workbench.planner.plan_choice import PAIRS, Chooser, Planner, estimate_in, seeing
from workbench.planner.source_rows import AT, EVENT, EventRows, Inputs
from workbench.planner.training_set import instant, training_set
from workbench.portable.arrow_types import fetched
from workbench.portable.time_rewrites import micros
from workbench.training.error_bounds import scales

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import ibis.expr.types as ir
    from ibis.backends import BaseBackend

    from workbench.backends import Engine
    from workbench.definitions.join import JoinPart
    from workbench.definitions.reductions import Each

ROWS = 200  # left rows that are tried
ROW = "_fw_row"
ASKED_AT = "asked_at"

Values = list[dict[str, Any]]


@frozen
class SampleEvents(EventRows):
    """The events of a spine's keys alone, so that a sample of much data stays small."""

    spine: ir.Table

    def placed(self, inputs: Inputs, each: Each | None, bucket: str | None) -> ir.Table:
        """Return the events of the keys."""
        events = super().placed(inputs, each, bucket)
        spine = self.spine.rename(**{f"_fw_asked_{c}": c for c in self.spine.columns})
        return events.semi_join(spine, self.met(events, spine))

    def met(self, events: ir.Table, asked: ir.Table) -> list[ir.BooleanValue]:
        """Return which events exist for a row of the spine."""
        return [events[c] == asked[f"_fw_asked_{c}"] for c in self.spine.columns if c != AT]


@frozen
class PriorRows(SampleEvents):
    """The events before the instant of their key, of which each key has one."""

    def met(self, events: ir.Table, asked: ir.Table) -> list[ir.BooleanValue]:
        """Return which events exist: none at or after the instant."""
        return [*super().met(events, asked), events[EVENT] < asked[f"_fw_asked_{AT}"]]


class Trial:
    """A definition on an engine, computed for a sample of its left rows.

    Of a group-by alone, the left is its own events' keys and times.
    """

    def __init__(self, definition: GroupBy | Join, con: BaseBackend, end: int) -> None:
        self.engine: Engine = engine_of(con)
        self.join = (
            definition if isinstance(definition, Join) else _joined(definition, self.engine, end)
        )
        self.names = {
            f.name: (
                f.name
                if isinstance(definition, Join)
                else f.name.removeprefix(f"{definition.name}_")
            )
            for f in self.join.outputs
        }

    @cached_property
    def left(self) -> ir.Table:
        """The sampled rows, numbered: those whose key and time have the lowest hashes.

        The sample is the same each time.
        """
        rows = rebound(self.join.left.table, self.engine, clean=False).to_expr()
        named = [
            self.join.left.time,
            *dict.fromkeys(left_key for part in self.join.parts for left_key, _ in part.keys),
        ]
        some = (
            rows.filter(rows[self.join.left.time].notnull())
            .order_by(*(self.engine.hashed(rows[c]) for c in named))
            .limit(ROWS)
        )
        return self.engine.keep(some.mutate(**{ROW: ibis.row_number()}))

    @cached_property
    def rows(self) -> Values:
        """The sampled rows' own columns."""
        return sorted(
            fetched(self.engine, self.left).to_pylist(maps_as_pydicts="strict"),
            key=lambda r: r[ROW],
        )

    def at(self, row: dict[str, Any]) -> Any:
        """Return the time of a row in microseconds since 1970."""
        return microseconds(row[self.join.left.time])

    @property
    def fast(self) -> str:
        """The plan that a backfill of much data takes."""
        return "kernel" if "kernel" in self.engine.plans else PAIRS

    @cached_property
    def values(self) -> Values:
        """The features of each sampled row, by the engine's choice of plan."""
        return self.computed(self.join, self.left, Chooser(self.engine))

    def computed(self, join: Join, left: ir.Table, planner: Planner) -> Values:
        """Return the features of some numbered left rows, by their numbers."""
        table = training_set(join, self.engine, left, planner).select(
            ROW, *(f.name for f in join.outputs)
        )
        schema = ibis.schema({ROW: "int64", **{f.name: f.dtype for f in join.outputs}})
        return sorted(
            fetched(self.engine, table, schema).to_pylist(maps_as_pydicts="strict"),
            key=lambda r: r[ROW],
        )

    # --- by two plans

    @cached_property
    def exact(self) -> Join | None:
        """The join without parts that have a sketch, which only one plan makes.

        `None` where all parts have one.
        """
        parts = [p for p in self.join.parts if estimate_in(p.group_by) is None]
        if len(parts) == len(self.join.parts):
            return self.join
        return evolve(self.join, parts=tuple(parts), derivations={}) if parts else None

    def differing(
        self, join: Join, one: Values, other: Values, left: ir.Table | None = None
    ) -> list[tuple[int, str]]:
        """Return (row, feature) where two sets of values are not the same number (rule 11)."""
        suspects = [
            (a, b, f)
            for a, b in zip(one, other, strict=True)
            for f in join.outputs
            if not equal(a[f.name], b[f.name])
        ]
        if not suspects:
            return []
        magnitudes = self._scales(join, self.left if left is None else left)
        return [
            (a[ROW], f.name)
            for a, b, f in suspects
            if not equal(a[f.name], b[f.name], _scale(join, f.name, a, magnitudes))
        ]

    def _scales(self, join: Join, left: ir.Table) -> dict[int, dict[str, float]]:
        relative_features = scales(join)
        if relative_features is None:
            return {}
        relative, named = relative_features
        return {
            row[ROW]: {f: row[s] for f, s in named.items() if row[s] is not None}
            for row in self.computed(relative, left, Chooser(self.engine))
        }

    # --- without what comes later

    @cached_property
    def timed(self) -> list[JoinPart]:
        """The parts that count events."""
        return [p for p in self.join.parts if isinstance(p.group_by.source, EventSource)]

    @cached_property
    def alone(self) -> ir.Table:
        """Sampled rows of which no two have a key in common.

        So what comes after each of them can be taken away.
        """
        used_keys: set[tuple[str, tuple[Any, ...]]] = set()
        chosen = []
        for row in self.rows:
            row_keys = {
                (p.head, tuple(row[left_key] for left_key, _ in p.keys)) for p in self.timed
            }
            if not row_keys & used_keys:
                used_keys |= row_keys
                chosen.append(row[ROW])
        return self.engine.keep(self.left.filter(self.left[ROW].isin(chosen)))

    def later(self) -> int:
        """The number of these rows that have an event at or after their instant."""
        row_numbers: set[int] = set()
        for part in self.timed:
            events = EventRows(part.group_by, self.engine).placed(Inputs(), None, None)
            at = instant(micros(self.alone[self.join.left.time]), part.group_by)
            spine = self.alone.select(
                ROW,
                **{
                    f"_fw_asked{i}": self.alone[left_key]
                    for i, (left_key, _) in enumerate(part.keys)
                },
                **{AT: at},
            )
            met = [spine[f"_fw_asked{i}"] == events[f"_fw_key{i}"] for i in range(len(part.keys))]
            row_numbers |= {
                row
                for (row,) in self.engine.rows(
                    spine.semi_join(events, [*met, events[EVENT] >= spine[AT]]).select(ROW)
                )
            }
        return len(row_numbers)

    def swept(
        self, spine: ir.Table, source: Any, name: str
    ) -> tuple[ir.Table, Callable[..., Evaluation]]:
        """Plan by the engine's own plan, over the events of the requested keys."""
        return self._over(
            SampleEvents,
            spine,
            source,
            name,
            partial(Sweep, plan=self.fast) if self.fast != PAIRS else Evaluation,
        )

    def cut(
        self, spine: ir.Table, source: Any, name: str
    ) -> tuple[ir.Table, Callable[..., Evaluation]]:
        """Plan by pairs, but for sketches, without later events."""
        return self._over(PriorRows, spine, source, name, Evaluation)

    def _over(
        self,
        rows: type[SampleEvents],
        spine: ir.Table,
        source: Any,
        name: str,
        way: Callable[..., Evaluation],
    ) -> tuple[ir.Table, Callable[..., Evaluation]]:
        if not isinstance(source, EventRows):
            return Chooser(self.engine)(spine, source, name)
        stored_spine = self.engine.keep(spine)
        evaluate, sample_source = (
            way if estimate_in(source.group_by) is None else Sweep,
            seeing(self.engine, rows(source.group_by, self.engine, stored_spine), stored_spine),
        )
        return stored_spine, lambda asked, _source, engine, **more: evaluate(
            asked, sample_source, engine, **more
        )


def _scale(
    join: Join, name: str, row: dict[str, Any], magnitudes: dict[int, dict[str, float]]
) -> float:
    """Return what the error of a value is relative to.

    Of a derivation, it is the largest of the numbers that it uses.
    """
    derived = next((f for f in join.derivations if f.name == name), None)
    if derived is None:
        return magnitudes.get(row[ROW], {}).get(name, 0.0)
    names = {n.name for n in derived.node.find(ops.Field)}
    return max((abs(v) for n, v in row.items() if n in names and isinstance(v, float)), default=0.0)


def _joined(group_by: GroupBy, engine: Engine, end: int) -> Join:
    """Return a group-by as a join of its own keys, at its events' times or an entity's end."""
    table = rebound(group_by.source.table, engine).to_expr()
    keyed_rows = table.filter([table[k].notnull() for k in group_by.keys])
    if isinstance(group_by.source, EventSource):
        return Join(
            name=group_by.name,
            left=EventSource(
                keyed_rows.select(*group_by.keys, group_by.events.time), time=group_by.events.time
            ),
            parts=[group_by],
        )
    time_column = name_beside(ASKED_AT, group_by.keys)
    at = ibis.literal(utc_time(end), type="timestamp('UTC')").name(time_column)
    left = keyed_rows.select(*group_by.keys).distinct().mutate(at)
    return Join(name=group_by.name, left=EventSource(left, time=time_column), parts=[group_by])


def worst(found: Sequence[tuple[int, str]]) -> str:
    """Return which features differ, most often first, in words."""
    counts: dict[str, int] = {}
    for _, name in found:
        counts[name] = counts.get(name, 0) + 1
    phrases = [f"{name} in {n:,}" for name, n in sorted(counts.items(), key=lambda i: -i[1])]
    # a line has room for three
    return ", ".join(phrases[:3]) + (
        f" and {len(phrases) - 3} more features" if len(phrases) > 3 else ""  # noqa: PLR2004
    )
