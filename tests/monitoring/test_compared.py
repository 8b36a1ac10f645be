"""Classes and figures of values side by side: typed and null-safe.

By Chronon's names they are as Chronon has them.
"""

from __future__ import annotations

import math
from datetime import date, datetime
from decimal import Decimal

import ibis
import pyarrow as pa
import pytest
from ibis import _

from workbench import (
    EventSource,
    GroupBy,
    Join,
    approx_histogram,
    approx_percentile,
    days,
    trailing,
)
from workbench.monitoring.comparison.feature_verdicts import ServedDifference, judged
from workbench.monitoring.comparison.recompute import Tolerance
from workbench.monitoring.comparison.served_answers import ROW, column
from workbench.monitoring.comparison.value_classes import CLASSES, by_hour, classed, rated, suspects

HOUR = 3_600_000_000
LIST, MAP = pa.list_(pa.int64()), pa.map_(pa.string(), pa.int64())


def beside(con, pairs, kind, *, states=None, told=None, there=None, hours=None, same=None):
    """Return a table of (online, offline) values, as comparisons take it."""
    n = len(pairs)
    columns = {
        ROW: pa.array(range(n), pa.int64()),
        "at": pa.array([HOUR * h for h in hours or [0] * n], pa.int64()),
        "key": pa.array(range(n), pa.int64()),
        "state": pa.array(states or ["scored"] * n, pa.string()),
        "there": pa.array(there or [True] * n, pa.bool_()),
        "f0": pa.array([on for on, _ in pairs], kind),
        "a0": pa.array([off for _, off in pairs], kind),
        "t0": pa.array(told or [True] * n, pa.bool_()),
        "c0": pa.array(same or [None] * n, pa.bool_()),
    }
    return con.create_table(ibis.util.gen_name("beside"), pa.table(columns))


def classes(con, pairs, kind, **more):
    return (
        classed(beside(con, pairs, kind, **more), 0).order_by(ROW).to_pyarrow()["class"].to_pylist()
    )


@pytest.mark.parametrize(
    ("kind", "value", "other"),
    [
        (pa.int64(), 2**53 + 1, 2**53),
        (pa.float64(), 0.5, 0.25),
        (pa.string(), "é", "e"),
        (pa.bool_(), True, False),
        (pa.date32(), date(2024, 1, 1), date(2024, 1, 2)),
        (
            pa.timestamp("us"),
            datetime(2024, 1, 1),  # noqa: DTZ001 as the tables have it
            datetime(2024, 1, 1, 0, 0, 0, 1),  # noqa: DTZ001 as the tables have it
        ),
        (
            pa.timestamp("us", "UTC"),
            datetime(2024, 1, 1),  # noqa: DTZ001 as the tables have it
            datetime(2024, 1, 1, 0, 0, 0, 1),  # noqa: DTZ001 as the tables have it
        ),
        (pa.decimal128(20, 2), Decimal("12345678901234567.89"), Decimal("12345678901234567.88")),
        (pa.binary(), b"\x00a", b"\x00b"),
        (LIST, [1, None, 2], [1, 2]),
        (LIST, [], [None]),
        (MAP, [("a", 1)], [("a", 2)]),
    ],
    ids=str,
)
def test_values_of_every_type_are_matched_to_the_bit_and_nulls_by_class(duck, kind, value, other):
    pairs = [(value, value), (value, other), (None, None), (None, value), (value, None)]

    assert ["match", "value_diff", "match", "online_missing", "online_extra"] == classes(
        duck, pairs, kind
    )


def test_nan_is_itself_and_no_null(duck):
    nan = math.nan

    assert ["match", "value_diff", "online_extra"] == classes(
        duck, [(nan, nan), (nan, 1.0), (nan, None)], pa.float64()
    )


def test_doubles_are_the_same_within_rule_11_and_counted_apart(duck):
    one = 1.0
    pairs = [
        (one, one),
        (one, one + 1e-13),
        (one, one + 1e-11),
        (0.0, 1e-300),
        (1e300, 1e300 * (1 + 1e-13)),
    ]

    assert ["match", "tol_match", "value_diff", "value_diff", "tol_match"] == classes(
        duck, pairs, pa.float64()
    )


def test_what_was_settled_by_its_scale_is_the_same_number(duck):
    assert ["tol_match", "value_diff"] == classes(
        duck, [(1.0, 2.0)] * 2, pa.float64(), same=[True, False]
    )


