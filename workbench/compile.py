"""Definitions in, Ibis tables out: the portable plan, a range join of left rows and events, on any engine.

It is lazy: nothing here runs a query. For each part of a join:

    spine   the left's distinct (keys, instant), null keys left out
    events  the source's rows with keys, time and the reductions' inputs as columns
    pairs   spine left-joined with the events before the instant; a boolean column for each window
    table   pairs grouped by spine row: each reduction over each window, then the feature's own expression
"""

from __future__ import annotations

from datetime import timedelta
from functools import reduce
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.operations as ops
from attrs import frozen

from backends import EngineError
from workbench.binding import plain
from workbench.lowering import Cell, Context, as_map, lower, prepare, tallied, tally, unfolded
from workbench.normal import finite, floor_to, micros, normal
from workbench.reductions import finish_over, reductions
from workbench.sources import EntitySource
from workbench.windows import DAY, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


    import ibis.expr.types as ir

    from backends import Engine
    from workbench.aggregates import Each
    from workbench.definitions import Feature, GroupBy
    from workbench.joins import Join, JoinPart

US = timedelta(microseconds=1)
AT, EVENT, BUCKET, MEMBER, NEWEST, TIME = "_fw_at", "_fw_time", "_fw_bucket", "_fw_member", "_fw_newest", "_fw_t"


def in_us(span: timedelta) -> int:
    """A span as whole microseconds, the unit of every comparison of times."""
    return span // US


# --- binding a definition to an engine


def rebound(node: ops.Node, engine: Engine) -> ops.Node:
    """The normalised node over the engine's own tables; over unbound ones where it has no connection."""

    def step(inner: ops.Node, kwargs: dict[str, Any] | None) -> ops.Node:
        new = inner.__recreate__(kwargs) if kwargs else inner
        if isinstance(new, ops.UnboundTable) and engine.con is not None:
            return _physical(new, engine)
        return new

    return normal(node).replace(step)


def _physical(node: ops.UnboundTable, engine: Engine) -> ops.Relation:
    """The engine's table of that name, its declared columns alone and of the declared types."""
    table = engine.table(node.name, node.namespace.database)
    columns = {}
    for name, declared in node.schema.items():
        if name not in table.columns:
            message = f"{node.name} has no column {name!r} on {engine.title}: it has {', '.join(table.columns)}"
            raise EngineError(message)
        there = plain(table[name].type())
        if there != declared and not (there.is_numeric() and declared.is_numeric()):
            message = f"{node.name}.{name} is {there} on {engine.title} and {declared} in the definition: cast it in the warehouse or define it over {there}"
            raise EngineError(message)
        columns[name] = table[name] if there == declared else table[name].cast(declared).name(name)
    return table.select(**columns).op()


# --- the join


def training_set(join: Join, engine: Engine, left: ir.Table | None = None) -> ir.Table:
    """The left's rows, one to one, and one column a feature (semantics rule 17). Lazy.

    `left` stands for the join's left where that was already evaluated: the same columns.
    """
    rows = rebound(join.left.table, engine).to_expr() if left is None else left
    columns = rows.columns
    base = rows.mutate(**{TIME: micros(rows[join.left.time])})
    for number, part in enumerate(join.parts):
        base = _with_part(base, part, number, engine)
    made = {f.name: _over(base, f.node) for f in join.derivations}
    return base.mutate(**made).select(*columns, *(f.name for f in join.outputs))


def _with_part(base: ir.Table, part: JoinPart, number: int, engine: Engine) -> ir.Table:
    """`base` with one part's features, null where a key is null (rule 17) or the key's data is too old."""
    group_by, at = part.group_by, f"{AT}_{number}"
    base = base.mutate(**{at: _instant(base[TIME], group_by)})
    key = {f"_fw_key{i}": base[left] for i, (left, _) in enumerate(part.keys)}
    known = reduce(lambda a, b: a & b, (c.notnull() for c in key.values()))
    spine = base.filter(known & base[at].notnull()).select(**key, **{AT: base[at]}).distinct()
    table = features(spine, group_by, engine, newest=part.max_age is not None)
    mine = table.rename(**{f"{c}_{number}": c for c in (*key, AT)}, **{f"{part.head}_{f.name}": f.name for f in group_by.outputs})
    matched = [base[left] == mine[f"_fw_key{i}_{number}"] for i, (left, _) in enumerate(part.keys)]
    joined = base.left_join(mine, [*matched, base[at] == mine[f"{AT}_{number}"]])
    names = [f"{part.head}_{f.name}" for f in group_by.outputs]
    values = {n: joined[n] for n in names}
    if part.max_age is not None:
        fresh = joined[NEWEST].isnull() | (joined[TIME] - joined[NEWEST] <= in_us(part.max_age))
        values = {n: fresh.ifelse(v, ibis.null(v.type())) for n, v in values.items()}
    return joined.select(*base.columns, **values)


