"""Engines skip rows that no window can see, and no value changes.

They skip them by plain comparisons of stored columns.
"""

from __future__ import annotations

import warnings
from datetime import datetime, timedelta

import ibis
import ibis.expr.operations as ops
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scanned import scanned

from workbench import (
    Aggregation,
    DefinitionError,
    EntitySource,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    backfill,
    days,
    trailing,
)
from workbench.backends.engine import engine_of
from workbench.definitions.canonical import fingerprint
from workbench.planner.plan_choice import seeing
from workbench.planner.source_rows import AT, EventRows, Inputs
from workbench.planner.training_set import training_set
from workbench.serving.accuracy import refuse_unstated
from workbench.training.source_checks import check_source

EVENTS = 60 * 1440  # one a minute, of three keys, from 2024-01-01 on
LAST = datetime(2024, 2, 29)  # noqa: DTZ001 the tables' times are naive UTC

# How a warehouse may hold a time: as DuckDB's SQL of microseconds since 1970, and what a definition
# makes of that column.
TIMES = {
    "naive": ("make_timestamp({us})", lambda c: c),
    "zoned": ("make_timestamp({us})::timestamptz", lambda c: c),
    "nanoseconds": ("make_timestamp({us})::timestamp_ns", lambda c: c),
    "seconds": ("make_timestamp({us})::timestamp_s", lambda c: c),
    "days": ("make_timestamp({us})::date", lambda c: c.cast("timestamp")),
    "epoch s": ("({us}) // 1000000", lambda c: c.as_timestamp("s")),
    "epoch ms": ("({us}) // 1000", lambda c: c.as_timestamp("ms")),
    "epoch us": ("({us})", lambda c: c.as_timestamp("us")),
    "zone dropped": ("make_timestamp({us})::timestamptz", lambda c: c.cast("timestamp")),
}
THREE = days(3)


@pytest.fixture
def warehouse(tmp_path):
    """Sixty days of events in Parquet, in groups of rows of two days, in each form of time.

    A left of two rows at the end.
    """
    con = ibis.duckdb.connect()
    us = "1704067200000000 + i * 60000000"
    for number, (sql, _) in enumerate(TIMES.values()):
        file = tmp_path / f"events{number}.parquet"
        con.raw_sql(
            f"copy (select i % 3 as k, {sql.format(us=us)} as tm, i as v from range({EVENTS}) r(i))"
            f" to '{file}' (row_group_size 2880)"
        )
        con.read_parquet(file, table_name=f"events{number}")
    con.raw_sql(
        "create table asked as select k, timestamp '2024-02-28 23:00:00' + interval (17 * k) minute"
        " as t from range(2) r(k)"
    )
    return con


def group_by(con, how, spans=THREE, **more):
    table = con.table(f"events{list(TIMES).index(how)}")
    events = table.mutate(tm=TIMES[how][1](table.tm)).filter(lambda t: t.v >= 0).drop_null("k")
    return GroupBy(
        name="g",
        source=EventSource(events, time="tm"),
        keys=["k"],
        aggregations=[
            Aggregation(v, spans) for v in (events.v.sum(), events.count(), events.v.last())
        ],
        **more,
    )


@pytest.mark.parametrize("how", TIMES)
def test_a_stored_time_is_compared_in_its_own_type(warehouse, how):
    """Issue 7b: a backfill of one day's left rows reads few events, not a year of them.

    It read a year, since no comparison of times reached the scan.
    """
    engine, made = engine_of(warehouse), group_by(warehouse, how)
    spine = engine.keep(
        ibis.memtable(
            {"_fw_key0": [1], AT: [int((LAST - datetime(1970, 1, 1)) / timedelta(microseconds=1))]}  # noqa: DTZ001
        )
    )
    whole = EventRows(made, engine)

    rows = (
        seeing(engine, whole, spine)
        .within(int(timedelta(days=3) / timedelta(microseconds=1)))
        .placed(Inputs(), None, None)
    )

    assert EVENTS == scanned(warehouse, whole.placed(Inputs(), None, None))
    assert 3 * 1440 <= scanned(warehouse, rows) <= 4 * 1440 + 1


