"""Every kind of feature, held fetch by fetch against the backfill (rules 9 to 17 and 19).

A fetch takes one key, many keys, or goes by the SQL function; values are compared with their types.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
from held import hold, served, table
from ibis import _
from value_cases import (
    ASKING,
    ELEMENTS,
    EVERY,
    FULL,
    HUGE,
    LEFT,
    LISTS,
    MIXED,
    NESTED,
    ROWS,
    D,
    held,
    named,
    numeric,
    ordered,
    whole,
)

from workbench import (
    Aggregation,
    EntitySource,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    days,
    hours,
    last_k,
    minutes,
)
from workbench.online import StoreError, fetch
from workbench.online.storage import hot_keys

pytestmark = pytest.mark.slow


# --- reductions and buckets


@pytest.mark.parametrize(("by", "spans"), [(None, days(4)), (None, ()), ("c", days(1, 4))])
def test_every_reduction_is_fetched_as_it_is_backfilled(store, duck, by, spans):
    held(store, duck, MIXED, ROWS, LEFT, named(EVERY, spans, by), scale=1e10)


@pytest.mark.parametrize("by", ["n", "b", "d", "x", "t"])
def test_a_bucket_may_be_of_any_type(store, duck, by):
    got = held(
        store,
        duck,
        MIXED,
        ROWS,
        LEFT,
        named(
            [_.n.sum(), _.s.last(), _.x.mean(), _.d.max(), _.count(), last_k(_.t, 2)], days(4), by
        ),
        scale=1e10,
    )

    assert any(row[f"g_f4_4d_by_{by}"] for row in got)


# --- lists and maps


@pytest.mark.parametrize("by", [None, "c"])
@pytest.mark.parametrize("what", ELEMENTS)
def test_elements_are_reduced_alike(store, duck, what, by):
    held(store, duck, NESTED, LISTS, ASKING, named(ELEMENTS[what], days(1, 9), by), scale=1e3)


@pytest.mark.parametrize("by", [None, "c"])
def test_lists_and_maps_are_kept_whole(store, duck, by):
    held(
        store,
        duck,
        NESTED,
        LISTS,
        ASKING,
        named([r for c in FULL for r in whole(_[c])], days(1, 9), by),
    )


# --- types and times

MOMENTS = [
    datetime(1969, 12, 31, 23, 59, 59, 999999),  # noqa: DTZ001 likewise
    datetime(1970, 1, 1),  # noqa: DTZ001 likewise
    datetime(2038, 1, 19, 3, 14, 8, 1),  # noqa: DTZ001 likewise
]
TYPES = {
    "u64": (pa.uint64(), [2**64 - 1, 0, 5, None, 2**63]),
    "f32": (pa.float32(), [1.5, 0.1, -0.0, None, math.inf]),
    "bin": (pa.binary(), [b"\x00\xff", b"", b"abc\\x", None, b"zz"]),
    "day": (
        pa.date32(),
        [date(1960, 1, 1), date(2038, 1, 19), date(2038, 1, 19), None, date(1, 1, 1)],
    ),
    "ts": (pa.timestamp("us"), [*MOMENTS, None, datetime(2024, 2, 29)]),  # noqa: DTZ001 likewise
    "tz": (
        pa.timestamp("us", "UTC"),
        [*(m.replace(tzinfo=UTC) for m in MOMENTS), None, datetime(2024, 2, 29, 12, tzinfo=UTC)],
    ),
    "d0": (pa.decimal128(18, 0), [Decimal(10**17), Decimal(-1), None, Decimal(7), Decimal(7)]),
    "d9": (
        pa.decimal128(30, 9),
        [
            Decimal("123456789012345678901.123456789"),
            Decimal("-0.000000001"),
            None,
            Decimal("1.1"),
            Decimal(2),
        ],
    ),
    "i8": (pa.int8(), [-128, 127, None, 0, 3]),
    "big": (pa.int64(), [2**62, -(2**62), 2**63 - 1, -7, -(2**63)]),
    "clock": (
        pa.time64("us"),
        [time(1, 2, 3, 4), time(0), time(23, 59, 59, 999999), None, time(12)],
    ),
    "s": (pa.string(), ["\\x00é\r\n\\N", "žluť 🎉", "", None, "%s %(a)s $1 {} '\""]),
}
NUMBERS = ("f32", "d0", "d9", "i8", "big")


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("order", [[], ["o"]])
def test_every_type_keeps_its_values_at_every_time(store, duck, kind, order):
    types = {"k": pa.string(), "t": pa.timestamp("us"), "o": pa.int64(), kind: TYPES[kind][0]}
    places = [
        (MOMENTS[0], 1),
        (MOMENTS[1], None),
        (MOMENTS[2], 3),
        (MOMENTS[2], None),
        (MOMENTS[2], 2),
    ]
    rows = [
        {"k": "u", "t": t, "o": o, kind: v}
        for (t, o), v in zip(places, TYPES[kind][1], strict=True)
    ]
    left = [{"k": "u", "t": m + timedelta(microseconds=i)} for m in MOMENTS for i in (0, 1)] + [
        {"k": "v", "t": MOMENTS[1]}
    ]

    held(
        store,
        duck,
        types,
        rows,
        left,
        named([*ordered(_[kind]), *(numeric(_[kind]) if kind in NUMBERS else [])]),
        source=lambda t: EventSource(t, time="t", order=order),
        scale=HUGE,
    )


@pytest.mark.parametrize("key", ["s", "u64", "bin", "day", "ts", "tz", "d9", "big", "clock", "b"])
def test_keys_of_any_type_find_their_rows(store, duck, key):
    kind, values = TYPES.get(key, (pa.bool_(), [True, False, None, True, True]))
    types = {key: kind, "other": pa.string(), "t": pa.timestamp("us"), "v": pa.int64()}
    rows = [
        {key: v, "other": o, "t": D[i], "v": 10**i}
        for i, v in enumerate(values)
        for o in ("ab", "a", None)
    ]
    left = [{key: v, "other": o, "t": D[9]} for v in values for o in ("ab", None)]

    got = held(
        store, duck, types, rows, left, named([_.v.sum(), _.count()], days(30)), keys=(key, "other")
    )

    assert any(row["g_f1_30d"] for row in got)


def test_composite_keys_are_never_glued(store, duck):
    types = {"a": pa.string(), "b": pa.string(), "t": pa.timestamp("us"), "v": pa.int64()}
    pairs = [
        ("ab", "c"),
        ("a", "bc"),
        ("a,b", "c"),
        ("a", "b,c"),
        ("", "abc"),
        ("É", "e\u0301"),
        ("e\u0301", "É"),
        ("é", ""),
        ("A", "a"),
    ]
    rows = [{"a": a, "b": b, "t": D[0], "v": 2**i} for i, (a, b) in enumerate(pairs)]

    got = held(
        store,
        duck,
        types,
        rows,
        [{"a": a, "b": b, "t": D[1]} for a, b in pairs],
        named([_.v.sum()]),
        keys=("a", "b"),
    )

    assert [2**i for i in range(len(pairs))] == [row["g_f0"] for row in got]


# --- windows


@pytest.mark.parametrize("resolution", ["exact", "sawtooth"])
@pytest.mark.parametrize("accuracy", [None, "snapshot"])
def test_window_edges_are_the_backfills_to_the_microsecond(store, duck, resolution, accuracy):
    spans = (
        days(1, 12, 13) if accuracy else (*minutes(1, 5, 7), *hours(11, 12, 13), *days(11, 12, 13))
    )
    tick = timedelta(microseconds=1)
    at = datetime(2024, 1, 18, 3, 7, 9, 5)  # noqa: DTZ001 likewise
    edges = [at - span.length + n * tick for span in spans for n in (-1, 0, 1)] + [
        at,
        at - tick,
        D[17],
        D[17] - tick,
    ]
    hops = [
        datetime(2024, 1, d, h, m) + n * tick  # noqa: DTZ001 likewise
        for d, h, m in (
            (5, 0, 0),
            (6, 0, 0),
            (17, 15, 0),
            (17, 14, 0),
            (18, 3, 5),
            (18, 3, 0),
            (18, 2, 55),
        )
        for n in (-1, 0)
    ]
    rows = [{"k": "u", "t": t, "v": i} for i, t in enumerate([*edges, *hops])]
    left = [
        {"k": "u", "t": t} for t in (at, at + tick, at - tick, D[17], D[17] + tick, D[17] - tick)
    ]
    types = {"k": pa.string(), "t": pa.timestamp("us"), "v": pa.int64()}

    held(
        store,
        duck,
        types,
        rows,
        left,
        [Aggregation(r, spans) for r in (_.v.sum(), _.count(), last_k(_.v, 50), _.v.first())],
        resolution=resolution,
        accuracy=accuracy,
        part={"max_age": hours(30)},
    )


def test_max_age_expires_to_the_microsecond(store, duck):
    types = {"k": pa.string(), "t": pa.timestamp("us"), "v": pa.int64()}
    left = [
        {"k": k, "t": D[3] + timedelta(hours=6, microseconds=us)}
        for k in ("u", "v", None)
        for us in (-1, 0, 1)
    ]

    got = held(
        store,
        duck,
        types,
        [{"k": "u", "t": D[3], "v": 1}],
        left,
        named([_.count(), _.v.last()], hours(1)),
        part={"max_age": hours(6)},
    )

    assert [0, 0, None, 0, 0, 0, None, None, None] == [row["g_f0_1h"] for row in got]


def test_a_filter_that_keeps_nothing_leaves_counts_of_zero(store, duck):
    held(
        store,
        duck,
        MIXED,
        ROWS,
        LEFT,
        named([_.count(), _.n.sum(), last_k(_.s, 2), _.n.sum() / _.count()], days(4)),
        source=lambda t: EventSource(t.filter(t.n > 100), time="t"),
    )


def test_a_sum_that_does_not_fit_is_an_error_of_its_part_alone(store, duck):
    types = {"k": pa.string(), "t": pa.timestamp("us"), "v": pa.int64()}
    events = table(
        duck,
        "events",
        [
            {"k": "u", "t": D[0], "v": 2**63 - 1},
            {"k": "u", "t": D[1], "v": 1},
            {"k": "v", "t": D[1], "v": 1},
        ],
        types,
    )
    left = table(
        duck,
        "lefts",
        [{"row": 0, "k": "u", "t": D[3]}],
        {"row": pa.int64(), "k": pa.string(), "t": pa.timestamp("us")},
    )
    big, calm = (
        GroupBy(name=n, source=EventSource(events, time="t"), keys=["k"], aggregations=[r])
        for n, r in (("big", _.v.sum()), ("calm", _.count()))
    )
    join = Join(
        name="j",
        left=EventSource(left, time="t"),
        parts=[big, calm],
        derivations={"twice": _.calm_count * 2},
    )

    with served(store, join, duck):
        alone, (among, other) = (
            fetch(store, "j", k="u", at=D[3]),
            fetch(store, "j", [{"k": "u"}, {"k": "v"}], at=D[3]),
        )
        within = fetch(store, "j", k="u", at=D[1])

    for got in (alone, among):
        assert ("error", "ok") == tuple(p.status.replace("stale", "ok") for p in got.parts.values())
        assert 2 == got["calm_count"]
        with pytest.raises(StoreError, match="big could not be computed: bigint out of range"):
            got["big_v_sum"]
    assert (1, 1, 2) == (other["big_v_sum"], other["calm_count"], other["twice"])
    assert 2**63 - 1 == within["big_v_sum"]


@pytest.mark.parametrize("hot_from", [1, 1000], ids=["hot", "cold"])
def test_the_error_of_a_part_names_each_feature_that_fails(store, duck, monkeypatch, hot_from):
    """Rules 11 and 22: features, maps, derivations, and signed and unsigned sums are named.

    They are named also where a hot key's are computed together.
    """
    monkeypatch.setattr(hot_keys, "HOT", hot_from)
    types = {
        "k": pa.string(),
        "t": pa.timestamp("us"),
        "v": pa.int64(),
        "u": pa.uint64(),
        "b": pa.string(),
    }
    events = table(
        duck,
        "events",
        [{"k": "x", "t": D[d], "v": 2**62, "u": 2**63, "b": "b"} for d in (0, 1)]
        + [{"k": "y", "t": D[0], "v": 1, "u": 2**63 - 1, "b": "b"}],
        types,
    )
    left = table(
        duck,
        "lefts",
        [{"row": 0, "k": "x", "t": D[3]}],
        {"row": pa.int64(), "k": pa.string(), "t": pa.timestamp("us")},
    )
    source = EventSource(events, time="t")
    big = GroupBy(
        name="big",
        source=source,
        keys=["k"],
        aggregations=[
            _.count(),
            _.v.sum(),
            _.v.max(),
            Aggregation(_.v.sum().name("near"), windows=days(2)),
            _.u.sum(),
            _.u.max(),
        ],
    )
    maps = GroupBy(
        name="maps",
        source=source,
        keys=["k"],
        aggregations=[Aggregation(_.v.sum(), by=_.b), Aggregation(_.v.min(), by=_.b)],
    )
    derived = GroupBy(
        name="derived",
        source=source,
        keys=["k"],
        aggregations=[_.v.max(), _.count()],
        derivations={"fourfold": _.v_max * 4, "twofold": _["count"] * 2},
    )
    join = Join(name="j", left=EventSource(left, time="t"), parts=[big, maps, derived])

    with served(store, join, duck):
        got, other = fetch(store, "j", [{"k": "x"}, {"k": "y"}], at=D[3])

    said = {name: part.error for name, part in got.parts.items()}
    assert {
        "big": "big could not be computed: bigint out of range in v_sum, u_sum",
        "maps": "maps could not be computed: bigint out of range in v_sum_by_b",
        "derived": "derived could not be computed: bigint out of range in fourfold",
    } == said
    assert (2**63 - 1, 2**63 - 1, 1, {"b": 1}, 4) == tuple(
        other[n]
        for n in ("big_u_sum", "big_u_max", "big_v_sum", "maps_v_sum_by_b", "derived_fourfold")
    )


def test_a_hundred_thousand_tenths_sum_within_the_bound(store, duck):
    duck.raw_sql(
        "create or replace table events as select 'u' k, timestamp '2024-01-01' + i * interval 1"
        " second t, 0.1::double x from range(100000) s(i)"
    )
    left = table(
        duck,
        "lefts",
        [{"row": 0, "k": "u", "t": D[10]}],
        {"row": pa.int64(), "k": pa.string(), "t": pa.timestamp("us")},
    )
    group_by = GroupBy(
        name="g",
        source=EventSource(duck.table("events"), time="t"),
        keys=["k"],
        aggregations=[_.x.sum(), _.x.mean()],
    )

    with served(store, Join(name="j", left=EventSource(left, time="t"), parts=[group_by]), duck):
        got = fetch(store, "j", k="u", at=D[10])

    assert abs(got["g_x_sum"] - 1e4) <= 1e-12 * 1e4
    assert abs(got["g_x_average"] - 0.1) <= 1e-13


# --- entities

STATE = {
    "ds": pa.string(),
    "k": pa.string(),
    "v": pa.int64(),
    "s": pa.string(),
    "l": pa.list_(pa.int64()),
}
TOLD = [
    {"ds": f"2024-01-{d:02}", "k": k, "v": v, "s": s, "l": [d, None]}
    for d, k, v, s in (
        (1, "a", 1, "x"),
        (1, "b", None, "y"),
        (2, "a", 1, "x"),
        (4, "a", 3, "é"),
        (4, "c", 4, None),
        (7, "b", 5, "z"),
        (8, "b", 5, "z"),
    )
]
ASKED = [
    {"k": k, "t": D[d] + timedelta(microseconds=us)}
    for d in (0, 1, 2, 3, 4, 6, 8, 12)
    for us in (-1, 0)
    for k in ("a", "b")
] + [{"k": "zz", "t": D[5]}, {"k": None, "t": D[5]}]


def state(store, con, rows, *, snapshot="ds", part=None, features=None, aggregations=()):
    entity = table(
        con, "events", rows, STATE if snapshot else {c: t for c, t in STATE.items() if c != "ds"}
    )
    left = table(
        con,
        "lefts",
        [{"row": i} | row for i, row in enumerate(ASKED)],
        {"row": pa.int64(), "k": pa.string(), "t": pa.timestamp("us")},
    )
    group_by = GroupBy(
        name="g",
        source=EntitySource(entity, snapshot=snapshot),
        keys=["k"],
        **({"features": features} if features else {"aggregations": aggregations}),
    )
    return hold(
        store,
        Join(
            name="j", left=EventSource(left, time="t"), parts=[JoinPart(group_by, **(part or {}))]
        ),
        con,
    )


@pytest.mark.parametrize("part", [{}, {"max_age": hours(50)}])
def test_an_entity_is_fetched_as_of_its_latest_finished_snapshot(store, duck, part):
    got = state(store, duck, TOLD, features=["v", "s", "l"], part=part)

    assert {None, 1, 3, 5} == {row["g_v"] for row in got}


@pytest.mark.parametrize("part", [{}, {"max_age": hours(50)}])
def test_rows_of_one_snapshot_are_counted(store, duck, part):
    rows = [*TOLD, *TOLD[:4], TOLD[3] | {"v": None}]

    state(
        store,
        duck,
        rows,
        aggregations=named([_.count(), *numeric(_.v), *ordered(_.v), *ordered(_.s), _.l.first()])
        + named([_.v.sum().name("by_s")], by="s"),
        part=part,
    )


def test_a_table_without_time_holds_at_every_time(store, duck):
    rows = [{c: v for c, v in row.items() if c != "ds"} for row in (TOLD[3], TOLD[5])]

    assert {3, 5, None} == {
        row["g_v"] for row in state(store, duck, rows, snapshot=None, features=["v", "s", "l"])
    }
    state(
        store,
        duck,
        [*rows, rows[0]],
        snapshot=None,
        aggregations=named([_.count(), _.v.sum(), last_k(_.s, 2)]),
    )


# --- derivations


def test_derivations_are_fetched_from_features_keys_time_and_context(store, duck):
    events = table(duck, "events", ROWS, MIXED)
    kinds = {
        "row": pa.int64(),
        "k": pa.string(),
        "t": pa.timestamp("us"),
        "amount": pa.int64(),
        "name": pa.string(),
        "z": pa.float64(),
    }
    rows = [
        {
            "row": i,
            "k": k,
            "t": t,
            "amount": [7, None, 0][i % 3],
            "name": ["É", None, "ab"][i % 3],
            "z": [0.0, math.nan, 2.5][i % 3],
        }
        for i, (k, t) in enumerate((r["k"], r["t"]) for r in LEFT * 3)
    ]
    group_by = GroupBy(
        name="g",
        source=EventSource(events, time="t"),
        keys=["k"],
        aggregations=[_.n.sum(), _.n.count(), _.s.last(), _.x.max()],
        derivations={"mean": _.n_sum / _.n_count, "none": _.n_sum.isnull()},
    )
    derivations = {
        "share": _.amount / _.g_n_sum,
        "missing": _.g_mean.isnull(),
        "shout": _.g_s_last.upper(),
        "wide": _.name.upper() + _.g_s_last,
        "less": _.name < _.g_s_last,
        "whose": _.k.length(),
        "hour": _.t.hour(),
        "day": _.t.date(),
        "same": _.name == _.g_s_last,
        "ratio": _.z / _.g_x_max,
        "filled": _.z.fill_null(1.0) + _.g_n_count,
    }
    join = Join(
        name="j",
        left=EventSource(table(duck, "lefts", rows, kinds), time="t"),
        parts=[group_by],
        derivations=derivations,
    )

    hold(store, join, duck, scale=1e10)


def test_a_derivation_that_lacks_its_context_is_an_error_of_it_alone(store, duck):
    events = table(duck, "events", ROWS, MIXED)
    left = table(
        duck,
        "lefts",
        [{"row": 0, "k": "u", "t": D[3], "amount": 7}],
        {"row": pa.int64(), "k": pa.string(), "t": pa.timestamp("us"), "amount": pa.int64()},
    )
    group_by = GroupBy(
        name="g", source=EventSource(events, time="t"), keys=["k"], aggregations=[_.n.sum()]
    )

    with served(
        store,
        Join(
            name="j",
            left=EventSource(left, time="t"),
            parts=[group_by],
            derivations={"share": _.amount / _.g_n_sum},
        ),
        duck,
    ):
        got = fetch(store, "j", k="u", at=D[3])

    assert {"g_n_sum": 3} == dict(got)
    with pytest.raises(StoreError, match="share needs amount"):
        got["share"]