def test_rows_that_offline_lacks_are_no_nulls_and_pending_ones_are_in_no_rate(duck):
    pairs = [(1, None), (1, 1), (1, 1), (1, 1), (1, 1)]
    states = ["scored", "pending", "version", "error", "scored"]
    more = {
        "states": states,
        "there": [False, *[True] * 4],
        "told": [True, True, True, True, False],
    }

    assert ["row_missing_offline", "pending", "excluded", "excluded", "excluded"] == classes(
        duck, pairs, pa.int64(), **more
    )
    (figures,) = rated(
        by_hour(classed(beside(duck, pairs, pa.int64(), **more), 0), "f").to_pyarrow()
    ).to_pylist()
    assert (0, 1, None) == (figures["compared"], figures["total"], figures["tol_mismatch_rate"])
    assert (0.0, 1.0) == (figures["rate_low"], figures["rate_high"])


def test_no_rows_are_no_hours(duck):
    assert 0 == by_hour(classed(beside(duck, [], pa.float64()), 0), "f").count().execute()


def test_only_values_that_are_there_on_both_sides_and_differ_are_suspect(duck):
    table = beside(
        duck,
        [(1.0, 1.0), (1.0, 2.0), (None, 1.0), (1.0, 2.0)],
        pa.float64(),
        states=["scored"] * 3 + ["pending"],
    )

    assert [1] == suspects(table, 0).to_pyarrow()[ROW].to_pylist()


# Chronon's CompareTest: four rows a side, an hour each; offline is its left, online its right
LEFT = {"serial": [1, 1, 2, 3], "value": [1, 2, 2, None], "rating": [1.0, 2.0, 2.0, 1.0]}
RIGHT = {"serial": [1, 2, 2, 3], "value": [1, 3, 5, None], "rating": [5.0, 2.0, 6.0, 1.0]}


@pytest.mark.parametrize("name", LEFT)
def test_mismatches_of_chronons_own_fixture_are_counted_as_chronon_does(duck, name):
    pairs = list(zip(RIGHT[name], LEFT[name], strict=True))
    table = beside(
        duck, pairs, pa.float64() if name == "rating" else pa.int64(), hours=[9, 11, 15, 19]
    )

    rows = by_hour(classed(table, 0), name).order_by("hour").to_pyarrow().to_pylist()

    assert [int(a != b) for a, b in zip(LEFT[name], RIGHT[name], strict=True)] == [
        r["mismatch"] for r in rows
    ]
    assert [1] * 4 == [r["total"] for r in rows]
    assert [int(v is None) for v in LEFT[name]] == [r["both_null"] for r in rows]
    assert [0] * 4 == [r["left_null"] + r["right_null"] for r in rows]


def test_figures_are_those_worked_out_by_hand(duck):
    # online, offline: 2 apart, equal, null online, null offline, both null, both 0
    table = beside(
        duck,
        [(3.0, 1.0), (2.0, 2.0), (None, 1.0), (1.0, None), (None, None), (0.0, 0.0)],
        pa.float64(),
    )

    (got,) = rated(by_hour(classed(table, 0), "f").to_pyarrow()).to_pylist()

    assert {"match": 3, "value_diff": 1, "online_missing": 1, "online_extra": 1} == {
        c: got[c] for c in CLASSES if got[c]
    }
    assert (6, 3 / 6, 3 / 6) == (
        got["compared"],
        got["exact_mismatch_rate"],
        got["tol_mismatch_rate"],
    )
    assert (2 / 3, 2.0, 0.0) == (got["diff_mean"], got["abs_diff_max"], got["abs_diff_p50"])
    assert 1 / 3 == pytest.approx(got["smape"])  # (2 * 2 / 4 + 0 + 0) / 3
    assert 5 / 5 == pytest.approx(got["smape_null"])  # (1 + 0 + 0 + 2 + 2) / 5
    assert 1 / 6 == pytest.approx(got["chronon_smape"])  # a null on one side is no error there
    assert (1, 1, 1, 1, 6) == tuple(
        got[c] for c in ("both_null", "left_null", "right_null", "mismatch", "total")
    )


def test_maps_have_no_mismatch_by_chronons_name(duck):
    (got,) = (
        by_hour(classed(beside(duck, [([("a", 1)], [("a", 2)])], MAP), 0), "f")
        .to_pyarrow()
        .to_pylist()
    )

    assert (None, None, 1) == (got["mismatch"], got["smape"], got["value_diff"])


# --- tolerances


def definition():
    t = ibis.table({"user": "string", "ts": "timestamp", "x": "float64"}, name="t")
    asked = trailing(
        days(1),
        t.x.sum(),
        approx_percentile(t.x, 0.5),
        approx_histogram(t.x.cast("int64"), 2).name("many"),
    )
    group_by = GroupBy(
        name="g",
        source=EventSource(t, time=t.ts),
        keys=[t.user],
        aggregations=asked,
        accuracy="temporal",
    )
    lefts = ibis.table({"user": "string", "t": "timestamp"}, name="l")
    return Join(
        name="j",
        left=EventSource(lefts, time=lefts.t),
        parts=[group_by],
        derivations={"twice": _.g_x_sum_1d * 2},
    )