@pytest.mark.parametrize(
    ("how", "plan"), [*((how, "pairs") for how in TIMES), ("naive", "kernel"), ("days", "kernel")]
)
def test_no_value_changes(warehouse, how, plan):
    """Rules 1 to 3: skipped rows are never inside a window."""
    engine = engine_of(warehouse)
    parts = [
        JoinPart(group_by(warehouse, how, resolution="sawtooth"), prefix="hops"),
        JoinPart(group_by(warehouse, how), prefix="aged", max_age=timedelta(minutes=2)),
        JoinPart(group_by(warehouse, how, spans=()), prefix="ever"),
        group_by(warehouse, how),
    ]
    join = Join(name="j", left=EventSource(warehouse.table("asked"), time="t"), parts=parts)

    got = backfill(join, plan=plan)

    assert engine.rows(training_set(join, engine).order_by("k")) == engine.rows(got.order_by("k"))


COLUMNS = ("ts timestamp_ntz", "ts timestamp", "ts date", "ts bigint")


@pytest.mark.slow
@pytest.mark.parametrize("column", COLUMNS)
def test_spark_is_given_a_filter_that_it_can_push(spark, column):
    """A literal has the column's own type, with or without a zone, so that Spark pushes the filter.

    Ibis has one type for Spark's times with and without a zone. A literal of the wrong one casts
    the column, and Spark does not push that.
    """
    spark.raw_sql("drop table if exists pushed")
    spark.raw_sql(f"create table pushed (k int, {column}) using parquet")
    table = spark.table("pushed")
    events = table.mutate(
        ts={"bigint": lambda c: c.as_timestamp("ms"), "date": lambda c: c.cast("timestamp")}.get(
            column.split()[1], lambda c: c
        )(table.ts)
    )
    made = GroupBy(
        name="g",
        source=EventSource(events, time="ts"),
        keys=["k"],
        aggregations=trailing(days(3), events.count()),
    )
    engine = engine_of(spark)
    spine = engine.keep(ibis.memtable({"_fw_key0": [1], AT: [1_709_164_800_000_000]}))

    rows = seeing(engine, EventRows(made, engine), spine).within(0).placed(Inputs(), None, None)
    ((plan,),) = spark.raw_sql(f"explain {engine.query(rows)}").collect()

    pushed = next(line for line in plan.splitlines() if "PushedFilters" in line)
    assert "GreaterThanOrEqual(ts" in pushed, pushed
    assert "LessThan(ts" in pushed, pushed


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["timestamp", "timestamptz", "date"])
def test_postgres_uses_an_index_of_the_time(postgres, kind):
    """The session has another zone, in which a text without a zone would be another time."""
    postgres.raw_sql(
        "drop table if exists pushed; create table pushed as select 1 k, (timestamp '2024-01-01' +"
        f" interval '1 minute' * i)::{kind} ts from generate_series(1, 20000) i; create index on"
        " pushed (ts); analyze pushed"
    )
    table = postgres.table("pushed")
    events = table.mutate(ts=table.ts.cast("timestamp")) if kind == "date" else table
    made = GroupBy(
        name="g",
        source=EventSource(events, time="ts"),
        keys=["k"],
        aggregations=trailing(days(1), events.count()),
    )
    engine = engine_of(postgres)
    spine = engine.keep(ibis.memtable({"_fw_key0": [1], AT: [1_704_412_800_000_000]}))

    rows = seeing(engine, EventRows(made, engine), spine).within(0).placed(Inputs(), None, None)
    plan = "\n".join(
        line for (line,) in postgres.raw_sql(f"explain {engine.query(rows)}").fetchall()
    )

    assert "Index Cond: (" in plan, plan


