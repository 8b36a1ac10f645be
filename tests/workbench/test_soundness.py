"""What once went wrong, or easily would: a failure here means a wrong number without an error."""

from __future__ import annotations

import math
import subprocess
import sys
from datetime import datetime
from decimal import Decimal

import ibis
import pyarrow as pa
import pytest
from ibis import _

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
    each,
    hours,
    preview,
    skew,
    trailing,
)
from workbench.backends import EngineError
from workbench.definitions.canonical import fingerprint

T = datetime(2024, 1, 9)  # noqa: DTZ001


def events(con, rows, types=None, name="e"):
    full = [{"k": 1, "ts": T} | r for r in rows]
    columns = {c: pa.array([r[c] for r in full], (types or {}).get(c)) for c in full[0]}
    return con.create_table(name, pa.table(columns), overwrite=True)


def lefts(con, **columns):
    return con.create_table(
        "l",
        pa.Table.from_pylist([{"k": 1, "ts": datetime(2024, 1, 10)} | columns]),  # noqa: DTZ001
        overwrite=True,
    )


def join(table, left, *aggregations, part=None, **options):
    group_by = GroupBy(
        name="g", source=EventSource(table, time="ts"), keys=["k"], aggregations=aggregations
    )
    return Join(
        name="j",
        left=EventSource(left, time="ts"),
        parts=[JoinPart(group_by, **(part or {}))],
        **options,
    )


def one(con, rows, *aggregations, types=None, source=lambda t: t):
    """Return the features of the one left row, as a tuple."""
    (row,) = (
        backfill(join(source(events(con, rows, types)), lefts(con), *aggregations))
        .to_pyarrow()
        .to_pylist(maps_as_pydicts="strict")
    )
    values = tuple(v for c, v in row.items() if c.startswith("g_"))
    return values[0] if len(values) == 1 else values


# --- rule 9: NaN is a null wherever it stands in a source, and operations agree


def test_nan_is_a_null_in_filters_conditions_keys_and_buckets(duck):
    rows = [{"x": 2.5, "v": 1}, {"x": math.nan, "v": 10}, {"x": math.inf, "v": 100}]

    assert 1 == one(duck, rows, _.count(where=_.x > 1).name("n"))
    assert 3 == one(duck, rows, _.x.fill_null(0.0).count().name("n"))
    assert 1 == one(duck, rows, _.v.sum(), source=lambda t: t.filter(t.x > 1))
    assert {2.5: 1} == one(duck, rows, Aggregation(_.v.sum(), by="x"))
    assert (None, 2) == one(
        duck,
        [rows[1], {"x": 2.7, "v": 1}],
        _.x.min(where=_.v > 5).name("a"),
        _.x.cast("int64").last().name("b"),
    )


def test_nan_of_the_left_stays_in_the_left_and_is_a_null_to_derivations(duck):
    made = join(
        events(duck, [{"v": 1}]),
        lefts(duck, z=math.nan),
        _.v.sum(),
        derivations={"filled": _.z.fill_null(7.0), "above": _.z > 5},
    )

    (row,) = backfill(made).to_pyarrow().to_pylist()

    assert math.isnan(row["z"])
    assert (7.0, None) == (row["filled"], row["above"])


@pytest.mark.parametrize(
    "operation",
    [
        _.x / 2,
        _.x // _.y,
        _.x % _.y,
        _.x.sqrt(),
        _.x.ln(),
        _.ts.epoch_seconds(),
        _.ts.delta(ibis.timestamp("2024-01-01"), unit="hour"),
    ],
)
def test_a_source_may_compute_with_what_is_rewritten(duck, operation):
    rows = [{"x": 9, "y": 2}]
    want = {
        "Divide": 4.5,
        "FloorDivide": 4,
        "Modulus": 1,
        "Sqrt": 3.0,
        "Ln": math.log(9),
        "ExtractEpochSeconds": 1_704_758_400,
        "TimestampDelta": 192,
    }
    table = events(duck, rows)

    got = one(
        duck,
        rows,
        _.made.last(),
        source=lambda t: t.mutate(made=operation.resolve(t)).filter(_.made > 0.5),
    )

    assert math.isclose(want[type(operation.resolve(table).op()).__name__], got)