def _instant(time: ir.IntegerValue, group_by: GroupBy) -> ir.IntegerValue:
    """What the part's values are as of: `t`, or the midnight at or before it (rules 4 and 6)."""
    daily = group_by.accuracy == "snapshot" or isinstance(group_by.source, EntitySource)
    return floor_to(time, in_us(DAY)) if daily else time


def _over(table: ir.Table, node: ops.Value) -> ir.Value:
    """A derivation's expression over the columns of `table`, by name."""
    fields = {f: table[f.name].op() for f in node.find(ops.Field)}
    return finite(normal(node).replace(fields).to_expr())


# --- one group-by


def features(spine: ir.Table, group_by: GroupBy, engine: Engine, *, newest: bool = False) -> ir.Table:
    """One row for each row of `spine` (key columns `_fw_key0...` and an instant `_fw_at` in microseconds).

    The spine's columns, every feature of the group-by, and with `newest` the time of the key's latest fact.
    """
    source = EntityRows(group_by, engine) if isinstance(group_by.source, EntitySource) else EventRows(group_by, engine)
    if group_by.taken:
        table = source.columns_of(spine)
    else:
        table = _aggregated(spine, group_by, source, engine, newest=newest)
    derived = {f.name: _over(table, f.node) for f in group_by.derivations}
    kept = [*spine.columns, *(f.name for f in group_by.outputs), *([NEWEST] if newest else [])]
    return table.mutate(**derived).select(*kept)


def _aggregated(spine: ir.Table, group_by: GroupBy, source: Rows, engine: Engine, *, newest: bool) -> ir.Table:
    plain_ = [f for f in group_by.computed if f.by is None]
    table = Evaluation(spine, source, engine).table(plain_, newest=newest)
    for by in dict.fromkeys(f.by for f in group_by.computed if f.by is not None):
        mapped = [f for f in group_by.computed if f.by == by]
        table = _beside(table, Evaluation(spine, source, engine, bucket=by).maps(mapped), spine.columns)
    return table


def _beside(table: ir.Table, other: ir.Table, on: Sequence[str], zeros: Iterable[str] = ()) -> ir.Table:
    """`table` with the columns of `other`, whose rows are some of its; missing counts are 0 (rule 9)."""
    renamed = other.rename(**{f"_fw_on_{c}": c for c in on})
    joined = table.left_join(renamed, [table[c] == renamed[f"_fw_on_{c}"] for c in on])
    added = {c: joined[c].fill_null(0) if c in zeros else joined[c] for c in other.columns if c not in on}
    return joined.select(*table.columns, **added)