def test_a_dated_backfill_looks_at_the_days_that_its_days_see(warehouse, tmp_path, monkeypatch):
    """Issue 7b: each step of a dated backfill has bounds of its own.

    What a day could see was counted over the whole history, and so was the time of every event, to
    recognize a wrong unit.
    """
    warehouse.raw_sql(
        "insert into asked select k, timestamp '2024-01-20 12:00:00' + interval (k) day as t from"
        " range(3) r(k)"
    )
    join = Join(
        name="j",
        left=EventSource(warehouse.table("asked"), time="t"),
        parts=[group_by(warehouse, "naive")],
    )
    whole, engine, looks = (
        backfill(join, plan="pairs").order_by("t", "k").to_pyarrow(),
        type(engine_of(warehouse)),
        [],
    )
    fetch = engine.fetch
    monkeypatch.setattr(
        engine,
        "fetch",
        lambda self, expr: (looks.append(scanned(warehouse, expr)), fetch(self, expr))[1],
    )

    one = backfill(join, start="2024-01-20", end="2024-01-21", into=tmp_path / "one")
    most = max(looks)
    steps = [
        backfill(join, into=tmp_path / f"steps{n}", step=n, plan=plan)
        .order_by("t", "k")
        .to_pyarrow()
        for n, plan in ((1, "pairs"), (2, "kernel"))
    ]

    assert 1 == one.count().execute()
    assert most <= 6 * 1440 + 1  # three days' windows, the day, and one at each end
    assert [whole.to_pylist()] * 2 == [s.select(whole.column_names).to_pylist() for s in steps]


# --- a wrong unit is told by what engines skip to

FAR, NEAR, NOW = (
    7_258_118_400_000_000,
    5_097_600_000_000,
    1_704_067_200_000_000,
)  # 2200, March 1970 and 2024, microseconds
ODD = [None, -6 * NOW, -1, 0, NEAR - 1, NEAR, NOW, FAR - 1, FAR, 1_000 * NOW]
UNITS = {
    "timestamp": lambda c: c,
    "timestamptz": lambda c: c,
    "bigint": lambda c: c.as_timestamp("us"),
}


def verdict(times):
    """Return what one look at all these times says of their unit."""
    known = [t for t in times if t is not None]
    if any(t >= FAR for t in known):
        return "are milliseconds read as seconds"
    if known and all(0 <= t < NEAR for t in known):
        return "are seconds read as milliseconds"
    return f"{len(times) - len(known)} of {len(times)} rows" if len(known) < len(times) else None


def said_of(events):
    """Return what a look at a source says, as an error or a warning."""
    made = GroupBy(
        name="g", source=EventSource(events, time="t"), keys=["k"], aggregations=[events.count()]
    )
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            check_source(made, engine_of(events.get_backend()))
        except DefinitionError as refused:
            return str(refused)
    return " ".join(str(w.message) for w in warned if issubclass(w.category, UserWarning)) or None


@pytest.fixture(scope="module")
def embedded():
    return ibis.duckdb.connect()


@settings(max_examples=40, deadline=None)
@given(times=st.lists(st.sampled_from(ODD), max_size=4), kind=st.sampled_from(list(UNITS)))
def test_a_wrong_unit_is_told_as_by_one_look_at_all_times(embedded, times, kind):
    """The verdict on a unit is that of one look at all times, in each form of a time.

    One time that is too late is refused, times that are all too early are refused, and rows without
    a time are counted.
    """
    value = "u" if kind == "bigint" else f"make_timestamp(u)::{kind}"
    embedded.raw_sql("create or replace table told (u bigint)")
    for us in times:
        embedded.raw_sql(f"insert into told values ({'null' if us is None else us})")
    embedded.raw_sql(f"create or replace table units as select 1 k, {value} t from told")
    table = embedded.table("units")

    got, want = said_of(table.mutate(t=UNITS[kind](table.t))), verdict(times)

    assert (want or "None") in str(got)


# What else a table may hold: a time as a date, and times without an end, which are none.
HELD = {
    "timestamp": ("('2024-01-01'), ('infinity')", "1 of 2 rows"),
    "timestamptz": ("('2024-01-01'), ('-infinity'), (null)", "2 of 3 rows"),
    "date": ("('2024-01-01'), ('2200-01-01')", "reaches 2200-01-01"),
    "timestamp(3)": (
        "('1970-01-01'), ('1970-02-28 23:59:59.999')",
        "are seconds read as milliseconds",
    ),
    "timestamp(0)": ("('2024-01-01'), ('1970-01-20')", "None"),
}


@pytest.mark.parametrize("kind", HELD)
@pytest.mark.parametrize("indexed", [True, False])
def test_postgres_tells_a_wrong_unit_with_an_index_and_without(postgres, kind, indexed):
    postgres.raw_sql(f"drop table if exists units; create table units (k int, t {kind})")
    rows, want = HELD[kind]
    postgres.raw_sql(f"insert into units select 1, v::{kind} from (values {rows}) r(v)")
    postgres.raw_sql(
        "create index on units (t); set enable_seqscan = off"
        if indexed
        else "set enable_seqscan = on"
    )
    table = postgres.table("units")

    got = said_of(table.mutate(t=table.t.cast("timestamp")) if kind == "date" else table)

    postgres.raw_sql("set enable_seqscan = on")
    assert want in str(got)


