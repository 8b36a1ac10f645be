"""What stands behind one value: the key's events, which of them count, and the value at every other time."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.operations as ops
import pyarrow as pa
from attrs import evolve, field, frozen

from workbench.aggregates import Each
from workbench.asked import fetched
from workbench.compile import features, instant, training_set
from workbench.definitions import Aggregation
from workbench.display import expression
from workbench.nodes import substitute
from workbench.normal import finite, micros
from workbench.planning import briefly
from workbench.reductions import reductions
from workbench.rows import AT, EVENT, EventRows, in_us
from workbench.sources import EventSource
from workbench.windows import DAY, HOUR

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from backends import Engine
    from workbench.definitions import Feature, GroupBy
    from workbench.joins import JoinPart
    from workbench.timeline.plan import Page

COUNTS, OLD, FILTERED, EMPTY, LATER = STATUSES = ("counts", "too old", "filtered out", "input null", "at or after t")
INSIDE = (COUNTS, FILTERED, EMPTY)
BEFORE, WITHIN, AFTER = 6, 40, 4  # events shown before the window, in it, and from the instant on
MOST_CHANGES, SAMPLES = 200, 96  # the value line has every change, or samples where more events than this are near
STATUS = "_fw_status"
BESIDE = 3  # columns of the source shown beside the input, of those that tell events apart
CASE = "fw case"  # no name that a plan or an author uses
DAY_US, HOUR_US = in_us(DAY), in_us(HOUR)


@frozen
class Event:
    """One event of the key: when, what the reduction takes from it, and whether it counts."""

    time: int
    value: Any
    status: str
    beside: dict[str, Any]
    source: dict[str, Any]
    running: Any = None
    without: Any = None


@frozen
class Moment:
    """One value and what stands behind it; times in microseconds since 1970, UTC."""

    part: JoinPart
    feature: Feature
    name: str
    value: Any
    row: dict[str, Any]
    at: int
    asked: int
    start: int | None
    events: tuple[Event, ...] = ()
    steps: tuple[tuple[int, Any], ...] = ()
    totals: dict[str, int] = field(factory=dict)
    derived: str = ""
    others: tuple[tuple[str, tuple[tuple[str, Any], ...]], ...] = field(default=())
    leaked: Any = None

    @property
    def timed(self) -> bool:
        """Whether events stand behind it; an entity's column has none."""
        return isinstance(self.part.group_by.source, EventSource)

    def count(self, status: str) -> int:
        """How many of the key's events have this status, shown or not."""
        return self.totals.get(status, 0)

    @property
    def earlier(self) -> int | None:
        """The instant of the newest change of value before `at`, of those drawn."""
        return max((t for t, _ in self.steps[1:] if t < self.at), default=None)

    @property
    def later(self) -> int | None:
        """The instant of the next change of value after `at`, of those drawn."""
        return min((t for t, _ in self.steps[1:] if t > self.at), default=None)

    @property
    def whole(self) -> bool:
        """Whether every event in the window is shown, so that running values can be told."""
        return sum(self.totals.get(s, 0) for s in INSIDE) <= WITHIN

    @property
    def span(self) -> tuple[int, int]:
        """What the drawing covers: from before the oldest thing shown to a little after `t`."""
        times = [e.time for e in self.events] + [t for t in (self.start, self.at) if t is not None]
        first = min(times)
        wide = max(self.at - first, HOUR_US)
        return first - wide // 20, max(self.at + wide // 12, *(min(t, self.at + wide // 6) for t in times))

    @property
    def total(self) -> int:
        """How many events the key has."""
        return sum(self.totals.values())


def moment(page: Page, row: dict[str, Any], name: str, at: int | None = None) -> Moment:
    """What stands behind the feature `name` of one row of a page, as of the row's time or another."""
    if at is not None:
        row = _moved(page, row, at)
    part, feature, derived = _subject(page, name)
    group_by = part.group_by
    asked = _us(row[page.join.left.time])
    at = instant(asked, group_by)
    full = f"{part.head}_{feature.name}"
    plain = Moment(part, feature, full if derived else name, row[full], row, at, asked, None, derived=derived, others=_others(part, feature, row))
    key = [row[left] for left, _ in part.keys]
    if not plain.timed or None in key:
        return plain
    start = None if feature.window is None else EventRows(group_by, page.engine).tail(at, feature.window)
    story = Story(group_by, feature, page.engine, tuple(key), at, start)
    events, totals = story.events()
    counted = evolve(plain, start=start, totals=totals)
    shown = evolve(counted, events=story.told(events, whole=counted.whole))
    return evolve(shown, steps=story.steps(shown.span), leaked=story.leaked(events)) if events else shown