def same(name, a, b, scales=None, bounds=None, others=None):
    join = definition()
    feature = next(f for f in join.outputs if f.name == name)
    return Tolerance(join, scales or {}, bounds or {}).same(0, feature, a, b, others or {})


def test_a_sum_is_the_same_within_its_scale_and_no_further():
    assert not same("g_x_sum_1d", 1e-5, 0.0)
    assert same("g_x_sum_1d", 1e-5, 0.0, scales={(0, "g_x_sum_1d"): 1e8})
    assert not same("g_x_sum_1d", 1e-3, 0.0, scales={(0, "g_x_sum_1d"): 1e8})


def test_a_derivation_is_within_the_largest_number_that_it_is_made_of():
    assert not same("twice", 1e-5, 0.0)
    assert same("twice", 1e-5, 0.0, others={"g_x_sum_1d": 1e8})
    assert not same("twice", 1e-5, 0.0, others={"another": 1e8})


def test_a_sketch_is_the_same_between_the_values_that_it_may_give():
    edges = {(0, "g_x_approx_p50_1d"): (10.0, 12.0, 500)}

    assert same("g_x_approx_p50_1d", 10.0, 12.0, bounds=edges)
    assert not same("g_x_approx_p50_1d", 10.0, 12.1, bounds=edges)
    assert not same("g_x_approx_p50_1d", None, 11.0, bounds=edges)
    assert not same("g_x_approx_p50_1d", 10.0, 11.0)


def test_counts_of_a_sketch_are_the_same_within_its_share_of_all():
    edges = {(0, "g_many_1d"): (1000, 1000, 1000)}
    error = next(f for f in definition().outputs if f.name == "g_many_1d").node.bound
    most = int(2 * error * 1000)

    assert same("g_many_1d", {1: 500, 2: most}, {1: 500 - most}, bounds=edges)
    assert not same("g_many_1d", {1: 500}, {1: 500 - most - 1}, bounds=edges)


# --- verdicts


@pytest.mark.parametrize(
    ("status", "missing", "causes", "late"),
    [
        ("ok", 0, {}, 0),
        ("ok", 0, {"late_event": 10}, 10),
        ("watch", 0, {"late_event": 11}, 11),
        ("watch", 0, {"late_event": 100}, 100),
        ("alert", 0, {"late_event": 101}, 101),
        ("ok", 50, {"expired": 10}, 10),
        ("alert", 51, {"expired": 10}, 10),
        ("watch", 0, {"mutation": 1}, 0),
        ("alert", 0, {"duplicate": 1}, 0),
        ("alert", 0, {"unexplained": 1}, 0),
        ("watch", 0, {"not_replayed": 1}, 0),
    ],
)
def test_a_verdict_is_what_the_thresholds_say_of_ten_thousand_values(status, missing, causes, late):
    n = sum(causes.values())
    rows = [
        ServedDifference(
            "f",
            {},
            None,
            None,
            1,
            2,
            2,
            "value_diff",
            c,
            skew=False,
            late=i < late,
            request="",
            number=0,
            row=i,
        )
        for i, c in enumerate(c for c, k in causes.items() for _i in range(k))
    ]
    figures = {
        "compared": 10_000,
        "differing": n,
        "online_missing": missing,
        "low": 0.0,
        "high": 1.0,
    }

    assert status == judged("f", figures, causes, rows).status


def test_lateness_is_judged_by_all_that_differ_where_only_some_were_looked_into():
    rows = [
        ServedDifference(
            "f",
            {},
            None,
            None,
            1,
            2,
            1,
            "value_diff",
            "late_event",
            skew=False,
            late=True,
            request="",
            number=0,
            row=0,
        )
    ]
    figures = {"compared": 10_000, "differing": 200, "online_missing": 0, "low": 0.0, "high": 1.0}

    assert "alert" == judged("f", figures, {"late_event": 1, "not_replayed": 199}, rows).status


def test_what_could_not_be_compared_is_not_ok():
    figures = {"compared": 0, "differing": 0, "online_missing": 0, "low": 0.0, "high": 1.0}

    assert "not judged" == judged("f", figures, {}, []).status


# --- reading


def test_a_value_that_is_not_of_its_type_is_none_and_told_apart():
    values, read = column("int64", [1, "2", "x", None, 2**70])

    assert [1, 2, None, None, None] == values.to_pylist()
    assert [True, True, False, True, False] == list(read)
