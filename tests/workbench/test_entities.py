"""State told by snapshots, max_age, and left rows without a key (semantics rules 6, 8, 17)."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import ibis
import ibis.expr.types as ir
import oracle
import pyarrow as pa
import pytest
from cases import BASE, moment
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ibis import _
from oracle import DAY, HOUR
from scanned import scanned

from workbench import (
    DefinitionError,
    EntitySource,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    backfill,
    days,
    hours,
    last_k,
    trailing,
)
from workbench.backends.engine import engine_of

snapshots = st.dictionaries(
    st.tuples(st.integers(0, 6), st.sampled_from(["a", "b", "c"])),
    st.one_of(st.none(), st.integers(0, 9)),
    max_size=12,
)
lefts = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "zz", None]),
        st.integers(-1, 8),
        st.sampled_from([0, -1, 1, 5 * HOUR]),
    ),
    min_size=1,
    max_size=5,
)


@pytest.fixture(scope="module")
def con():
    return ibis.duckdb.connect()


def entity(con, rows, *, text):
    dates = [(date(2023, 11, 30) + timedelta(days=d)) for d, _, _ in rows]
    columns = {
        "ds": pa.array(
            [d.isoformat() for d in dates] if text else dates, pa.string() if text else pa.date32()
        ),
        "k": pa.array([k for _, k, _ in rows], pa.string()),
        "v": pa.array([v for _, _, v in rows], pa.int64()),
    }
    return con.create_table("entity", pa.table(columns), overwrite=True)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(told=snapshots, left=lefts, text=st.booleans(), max_age=st.sampled_from([None, 2 * DAY]))
def test_an_entity_is_its_latest_finished_snapshot(con, told, left, text, max_age):
    rows = [(d, k, v) for (d, k), v in told.items()]
    table = entity(con, rows, text=text)
    asked = [(i, k, BASE + d * DAY + nudge) for i, (k, d, nudge) in enumerate(left)]
    spine = con.create_table(
        "spine",
        pa.table(
            {
                "i": [a[0] for a in asked],
                "k": pa.array([a[1] for a in asked], pa.string()),
                "t": pa.array([moment(a[2]) for a in asked], pa.timestamp("us")),
            }
        ),
        overwrite=True,
    )
    taken = GroupBy(name="e", source=EntitySource(table, snapshot="ds"), keys=["k"], features=["v"])
    part = JoinPart(taken, max_age=None if max_age is None else timedelta(microseconds=max_age))
    counted = GroupBy(
        name="n",
        source=EntitySource(table, snapshot="ds"),
        keys=["k"],
        aggregations=[_.count(), _.v.sum()],
    )

    got = (
        backfill(Join(name="j", left=EventSource(spine, time="t"), parts=[part, counted]))
        .order_by("i")
        .to_pyarrow()
        .to_pylist()
    )

    history = [{"key": (k,), "end": BASE + (d + 1) * DAY, "v": v} for d, k, v in rows]
    for (_i, key, t), row in zip(asked, got, strict=True):
        want = oracle.snapshot_at(history, (key,), t)
        expired = want is not None and max_age is not None and t - want["end"] > max_age
        assert (None if want is None or expired else want["v"]) == row["e_v"]
        assert (None if key is None else int(want is not None)) == row["n_count"]
        assert (want and want["v"]) == row["n_v_sum"]


def test_a_missing_day_falls_back_to_the_latest_that_exists_and_a_key_gone_from_it_is_null(duck):
    table = entity(duck, [(0, "a", 1), (0, "b", 2), (3, "a", 3)], text=True)
    left = duck.create_table(
        "l",
        ibis.memtable(
            [{"k": k, "t": datetime(2023, 12, d)} for d in (1, 3, 4) for k in "ab"],  # noqa: DTZ001
            schema={"k": "string", "t": "timestamp"},
        ),
    )
    group_by = GroupBy(
        name="e", source=EntitySource(table, snapshot="ds"), keys=["k"], features=["v"]
    )

    got = (
        backfill(Join(name="j", left=EventSource(left, time="t"), parts=[group_by]))
        .order_by("t", "k")
        .to_pyarrow()["e_v"]
        .to_pylist()
    )

    assert [1, 2, 1, 2, 3, None] == got


def test_two_rows_of_one_key_in_one_snapshot_are_an_error_that_names_them(duck):
    table = entity(duck, [(0, "a", 1), (0, "a", 2), (1, "a", 1)], text=False)
    left = duck.create_table(
        "l",
        ibis.memtable(
            [{"k": "a", "t": datetime(2023, 12, 4)}],  # noqa: DTZ001
            schema={"k": "string", "t": "timestamp"},
        ),
    )
    group_by = GroupBy(
        name="e", source=EntitySource(table, snapshot="ds"), keys=["k"], features=["v"]
    )

    with pytest.raises(
        DefinitionError,
        match="entity has 2 rows for k='a' in the snapshot of 2023-11-30, and e takes one",
    ):
        backfill(Join(name="j", left=EventSource(left, time="t"), parts=[group_by]))


def test_a_table_without_time_holds_at_every_time(duck):
    table = entity(duck, [(0, "a", 1)], text=True).drop("ds")
    left = duck.create_table(
        "l",
        ibis.memtable(
            [{"k": "a", "t": datetime(1980, 1, 1)}, {"k": "b", "t": datetime(2030, 1, 1)}],  # noqa: DTZ001
            schema={"k": "string", "t": "timestamp"},
        ),
    )
    group_by = GroupBy(
        name="e", source=EntitySource(table, snapshot=None), keys=["k"], features=["v"]
    )

    got = (
        backfill(Join(name="j", left=EventSource(left, time="t"), parts=[group_by]))
        .order_by("t")
        .to_pyarrow()["e_v"]
        .to_pylist()
    )

    assert [1, None] == got


def test_left_rows_stay_one_to_one_with_their_duplicates_and_null_keys(duck):
    events = duck.create_table(
        "e",
        ibis.memtable(
            [
                {"k": "a", "t": datetime(2024, 1, 1), "v": 1},  # noqa: DTZ001
                {"k": None, "t": datetime(2024, 1, 1), "v": 5},  # noqa: DTZ001
            ],
            schema={"k": "string", "t": "timestamp", "v": "int64"},
        ),
    )
    left = duck.create_table(
        "l",
        ibis.memtable(
            [{"k": k, "t": datetime(2024, 1, 2)} for k in ("a", "a", None, "b")],  # noqa: DTZ001
            schema={"k": "string", "t": "timestamp"},
        ),
    )
    group_by = GroupBy(
        name="g",
        source=EventSource(events, time="t"),
        keys=["k"],
        aggregations=[trailing(days(3), _.v.sum(), _.count())],
    )

    got = (
        backfill(Join(name="j", left=EventSource(left, time="t"), parts=[group_by]))
        .to_pyarrow()
        .to_pylist()
    )

    rows = sorted((r["k"] or "", r["g_v_sum_3d"], r["g_count_3d"]) for r in got if r["k"] != "b")
    assert [("", None, None), ("a", 1, 1), ("a", 1, 1)] == rows
    assert [(None, 0)] == [(r["g_v_sum_3d"], r["g_count_3d"]) for r in got if r["k"] == "b"]


def test_composite_keys_are_never_glued(duck):
    events = duck.create_table(
        "e",
        ibis.memtable(
            [
                {"a": "ab", "b": "c", "t": datetime(2024, 1, 1), "v": 1},  # noqa: DTZ001
                {"a": "a", "b": "bc", "t": datetime(2024, 1, 1), "v": 10},  # noqa: DTZ001
            ],
            schema={"a": "string", "b": "string", "t": "timestamp", "v": "int64"},
        ),
    )
    left = duck.create_table(
        "l",
        ibis.memtable(
            [{"x": "ab", "y": "c", "t": datetime(2024, 1, 2)}],  # noqa: DTZ001
            schema={"x": "string", "y": "string", "t": "timestamp"},
        ),
    )
    group_by = GroupBy(
        name="g", source=EventSource(events, time="t"), keys=["a", "b"], aggregations=[_.v.sum()]
    )

    (row,) = (
        backfill(
            Join(
                name="j",
                left=EventSource(left, time="t"),
                parts=[JoinPart(group_by, keys={"x": "a", "y": "b"})],
            )
        )
        .to_pyarrow()
        .to_pylist()
    )

    assert 1 == row["g_v_sum"]


def test_max_age_nulls_counts_too_and_does_not_touch_a_key_without_events(duck):
    events = duck.create_table(
        "e",
        ibis.memtable(
            [{"k": "a", "t": datetime(2024, 1, 1), "v": 1}],  # noqa: DTZ001
            schema={"k": "string", "t": "timestamp", "v": "int64"},
        ),
    )
    left = duck.create_table(
        "l",
        ibis.memtable(
            [{"k": k, "t": datetime(2024, 1, 1, 6, 0, 0, us)} for k in "ab" for us in (0, 1)],  # noqa: DTZ001
            schema={"k": "string", "t": "timestamp"},
        ),
    )
    group_by = GroupBy(
        name="g",
        source=EventSource(events, time="t"),
        keys=["k"],
        aggregations=[trailing(hours(1), _.count()), last_k(_.v, 1)],
    )

    got = (
        backfill(
            Join(
                name="j",
                left=EventSource(left, time="t"),
                parts=[JoinPart(group_by, max_age=hours(6))],
            )
        )
        .order_by("k", "t")
        .to_pyarrow()
        .to_pylist()
    )

    assert [(0, [1]), (None, None), (0, None), (0, None)] == [
        (r["g_count_1h"], r["g_v_last1"]) for r in got
    ]


# --- snapshots that are not in force are not read

DAYS_THERE, KEYS = 800, 1_000
STATES = {
    "date": ("d::date", lambda t: t.ds),
    "text": ("strftime(d, '%Y-%m-%d')", lambda t: t.ds),
    "time": ("d + interval 23 hour", lambda t: t.ds.date()),
    "zoned": ("(d + interval 23 hour)::timestamptz", lambda t: t.ds.cast("date")),
    "computed": ("strftime(d, 'day %Y-%m-%d')", lambda t: t.ds[4:].cast("date")),
}


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    """Snapshots in Parquet, one row a key and day, one row group a day, in each form of a day."""
    con, folder = ibis.duckdb.connect(), tmp_path_factory.mktemp("states")
    gaps = "(i < 300 or i = 350 or i > 780)"
    for form, (sql, _how) in STATES.items():
        rows = (
            f"select k, {sql} ds, i * 10000 + k as v from (select timestamp '2022-01-01' + interval"
            f" (i) day d, i, k from range({DAYS_THERE}) r(i), range({KEYS}) s(k) where {gaps})"
            " order by i"
        )
        con.raw_sql(f"copy ({rows}) to '{folder}/{form}.parquet' (row_group_size 2048)")
        con.read_parquet(f"{folder}/{form}.parquet", table_name=f"states_{form}")
    return con


# The day of the left, as so many days after the first; the snapshot that is in force then.
IN_FORCE = [(340, 299), (352, 350), (779, 350), (5_000, 799), (0, None)]


def states_join(con, form, day):
    table = con.table(f"states_{form}")
    states = table.mutate(day=STATES[form][1](table))
    con.raw_sql(
        "create or replace table asked as select k, timestamp '2022-01-01 12:00:00' + interval"
        f" ({day}) day t from range(3) r(k)"
    )
    source = EntitySource(states, snapshot="day")
    parts = [
        GroupBy(name="e", source=source, keys=["k"], features=["v"]),
        GroupBy(name="n", source=source, keys=["k"], aggregations=[states.v.max()]),
    ]
    return Join(name="j", left=EventSource(con.table("asked"), time="t"), parts=parts)


@pytest.mark.parametrize(
    ("form", "day", "force"),
    [*((form, *IN_FORCE[0]) for form in STATES), *(("date", *of) for of in IN_FORCE[1:])],
)
def test_the_snapshot_in_force_is_found_however_old_it_is(states, form, day, force):
    """Rule 6, and issue 7b: a year of snapshots was read whole for one day's left."""
    got = backfill(states_join(states, form, day)).order_by("k").to_pyarrow()

    want = [None if force is None else force * 10_000 + k for k in range(3)]
    assert [want, want] == [got["e_v"].to_pylist(), got["n_v_max"].to_pylist()]


