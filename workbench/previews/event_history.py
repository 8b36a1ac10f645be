"""The key's events around an instant, and the feature recomputed over some of them.

The plan is the one that computes the page.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.operations as ops
import numpy as np
import pyarrow as pa
from attrs import evolve, frozen

from workbench.definitions.aggregations import Aggregation
from workbench.definitions.feature_expressions import reductions
from workbench.definitions.nodes import name_values, substitute
from workbench.definitions.reductions import Each
from workbench.definitions.sources import EventSource
from workbench.online.time_units import DAY_US, in_us
from workbench.planner.plan_choice import briefly, estimate_in
from workbench.planner.source_rows import AT, EVENT, EventRows
from workbench.planner.training_set import features
from workbench.portable.arrow_types import compared, fetched, typed
from workbench.portable.rewrites import finite, micros

if TYPE_CHECKING:
    from collections.abc import Callable

    import ibis.expr.datatypes as dt
    import ibis.expr.types as ir

    from workbench.backends import Engine
    from workbench.definitions.aggregations import Feature
    from workbench.definitions.group_by import GroupBy
    from workbench.definitions.join import JoinPart
    from workbench.previews.local_copy import Nearby
    from workbench.previews.preview_page_values import Page

COUNTS, OLD, FILTERED, EMPTY, LATER = STATUSES = (
    "counts",
    "too old",
    "filtered out",
    "input null",
    "at or after t",
)
INSIDE = (COUNTS, FILTERED, EMPTY)
BEFORE, WITHIN, AFTER = 6, 40, 4  # events shown before the window, in it, and from the instant on
MAX_LEAKED_EVENTS = 1_000  # events at or after the instant that a leak is told with
MAX_INSTANTS_TRIED = 64  # instants that the next change of value is looked for at
# the value line has every change, or samples where more events than this are near
MOST_CHANGES, SAMPLES = 200, 96
STATUS = "_fw_status"
MAX_COLUMNS_BESIDE = (
    3  # columns of the source shown beside the input, of those that tell events apart
)
CASE = "fw case"  # no name that a plan or an author uses


@frozen
class HistoryEvent:
    """One event of the key: its time, what the reduction takes from it, and whether it counts."""

    time: int
    value: Any
    status: str
    beside: dict[str, Any]
    source: dict[str, Any]
    running: Any = None
    without: Any = None


def inputs(feature: Feature) -> frozenset[str]:
    """Return the columns that a feature's reductions take."""
    return frozenset(
        f.name for op in reductions(feature.node) for f in op.find(ops.Field, filter=ops.Value)
    )


def arguments(op: ops.Reduction) -> dict[str, ops.Value]:
    """Return what a reduction reads of an event: input, second input and filter, by name.

    Under `each()` the input is the whole list.
    """
    nodes = {}
    for name, node in zip(op.__argnames__, op.__args__, strict=True):
        if isinstance(node, ops.Value) and name not in ("quantile", "sep"):
            unfolded = node.find(Each, filter=ops.Value)
            nodes["input" if name in ("arg", "left") else name] = (
                unfolded[0].arg if unfolded else node
            )
    return nodes


def contributes(taken: list[tuple[bool, dict[str, ir.Value]]]) -> ir.BooleanValue:
    """Return whether any of the feature's reductions takes something of the event."""
    conditions = [
        reduce(
            lambda a, b: a & b,
            (
                (
                    v.fill_null(False)
                    if n == "where"
                    else v.length() > 0
                    if unfolded and n == "input"
                    else v.notnull()
                )
                for n, v in some.items()
            ),
            ibis.literal(value=True),
        )
        for unfolded, some in taken
    ]
    return reduce(lambda a, b: a | b, conditions)