def test_floor_division_of_large_integers_is_exact(duck):
    for n, d in (
        (1_700_000_000_999_999_999, 10**9),
        (-(2**62) - 1, 3),
        (2**62 + 7, -5),
        (9, 2),
        (-9, 2),
        (9, -2),
    ):
        assert n // d == one(duck, [{"n": n, "d": d}], (_.n // _.d).last().name("q"))


def test_a_cast_that_may_fail_drops_the_fraction_too(duck):
    assert 2 == one(duck, [{"x": 2.7}], _.x.try_cast("int64").last().name("i"))


# --- rule 11: exact types are exact


def test_products_of_decimals_keep_every_digit(duck):
    rows, types = (
        [{"p": Decimal("0.05"), "r": Decimal("0.05")}],
        {
            "p": pa.decimal128(10, 2),
            "r": pa.decimal128(10, 2),
        },
    )

    got = one(
        duck,
        rows,
        (_.p * _.r).sum().name("a"),
        (_.p * _.r).last().name("b"),
        (_.p.sum() * _.r.sum()).name("c"),
        types=types,
    )

    assert (Decimal("0.0025"),) * 3 == got
    assert math.isclose(
        21.989,
        one(
            duck,
            [{"p": Decimal("19.99")}],
            (_.p * 1.1).sum().name("a"),
            types={"p": pa.decimal128(10, 2)},
        ),
    )


def test_narrow_integers_do_not_overflow_in_between(duck):
    assert 200 == one(duck, [{"a": 100}], (_.a + _.a).last().name("s"), types={"a": pa.int8()})
    assert 10**10 == one(
        duck, [{"a": 10**5}], (_.a * _.a).last().name("s"), types={"a": pa.int32()}
    )
    assert -1 == one(
        duck,
        [{"a": 1, "b": 2}],
        (_.a - _.b).last().name("s"),
        types={"a": pa.uint8(), "b": pa.uint8()},
    )


def test_unsigned_integers_beyond_64_bits_have_a_mean_and_an_error_for_a_sum(duck):
    rows, types = [{"u": 2**63 + 1}, {"u": 1}], {"u": pa.uint64()}

    assert math.isclose(2.0**62, one(duck, rows, _.u.mean(), types=types))
    with pytest.raises(EngineError, match="9223372036854775810"):
        one(duck, rows, _.u.sum(), types=types)


def test_the_spread_of_large_integers_is_exact(duck):
    rows = [{"n": 10**18 + i} for i in (0, 1, 3)]

    variance, crooked = one(duck, rows, _.n.var(), skew(_.n))

    assert math.isclose(7 / 3, variance)
    assert math.isclose(0.38180177416060573, crooked, rel_tol=1e-9)


# --- rules 6 and 17: entities


def entity(con, rows):
    return con.create_table("u", pa.Table.from_pylist(rows), overwrite=True)


def test_max_age_nulls_the_counts_of_a_key_that_an_old_snapshot_lacks(duck):
    table = entity(duck, [{"ds": "2024-01-01", "k": 2, "v": 1}])
    group_by = GroupBy(
        name="g", source=EntitySource(table, snapshot="ds"), keys=["k"], aggregations=[_.count()]
    )

    (row,) = (
        backfill(
            Join(
                name="j",
                left=EventSource(lefts(duck), time="ts"),
                parts=[JoinPart(group_by, max_age=days(2))],
            )
        )
        .to_pyarrow()
        .to_pylist()
    )

    assert None is row["g_count"]


def test_a_filter_hides_rows_of_a_snapshot_and_not_the_snapshot(duck):
    table = entity(
        duck,
        [
            {"ds": "2024-01-01", "k": 1, "v": 1, "on": True},
            {"ds": "2024-01-05", "k": 1, "v": 2, "on": False},
        ],
    )
    group_by = GroupBy(
        name="g",
        source=EntitySource(table.filter(table.on), snapshot="ds"),
        keys=["k"],
        features=["v"],
    )

    (row,) = (
        backfill(Join(name="j", left=EventSource(lefts(duck), time="ts"), parts=[group_by]))
        .to_pyarrow()
        .to_pylist()
    )

    assert None is row["g_v"]


def test_snapshot_text_that_is_no_iso_date_is_named(duck):
    group_by = GroupBy(
        name="g",
        source=EntitySource(entity(duck, [{"ds": "01.03.2024", "k": 1, "v": 1}]), snapshot="ds"),
        keys=["k"],
        features=["v"],
    )

    with pytest.raises(
        DefinitionError, match=r"snapshot 'ds' of u holds '01.03.2024', which is no ISO date"
    ):
        backfill(Join(name="j", left=EventSource(lefts(duck), time="ts"), parts=[group_by]))