@pytest.mark.slow
@pytest.mark.parametrize("column", ["ts timestamp_ntz", "ts timestamp", "ts bigint"])
def test_spark_tells_a_wrong_unit_in_each_form(spark, column):
    """One row of a thousand; Spark skips by some of these forms, and reads the times of others."""
    kind = column.split()[1]
    spark.raw_sql(
        f"create or replace temporary view units as select 1 k, {_told_to_spark(kind)} t from"
        " range(1000)"
    )
    table = spark.table("units")
    events = table.mutate(t=table.t.as_timestamp("ms") if kind == "bigint" else table.t)

    assert "are milliseconds read as seconds" in said_of(events)


def _told_to_spark(kind):
    us = f"(if(id = 700, {FAR}, {NOW}) + id)"
    return f"{us} div 1000" if kind == "bigint" else f"cast(timestamp_micros({us}) as {kind})"


def test_one_days_left_counts_no_year_to_tell_a_wrong_unit(warehouse, monkeypatch):
    """Issue 7b, item 3: by far the most of what one day's left read was the look at all times.

    A time that is parsed is still looked at whole.
    """
    looks, engine = [], type(engine_of(warehouse))
    fetch = engine.fetch
    monkeypatch.setattr(
        engine,
        "fetch",
        lambda self, expr: (looks.append(scanned(warehouse, expr)), fetch(self, expr))[1],
    )
    parsed = warehouse.table("events0").mutate(tm=lambda t: t.tm.cast("string").cast("timestamp"))

    check_source(group_by(warehouse, "naive"), engine_of(warehouse))
    late, first = looks
    looks.clear()
    check_source(
        GroupBy(
            name="p",
            source=EventSource(parsed, time="tm"),
            keys=["k"],
            aggregations=[parsed.count()],
        ),
        engine_of(warehouse),
    )

    assert 0 == late
    assert 6 * 1440 > first  # DuckDB stops when a thread has found one
    assert EVENTS == looks[0]


# --- a declared partition column (rule 5)

DAYS = {
    "date": "ts::date",
    "text": "strftime(ts, '%Y-%m-%d')",
    "compact": "strftime(ts, '%Y%m%d')",
    "number": "strftime(ts, '%Y%m%d')::bigint",
    "short": "strftime(ts, '%Y%m%d')::int",
}


def partitioned(con, spans=THREE, late="", slack=None, form="date"):
    """Return forty days of events by the minute, with a partition in a form, and some late rows."""
    con.raw_sql(
        "create or replace table raw as select i % 3 k, timestamp '2024-01-01' + interval (i)"
        " minute ts, ts as told, i v from range(57600) r(i)"
    )
    if late:
        con.raw_sql(f"insert into raw {late}")
    con.raw_sql(
        f"create or replace table events as select k, ts, v, {DAYS[form].replace('ts', 'told')} as"
        " ds from raw"
    )
    con.raw_sql(
        "create or replace table asked as select k, timestamp '2024-02-01 00:30:00' t from range(2)"
        " r(k)"
    )
    events = con.table("events").drop_null("k")
    # a time that no scan can compare, so that what is skipped is skipped by the partition
    events = events.mutate(at=events.ts + ibis.interval(days=0))
    source = EventSource(events, time="at", partition=events.ds, slack=slack)
    made = GroupBy(
        name="g",
        source=source,
        keys=["k"],
        aggregations=[Aggregation(v, spans) for v in (events.v.sum(), events.count())],
    )
    return made, Join(name="j", left=EventSource(con.table("asked"), time="t"), parts=[made])


@pytest.mark.parametrize("form", DAYS)
@pytest.mark.parametrize("slack", [None, days(1)])
def test_a_partition_prunes_in_every_form(duck, form, slack):
    made, join = partitioned(duck, slack=slack, form=form)
    engine = engine_of(duck)
    spine = engine.keep(ibis.memtable({"_fw_key0": [1], AT: [1_706_747_400_000_000]}))

    rows = (
        seeing(engine, EventRows(made, engine), spine)
        .within(3 * 86_400_000_000)
        .placed(Inputs(), None, None)
    )

    assert (4 if slack is None else 6) * 1440 == scanned(duck, rows)
    for plan in ("pairs", "kernel"):
        assert engine.rows(training_set(join, engine).order_by("k")) == engine.rows(
            backfill(join, plan=plan).order_by("k")
        )