def _moved(page: Page, row: dict[str, Any], at: int) -> dict[str, Any]:
    """The row with its features as of another time."""
    schema = page.join.left.table.schema
    time = {page.join.left.time: pa.array([at], pa.timestamp("us")).cast(schema[page.join.left.time].to_pyarrow())[0].as_py()}
    left = page.engine.local(pa.Table.from_pylist([{c: row[c] for c in schema} | time], schema.to_pyarrow()))
    (found,) = fetched(page.engine, training_set(page.join, page.engine, left, briefly)).to_pylist(maps_as_pydicts="strict")
    return row | found


def _us(value: Any) -> int:
    array = pa.array([value])
    return array.cast(pa.timestamp("us", tz=array.type.tz)).cast(pa.int64())[0].as_py()


def _subject(page: Page, name: str) -> tuple[JoinPart, Feature, str]:
    """The part and feature to draw: of a derivation, the first feature that it uses."""
    join = page.join
    named = {f"{p.head}_{f.name}": (p, f) for p in join.parts for f in p.group_by.outputs}
    derived = ""
    own = {f.name: f for f in join.derivations}
    if name in own:
        derived = f"{name} = {expression(own[name].node)}"
        name = next((f.name for f in own[name].node.find(ops.Field) if f.name in named), next(iter(named)))
    part, feature = named[name]
    if feature in part.group_by.derivations:
        derived = derived or f"{name} = {expression(feature.node)}"
        used = {f.name for f in feature.node.find(ops.Field)}
        feature = next(f for f in part.group_by.computed if f.name in used)
    return part, feature, derived


def _others(part: JoinPart, feature: Feature, row: dict[str, Any]) -> tuple[tuple[str, tuple[tuple[str, Any], ...]], ...]:
    """Every feature of the same input in this row: by window, then by expression."""
    mine = _inputs(feature)
    table: dict[str, dict[str, Any]] = {}
    for other in part.group_by.computed:
        if _inputs(other) == mine and other.by == feature.by:
            window = other.window.words if other.window else "all time"
            table.setdefault(window, {})[_reduced(other, mine)] = row[f"{part.head}_{other.name}"]
    return tuple((w, tuple(values.items())) for w, values in table.items())


def _reduced(feature: Feature, inputs: frozenset[str]) -> str:
    """The expression, without its column where all around it are of that column: `sum()`."""
    said = expression(feature.node)
    return said.removeprefix(f"{next(iter(inputs))}.") if len(inputs) == 1 else said


def _inputs(feature: Feature) -> frozenset[str]:
    return frozenset(f.name for op in reductions(feature.node) for f in op.find(ops.Field, filter=ops.Value))


def _arguments(op: ops.Reduction) -> dict[str, ops.Value]:
    """What a reduction takes of an event: its input (the whole list under each()), a second one, and its filter."""
    found = {}
    for name, node in zip(op.__argnames__, op.__args__, strict=True):
        if isinstance(node, ops.Value) and name not in ("quantile", "sep"):
            unfolded = node.find(Each, filter=ops.Value)
            found["input" if name in ("arg", "left") else name] = unfolded[0].arg if unfolded else node
    return found


def _contributes(taken: list[tuple[bool, dict[str, ir.Value]]]) -> ir.BooleanValue:
    """Whether any of the feature's reductions takes something of the event."""
    each = [reduce(lambda a, b: a & b, (v.fill_null(False) if n == "where" else v.length() > 0 if unfolded and n == "input" else v.notnull() for n, v in some.items()), ibis.literal(value=True)) for unfolded, some in taken]
    return reduce(lambda a, b: a | b, each)