# --- windows, buckets and lists together


def test_one_window_under_two_names_gives_two_equal_features(duck):
    assert (5, 5) == one(
        duck, [{"v": 5}], trailing(days(1), _.v.sum()), trailing(hours(24), _.v.sum())
    )


def test_a_list_may_be_unfolded_in_buckets(duck):
    assert {"a": 3} == one(
        duck,
        [{"c": "a", "l": [1, 2]}, {"c": "b", "l": []}, {"c": None, "l": [9]}],
        Aggregation(each(_.l).sum(), by="c"),
    )


# --- what a definition means


def test_tables_of_two_databases_are_two_tables(duck):
    duck.raw_sql(
        "create schema public; create table public.e as select 1 k, timestamp '2024-01-09' ts, 1000"
        " v; attach ':memory:' as other; create table other.main.e as select 1 k, timestamp"
        " '2024-01-09' ts, 100 v"
    )
    events(duck, [{"v": 1}])
    left = lefts(duck)

    got = [
        backfill(join(duck.table("e", database=place), left, _.v.sum()))
        .to_pyarrow()["g_v_sum"]
        .to_pylist()
        for place in (None, "main", "public", ("other", "main"))
    ]

    assert [[1], [1], [1000], [100]] == got
    assert 3 == len(
        {
            join(duck.table("e", database=place), left, _.v.sum())
            for place in (None, "main", "public", ("other", "main"))
        }
    )


def test_definitions_of_other_meaning_are_never_equal(duck):
    table = ibis.table(
        {"k": "int64", "ts": "timestamp", "b": "boolean", "i": "int64", "x": "float64"}, name="e"
    )
    sources = [
        table,
        table.fill_null({"i": 1}),
        table.fill_null({"b": False, "i": 1}),
        table.drop_null(),
        table.drop_null([]),
        table.filter(_.i > 1),
        table.filter(_.i >= 1),
        table.mutate(i=_.i.cast("float64").cast("int64")),
        table.rename(i="x", x="i"),
    ]

    assert len(sources) == len(
        {
            GroupBy(
                name="g",
                source=EventSource(s, time="ts"),
                keys=["k"],
                aggregations=[_.count(), _.i.count()],
            )
            for s in sources
        }
    )


def test_the_lefts_columns_are_part_of_what_a_join_means(duck):
    source, left = events(duck, [{"v": 1}]), lefts(duck, y=1)
    wider, other = left.mutate(lab=_.y), left.mutate(y=_.y.cast("float64"))

    assert 3 == len({fingerprint(join(source, table, _.v.sum())) for table in (left, wider, other)})


UDF = """
import ibis, sys
from workbench import EventSource, GroupBy
from workbench.definitions.canonical import fingerprint
@ibis.udf.scalar.python
def h(x: int) -> int:
    return x + {n}
t = ibis.table(dict(k="int64", ts="timestamp", i="int64"), name="e")
print(fingerprint(GroupBy(
    name="g",
    source=EventSource(t.mutate(j=h(t.i)), time="ts"),
    keys=["k"],
    aggregations=[ibis._.j.sum()],
)))
"""


def test_what_a_function_does_is_part_of_the_hash_and_not_how_often_it_was_defined():
    def run(code):
        return subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()

    plus_one, plus_two = run(UDF.format(n=1)), run(UDF.format(n=2))

    assert plus_one != plus_two
    assert [*plus_one, *plus_one] == run(UDF.format(n=1) + UDF.format(n=1))


# --- tables


def test_a_table_named_like_one_being_built_is_left_alone(duck):
    source, left = events(duck, [{"v": 1}]), lefts(duck)
    backfill(join(source, left, _.v.sum()), into="features__20240101")

    backfill(join(source, left, _.v.sum()), into="features")

    assert {"features", "features__20240101"} <= set(duck.list_tables())


def test_a_table_made_by_hand_in_place_of_a_dropped_one_is_left_alone(duck):
    made = join(events(duck, [{"v": 1}]), lefts(duck), _.v.sum())
    backfill(made, into="out")
    duck.raw_sql("drop table out; create table out as select 7 as mine from range(3)")

    with pytest.raises(
        EngineError,
        match=(
            "table 'out' on DuckDB has 3 rows where its finished days had 1: something else"
            " wrote it"
        ),
    ):
        backfill(made, into="out")


