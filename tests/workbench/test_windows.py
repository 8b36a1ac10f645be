"""Window edges, drawn (semantics rules 1 to 5)."""

from __future__ import annotations

from datetime import datetime, timedelta

import ibis
import pytest
from ibis import _

from workbench import EventSource, GroupBy, Join, backfill, days, hours, minutes, trailing

T = datetime(2023, 11, 30, 12, 34, 56, 789_000)  # noqa: DTZ001 naive is UTC
US = timedelta(microseconds=1)


def spent(con, times, at=T, windows=None, **options):
    """Return the count of events at `times` as of `at`, one event a time, by window."""
    events = con.create_table(
        "events",
        ibis.memtable(
            [{"k": "u", "t": t, "v": 1} for t in times],
            schema={"k": "string", "t": "timestamp", "v": "int64"},
        ),
        overwrite=True,
    )
    left = con.create_table(
        "lefts",
        ibis.memtable([{"k": "u", "t": at}], schema={"k": "string", "t": "timestamp"}),
        overwrite=True,
    )
    group_by = GroupBy(
        name="g",
        source=EventSource(events, time="t"),
        keys=["k"],
        aggregations=[trailing(windows or days(3), _.v.sum())],
        **options,
    )
    (row,) = (
        backfill(Join(name="j", left=EventSource(left, time="t"), parts=[group_by]))
        .to_pyarrow()
        .to_pylist()
    )
    return next(v for k, v in row.items() if k.startswith("g_"))


#              t-3d              t
#     --a-----|b------c--------|d--      in: b c   out: a (before), d (at the query time)
def test_a_window_holds_its_tail_and_not_its_head(duck):
    a, b, c, d = T - days(3)[0].length - US, T - days(3)[0].length, T - US, T

    assert None is spent(duck, [a, d])
    assert 1 == spent(duck, [b])
    assert 1 == spent(duck, [c])
    assert 2 == spent(duck, [a, b, c, d])


# Chronon's hops at 2023-11-30 12:34:56.789 (chronon.md section 2.11): the first instant each window
# holds
HOPS = [
    (hours(1), datetime(2023, 11, 30, 11, 30)),  # noqa: DTZ001
    (hours(11), datetime(2023, 11, 30, 1, 30)),  # noqa: DTZ001
    (hours(12), datetime(2023, 11, 30, 0, 0)),  # noqa: DTZ001
    (days(1), datetime(2023, 11, 29, 12, 0)),  # noqa: DTZ001
    (days(3), datetime(2023, 11, 27, 12, 0)),  # noqa: DTZ001
    (days(11), datetime(2023, 11, 19, 12, 0)),  # noqa: DTZ001
    (days(12), datetime(2023, 11, 18, 0, 0)),  # noqa: DTZ001
    (days(14), datetime(2023, 11, 16, 0, 0)),  # noqa: DTZ001
    (days(30), datetime(2023, 10, 31, 0, 0)),  # noqa: DTZ001
]


@pytest.mark.parametrize(("window", "first"), HOPS)
def test_a_sawtooth_tail_is_rounded_down_to_its_hop(duck, window, first):
    assert 1 == spent(duck, [first], windows=window, resolution="sawtooth")
    assert None is spent(duck, [first - US], windows=window, resolution="sawtooth")


#        mid-1d          mid        t
#     --a-|b-------c-----|d----e----|--      in: b c   out: a (before), d e (not yet uploaded)
def test_a_snapshot_is_as_of_the_midnight_at_or_before_t(duck):
    midnight = datetime(2023, 11, 30)  # noqa: DTZ001
    a, b, c, d = (
        midnight - timedelta(days=1) - US,
        midnight - timedelta(days=1),
        midnight - US,
        midnight,
    )

    assert 2 == spent(duck, [a, b, c, d, T - US], windows=days(1), accuracy="snapshot")
    assert 2 == spent(duck, [a, b, c, d], at=midnight, windows=days(1), accuracy="snapshot")


def test_hours_24_and_days_1_are_one_window_under_two_names():
    assert days(1) == hours(24) == minutes(1440)
    assert hash(days(1)[0]) == hash(hours(24)[0])
    assert ["1d", "24h", "1440m"] == [repr(w) for w in (*days(1), *hours(24), *minutes(1440))]


def test_times_before_1970_and_after_2038_are_times_like_others(duck):
    for t in (datetime(1931, 2, 3, 4, 5), datetime(2040, 1, 1, 4, 5)):  # noqa: DTZ001
        assert 2 == spent(
            duck, [t - timedelta(days=3), t - US, t, t - timedelta(days=3) - US], at=t
        )
        assert 2 == spent(
            duck,
            [t - timedelta(days=14, hours=1), t - US],
            at=t,
            windows=days(14),
            resolution="sawtooth",
        )


def test_a_time_with_a_zone_is_converted_to_utc(duck):
    duck.raw_sql("set TimeZone = 'America/New_York'")
    duck.raw_sql(
        "create table e as select 'u' k, timestamptz '2023-11-29 23:30:00+00' t, 1::bigint v"
    )
    duck.raw_sql(
        "create table l as select 'u' k, timestamp '2023-11-30 00:00:00' t union all select 'u',"
        " timestamp '2023-11-29 23:30:00'"
    )
    group_by = GroupBy(
        name="g",
        source=EventSource(duck.table("e"), time="t"),
        keys=["k"],
        aggregations=[trailing(hours(1), _.v.sum())],
    )

    rows = (
        backfill(Join(name="j", left=EventSource(duck.table("l"), time="t"), parts=[group_by]))
        .order_by("t")
        .to_pyarrow()
        .to_pylist()
    )

    assert [None, 1] == [r["g_v_sum_1h"] for r in rows]


def test_nanoseconds_are_floored_to_microseconds(duck):
    duck.raw_sql("create table e as select 'u' k, make_timestamp_ns(-1500) t, 1::bigint v")
    duck.raw_sql(
        "create table l as select 'u' k, make_timestamp(-2) t union all select 'u',"
        " make_timestamp(-1)"
    )
    group_by = GroupBy(
        name="g",
        source=EventSource(duck.table("e"), time="t"),
        keys=["k"],
        aggregations=[trailing(hours(1), _.v.sum())],
    )

    rows = (
        backfill(Join(name="j", left=EventSource(duck.table("l"), time="t"), parts=[group_by]))
        .order_by("t")
        .to_pyarrow()
        .to_pylist()
    )

    assert [None, 1] == [r["g_v_sum_1h"] for r in rows]


def test_a_partition_column_never_prunes(duck):
    duck.raw_sql(
        "create table e as select 'u' k, timestamp '2023-11-29' t, '2023-01-01' ds, 1::bigint v"
    )
    duck.raw_sql("create table l as select 'u' k, timestamp '2023-11-30' t, '2024-01-01' ds")
    group_by = GroupBy(
        name="g",
        source=EventSource(duck.table("e"), time="t"),
        keys=["k"],
        aggregations=[trailing(days(3), _.v.sum())],
    )

    (row,) = (
        backfill(Join(name="j", left=EventSource(duck.table("l"), time="t"), parts=[group_by]))
        .to_pyarrow()
        .to_pylist()
    )

    assert 1 == row["g_v_sum_3d"]
