"""Events behind answers from both sides: the warehouse's, and those that the store held then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ibis
import pyarrow as pa
import pyarrow.compute as pc
from attrs import frozen

from workbench.backends import engine_of
from workbench.monitoring.comparison.served_answers import ROW, column, served_type
from workbench.online.storage.row_history import rows_of, snapshots_of
from workbench.online.time_units import DAY_US
from workbench.serving.stored_columns import TIME, Stored
from workbench.serving.stored_rows import stored_of, stored_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    import ibis.expr.types as ir
    from ibis.backends import BaseBackend

    from workbench.backends import Engine
    from workbench.definitions.group_by import GroupBy
    from workbench.monitoring.comparison.served_answers import ServedAnswers
    from workbench.online.plan import GroupByPlan, PartPlan
    from workbench.online.storage.store import Store

# The most that the times of one event may differ between the two sides, for it to be found.
SKEW = DAY_US
FOREVER_US = 2**62
STATE = {
    "written": pa.int64(),
    "gone": pa.int64(),
    "in_table": pa.bool_(),
    "in_stream": pa.bool_(),
    "appended": pa.int64(),
}


@frozen
class EventSides:
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


def questions(told: ServedAnswers, number: int) -> pa.Table:
    """Returns what these answers asked of a part, without those whose key is null (rule 17)."""
    plan, part, rows = told.plan, told.plan.parts[number], told.rows
    group_by, names = plan.group_by(part.group_by), [k.name for k in plan.keys]
    at = (
        pa.array([t // SKEW * SKEW for t in rows["at"].to_pylist()], pa.int64())
        if group_by.daily
        else rows["at"]
    )
    keys = {
        f"k{i}": rows[f"k{names.index(left_column)}"].cast(served_type(k.type))
        for i, ((left_column, _), k) in enumerate(zip(part.keys, group_by.keys, strict=True))
    }
    question_rows = pa.table(
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
        question_rows = question_rows.filter(question_rows[name].is_valid())
    return question_rows


def sides(
    store: Store,
    con: BaseBackend,
    told: ServedAnswers,
    number: int,
    group_by: GroupBy,
    engine: Engine,
) -> EventSides:
    """Returns the events that answers may have seen, of a part over events."""
    part = told.plan.parts[number]
    plan = told.plan.group_by(part.group_by)
    question_rows = questions(told, number)
    keys = (
        question_rows.select([f"k{i}" for i in range(len(plan.keys))])
        .group_by([f"k{i}" for i in range(len(plan.keys))])
        .aggregate([])
    )
    reach = _reach(plan, part)
    times = question_rows["at"].to_pylist() or [0]
    span = (-FOREVER_US if reach is None else min(times) - reach, max(times) + SKEW)
    warehouse_rows = _warehouse(plan, group_by, engine, keys, span)
    store_rows = _stored(store, plan, keys, span, told.since[number])
    if plan.id:  # one event may have another key on the other side
        visible_rows = store_rows.filter(
            pc.less_equal(store_rows["written"], pc.min(question_rows["stamp"]))
        )
        store_rows = _more(
            store_rows,
            _stored(store, plan, _lacking(warehouse_rows, visible_rows), None, told.since[number]),
            ("id", "written", "gone"),
        )
        warehouse_rows = _more(
            warehouse_rows,
            _warehouse(plan, group_by, engine, _lacking(store_rows, warehouse_rows), None),
            (),
        )
    tables = [
        con.create_table(f"{table_name}{number}", t)
        for table_name, t in (
            ("asked", question_rows),
            ("theirs", warehouse_rows),
            ("ours", store_rows),
        )
    ]
    warehouse, store_events = (
        con.create_table(f"{table_name}{number}", _hashed_rows(plan, t, ident))
        for table_name, t, ident in (("warehouse", tables[1], "wid"), ("store", tables[2], "sid"))
    )
    return EventSides(
        part,
        plan,
        group_by,
        stored_of(group_by),
        tables[0],
        warehouse,
        store_events,
        told.horizons[number],
        reach,
    )


def _reach(plan: GroupByPlan, part: PartPlan) -> int | None:
    """Returns the longest window plus a day, in microseconds; None where all events matter."""
    unbounded = (
        plan.longest is None
        or part.max_age is not None
        or any(c.length is None for c in plan.cells)
    )
    return None if unbounded else (plan.longest or 0) + SKEW


def _schema(plan: GroupByPlan) -> pa.Schema:
    keys = {f"k{i}": served_type(c.type) for i, c in enumerate(plan.keys)}
    return pa.schema(
        [*keys.items(), (TIME, pa.int64()), *((c.name, served_type(c.type)) for c in plan.stored)]
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
    rows, wanted_rows = stored_rows(group_by, engine), engine.keep(wanted)
    texts = {c: rows[c].cast("string") for c in rows.columns if rows[c].type().is_uuid()}
    rows = rows.mutate(**texts) if texts else rows
    rows = rows.semi_join(wanted_rows, [rows[c] == wanted_rows[c] for c in wanted.column_names])
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
    rows = rows_of(store, plan, wanted.to_pydict(), span)
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    types = [*(k.type for k in plan.keys), "int64", *(c.type for c in plan.stored)]
    typed_columns = [column(t, v)[0] for t, v in zip(types, columns, strict=False)]
    return pa.table(
        [
            *typed_columns,
            *(pa.array(v, t) for v, t in zip(columns[len(types) :], STATE.values(), strict=True)),
        ],
        schema=schema,
    )


def _lacking(side_rows: pa.Table, other_rows: pa.Table) -> pa.Table:
    """Returns the ids of one side that the other lacks, which are to be looked up there."""
    known_ids = set(other_rows["id"].to_pylist())
    return pa.table(
        {
            "id": pa.array(
                [
                    v
                    for v in dict.fromkeys(side_rows["id"].to_pylist())
                    if v is not None and v not in known_ids
                ],
                side_rows["id"].type,
            )
        }
    )


def _more(some: pa.Table, candidates: pa.Table, names: Sequence[str]) -> pa.Table:
    """Appends the rows that are not among the first yet, by these columns."""
    known_keys = set(zip(*(some[n].to_pylist() for n in names), strict=True))
    new = (
        [
            row not in known_keys
            for row in zip(*(candidates[n].to_pylist() for n in names), strict=True)
        ]
        if names
        else [True] * candidates.num_rows
    )
    return (
        pa.concat_tables([some, candidates.filter(pa.array(new, pa.bool_()))])
        if candidates.num_rows
        else some
    )


def snapshots_seen(store: Store, told: ServedAnswers, number: int) -> list[tuple[int, int]]:
    """Returns the ends of an entity's snapshots in the store, and when each was written.

    It is empty where the store keeps none any more.
    """
    return (
        []
        if told.since[number] is None
        else snapshots_of(store, told.plan.group_by(told.plan.parts[number].group_by))
    )


def _hashed_rows(plan: GroupByPlan, rows: ir.Table, number: str) -> ir.Table:
    """Returns the rows with a number, and with the hashes by which they are found again.

    Maps, which have no order, are left out of the hashes.
    """
    keys = [f"k{i}" for i in range(len(plan.keys))]
    values = [c.name for c in plan.stored if c.name != "id" and not ibis.dtype(c.type).is_map()]

    def hash_of(names: Sequence[str]) -> Any:
        return ibis.struct({n: rows[n] for n in names}).cast("string").hash()

    bare = hash_of([*keys, TIME, *values])
    hashes = {
        "bare": bare,
        "timeless": hash_of([*keys, *values]),
        "place": hash_of([*keys, TIME, *plan.order]),
    }
    return rows.mutate(
        **hashes, identity=hash_of(["id"]) if plan.id else bare, **{number: ibis.row_number()}
    )


def local() -> tuple[BaseBackend, Engine]:
    """Returns a DuckDB of this process for the few answers that are looked into, and its engine."""
    con = ibis.duckdb.connect()
    return con, engine_of(con)