@frozen
class Evaluation:
    """The features of one group-by for one spine, whole or told apart by a bucket column."""

    spine: ir.Table
    source: Rows
    engine: Engine
    bucket: str | None = None

    @property
    def group(self) -> tuple[str, ...]:
        """The columns that name one row of the result."""
        return (*self.spine.columns, *([BUCKET] if self.bucket else []))

    def table(self, wanted: Sequence[Feature], *, newest: bool = False) -> ir.Table:
        """The group's columns and every feature, as the feature's expression over its reductions."""
        return self._finished(self._cells(wanted), wanted, newest=newest)

    def maps(self, wanted: Sequence[Feature]) -> ir.Table:
        """The spine's columns and every feature as a map by bucket; entries that nothing contributed to are left out."""
        cells = self._cells(wanted)
        table = self._finished(cells, wanted, contributed=True)
        kept = {f.name: table[f"{f.name}_any"].fill_null(False) & table[f.name].notnull() for f in wanted}
        return table.group_by(*self.spine.columns).agg(**{f.name: as_map(table[BUCKET], table[f.name], kept[f.name], self.engine) for f in wanted})

    def _cells(self, wanted: Sequence[Feature]) -> dict[tuple[ops.Reduction, Window | None], str]:
        named = {}
        for feature in wanted:
            for op in reductions(normal(feature.node)):
                named.setdefault((op, feature.window), f"_fw_part{len(named)}")
        return named

    def _finished(self, named: dict[Any, str], wanted: Sequence[Feature], *, newest: bool = False, contributed: bool = False) -> ir.Table:
        unfolds = dict.fromkeys(unfolded(op) for op, _ in named)
        table = self._branch(None, [c for c in named if unfolded(c[0]) is None], named, newest=newest, wanted=wanted if contributed else ())
        for each in unfolds:
            if each is not None:
                mine = [c for c in named if unfolded(c[0]) == each]
                zeros = [named[c] for c in mine if isinstance(c[0], ops.Count | ops.CountDistinct) and not _contained(each)]
                table = _beside(table, self._branch(each, mine, named), self.group, zeros)
        values = {}
        for feature in wanted:
            node = normal(feature.node)
            parts = {op: table[named[op, feature.window]].op() for op in reductions(node)}
            values[feature.name] = finite(finish_over(node, parts).to_expr())
        kept = [*self.group, *([NEWEST] if newest else []), *(f"{f.name}_any" for f in wanted if contributed)]
        return table.select(*kept, **values)

    def _branch(self, each: Each | None, cells: Sequence[Any], named: dict[Any, str], *, newest: bool = False, wanted: Sequence[Feature] = ()) -> ir.Table:
        """One pass over the pairs, for the reductions that unfold the same list, or none."""
        inputs = Inputs()
        made = [Cell(named[c], c[0], inputs.of(c[0]), _inside(c[1])) for c in cells]
        contributions = {f.name: [(Cell("", op, inputs.of(op), _inside(f.window))) for op in reductions(normal(f.node)) if unfolded(op) is each] for f in wanted}
        windows = dict.fromkeys([w for _, w in cells] + [f.window for f in wanted])
        pairs = self.source.pairs(self.spine, tuple(windows), inputs, each=each, bucket=self.bucket, newest=newest)
        if self.bucket:
            pairs = pairs.filter(pairs[BUCKET].notnull())
        group = (*self.group, *([MEMBER] if each is not None and _contained(each) else []))
        context = Context(self.engine, group, self.source.order(pairs))
        extra = {f"{name}_any": _any(cs, pairs) for name, cs in contributions.items()}
        if newest:
            extra[NEWEST] = pairs[EVENT].max()
        table = self._grouped(made, pairs, context, extra)
        return self._folded(table, [c.name for c in made], each) if MEMBER in group else table

    def _grouped(self, cells: Sequence[Cell], pairs: ir.Table, context: Context, extra: dict[str, ir.Scalar]) -> ir.Table:
        flat = [c for c in cells if not tallied(c)]
        ready = prepare(flat, pairs, context)
        measures = {c.name: lower(c, ready, context) for c in flat} | extra
        table = ready.group_by(*context.group).agg(**measures) if measures else pairs.select(*context.group).distinct()
        for value in dict.fromkeys(c.inputs["arg"] for c in cells if tallied(c)):
            mine = [c for c in cells if tallied(c) and c.inputs["arg"] == value]
            table = _beside(table, tally(mine, pairs, context), context.group)
        return table

    def _folded(self, table: ir.Table, names: Sequence[str], each: Each) -> ir.Table:
        """The aggregates of a map's keys or a list's positions, put back into a map or a list (rule 15)."""
        known = table.filter(table[MEMBER].notnull())
        if each.arg.dtype.is_map():
            folded = {n: as_map(known[MEMBER], known[n], known[n].notnull(), self.engine) for n in names}
        else:
            folded = {n: known[n].collect(order_by=known[MEMBER], include_null=True, where=known[MEMBER].notnull()) for n in names}
        return known.group_by(*self.group).agg(**folded)


