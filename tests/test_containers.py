"""Buckets, lists and maps as inputs, element-wise (semantics rules 14 and 15), and sums that must not wrap (rule 11)."""

from __future__ import annotations

from datetime import datetime

import ibis
import pytest
from ibis import _

import workbench as wb
from workbench import Aggregation, DefinitionError, EngineError, EventSource, GroupBy, Join, backfill, days, each, last_k, trailing

D = [datetime(2024, 1, d) for d in range(1, 8)]  # noqa: DTZ001
SCHEMA = {"k": "string", "t": "timestamp", "c": "string", "n": "int64", "x": "float64", "l": "array<int64>", "m": "map<string, float64>", "p": "array<int64>"}
ROWS = [
    {"k": "u", "t": D[0], "c": "x", "n": 5, "x": 0.5, "l": [1, 2, 3], "m": {"p": 1.0, "q": 2.0}, "p": [1, 2]},
    {"k": "u", "t": D[1], "c": "y", "n": 6, "x": 1e15, "l": [None, 4], "m": {"p": 3.0}, "p": [3, None]},
    {"k": "u", "t": D[2], "c": None, "n": 7, "x": 0.1, "l": [], "m": {"p": None}, "p": None},
    {"k": "u", "t": D[3], "c": "y", "n": None, "x": None, "l": None, "m": None, "p": None},
    {"k": "v", "t": D[2], "c": "x", "n": None, "x": None, "l": None, "m": None, "p": None},
]


def features(con, *aggregations, at=D[3], rows=ROWS):
    """The features of keys u, v and w as of `at`."""
    events = con.create_table("events", ibis.memtable(rows, schema=SCHEMA), overwrite=True)
    left = con.create_table("lefts", ibis.memtable([{"k": k, "t": at} for k in "uvw"], schema={"k": "string", "t": "timestamp"}), overwrite=True)
    group_by = GroupBy(name="g", source=EventSource(events, time="t"), keys=["k"], aggregations=aggregations)
    got = backfill(Join(name="j", left=EventSource(left, time="t"), parts=[group_by])).order_by("k").to_pyarrow().to_pylist(maps_as_pydicts="strict")
    return [tuple(v for c, v in r.items() if c.startswith("g_")) for r in got]


def test_a_bucket_gives_a_map_without_null_buckets_or_empty_entries(duck):
    by = [Aggregation(r, days(2, 3), by="c") for r in (_.n.sum(), _.count(), last_k(_.n, 2), _.n.mode().name("mode"))]

    u, v, w = features(duck, *by)

    assert ({"y": 6}, {"x": 5, "y": 6}, {"y": 1}, {"x": 1, "y": 1}, {"y": [6]}, {"x": [5], "y": [6]}, {"y": 6}, {"x": 5, "y": 6}) == u
    assert (None, None, {"x": 1}, {"x": 1}, None, None, None, None) == v
    assert (None,) * 8 == w


def test_an_expression_is_finished_in_each_bucket(duck):
    u, _v, _w = features(duck, Aggregation((_.n.sum() / _.count()).name("r"), days(3), by="c"))

    assert ({"x": 5.0, "y": 6.0},) == u


def test_each_unfolds_lists_and_skips_null_elements(duck):
    asked = trailing(days(2, 3), each(_.l).sum(), each(_.l).count(), each(_.l).mean(), (each(_.l) * _.n).sum().name("product"), (each(_.l).sum() / _.count()).name("per_event"), wb.histogram(each(_.l)))

    u, v, w = features(duck, *asked)

    assert (4, 10, 1, 4, 4.0, 2.5, 24, 54, 2.0, 10 / 3, {4: 1}, {1: 1, 2: 1, 3: 1, 4: 1}) == u
    assert v == w == (None, None, 0, 0) + (None,) * 8


def test_each_of_a_map_aggregates_by_key(duck):
    u, v, _w = features(duck, *trailing(days(2, 3), each(_.m).mean(), each(_.m).count()))

    assert ({"p": 3.0}, {"p": 2.0, "q": 2.0}, {"p": 1}, {"p": 2, "q": 1}) == u
    assert (None, None, None, None) == v


def test_each_by_position_aggregates_position_by_position(duck):
    u, v, _w = features(duck, *trailing(days(1, 2, 3), each(_.p, by_position=True).sum()))

    assert (None, [3, None], [4, 2]) == u
    assert (None, None, None) == v


def test_lists_of_different_lengths_by_position_are_an_error_that_names_the_key(duck):
    rows = [ROWS[0], ROWS[1] | {"p": [1]}]

    with pytest.raises(DefinitionError, match="p of events has lists of 1 to 2 elements for k='u'"):
        features(duck, each(_.p, by_position=True).sum(), rows=rows)


def test_without_each_a_list_is_one_value(duck):
    u, _v, _w = features(duck, last_k(_.l, 2), _.l.count())

    assert ([[], [None, 4]], 3) == u


def test_a_sum_of_integers_that_does_not_fit_is_an_error_and_never_wraps(duck):
    rows = [ROWS[0] | {"n": 2**63 - 1}, ROWS[1] | {"n": 1}]

    with pytest.raises(EngineError, match="9223372036854775808"):
        features(duck, _.n.sum(), rows=rows)
    ((mean,), *_rest) = features(duck, _.n.mean(), rows=rows)
    assert 2.0**62 == mean


def test_an_intermediate_sum_may_leave_64_bits_if_the_result_does_not(duck):
    rows = [ROWS[0] | {"n": n} for n in (2**63 - 1, 2**63 - 1, -(2**63), -(2**63))]

    assert (-2,) == features(duck, _.n.sum(), rows=rows)[0]


def test_a_small_value_survives_a_large_one_that_left_the_window(duck):
    ((in_window,), *_rest) = features(duck, *trailing(days(1), _.x.sum()))

    assert 0.1 == in_window


def test_a_hundred_thousand_tenths_sum_within_the_bound(duck):
    duck.raw_sql("create table many as select 'u' k, timestamp '2024-01-01' + i * interval 1 second t, 0.1::double x from range(100000) s(i)")
    left = duck.create_table("lefts", ibis.memtable([{"k": "u", "t": D[6]}], schema={"k": "string", "t": "timestamp"}))
    group_by = GroupBy(name="g", source=EventSource(duck.table("many"), time="t"), keys=["k"], aggregations=[_.x.sum(), _.x.mean()])

    (row,) = backfill(Join(name="j", left=EventSource(left, time="t"), parts=[group_by])).to_pyarrow().to_pylist()

    assert abs(row["g_x_sum"] - 1e4) <= 1e-12 * 1e4
    assert abs(row["g_x_average"] - 0.1) <= 1e-13


def test_derivations_use_features_and_the_left_and_divide_truly(duck):
    events = duck.create_table("events", ibis.memtable(ROWS, schema=SCHEMA))
    left = duck.create_table("lefts", ibis.memtable([{"k": k, "t": D[3], "amount": 7} for k in "uw"], schema={"k": "string", "t": "timestamp", "amount": "int64"}))
    group_by = GroupBy(name="g", source=EventSource(events, time="t"), keys=["k"], aggregations=[_.n.sum(), _.n.count()], derivations={"mean": _.n_sum / _.n_count})
    join = Join(name="j", left=EventSource(left, time="t"), parts=[group_by], derivations={"share": _.amount / _.g_n_sum, "missing": _.g_mean.isnull()})

    got = backfill(join).order_by("k").to_pyarrow().to_pylist()

    assert [(6.0, 7 / 18, False), (None, None, True)] == [(r["g_mean"], r["share"], r["missing"]) for r in got]
