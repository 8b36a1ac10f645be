"""Buckets, and lists and maps as inputs, element-wise (semantics rules 14 and 15).

Sums must not wrap (rule 11).
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import cases
import ibis
import pyarrow as pa
import pytest
from ibis import _

import workbench as wb
from workbench import (
    Aggregation,
    DefinitionError,
    EngineError,
    EventSource,
    GroupBy,
    Join,
    backfill,
    days,
    each,
    last_k,
    trailing,
)

D = [datetime(2024, 1, d) for d in range(1, 8)]  # noqa: DTZ001
SCHEMA = pa.schema(
    {
        "k": pa.string(),
        "t": pa.timestamp("us"),
        "c": pa.string(),
        "n": pa.int64(),
        "x": pa.float64(),
        "l": pa.list_(pa.int64()),
        "m": pa.map_(pa.string(), pa.float64()),
        "p": pa.list_(pa.int64()),
    }
)
ROWS = [
    {
        "k": "u",
        "t": D[0],
        "c": "x",
        "n": 5,
        "x": 0.5,
        "l": [1, 2, 3],
        "m": [("p", 1.0), ("q", 2.0)],
        "p": [1, 2],
    },
    {
        "k": "u",
        "t": D[1],
        "c": "y",
        "n": 6,
        "x": 1e15,
        "l": [None, 4],
        "m": [("p", 3.0)],
        "p": [3, None],
    },
    {"k": "u", "t": D[2], "c": None, "n": 7, "x": 0.1, "l": [], "m": [("p", None)], "p": None},
    {"k": "u", "t": D[3], "c": "y", "n": None, "x": None, "l": None, "m": None, "p": None},
    {"k": "v", "t": D[2], "c": "x", "n": None, "x": None, "l": None, "m": None, "p": None},
]


def features(way, *aggregations, at=D[3], rows=ROWS, schema=SCHEMA):
    """Return the features of keys u, v and w as of `at`."""
    con, _plan = way
    events = cases.stored(con, "events", pa.Table.from_pylist(rows, schema))
    left = cases.stored(
        con,
        "lefts",
        pa.Table.from_pylist(
            [{"k": k, "t": at} for k in "uvw"],
            pa.schema({"k": pa.string(), "t": pa.timestamp("us")}),
        ),
    )
    group_by = GroupBy(
        name="g", source=EventSource(events, time="t"), keys=["k"], aggregations=aggregations
    )
    rows = cases.computed(
        way, Join(name="j", left=EventSource(left, time="t"), parts=[group_by])
    ).sort_by("k")
    return [
        tuple(v for c, v in r.items() if c.startswith("g_"))
        for r in rows.to_pylist(maps_as_pydicts="strict")
    ]


def test_a_bucket_gives_a_map_without_null_buckets_or_empty_entries(way):
    by = [
        Aggregation(r, days(2, 3), by="c")
        for r in (_.n.sum(), _.count(), last_k(_.n, 2), _.n.mode().name("mode"))
    ]

    u, v, w = features(way, *by)

    assert (
        {"y": 6},
        {"x": 5, "y": 6},
        {"y": 1},
        {"x": 1, "y": 1},
        {"y": [6]},
        {"x": [5], "y": [6]},
        {"y": 6},
        {"x": 5, "y": 6},
    ) == u
    assert (None, None, {"x": 1}, {"x": 1}, None, None, None, None) == v
    assert (None,) * 8 == w


def test_an_expression_is_finished_in_each_bucket(way):
    u, _v, _w = features(way, Aggregation((_.n.sum() / _.count()).name("r"), days(3), by="c"))

    assert ({"x": 5.0, "y": 6.0},) == u


def test_each_unfolds_lists_and_skips_null_elements(way):
    asked = trailing(
        days(2, 3),
        each(_.l).sum(),
        each(_.l).count(),
        each(_.l).mean(),
        (each(_.l) * _.n).sum().name("product"),
        (each(_.l).sum() / _.count()).name("per_event"),
        wb.histogram(each(_.l)),
    )

    u, v, w = features(way, *asked)

    assert (4, 10, 1, 4, 4.0, 2.5, 24, 54, 2.0, 10 / 3, {4: 1}, {1: 1, 2: 1, 3: 1, 4: 1}) == u
    assert v == w == (None, None, 0, 0) + (None,) * 8


def test_each_of_a_map_aggregates_by_key(way):
    u, v, _w = features(way, *trailing(days(2, 3), each(_.m).mean(), each(_.m).count()))

    assert ({"p": 3.0}, {"p": 2.0, "q": 2.0}, {"p": 1}, {"p": 2, "q": 1}) == u
    assert (None, None, None, None) == v


KEYS = {
    "whole numbers": (pa.int64(), [-1, 2**62 + 1]),
    "decimals": (pa.decimal128(12, 2), [Decimal("-0.10"), Decimal("1234567890.12")]),
    "doubles": (pa.float64(), [1e15, 1e-7]),
    "times": (pa.timestamp("us"), [D[0], D[1].replace(microsecond=1)]),
    "days": (pa.date32(), [D[0].date(), D[1].date()]),
    "truth": (pa.bool_(), [True, False]),
    "texts": (pa.string(), ['a"b', "\\n\n\t {é,\u2028}"]),
}


@pytest.mark.parametrize("kind", KEYS)
def test_keys_and_values_of_any_type_come_back_to_the_bit(way, kind):
    dtype, (a, b) = KEYS[kind]
    rows = [{"k": "u", "t": D[0], "c": c, "m": [("p", c)]} for c in (a, b)]
    schema = pa.schema(
        {"k": pa.string(), "t": pa.timestamp("us"), "c": dtype, "m": pa.map_(pa.string(), dtype)}
    )

    u, _v, _w = features(
        way,
        wb.histogram(_.c),
        Aggregation(_.c.last(), by="c"),
        Aggregation(last_k(_.c, 2), by="c"),
        each(_.m).first(),
        _.m.count(),
        rows=rows,
        schema=schema,
    )

    assert ({a: 1, b: 1}, {a: a, b: b}, {a: [a], b: [b]}, {"p": min(a, b)}, 2) == u


def test_each_by_position_aggregates_position_by_position(way):
    u, v, _w = features(way, *trailing(days(1, 2, 3), each(_.p, by_position=True).sum()))

    assert (None, [3, None], [4, 2]) == u
    assert (None, None, None) == v


def test_lists_of_different_lengths_by_position_are_an_error_that_names_the_key(way):
    rows = [ROWS[0], ROWS[1] | {"p": [1]}]

    with pytest.raises(DefinitionError, match="p of events has lists of 1 to 2 elements for k='u'"):
        features(way, each(_.p, by_position=True).sum(), rows=rows)


def test_without_each_a_list_is_one_value(way):
    if way[0].name == "postgres":  # whose lists of lists are rectangles
        with pytest.raises(
            DefinitionError,
            match=(
                r"l_last2 of g is array<array<int64>>, which Postgres cannot hold: compute it on"
                r" DuckDB or Spark, or reduce the elements"
            ),
        ):
            features(way, last_k(_.l, 2))
        return

    u, _v, _w = features(way, last_k(_.l, 2), _.l.count())

    assert ([[], [None, 4]], 3) == u


def test_a_list_is_first_and_last_as_it_is(way):
    u, _v, _w = features(way, _.l.first(), _.l.last(), _.m.last())

    assert ([1, 2, 3], [], {"p": None}) == u


def test_a_sum_of_integers_that_does_not_fit_is_an_error_and_never_wraps(way):
    rows = [ROWS[0] | {"n": 2**63 - 1}, ROWS[1] | {"n": 1}]

    with pytest.raises(EngineError, match=r"9223372036854775808|out of range|OVERFLOW|overflow"):
        features(way, _.n.sum(), rows=rows)
    (mean,), *_rest = features(way, _.n.mean(), rows=rows)
    assert 2.0**62 == mean


def test_an_intermediate_sum_may_leave_64_bits_if_the_result_does_not(way):
    rows = [ROWS[0] | {"n": n} for n in (2**63 - 1, 2**63 - 1, -(2**63), -(2**63))]

    assert (-2,) == features(way, _.n.sum(), rows=rows)[0]


def test_a_small_value_survives_a_large_one_that_left_the_window(way):
    (in_window,), *_rest = features(way, *trailing(days(1), _.x.sum()))

    assert 0.1 == in_window


def test_a_hundred_thousand_tenths_sum_within_the_bound(duck):
    duck.raw_sql(
        "create table many as select 'u' k, timestamp '2024-01-01' + i * interval 1 second t,"
        " 0.1::double x from range(100000) s(i)"
    )
    left = duck.create_table(
        "lefts", ibis.memtable([{"k": "u", "t": D[6]}], schema={"k": "string", "t": "timestamp"})
    )
    group_by = GroupBy(
        name="g",
        source=EventSource(duck.table("many"), time="t"),
        keys=["k"],
        aggregations=[_.x.sum(), _.x.mean()],
    )

    (row,) = (
        backfill(Join(name="j", left=EventSource(left, time="t"), parts=[group_by]))
        .to_pyarrow()
        .to_pylist()
    )

    assert abs(row["g_x_sum"] - 1e4) <= 1e-12 * 1e4
    assert abs(row["g_x_average"] - 0.1) <= 1e-13


def test_derivations_use_features_and_the_left_and_divide_truly(duck):
    events = duck.create_table("events", pa.Table.from_pylist(ROWS, SCHEMA))
    left = duck.create_table(
        "lefts",
        ibis.memtable(
            [{"k": k, "t": D[3], "amount": 7} for k in "uw"],
            schema={"k": "string", "t": "timestamp", "amount": "int64"},
        ),
    )
    group_by = GroupBy(
        name="g",
        source=EventSource(events, time="t"),
        keys=["k"],
        aggregations=[_.n.sum(), _.n.count()],
        derivations={"mean": _.n_sum / _.n_count},
    )
    join = Join(
        name="j",
        left=EventSource(left, time="t"),
        parts=[group_by],
        derivations={"share": _.amount / _.g_n_sum, "missing": _.g_mean.isnull()},
    )

    got = backfill(join).order_by("k").to_pyarrow().to_pylist()

    assert [(6.0, 7 / 18, False), (None, None, True)] == [
        (r["g_mean"], r["share"], r["missing"]) for r in got
    ]