def _any(cells: Sequence[Cell], pairs: ir.Table) -> ir.BooleanScalar:
    return reduce(lambda a, b: a | b, (c.kept(pairs).fill_null(False) for c in cells)).any()


def _contained(each: Each) -> bool:
    return each.by_position or each.arg.dtype.is_map()


def _inside(window: Window | None) -> str:
    return f"_fw_in_{window!r}" if window else "_fw_in_all"


class Inputs:
    """The reductions' arguments, each one column of the events however many reductions share it."""

    def __init__(self) -> None:
        self.columns: dict[ops.Value, str] = {}

    def of(self, op: ops.Reduction) -> dict[str, str]:
        """The column name of each argument that is a value of the event."""
        found = {}
        for argument, node in zip(op.__argnames__, op.__args__, strict=True):
            if isinstance(node, ops.Value) and argument not in ("quantile", "sep"):
                found[argument] = self.columns.setdefault(node, f"_fw_in{len(self.columns)}")
        return found


# --- the rows a group-by reduces


@frozen
class Rows:
    """A group-by's source on an engine."""

    group_by: GroupBy
    engine: Engine

    @property
    def table(self) -> ir.Table:
        """The source's row-wise table, normalised and bound."""
        return rebound(self.group_by.source.table, self.engine).to_expr()

    def keys(self, table: ir.Table) -> dict[str, ir.Column]:
        """The group-by's keys under the spine's names."""
        return {f"_fw_key{i}": table[k] for i, k in enumerate(self.group_by.keys)}

    def order(self, pairs: ir.Table) -> tuple[str, ...]:
        """The columns of the pairs that order events (rule 10)."""
        return tuple(c for c in pairs.columns if c == EVENT or c.startswith("_fw_order"))

    def selected(self, inputs: Inputs, each: Each | None, bucket: str | None, extra: Callable[[ir.Table], dict[str, ir.Value]]) -> ir.Table:
        """The source's rows as internal columns: keys, the bucket, the inputs; unfolded where asked for."""
        table = self.table
        element: dict[ops.Node, ops.Node] = {}
        if each is not None:
            table, element = _unfold(table, each, self.engine)
        columns = {name: finite(self._value(node, table, element)) for node, name in inputs.columns.items()}
        names = {BUCKET: table[bucket]} if bucket else {}
        member = {MEMBER: table[MEMBER]} if MEMBER in table.columns else {}
        rows = table.select(**self.keys(table), **extra(table), **names, **member, **columns)
        return rows.filter(reduce(lambda a, b: a & b, (rows[k].notnull() for k in self.keys(table))))

    def _value(self, node: ops.Value, table: ir.Table, element: dict[ops.Node, ops.Node]) -> ir.Value:
        """An author's expression over this table's columns."""
        mine = rebound(self.group_by.source.table, self.engine)
        bound = rebound(node, self.engine)
        if element:
            bound = bound.replace(element)
        fields = {f: table[f.name].op() for f in bound.find(ops.Field) if f.rel == mine and mine != table.op()}
        return (bound.replace(fields) if fields else bound).to_expr()


def _unfold(table: ir.Table, each: Each, engine: Engine) -> tuple[ir.Table, dict[ops.Node, ops.Node]]:
    """One row an element, and what stands for `each(...)` in expressions over them."""
    container = rebound(each.arg, engine).to_expr()
    node = rebound(each, engine)
    if each.arg.dtype.is_map():
        members = table.mutate(_fw_map=container).mutate(**{MEMBER: container.keys()}).unnest(MEMBER)
        out = members.mutate(_fw_element=members["_fw_map"][members[MEMBER]])
    else:
        out = table.mutate(_fw_element=container).unnest("_fw_element", offset=MEMBER if each.by_position else None)
    return out, {node: out["_fw_element"].op()}