@pytest.mark.parametrize("form", DAYS)
@pytest.mark.parametrize("hours", [-25, 25, 24 * 200, -24 * 200])
def test_a_row_beyond_the_slack_is_refused_and_one_within_it_counts(duck, form, hours):
    """Rule 5: a partition never loses a row.

    The partition is held against the rows, and refused in a sentence that names one of them.
    """
    late = (
        "select 1, timestamp '2024-01-31 00:10:00', timestamp '2024-01-31 00:10:00' + interval"
        f" ({hours}) hour, 7"
    )

    _, wide = partitioned(duck, late=late, slack=timedelta(days=300), form=form)
    want = engine_of(duck).rows(training_set(wide, engine_of(duck)).order_by("k"))
    assert want == engine_of(duck).rows(backfill(wide).order_by("k"))
    for slack in (None, days(1)):
        _, join = partitioned(duck, late=late, slack=slack, form=form)
        within = slack is not None and hours == 25
        if within:
            assert want == engine_of(duck).rows(backfill(join).order_by("k"))
            continue
        with pytest.raises(
            DefinitionError,
            match=r"1 rows of events lie outside of their partition's day.*raise slack=",
        ):
            backfill(join)


def test_a_row_without_a_partition_or_with_one_that_is_no_day_is_refused(duck):
    for told in ("null", "timestamp '0001-01-01'"):
        _, join = partitioned(
            duck,
            late=f"select 1, timestamp '2024-01-31 00:10:00', {told}, 7",
            form="text",
            slack=days(1),
        )
        with pytest.raises(DefinitionError, match="outside of their partition's day"):
            backfill(join)


def test_a_partition_changes_no_hash_and_what_is_none_is_refused_in_a_sentence(duck):
    made, _ = partitioned(duck)
    table = made.source.table.to_expr()
    plain = GroupBy(
        name="g", source=EventSource(table, time="at"), keys=["k"], aggregations=made.aggregations
    )

    assert fingerprint(plain) == fingerprint(made)
    for column, why in (
        (table.at, "not a day"),
        (table.mutate(d=table.ts.date()).d, "is computed"),
        (table.v.cast("int16").name("w"), "not a day"),
    ):
        source = (
            column.op().rel.to_expr()
            if column.get_name() in column.op().find(ops.Relation)[0].schema.names
            else table.mutate(w=column)
        )
        with pytest.raises(DefinitionError, match=why):
            EventSource(source, time="at", partition=column.get_name())
    with pytest.raises(DefinitionError, match="name that column by partition="):
        EventSource(table, time="at", slack=days(1))
    with pytest.raises(DefinitionError, match="one span"):
        EventSource(table, time="at", partition="ds", slack=days(1, 2))


@pytest.mark.parametrize("form", ["date", "text"])
def test_a_wrong_unit_is_looked_for_in_the_partitions_that_a_backfill_sees(duck, form):
    """A row in a wrong unit of another partition is refused by the backfills that read that one.

    Such a row should have been among the rows that this backfill reads.
    """
    wrong = "select 1, timestamp '2300-01-01', {}, 7"

    for told, refused in (
        ("timestamp '2024-01-31'", True),
        ("null", True),
        ("timestamp '2024-01-03'", False),
    ):
        _, join = partitioned(duck, late=wrong.format(told), form=form)
        if refused:
            with pytest.raises(DefinitionError, match="are milliseconds read as seconds"):
                backfill(join)
        else:
            assert 2 == backfill(join).count().execute()
    with pytest.raises(DefinitionError, match="are milliseconds read as seconds"):
        check_source(join.parts[0].group_by, engine_of(duck))


def test_a_dated_backfill_holds_each_step_against_its_partitions(duck, tmp_path):
    late = "select 1, timestamp '2024-01-31 00:10:00', timestamp '2024-01-01', 7"
    _, join = partitioned(duck, late=late)

    with pytest.raises(DefinitionError, match="outside of their partition's day"):
        backfill(join, into=tmp_path / "dated")


