"""N8: what `backfill` hands out are the numbers that the engine computed, however they are read."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import ibis
import pandas as pd
import pytest
from driver_memory import measure_growth
from ibis import _

from workbench import EventSource, GroupBy, Join, backfill, compare, histogram, last_k
from workbench.backends import engine_of

LARGE = 2**53 + 1  # no double
SMALL = -(2**63) + 1
DUCK, PG, SPARK = "duckdb", "postgres", "pyspark"


def naive(*parts):
    return datetime(*parts)  # noqa: DTZ001 the tables' timestamps are naive UTC


def literals(everywhere=None, **by_engine):
    return dict.fromkeys((DUCK, PG, SPARK), everywhere) | by_engine


# A column of the left of each type: how each engine writes its value, none where it has no such
# type, and the value.
COLUMNS = {
    "large": (literals(f"cast({LARGE} as bigint)"), LARGE),
    "least": (literals(f"cast({SMALL} as bigint)"), SMALL),
    "short": (literals("cast(7 as smallint)"), 7),
    "unsigned": ({DUCK: "18446744073709551615::ubigint"}, 2**64 - 1),
    "truth": (literals("true"), True),
    "text": (literals("'a''b'"), "a'b"),
    "double": (literals("cast(0.1 as double precision)", pyspark="0.1D"), 0.1),
    "wide": (
        literals(
            "cast(12345678901234567890.123456789 as decimal(38, 9))",
            pyspark="cast('12345678901234567890.123456789' as decimal(38, 9))",
        ),
        Decimal("12345678901234567890.123456789"),
    ),
    "early_day": (literals("date '1600-01-02'"), date(1600, 1, 2)),
    "early": (
        literals(
            "timestamp '1600-01-02 03:04:05.123456'",
            pyspark="timestamp_ntz '1600-01-02 03:04:05.123456'",
        ),
        naive(1600, 1, 2, 3, 4, 5, 123456),
    ),
    "late": (
        literals(
            "timestamp '3000-01-02 03:04:05.123456'",
            pyspark="timestamp_ntz '3000-01-02 03:04:05.123456'",
        ),
        naive(3000, 1, 2, 3, 4, 5, 123456),
    ),
    "zoned": (
        literals("timestamptz '1899-01-02 03:04:05.5+00'", pyspark=None),
        datetime(1899, 1, 2, 3, 4, 5, 500000, UTC),
    ),
    "of_session": (
        {SPARK: "timestamp '1899-01-02 03:04:05.5'"},
        naive(1899, 1, 2, 3, 4, 5, 500000),
    ),
    "bytes": ({DUCK: r"'x\x00'::blob", PG: r"'\x7800'::bytea", SPARK: "X'7800'"}, b"x\0"),
    "wholes": (
        {
            DUCK: f"[{LARGE}, null]::bigint[]",
            PG: f"array[{LARGE}, null]::bigint[]",
            SPARK: f"array({LARGE}L, null)",
        },
        [LARGE, None],
    ),
    "mapped": (
        {DUCK: f"map {{'a': {LARGE}, 'b': null}}", SPARK: f"map('a', {LARGE}L, 'b', null)"},
        {"a": LARGE, "b": None},
    ),
    "several": (
        {
            DUCK: f"{{'x': {LARGE}, 'y': null::bigint}}",
            SPARK: f"named_struct('x', {LARGE}L, 'y', cast(null as bigint))",
        },
        {"x": LARGE, "y": None},
    ),
    "nested": (
        {DUCK: f"[map {{'a': [{LARGE}]}}]", SPARK: f"array(map('a', array({LARGE}L)))"},
        [{"a": [LARGE]}],
    ),
}


def typed(con, name="handed"):
    """Return the columns and expected values of a left table with one full row and one of nulls.

    The row of nulls still has its key and its time.
    """
    there = {c: (sql[con.name], v) for c, (sql, v) in COLUMNS.items() if sql.get(con.name)}
    columns = ", ".join(f"{sql} as {c}" for c, (sql, _) in there.items())
    empty = ", ".join("null" for _ in there)
    at = "timestamp '2024-01-02'"
    put(
        con,
        f"{name}_left",
        f"select 'a' as k, {at} as ts, {columns} union all select 'b', {at}, {empty}",
    )
    put(
        con,
        f"{name}_events",
        f"select 'a' as k, cast({LARGE} as bigint) as v, timestamp '2024-01-01' as ts",
    )
    return (
        con.table(f"{name}_left"),
        con.table(f"{name}_events"),
        {c: v for c, (_, v) in there.items()},
    )


def put(con, name, query):
    if con.name == SPARK:
        con.raw_sql(query).createOrReplaceTempView(name)
    else:
        con.raw_sql(f"drop table if exists {name}")
        con.raw_sql(f"create table {name} as {query}")


def handed(con, *aggregations, **options):
    left, events, values = typed(con)
    group_by = GroupBy(
        name="g",
        source=EventSource(events, time="ts"),
        keys=["k"],
        aggregations=list(aggregations) or [events.v.sum()],
    )
    return (
        backfill(
            Join(name="handed", left=EventSource(left, time="ts"), parts=[group_by]), **options
        ),
        values,
    )


def as_python(value):
    """Return a cell of pandas as the plain value that it stands for."""
    if isinstance(value, list | dict):
        return value
    if pd.isna(value):
        return None
    if isinstance(value, pd.Timestamp):
        return value.to_pydatetime()
    return value


def by_pandas(frame):
    return [{c: as_python(v) for c, v in row.items()} for row in frame.to_dict("records")]


def arrow_rows(rows):
    return rows.to_pylist(maps_as_pydicts="strict")


# Everything that a person may do with the table to see its rows, as plain rows.
WAYS = {
    "arrow": lambda t: arrow_rows(t.to_pyarrow()),
    "arrow batches": lambda t: arrow_rows(t.to_pyarrow_batches(chunk_size=1).read_all()),
    "pandas": lambda t: by_pandas(t.to_pandas()),
    "execute": lambda t: by_pandas(t.execute()),
    "pandas batches": lambda t: [
        row for frame in t.to_pandas_batches(chunk_size=1) for row in by_pandas(frame)
    ],
    "head": lambda t: arrow_rows(t.head(2).to_pyarrow()),
    "limit": lambda t: by_pandas(t.execute(limit=2)),
    "filter": lambda t: arrow_rows(t.filter(t.k.isin(["a", "b"])).to_pyarrow()),
    "expression": lambda t: arrow_rows(t.mutate(large=t.large + 0).to_pyarrow()),
    "aggregate": lambda t: arrow_rows(t.group_by("k").agg(large=t.large.max()).to_pyarrow()),
    "interchange": lambda t: arrow_rows(pd_arrow(t)),
    "a column": lambda t: [{"large": v} for v in t.large.to_pyarrow().to_pylist()],
    "a series": lambda t: [{"large": as_python(v)} for v in t.large.execute().tolist()],
}


def pd_arrow(table):
    import pyarrow as pa

    return pa.table(table)  # by __arrow_c_stream__


@pytest.fixture(
    scope="module",
    params=[
        DUCK,
        pytest.param("postgres", marks=pytest.mark.slow),
        pytest.param("spark", marks=pytest.mark.slow),
    ],
)
def given(request):
    con = ibis.duckdb.connect() if request.param == DUCK else request.getfixturevalue(request.param)
    return handed(con)


def told(value):
    """Return what pandas makes of a date: its midnight."""
    return naive(value.year, value.month, value.day) if type(value) is date else value


@pytest.mark.parametrize("way", WAYS)
def test_every_value_of_every_type_comes_as_the_engine_has_it(given, way):
    table, values = given

    rows = sorted(WAYS[way](table), key=lambda row: row.get("large") is None)

    full = values | {"g_v_sum": LARGE}
    seen = [c for c in full if c in rows[0]]
    assert {c: told(full[c]) for c in seen} == {c: told(rows[0][c]) for c in seen}
    assert [None] * len(seen) == [rows[1][c] for c in seen]
    assert seen


def test_a_scalar_a_parameter_and_a_table_of_ones_own_beside_it(given):
    table, _ = given
    con = table.get_backend()
    least = ibis.param("int64")
    put(
        con,
        "beside",
        f"select 'a' as k, cast({LARGE} as bigint) as mine union all select 'b', null",
    )

    both = table.select("k", "g_v_sum").join(con.table("beside"), "k").order_by("k")

    assert LARGE == table.g_v_sum.max().to_pyarrow().as_py()
    assert LARGE == table.g_v_sum.max().execute()
    assert [LARGE] == table.filter(table.large >= least).large.to_pyarrow(
        params={least: LARGE}
    ).to_pylist()
    assert [(LARGE, LARGE), (None, None)] == [
        (r["g_v_sum"], r["mine"]) for r in both.to_pyarrow().to_pylist()
    ]


def test_whole_numbers_keep_their_type_beside_a_null(given):
    frame = given[0].order_by("k").execute()

    assert pd.Int64Dtype() == frame["g_v_sum"].dtype
    assert "int64" == given[0].filter(_.k == "a").execute()["g_v_sum"].dtype


def test_expressions_of_other_tables_are_read_as_ibis_reads_them(given):
    con = given[0].get_backend()
    put(con, "others", "select 'a' as k, cast(1 as bigint) as n union all select 'b', null")

    assert "float64" == con.table("others").execute()["n"].dtype  # Ibis's own
    assert {1, None} == set(con.table("others").n.to_pyarrow().to_pylist())


@pytest.mark.slow
def test_maps_and_lists_of_features_come_from_spark_as_arrow(spark):
    table, _ = handed(spark, histogram(ibis._.v.cast("string")).name("h"), last_k(ibis._.v, 2))

    rows = sorted(table.to_pyarrow().to_pylist(maps_as_pydicts="strict"), key=lambda r: r["k"])

    assert [{str(LARGE): 1}, None] == [r["g_h"] for r in rows]
    assert [[LARGE], None] == [r["g_v_last2"] for r in rows]


@pytest.mark.slow
@pytest.mark.parametrize("place", ["a table", "a folder"])
def test_a_dated_result_of_spark_is_read_so_too(spark, tmp_path, place):
    table, _ = handed(spark, into="handed_days" if place == "a table" else tmp_path / "days")

    assert {LARGE, None} == set(table.g_v_sum.to_pyarrow().to_pylist())
    assert {LARGE, None} == set(table.to_pyarrow()["large"].to_pylist())


@pytest.mark.slow
def test_compare_reads_spark_as_backfill_hands_it_out(spark):
    _left, events, _values = typed(spark)
    put(
        spark,
        "handed_off",
        f"select 'a' as k, cast({LARGE - 1} as bigint) as v, timestamp '2024-01-01' as ts",
    )
    con = ibis.duckdb.connect()
    con.create_table("handed_events", spark.table("handed_off").to_pyarrow())
    con.create_table("few", pd.DataFrame({"k": ["a", "b"], "ts": [naive(2024, 1, 2)] * 2}))
    put(spark, "few", "select k, ts from handed_left")
    group_by = GroupBy(
        name="g", source=EventSource(events, time="ts"), keys=["k"], aggregations=[events.v.sum()]
    )

    found = compare(
        Join(name="handed", left=EventSource(spark.table("few"), time="ts"), parts=[group_by]),
        on=[spark, con],
    )

    assert (LARGE, LARGE - 1) == found.differences[0].given


WIDE = "select id, repeat(chr(97 + id % 26), 1000) as s from range(0, 20000, 1, {parts})"


@pytest.mark.slow
def test_spark_keeps_nothing_of_the_rows_that_came(spark):
    """7b: what an upload or a batch of results reads is gone with it.

    Each left all its rows in the driver, until none had room.
    """
    engine = engine_of(spark)
    table = spark.sql(WIDE.format(parts=4))
    # Rows come in the order of the partitions.
    assert list(range(20_000)) == engine.batches(table).read_all()["id"].to_pylist()
    sizes = []

    growth = measure_growth(
        spark._session,  # noqa: SLF001 Ibis hands out no session
        lambda: sizes.append(sum(batch.nbytes for batch in engine.batches(table))),
    )

    assert sizes[0] > 20_000_000
    assert growth < sizes[0] / 2