def test_a_rebuild_never_loses_days_that_the_left_forgot(duck):
    source = events(duck, [{"v": 1}])
    left = duck.create_table(
        "l",
        pa.Table.from_pylist([{"k": 1, "ts": datetime(2024, 1, d)} for d in (10, 11)]),  # noqa: DTZ001
    )
    backfill(join(source, left, _.v.sum()), into="out")
    duck.raw_sql("delete from l where ts < timestamp '2024-01-11'")

    with pytest.raises(
        DefinitionError,
        match=(
            "its left has lost rows of 2024-01-10 since out was filled: rebuilding would lose"
            " them too"
        ),
    ):
        backfill(join(source, left, _.v.max()), into="out")

    assert 2 == duck.table("out").count().to_pyarrow().as_py()


def test_a_file_without_a_name_cannot_fill_a_stored_table(duck, tmp_path):
    events(duck, [{"v": 1}]).to_parquet(tmp_path / "e.parquet")
    nameless, named = (
        duck.read_parquet(tmp_path / "e.parquet"),
        duck.read_parquet(tmp_path / "e.parquet", table_name="named"),
    )

    with pytest.raises(DefinitionError, match="a file without a name: name it"):
        backfill(join(nameless, lefts(duck), _.v.sum()), into="out")
    assert (
        1 == backfill(join(named, lefts(duck), _.v.sum()), into="out").count().to_pyarrow().as_py()
    )


def test_a_result_may_be_the_left_of_another_join(duck):
    source = events(duck, [{"v": 1}])
    second = join(source, backfill(join(source, lefts(duck), _.v.sum())).drop("g_v_sum"), _.v.max())

    assert [1] == backfill(second).to_pyarrow()["g_v_max"].to_pylist()


def test_in_memory_tables_alone_need_no_connection():
    source = ibis.memtable({"k": [1], "ts": [T], "v": [5]})
    left = ibis.memtable({"k": [1], "ts": [datetime(2024, 1, 10)]})  # noqa: DTZ001

    assert [5] == backfill(join(source, left, _.v.sum())).to_pyarrow()["g_v_sum"].to_pylist()


def test_a_declared_integer_is_never_read_from_fractions(duck):
    events(duck, [{"v": 2.7}])
    declared = ibis.table({"k": "int64", "ts": "timestamp", "v": "int64"}, name="e")

    with pytest.raises(EngineError, match=r"e\.v is float64 on DuckDB and int64 in the definition"):
        backfill(join(declared, lefts(duck), _.v.sum()), on=duck)


@pytest.mark.parametrize(
    ("there", "declared"),
    [
        ("decimal(12, 4)", "decimal(12, 2)"),
        ("bigint", "float64"),
        ("double", "float32"),
        ("decimal(12, 2)", "int64"),
    ],
)
def test_nothing_is_rounded_on_the_way_from_the_warehouse(duck, there, declared):
    duck.raw_sql(f"create table e as select 1 k, timestamp '2024-01-09' ts, 2::{there} v")
    table = ibis.table({"k": "int64", "ts": "timestamp", "v": declared}, name="e")

    with pytest.raises(
        EngineError,
        match=r"e\.v is .* on DuckDB and .* in the definition: cast it in the warehouse",
    ):
        backfill(join(table, lefts(duck), _.v.max()), on=duck)


# --- the preview's words


def test_an_event_without_a_value_is_no_expired_one(duck):
    made = join(
        events(duck, [{"v": None}], {"v": pa.int64()}),
        lefts(duck),
        _.v.sum(),
        part={"max_age": days(3)},
    )

    assert "input null" == preview(made).page.nulls[0]["g_v_sum"]


def test_an_event_in_no_bucket_or_with_an_empty_list_does_not_count(duck):
    rows = [
        {"c": None, "v": 1, "l": [1]},
        {"c": "a", "v": 2, "l": []},
        {"c": "b", "v": 3, "l": [2]},
    ]
    made = join(
        events(duck, rows),
        lefts(duck),
        Aggregation(_.v.sum(), days(3), by="c"),
        trailing(days(3), each(_.l).sum()),
    )

    assert 2 == preview(made, 1, "g_v_sum_3d_by_c").moment.count("counts")
    assert 2 == preview(made, 1, "g_l_sum_3d").moment.count("counts")