def test_a_dated_backfill_looks_through_the_partitions_once(duck, tmp_path, monkeypatch):
    """Issue 7b, item 3: where no scan can compare times, each step read two whole columns.

    A source that is looked at from earlier on is looked through again.
    """
    made, join = partitioned(duck, slack=days(1))
    longer = GroupBy(
        name="l",
        source=made.source,
        keys=["k"],
        aggregations=[trailing(days(9), made.source.table.to_expr().v.sum())],
    )
    duck.raw_sql(
        "insert into asked select k, timestamp '2024-01-20 12:00:00' + interval (k) day from"
        " range(6) r(k)"
    )
    both = Join(name="j", left=join.left, parts=[made, longer])
    looks, astray = [], EventRows.astray
    monkeypatch.setattr(
        EventRows, "astray", lambda self, reach: (looks.append(reach), astray(self, reach))[1]
    )
    whole = backfill(both).order_by("t", "k").to_pyarrow()

    looks.clear()
    steps = backfill(both, into=tmp_path / "steps", step=1).order_by("t", "k").to_pyarrow()

    assert 2 == len(looks)
    assert whole.to_pylist() == steps.select(whole.column_names).to_pylist()


@pytest.mark.slow
def test_an_accuracy_that_is_unstated_is_refused_on_spark_before_a_job_runs(spark):
    """Issue 7b, item 4: it took 86 jobs to say which rows the choice of a plan changes."""
    for name, columns in {
        "unstated": "k int, t timestamp, v bigint",
        "unstated_lefts": "k int, t timestamp",
    }.items():
        spark.raw_sql(f"drop table if exists {name}")
        spark.raw_sql(f"create table {name} ({columns}) using parquet")
    part = GroupBy(
        name="g",
        source=EventSource(spark.table("unstated"), time="t"),
        keys=["k"],
        aggregations=[trailing(THREE, spark.table("unstated").v.sum())],
    )
    join = Join(name="j", left=EventSource(spark.table("unstated_lefts"), time="t"), parts=[part])
    # PySpark hands them out nowhere
    jobs = spark._session.sparkContext._jsc.sc().statusStore().jobsList  # noqa: SLF001
    before = jobs(None).size()

    with pytest.raises(
        DefinitionError,
        match=r"g has no topic, .* its accuracy is unstated: accuracy='temporal' serves it",
    ):
        refuse_unstated(join, [part], spark)

    assert before == jobs(None).size()


# --- snapshots of an entity (rule 6)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["postgres", "spark"])
def test_the_snapshot_in_force_is_found_on_each_engine_in_each_form_of_a_day(engine, request):
    """Issue 7b, item 3: what is not in force is not read; a week without a snapshot is skipped."""
    con = request.getfixturevalue(engine)
    ids, day, made = (
        ("generate_series(0, 99) r(i)", "date '2024-01-01' + i", "")
        if engine == "postgres"
        else ("range(100) r(i)", "date_add(date '2024-01-01', int(i))", "using parquet ")
    )
    for name in ("states", "asked_states"):
        con.raw_sql(f"drop table if exists {name}")
    con.raw_sql(
        f"create table states {made}as select k, i v, d, cast(d as"
        f" {'text' if engine == 'postgres' else 'string'}) s, cast(d as timestamp) + interval '23'"
        f" hour ts from (select i, {day} d from {ids}) x, (values (1), (2)) y(k) where not i"
        " between 40 and 70"
    )
    con.raw_sql(
        f"create table asked_states {made}as select k, timestamp '2024-03-10 06:00:00' t from"
        " (values (1), (2), (9)) y(k)"
    )
    states = con.table("states").mutate(day=lambda t: t.ts.date())
    parts = [
        GroupBy(name=f"g{c}", source=EntitySource(states, snapshot=c), keys=["k"], features=["v"])
        for c in (("d", "s", "day") if engine == "postgres" else ("s", "day"))
    ]

    got = (
        backfill(Join(name="j", left=EventSource(con.table("asked_states"), time="t"), parts=parts))
        .order_by("k")
        .to_pyarrow()
        .to_pylist()
    )

    assert [{39}, {39}, {None}] == [{v for c, v in r.items() if c.endswith("_v")} for r in got]