@frozen
class Story:
    """The key's events around an instant, and the feature recomputed over some of them by the same plan."""

    group_by: GroupBy
    feature: Feature
    engine: Engine
    key: tuple[Any, ...]
    at: int
    start: int | None

    def events(self) -> tuple[list[dict[str, Any]], dict[str, int]]:
        """The key's events around the instant, with the reduction's input; and how many there are of each status in all."""
        rows = EventRows(self.group_by, self.engine)
        table = rows.table
        ops_ = reductions(self.feature.node)
        taken = [(bool(op.find(Each, filter=ops.Value)), {name: finite(rows.value(node, table, {})) for name, node in _arguments(op).items()}) for op in ops_]
        extra = {f"_fw_{name}": value for name, value in taken[0][1].items()} | {"_fw_counts": _contributes(taken) & (ibis.literal(value=True) if self.feature.by is None else table[self.feature.by].notnull())}
        told = table.mutate(**{EVENT: micros(table[self.group_by.events.time])}, **extra).filter(self._mine(table), lambda t: t[EVENT].notnull())
        told = told.mutate(**{STATUS: self._status(told, "where" in taken[0][1])})
        totals = {r[STATUS]: r["n"] for r in told.group_by(STATUS).agg(n=told.count()).to_pyarrow().to_pylist()}
        order = [told[o] for o in (EVENT, *self.group_by.events.order)]
        newest = [o.desc() for o in order]
        asked = ((told[STATUS] == OLD, newest, BEFORE), (told[STATUS].isin(INSIDE), newest, WITHIN), (told[STATUS] == LATER, order, AFTER))
        found = [r for which, by, most in asked for r in fetched(self.engine, told.filter(which).order_by(by).limit(most)).to_pylist()]
        found.sort(key=lambda r: r[EVENT])
        return [self._row(r, table.columns) for r in found], {status: totals.get(status, 0) for status in STATUSES}

    def _mine(self, table: ir.Table) -> ir.BooleanValue:
        return reduce(lambda a, b: a & b, (table[k] == v for k, v in zip(self.group_by.keys, self.key, strict=True)))

    def _status(self, told: ir.Table, filtered: bool) -> ir.StringColumn:  # noqa: FBT001 whether the feature has a where
        """Why each event counts or not, in the words of the page."""
        no = told["_fw_where"].fill_null(False) if filtered else ibis.literal(value=True)
        outside = [(told[EVENT] >= self.at, LATER)] + ([(told[EVENT] < self.start, OLD)] if self.start is not None else [])
        return ibis.cases(*outside, (told["_fw_counts"], COUNTS), (no, EMPTY), else_=FILTERED)

    def _row(self, row: dict[str, Any], columns: tuple[str, ...]) -> dict[str, Any]:
        source = {c: row[c] for c in columns}
        return {"time": row[EVENT], "value": row.get("_fw_input", 1), "status": row[STATUS], "source": source}

    def told(self, events: list[dict[str, Any]], *, whole: bool) -> tuple[Event, ...]:
        """The events, each that counts with the value up to it and the value without it, where all in the window are here."""
        counting = [e for e in events if e["status"] == COUNTS] if whole else []
        subsets = [counting[: i + 1] for i in range(len(counting))] + [counting[:i] + counting[i + 1 :] for i in range(len(counting))]
        values = self._values_of(subsets) if subsets else []
        running, without = values[: len(counting)], values[len(counting) :]
        hidden = {self.group_by.events.time, *self.group_by.keys, *_inputs(self.feature)}
        telling = [c for c in (events[0]["source"] if events else ()) if c not in hidden and len({str(e["source"][c]) for e in events}) > 1]
        made, i = [], 0
        for e in events:
            shown = {c: e["source"][c] for c in telling[:BESIDE]}
            extra = {"running": running[i], "without": without[i]} if whole and e["status"] == COUNTS else {}
            i += e["status"] == COUNTS
            made.append(Event(e["time"], e["value"], e["status"], shown, e["source"], **extra))
        return tuple(made)

    def _values_of(self, subsets: list[list[dict[str, Any]]]) -> list[Any]:
        """The feature at the instant over each subset of events: every subset is a key of a small table of its own."""
        schema = self.group_by.source.table.schema.to_pyarrow().append(pa.field(CASE, pa.int64()))
        rows = [{**e["source"], CASE: n} for n, subset in enumerate(subsets) for e in subset]
        source = self.group_by.events
        table = self.engine.local(pa.Table.from_pylist(rows, schema))
        moved = EventSource(table, time=source.time, order=source.order)
        cases = evolve(self.only(), source=moved, keys=[CASE], aggregations=[self._over(moved.table)])
        spine = ibis.memtable(pa.table({"_fw_key0": pa.array(range(len(subsets)), pa.int64()), AT: pa.array([self.at] * len(subsets), pa.int64())}))
        return self._answers(spine, cases, "_fw_key0")

    def leaked(self, events: list[dict[str, Any]]) -> Any:
        """The value, had events at or after the instant counted too."""
        some = [{**e, "source": e["source"]} for e in events if e["status"] in (COUNTS, LATER)]
        last = max((e["time"] for e in some), default=self.at) + 1
        wide = evolve(self, at=max(last, self.at), feature=evolve(self.feature, window=None))
        return wide._values_of([some])[0] if some else None

    def _over(self, table: ops.Relation) -> Aggregation:
        """The feature's aggregation over another table of the same columns."""
        own = self.group_by.source.table

        def move(node: Any) -> Any:
            if isinstance(node, ops.CountStar):
                where = None if node.where is None else substitute(node.where, move)
                return ops.CountStar(table, where)
            return ops.Field(table, node.name) if isinstance(node, ops.Field) and node.rel == own else None

        return self._aggregation(substitute(self.feature.node, move))

    def _aggregation(self, node: ops.Value) -> Aggregation:
        return Aggregation(node.to_expr().name("value"), (self.feature.window,) if self.feature.window else (), by=self.feature.by)

    def only(self) -> GroupBy:
        """The group-by with this one feature."""
        return evolve(self.group_by, aggregations=[self._aggregation(self.feature.node)], features=(), derivations={})

    def steps(self, span: tuple[int, int]) -> tuple[tuple[int, Any], ...]:
        """(from, value) over [first, last]: the feature as of every instant at which it may change, or at samples where those are many."""
        first, last = span
        reach = first - in_us(self.feature.window.length + self.feature.window.hop) - DAY_US if self.feature.window else first
        table = EventRows(self.group_by, self.engine).table
        time = micros(table[self.group_by.events.time])
        near = table.filter(self._mine(table), time >= reach, time <= last).select(t=time).limit(MOST_CHANGES + 1).to_pyarrow()["t"].to_pylist()
        changes = {i for t in near for i in self._changes(t) if first < i <= last} if len(near) <= MOST_CHANGES else {first + (last - first) * i // SAMPLES for i in range(1, SAMPLES)}
        instants = sorted({first, *changes})
        key = {f"_fw_key{i}": pa.array([k] * len(instants)) for i, k in enumerate(self.key)}
        values = self._answers(ibis.memtable(pa.table({**key, AT: pa.array(instants, pa.int64())})), self.only(), AT)
        return tuple((t, v) for i, (t, v) in enumerate(zip(instants, values, strict=True)) if i == 0 or v != values[i - 1])

    def _changes(self, time: int) -> list[int]:
        """When an event enters, and when it leaves: the first instants of another value (rules 2 to 4)."""
        if self.group_by.accuracy == "snapshot":
            enters = time // DAY_US * DAY_US + DAY_US
            return [enters, *([enters + in_us(self.feature.window.length)] if self.feature.window else [])]
        if self.feature.window is None:
            return [time + 1]
        length, hop = in_us(self.feature.window.length), in_us(self.feature.window.hop)
        leaves = time // hop * hop + hop + length if self.group_by.resolution == "sawtooth" else time + length + 1
        return [time + 1, leaves]

    def _answers(self, spine: ir.Table, group_by: GroupBy, by: str) -> list[Any]:
        table = features(spine, group_by, self.engine, planner=briefly)
        (name,) = (f.name for f in group_by.computed)
        rows = fetched(self.engine, table.order_by(by)).to_pylist(maps_as_pydicts="strict")
        return [r[name] for r in rows]