@frozen
class EventRows(Rows):
    """Facts: paired with every later instant, up to the longest window."""

    def pairs(self, spine: ir.Table, windows: Sequence[Window | None], inputs: Inputs, *, each: Each | None, bucket: str | None, newest: bool) -> ir.Table:
        """Each spine row with its events before the instant, or with nulls; a boolean column for each window."""
        events = self.selected(inputs, each, bucket, self._placed)
        matches = [spine[c] == events[c] for c in spine.columns if c != AT]
        tails = {w: self.tail(spine[AT], w) for w in windows if w}
        bounded = len(tails) == len(windows) and tails and not newest
        before = [events[EVENT] < spine[AT], *([events[EVENT] >= self.tail(spine[AT], max(tails))] if bounded else [])]
        pairs = spine.left_join(events, [*matches, *before]).drop(*(c for c in [f"{k}_right" for k in spine.columns if k != AT]))
        return pairs.mutate(**{_inside(w): pairs[EVENT] >= self.tail(pairs[AT], w) if w else pairs[EVENT].notnull() for w in windows})

    def tail(self, at: ir.IntegerValue, window: Window) -> ir.IntegerValue:
        """The first instant inside the window: `t - w`, or rounded down to its hop (rules 2 and 3)."""
        start = at - in_us(window.length)
        return floor_to(start, in_us(window.hop)) if self.group_by.resolution == "sawtooth" else start

    def _placed(self, table: ir.Table) -> dict[str, ir.Value]:
        """Time and order; a null in an order column comes before all values."""
        source = self.group_by.source
        columns: dict[str, ir.Value] = {EVENT: micros(table[source.time])}
        for i, name in enumerate(source.order):
            columns[f"_fw_order{i}a"] = table[name].notnull().cast("int8")
            columns[f"_fw_order{i}b"] = table[name]
        return columns


@frozen
class EntityRows(Rows):
    """State: paired with the latest snapshot whose day ended at or before the instant (rule 6)."""

    def pairs(self, spine: ir.Table, windows: Sequence[Window | None], inputs: Inputs, *, each: Each | None, bucket: str | None, newest: bool) -> ir.Table:
        """Each spine row with its key's rows of the snapshot in force, or with nulls."""
        del windows, newest
        rows = self.selected(inputs, each, bucket, self._ended)
        dated = _beside(spine, self._in_force(spine, rows), [AT])
        matches = [dated[c] == rows[c] for c in spine.columns if c != AT]
        pairs = dated.left_join(rows, [*matches, dated["_fw_end"] == rows[EVENT]])
        pairs = pairs.drop(*(f"{k}_right" for k in spine.columns if k != AT))
        return pairs.mutate(**{_inside(None): pairs[EVENT].notnull()})

    def columns_of(self, spine: ir.Table) -> ir.Table:
        """The spine with the entity's columns taken as they are."""
        inputs, table = Inputs(), self.group_by.source.table
        names = {inputs.columns.setdefault(ops.Field(table, c), f"_fw_in{i}"): c for i, c in enumerate(self.group_by.taken)}
        pairs = self.pairs(spine, (), inputs, each=None, bucket=None, newest=True)
        taken = {feature: pairs[name] for name, feature in names.items()}
        return pairs.select(*spine.columns, **{NEWEST: pairs["_fw_end"]}, **taken)

    def _ended(self, table: ir.Table) -> dict[str, ir.Value]:
        """The end of each row's day in microseconds; 0, at which every instant finds it, for a table without time."""
        name = self.group_by.source.snapshot
        if name is None:
            return {EVENT: ibis.literal(0, "int64")}
        day = table[name].cast("date") if table[name].type().is_string() else table[name]
        return {EVENT: micros(day.cast("timestamp")) + in_us(DAY)}

    def _in_force(self, spine: ir.Table, rows: ir.Table) -> ir.Table:
        """For each instant, the end of the latest finished snapshot of the whole table."""
        if self.group_by.source.snapshot is None:
            return spine.select(AT).distinct().mutate(_fw_end=ibis.literal(0, "int64"))
        ends = self.snapshots().distinct()
        instants = spine.select(AT).distinct()
        del rows
        return instants.join(ends, ends[EVENT] <= instants[AT]).group_by(AT).agg(_fw_end=lambda t: t[EVENT].max())

    def snapshots(self) -> ir.Table:
        """The end of the day of every row, whatever its key: a snapshot exists even where all its keys are null."""
        table = self.table
        ended = table.select(**self._ended(table))
        return ended.filter(ended[EVENT].notnull())