@pytest.mark.parametrize("form", STATES)
def test_one_days_left_reads_no_year_of_snapshots(states, monkeypatch, form):
    """Issue 7b, item 3: a text is held against ISO dates by one look at that column.

    A day that is computed is in every row.
    """
    engine, looks = type(engine_of(states)), []
    for name in ("fetch", "keep"):
        ran = getattr(engine, name)
        monkeypatch.setattr(
            engine,
            name,
            lambda self, expr, ran=ran: (
                looks.append(scanned(states, expr) if isinstance(expr, ir.Table) else 0),
                ran(self, expr),
            )[1],
        )

    backfill(states_join(states, form, 799))

    # A week and its ends, once for each of the three reads: key, snapshot and value.
    most = 3 * 10 * KEYS
    whole = sum(n > most for n in looks)
    assert {"text": whole == 2, "computed": whole > 2}.get(form, not whole)  # two parts


def test_two_rows_of_one_key_in_a_snapshot_in_force_are_an_error_however_old_it_is(states):
    """Rule 6: the check looks at the days that the left looks at."""
    states.raw_sql(
        "create or replace table states_date2 as select * from states_date union all select k, ds,"
        " v from states_date where ds = date '2022-01-01' + 350 and k = 2"
    )
    table = states.table("states_date2")
    group_by = GroupBy(
        name="e", source=EntitySource(table, snapshot="ds"), keys=["k"], features=["v"]
    )
    left = EventSource(states_join(states, "date", 700).left.table.to_expr(), time="t")

    with pytest.raises(
        DefinitionError, match="has 2 rows for k=2 in the snapshot of 2022-12-17, and e takes one"
    ):
        backfill(Join(name="j", left=left, parts=[group_by]), on=states)


def test_a_dated_backfill_by_steps_finds_the_snapshot_of_each(states, tmp_path):
    """Rule 6: what a step reads is bounded by its own days.

    A gap of snapshots is wider than a step.
    """
    join = states_join(states, "date", 200)
    for day in (0, 1, 299, 340, 351, 352, 799):
        states.raw_sql(
            f"insert into asked select k, timestamp '2022-01-01 23:00:00' + interval ({day}) day t"
            " from range(3) r(k)"
        )
    whole = backfill(join).order_by("t", "k").to_pyarrow()

    steps = backfill(join, into=tmp_path / "steps", step=1).order_by("t", "k").to_pyarrow()

    assert [None, 0, 199, 298, 299, 350, 350, 798] == [
        v if v is None else v // 10_000 for v in whole["e_v"].to_pylist()[::3]
    ]
    assert whole.to_pylist() == steps.select(whole.column_names).to_pylist()
