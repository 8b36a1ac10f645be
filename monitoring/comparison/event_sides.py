"""Events behind answers from both sides: the warehouse's, and those that the store held then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ibis
import pyarrow as pa
import pyarrow.compute as pc
from attrs import frozen

from workbench.backends import engine_of
from workbench.definitions.windows import DAY
from workbench.monitoring.comparison.served_answers import ROW, column, held
from workbench.online.storage.row_history import rows_of, snapshots_of
from workbench.planner.source_rows import in_us
from workbench.serving.online_plans import TIME, Stored, stored_of, stored_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    import ibis.expr.types as ir
    from ibis.backends import BaseBackend

    from workbench.backends import Engine
    from workbench.definitions.group_by import GroupBy
    from workbench.monitoring.comparison.served_answers import Answered
    from workbench.online.plan import GroupByPlan, PartPlan
    from workbench.online.storage.store import Store

# The most that the times of one event may differ between the two sides, for it to be found.
SKEW = in_us(DAY)
EVER = 2**62
STATE = {
    "written": pa.int64(),
    "gone": pa.int64(),
    "in_table": pa.bool_(),
    "in_stream": pa.bool_(),
    "appended": pa.int64(),
}


@frozen
class Side:
    """One part's answers and the events of both sides, in a local DuckDB.

    `asked` has `_fw_row`, `k0...`, `at`, `stamp` (of the state that the answer saw), `served`,
    `ended` (the batch end that it used). `warehouse` and `store` have `k0...`, `time` and the
    stored columns of an event; as 64-bit hashes each `identity` (which pairs rows of the two
    sides), `bare` (all but the id), `timeless` (nor the time) and `place` (keys, time, order); and
    a number, `wid` or `sid`. The store's has what `STATE` names, too: it held a row from `written`
    to before `gone`.
    """

    part: PartPlan
    plan: GroupByPlan
    group_by: GroupBy
    stored: Stored
    asked: ir.Table
    warehouse: ir.Table
    store: ir.Table
    horizon: int | None
    reach: int | None  # how far before an answer events matter; None where all do

    @property
    def columns(self) -> list[str]:
        """The event's own columns."""
        return [
            *(f"k{i}" for i in range(len(self.plan.keys))),
            TIME,
            *(c.name for c in self.plan.stored),
        ]