@frozen
class Story:
    """The history of one key's feature around an instant, in microseconds."""

    page: Page
    part: JoinPart
    feature: Feature
    key: tuple[Any, ...]
    at: int

    @property
    def near(self) -> Nearby:
        """The local copy of the rows."""
        return self.page.near

    @property
    def engine(self) -> Engine:
        """The engine that is queried."""
        return self.page.engine

    @property
    def group_by(self) -> GroupBy:
        """The group-by of the feature."""
        return self.part.group_by

    @property
    def start(self) -> int | None:
        """The first instant in the window; `None` where there is no window."""
        return (
            None
            if self.feature.window is None
            else EventRows(self.group_by, self.engine).tail(self.at, self.feature.window)
        )

    @property
    def _types(self) -> list[dt.DataType]:
        """The keys' types."""
        return [self.group_by.source.table.schema[k] for k in self.group_by.keys]

    @property
    def _kinds(self) -> list[pa.DataType]:
        """The keys' types in Arrow."""
        return [t.to_pyarrow() for t in self._types]

    @property
    def _key(self) -> list[Any]:
        """The key as it is compared with columns."""
        return [compared(k, t) for k, t in zip(self.key, self._types, strict=True)]

    # --- the events

    def events(self) -> tuple[list[dict[str, Any]], dict[str, int], np.ndarray[Any, Any] | None]:
        """Return the key's events around the instant, with the reduction's input.

        Also how many events of each status there are in all, and the times of all, if they are
        local.
        """
        if self.engine is self.near.engine:
            return self._brought()
        key_events = self._told(self.at, self.start)
        types = key_events.schema()
        spans = {
            name: micros(ibis.timestamp("1970-01-01") + key_events[name])
            for name, dtype in types.items()
            if dtype.is_interval()
        }
        # drivers return lengths of time in types that Arrow does not convert to its own
        key_events = key_events.mutate(*name_values(spans)) if spans else key_events
        totals = {
            r[STATUS]: r["n"]
            for r in self.engine.fetch(
                key_events.group_by(STATUS).agg(n=key_events.count())
            ).to_pylist()
        }
        order = [key_events[o] for o in (EVENT, *self.group_by.events.order)]
        newest = [o.desc() for o in order]
        selections = (
            (key_events[STATUS] == OLD, newest, BEFORE),
            (key_events[STATUS].isin(INSIDE), newest, WITHIN),
            (key_events[STATUS] == LATER, order, MAX_LEAKED_EVENTS),
        )
        event_rows = [
            r
            for condition, by, most in selections
            for r in fetched(
                self.engine, key_events.filter(condition).order_by(by).limit(most), types
            ).to_pylist()
        ]
        event_rows.sort(key=lambda r: r[EVENT])
        return (
            [self._row(r) for r in event_rows],
            {status: totals.get(status, 0) for status in STATUSES},
            None,
        )

    def _brought(self) -> tuple[list[dict[str, Any]], dict[str, int], np.ndarray[Any, Any]]:
        """Return the events of a key whose events are all local, with their statuses."""
        about = pa.table(
            {
                "at": pa.array([self.at], pa.int64()),
                "start": pa.array([self.start], pa.int64()),
                **{
                    f"k{i}": pa.array([k], kind)
                    for i, (k, kind) in enumerate(zip(self.key, self._kinds, strict=True))
                },
            }
        )
        self.near.hold(
            "_fw_about", about, ibis.schema({f"k{i}": t for i, t in enumerate(self._types)})
        )

        def all_of() -> ir.Table:
            about = self.near.con.table("_fw_about")
            key_events = self._told(
                about["at"].as_scalar(),
                about["start"].as_scalar() if self.feature.window else None,
                [about[f"k{i}"].as_scalar() for i in range(len(self.key))],
            )
            return key_events.order_by(
                [key_events[o] for o in (EVENT, *self.group_by.events.order)]
            )

        event_rows = self.near.fetch(self.group_by, ("events", self.feature), all_of)
        status = np.asarray(event_rows[STATUS].to_pylist())
        places = {s: np.flatnonzero(status == s) for s in STATUSES}
        inside = np.sort(np.concatenate([places[s] for s in INSIDE]))
        chosen = np.concatenate(
            [places[OLD][-BEFORE:], inside[-WITHIN:], places[LATER][:MAX_LEAKED_EVENTS]]
        ).astype(np.int64)
        return (
            [self._row(r) for r in event_rows.take(pa.array(chosen)).to_pylist()],
            {s: len(p) for s, p in places.items()},
            event_rows[EVENT].to_numpy(),
        )

    def _told(self, at: Any, start: Any, key: list[Any] | None = None) -> ir.Table:
        """Return every event of the key, with the reduction's input and why it counts or not."""
        rows = EventRows(self.group_by, self.engine)
        table = rows.table
        ops_ = reductions(self.feature.node)
        reduction_inputs = [
            (
                bool(op.find(Each, filter=ops.Value)),
                {name: finite(rows.value(node, table, {})) for name, node in arguments(op).items()},
            )
            for op in ops_
        ]
        extra = {f"_fw_{name}": value for name, value in reduction_inputs[0][1].items()} | {
            "_fw_counts": (
                contributes(reduction_inputs)
                & (
                    ibis.literal(value=True)
                    if self.feature.by is None
                    else table[self.feature.by].notnull()
                )
            )
        }
        key_events = table.mutate(**{EVENT: micros(table[self.group_by.events.time])}, **extra)
        key_events = key_events.filter(
            reduce(
                lambda a, b: a & b,
                (
                    key_events[k] == v
                    for k, v in zip(self.group_by.keys, key or self._key, strict=True)
                ),
            ),
            key_events[EVENT].notnull(),
        )
        filtered_ = (
            key_events["_fw_where"].fill_null(False)
            if "where" in reduction_inputs[0][1]
            else ibis.literal(value=True)
        )
        outside = [(key_events[EVENT] >= at, LATER)] + (
            [(key_events[EVENT] < start, OLD)] if start is not None else []
        )
        return key_events.mutate(
            **{
                STATUS: ibis.cases(
                    *outside, (key_events["_fw_counts"], COUNTS), (filtered_, EMPTY), else_=FILTERED
                )
            }
        )

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        source = {c: row[c] for c in self.group_by.source.table.schema}
        return {
            "time": row[EVENT],
            "value": row.get("_fw_input", 1),
            "status": row[STATUS],
            "source": source,
        }

    # --- the feature over some of them

    def told(self, events: list[dict[str, Any]], *, whole: bool) -> dict[str, Any]:
        """Return the shown events, each that counts with the value up to it and without it.

        Also the value with a leak.
        """
        counting = [e for e in events if e["status"] == COUNTS]
        later = [e for e in events if e["status"] == LATER]
        parts = (
            [counting[: i + 1] for i in range(len(counting))]
            + [counting[:i] + counting[i + 1 :] for i in range(len(counting))]
            if whole
            else []
        )
        values = self._values_of(
            [*parts, counting + [self._before(e, i, len(later)) for i, e in enumerate(later)]]
        )
        running, without, leaked = (
            values[: len(parts) // 2],
            values[len(parts) // 2 : -1],
            values[-1],
        )
        shown_events = [e for e in events if e["status"] != LATER] + later[:AFTER]
        hidden = {self.group_by.events.time, *self.group_by.keys, *inputs(self.feature)}
        telling = [
            c
            for c in shown_events[0]["source"]
            if c not in hidden and len({str(e["source"][c]) for e in shown_events}) > 1
        ]
        history, i = [], 0
        for e in shown_events:
            beside = {c: e["source"][c] for c in telling[:MAX_COLUMNS_BESIDE]}
            extra = (
                {"running": running[i], "without": without[i]}
                if whole and e["status"] == COUNTS
                else {}
            )
            i += e["status"] == COUNTS
            history.append(
                HistoryEvent(e["time"], e["value"], e["status"], beside, e["source"], **extra)
            )
        return {
            "events": tuple(history),
            "leaked": leaked if whole and len(later) < MAX_LEAKED_EVENTS else None,
        }

    def _before(self, event: dict[str, Any], i: int, n: int) -> dict[str, Any]:
        """Return an event at or after the instant as if it had come just before it.

        It is event `i` of `n` such events, and keeps its place among them.
        """
        time = self.group_by.events.time
        kind = self.group_by.source.table.schema.to_pyarrow().field(time).type
        return {
            **event,
            "source": {
                **event["source"],
                time: (
                    pa.array([self.at - n + i], pa.timestamp("us"))
                    .cast(kind, safe=False)[0]
                    .as_py()
                ),
            },
        }

    def _values_of(self, subsets: list[list[dict[str, Any]]]) -> list[Any]:
        """Return the feature at the instant over each subset of events.

        Every subset is a key of a small table, so that one query computes all.
        """
        schema = self.group_by.source.table.schema.to_pyarrow().append(pa.field(CASE, pa.int64()))
        rows = pa.Table.from_pylist(
            [{**e["source"], CASE: n} for n, subset in enumerate(subsets) for e in subset], schema
        )
        spine = pa.table(
            {
                "_fw_key0": pa.array(range(len(subsets)), pa.int64()),
                AT: pa.array([self.at] * len(subsets), pa.int64()),
            }
        )
        is_local, source = self.engine is self.near.engine, self.group_by.events
        if is_local:
            self.near.hold("_fw_cases", rows, self.group_by.source.table.schema)

        def query(spine_: ir.Table) -> ir.Table:
            table = (
                self.near.con.table("_fw_cases")
                if is_local
                else typed(self.engine.local(rows), self.group_by.source.table.schema)
            )
            moved = EventSource(table, time=source.time, order=source.order)
            cases = evolve(
                self.only(), source=moved, keys=[CASE], aggregations=[self._over(moved.table)]
            )
            return self._asked(spine_, cases, "_fw_key0")

        return self._answers("cases", spine, query)

    def _over(self, table: ops.Relation) -> Aggregation:
        """Return the feature's aggregation over another table of the same columns."""
        source_table = self.group_by.source.table

        def move(node: Any) -> Any:
            if isinstance(node, ops.CountStar):
                where = None if node.where is None else substitute(node.where, move)
                return ops.CountStar(table, where)
            return (
                ops.Field(table, node.name)
                if isinstance(node, ops.Field) and node.rel == source_table
                else None
            )

        return self._aggregation(substitute(self.feature.node, move))

    def _aggregation(self, node: ops.Value) -> Aggregation:
        return Aggregation(
            node.to_expr().name("value"),
            (self.feature.window,) if self.feature.window else (),
            by=self.feature.by,
        )

    def only(self) -> GroupBy:
        """The group-by with this one feature."""
        return evolve(
            self.group_by,
            aggregations=[self._aggregation(self.feature.node)],
            features=(),
            derivations={},
        )

    # --- over time

    def steps(
        self, span: tuple[int, int], times: np.ndarray[Any, Any] | None = None
    ) -> tuple[tuple[int, Any], ...]:
        """Return (from, value) over [first, last].

        The feature is computed as of every instant at which it may change, or at samples where
        those are many.
        """
        first, last = span
        window = self.feature.window
        reach = first - in_us(window.length + window.hop) - DAY_US if window else None
        near = self._times(reach, last, times)
        changes = (
            {i for t in near for i in self._changes(t) if first < i <= last}
            if len(near) <= MOST_CHANGES
            else {first + (last - first) * i // SAMPLES for i in range(1, SAMPLES)}
        )
        instants = sorted({first, *changes})
        values = self._at(instants)
        return tuple(
            (t, v)
            for i, (t, v) in enumerate(zip(instants, values, strict=True))
            if i == 0 or v != values[i - 1]
        )

    def change(self, direction: int, times: np.ndarray[Any, Any]) -> int | None:
        """Return the nearest instant after `at`, or before it, from which the value is another.

        Only the nearest MAX_INSTANTS_TRIED instants at which it may change are tried; `None` if it
        changes at none.
        """
        may = np.unique(np.concatenate(self._changes(times))) if len(times) else times
        instants = (
            [self.at, *may[may > self.at][:MAX_INSTANTS_TRIED].tolist()]
            if direction > 0
            else may[may < self.at][-MAX_INSTANTS_TRIED:].tolist()
        )
        instants = [instants[0] - 1, *instants] if direction < 0 and instants else instants
        values = self._at(instants)
        changed = [instants[i] for i in range(1, len(instants)) if values[i] != values[i - 1]]
        return None if not changed else changed[0] if direction > 0 else changed[-1]

    def _at(self, instants: list[int]) -> list[Any]:
        """Return the feature as of each instant."""
        key = {
            f"_fw_key{i}": pa.array([k] * len(instants), kind)
            for i, (k, kind) in enumerate(zip(self.key, self._kinds, strict=True))
        }
        spine = pa.table({**key, AT: pa.array(instants, pa.int64())})
        types = ibis.schema({f"_fw_key{i}": t for i, t in enumerate(self._types)})
        return (
            self._answers("steps", spine, lambda held: self._asked(held, self.only(), AT), types)
            if instants
            else []
        )

    def _times(self, reach: int | None, last: int, times: np.ndarray[Any, Any] | None) -> list[int]:
        """Return the times of events that may change the value within a span.

        If there are many, a few more than can be drawn.
        """
        if times is not None:
            some = times[(times <= last) & ((times >= reach) if reach is not None else True)]
            return [int(t) for t in some[: MOST_CHANGES + 1]]
        table = EventRows(self.group_by, self.engine).table
        time = micros(table[self.group_by.events.time])
        key_conditions = [table[k] == v for k, v in zip(self.group_by.keys, self._key, strict=True)]
        near = table.filter(
            *key_conditions, time <= last, *([time >= reach] if reach is not None else [])
        )
        return self.engine.fetch(near.select(t=time).limit(MOST_CHANGES + 1))["t"].to_pylist()

    def _changes(self, time: Any) -> list[Any]:
        """Return the first instants of another value: when an event enters, and when it leaves.

        Rules 2 to 4 say when. It takes one time or an array of times.
        """
        window = self.feature.window
        if self.group_by.accuracy == "snapshot":
            enters = time // DAY_US * DAY_US + DAY_US
            return [enters, *([enters + in_us(window.length)] if window else [])]
        if window is None:
            return [time + 1]
        length, hop = in_us(window.length), in_us(window.hop)
        leaves = (
            time // hop * hop + hop + length
            if self.group_by.resolution == "sawtooth"
            else time + length + 1
        )
        return [time + 1, leaves]

    # --- the plan

    def _asked(self, spine: ir.Table, group_by: GroupBy, by: str) -> ir.Table:
        return features(spine, group_by, self.engine, planner=briefly).order_by(by)

    def _answers(
        self,
        name: str,
        spine: pa.Table,
        query: Callable[[ir.Table], ir.Table],
        types: ibis.Schema | None = None,
    ) -> list[Any]:
        """Return the feature for each row of a spine, in order.

        A plan that was compiled before is used again.
        """
        if self.engine is not self.near.engine:
            answers = fetched(self.engine, query(typed(ibis.memtable(spine), types)))
        elif estimate_in(self.group_by) is not None:
            answers = fetched(self.engine, query(self.near.held(f"_fw_{name}_spine", spine, types)))
        else:
            self.near.hold(f"_fw_{name}_spine", spine, types)
            answers = self.near.fetch(
                self.group_by,
                (name, self.feature),
                lambda: query(self.near.con.table(f"_fw_{name}_spine")),
            )
        return answers[answers.column_names[-1]].to_pylist(maps_as_pydicts="strict")