def questions(told: Answered, number: int) -> pa.Table:
    """Returns what these answers asked of a part, without those whose key is null (rule 17)."""
    plan, part, rows = told.plan, told.plan.parts[number], told.rows
    group_by, names = plan.group_by(part.group_by), [k.name for k in plan.keys]
    at = (
        pa.array([t // SKEW * SKEW for t in rows["at"].to_pylist()], pa.int64())
        if group_by.daily
        else rows["at"]
    )
    keys = {
        f"k{i}": rows[f"k{names.index(left)}"].cast(held(k.type))
        for i, ((left, _), k) in enumerate(zip(part.keys, group_by.keys, strict=True))
    }
    asked = pa.table(
        {
            ROW: rows[ROW],
            **keys,
            "at": at,
            "stamp": rows[f"w{number}"].fill_null(-1),
            "served": rows["served"],
            "ended": rows[f"e{number}"].fill_null(-1),
        }
    )
    for name in keys:
        asked = asked.filter(asked[name].is_valid())
    return asked


def sides(
    store: Store, con: BaseBackend, told: Answered, number: int, group_by: GroupBy, engine: Engine
) -> Side:
    """Returns the events that answers may have seen, of a part over events."""
    part = told.plan.parts[number]
    plan = told.plan.group_by(part.group_by)
    asked = questions(told, number)
    keys = (
        asked.select([f"k{i}" for i in range(len(plan.keys))])
        .group_by([f"k{i}" for i in range(len(plan.keys))])
        .aggregate([])
    )
    reach = _reach(plan, part)
    times = asked["at"].to_pylist() or [0]
    span = (-EVER if reach is None else min(times) - reach, max(times) + SKEW)
    theirs = _warehouse(plan, group_by, engine, keys, span)
    ours = _stored(store, plan, keys, span, told.since[number])
    if plan.id:  # one event may have another key on the other side
        seen = ours.filter(pc.less_equal(ours["written"], pc.min(asked["stamp"])))
        ours = _more(
            ours,
            _stored(store, plan, _lacking(theirs, seen), None, told.since[number]),
            ("id", "written", "gone"),
        )
        theirs = _more(theirs, _warehouse(plan, group_by, engine, _lacking(ours, theirs), None), ())
    tables = [
        con.create_table(f"{what}{number}", t)
        for what, t in (("asked", asked), ("theirs", theirs), ("ours", ours))
    ]
    warehouse, kept = (
        con.create_table(f"{what}{number}", _told(plan, t, ident))
        for what, t, ident in (("warehouse", tables[1], "wid"), ("store", tables[2], "sid"))
    )
    return Side(
        part,
        plan,
        group_by,
        stored_of(group_by),
        tables[0],
        warehouse,
        kept,
        told.horizons[number],
        reach,
    )


def _reach(plan: GroupByPlan, part: PartPlan) -> int | None:
    """Returns the longest window plus a day, in microseconds; None where all events matter."""
    whole = (
        plan.longest is None
        or part.max_age is not None
        or any(c.length is None for c in plan.cells)
    )
    return None if whole else (plan.longest or 0) + SKEW


def _schema(plan: GroupByPlan) -> pa.Schema:
    keys = {f"k{i}": held(c.type) for i, c in enumerate(plan.keys)}
    return pa.schema(
        [*keys.items(), (TIME, pa.int64()), *((c.name, held(c.type)) for c in plan.stored)]
    )


def _warehouse(
    plan: GroupByPlan,
    group_by: GroupBy,
    engine: Engine,
    wanted: pa.Table,
    span: tuple[int, int] | None,
) -> pa.Table:
    """Returns the warehouse's events of these keys or ids."""
    schema = _schema(plan)
    if not wanted.num_rows:
        return schema.empty_table()
    rows, asked = stored_rows(group_by, engine), engine.keep(wanted)
    texts = {c: rows[c].cast("string") for c in rows.columns if rows[c].type().is_uuid()}
    rows = rows.mutate(**texts) if texts else rows
    rows = rows.semi_join(asked, [rows[c] == asked[c] for c in wanted.column_names])
    if span is not None:
        rows = rows.filter(rows[TIME] >= span[0], rows[TIME] < span[1])
    return engine.fetch(rows.select(*schema.names)).cast(schema)


def _stored(
    store: Store,
    plan: GroupByPlan,
    wanted: pa.Table,
    span: tuple[int, int] | None,
    since: int | None,
) -> pa.Table:
    """Returns the rows that the store has or had of these keys or ids.

    It is empty where the store keeps none any more.
    """
    schema = pa.schema([*_schema(plan), *STATE.items()])
    if not wanted.num_rows or since is None:
        return schema.empty_table()
    found = rows_of(store, plan, wanted.to_pydict(), span)
    columns = list(zip(*found, strict=True)) if found else [()] * len(schema)
    types = [*(k.type for k in plan.keys), "int64", *(c.type for c in plan.stored)]
    read = [column(t, v)[0] for t, v in zip(types, columns, strict=False)]
    return pa.table(
        [
            *read,
            *(pa.array(v, t) for v, t in zip(columns[len(types) :], STATE.values(), strict=True)),
        ],
        schema=schema,
    )


def _lacking(these: pa.Table, those: pa.Table) -> pa.Table:
    """Returns the ids of one side that the other lacks, which are to be looked up there."""
    known = set(those["id"].to_pylist())
    return pa.table(
        {
            "id": pa.array(
                [
                    v
                    for v in dict.fromkeys(these["id"].to_pylist())
                    if v is not None and v not in known
                ],
                these["id"].type,
            )
        }
    )


def _more(some: pa.Table, others: pa.Table, names: Sequence[str]) -> pa.Table:
    """Appends the rows that are not among the first yet, by these columns."""
    known = set(zip(*(some[n].to_pylist() for n in names), strict=True))
    new = (
        [row not in known for row in zip(*(others[n].to_pylist() for n in names), strict=True)]
        if names
        else [True] * others.num_rows
    )
    return (
        pa.concat_tables([some, others.filter(pa.array(new, pa.bool_()))])
        if others.num_rows
        else some
    )


def snapshots_seen(store: Store, told: Answered, number: int) -> list[tuple[int, int]]:
    """Returns the ends of an entity's snapshots in the store, and when each was written.

    It is empty where the store keeps none any more.
    """
    return (
        []
        if told.since[number] is None
        else snapshots_of(store, told.plan.group_by(told.plan.parts[number].group_by))
    )


def _told(plan: GroupByPlan, rows: ir.Table, number: str) -> ir.Table:
    """Returns the rows with a number, and with the hashes by which they are found again.

    Maps, which have no order, are left out of the hashes.
    """
    keys = [f"k{i}" for i in range(len(plan.keys))]
    values = [c.name for c in plan.stored if c.name != "id" and not ibis.dtype(c.type).is_map()]

    def said(names: Sequence[str]) -> Any:
        return ibis.struct({n: rows[n] for n in names}).cast("string").hash()

    bare = said([*keys, TIME, *values])
    told = {
        "bare": bare,
        "timeless": said([*keys, *values]),
        "place": said([*keys, TIME, *plan.order]),
    }
    return rows.mutate(
        **told, identity=said(["id"]) if plan.id else bare, **{number: ibis.row_number()}
    )


def local() -> tuple[BaseBackend, Engine]:
    """Returns a DuckDB of this process for the few answers that are looked into, and its engine."""
    con = ibis.duckdb.connect()
    return con, engine_of(con)
