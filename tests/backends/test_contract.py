"""The contract of every engine and every plan, held against the oracle.

Its cases are the golden quickstart, generated histories and the hard cases.
"""

from __future__ import annotations

import math
import os
import random
import re

import cases
import ibis
import pyarrow as pa
import pytest
from agreed_operations import AGREED, check_agreed
from golden_quickstart import definitions
from hypothesis import HealthCheck, Phase, given, seed, settings

from workbench import EventSource, GroupBy, Join, backfill, days, samples, trailing
from workbench.backends import EngineError
from workbench.backends.equality import equal

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def duck_of_all():
    return ibis.duckdb.connect()


@pytest.fixture(params=["postgres", "spark"], scope="module")
def con(request):
    return request.getfixturevalue(request.param)


def answers(table):
    return {(r["user_id"], r["ts"]): r for r in table.to_pyarrow().to_pylist()}


@pytest.mark.parametrize("mode", ["exact", "sawtooth"])
def test_the_golden_quickstart_is_the_same_on_every_engine(shared, duck, way, mode):
    con, plan = way
    if (con.name, plan) == ("pyspark", "pairs"):
        # it costs a minute, and what it may find, these find: the certificate (as of the time) and
        # generated cases (both)
        pytest.skip(
            "Spark takes this plan for the certificate of the sample shop and for generated cases"
        )
    samples.load(duck, shared / "data" / "quickstart")
    for name in samples.TABLES:
        con.create_table(name, duck.table(name).to_pyarrow(), overwrite=True)

    want, got = (
        answers(backfill(definitions(duck, mode), plan="pairs")),
        answers(backfill(definitions(duck, mode), on=con, plan=plan)),
    )

    assert want.keys() == got.keys()
    wrong = [
        (k, c, v, got[k][c])
        for k, row in want.items()
        for c, v in row.items()
        if c != "ts" and not equal(v, got[k][c])
    ]
    assert not wrong


# --- generated histories


def check(con, plan, case, columns):
    rows = cases.computed((con, plan), cases.join(con, case, columns))
    got = {r["row"]: r for r in rows.to_pylist(maps_as_pydicts="strict")}

    assert len(case.left) == len(got)
    for i, row in enumerate(case.left):
        for n in range(len(case.asked)):
            want, scale = cases.expected(case, row, n)
            value = got[i][cases.column(case, n)]
            assert equal(want, value, scale), (
                case.asked[n][0].name,
                case.asked[n][1],
                row,
                want,
                value,
            )


@settings(
    max_examples=int(os.environ.get("WORKBENCH_EXAMPLES", "80")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(case=cases.cases)
def test_the_kernel_gives_what_the_oracle_says(duck_of_all, case):
    check(duck_of_all, "kernel", case, tuple(cases.EVENTS.names))


@seed(5)
@settings(
    max_examples=12, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(case=cases.cases)
def test_an_engine_gives_what_the_oracle_says(way, case):
    check(*way, case, tuple(cases.EVENTS.names))


@seed(6)
@settings(
    max_examples=25, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(case=cases.exact_cases)
def test_running_totals_give_what_the_oracle_says(postgres, case):
    check(postgres, "running", case, cases.SIMPLE)


# --- hard cases: a user for each, in one history

NOTHING = dict.fromkeys(cases.EVENTS.names) | {"shop": 1, "seq": None}
NOON = cases.BASE + 12 * cases.HOUR
SUMMER = 1_711_846_800_000_000  # 2024-03-31 01:00 UTC, when clocks in Europe went forward
FAR = 2**31 * 1_000_000 + 1  # a microsecond past the last second of 32 bits


def event(user, at, **values):
    return NOTHING | {"user": user, "at": at} | values


def hot(rng: random.Random):
    """Return a case in which one key has nine of ten events, and times tie."""
    users = ["hot"] * 9 + ["cold"]
    return [
        event(
            rng.choice(users),
            NOON - rng.randrange(20 * 24) * cases.HOUR,
            n=rng.randrange(9),
            x=rng.choice([0.1, 1e9, -2.5]),
            s=rng.choice("abc"),
            b=rng.random() < 0.5,
        )
        for _ in range(300)
    ]


HARD = [
    *hot(random.Random(1)),  # noqa: S311 a history, not a secret
    event("large, then small", NOON - 4 * cases.DAY, x=1e15, n=1),
    *(event("large, then small", NOON - i, x=0.1, n=1) for i in range(1, 11)),
    *(
        event("edges", NOON - back, n=i, x=float(i))
        for i, back in enumerate([0, 1, 3 * cases.DAY, 3 * cases.DAY + 1, 3 * cases.DAY - 1])
    ),
    *(
        event("no numbers", NOON - i, x=x)
        for i, x in enumerate([math.nan, math.inf, -math.inf, None], 1)
    ),
    *(
        event(user, NOON - 1, n=i, s=user)
        for i, user in enumerate(
            ["é", "e\u0301", "ß", "ss", "İ", "日本", "\U0001f600", "'", '"', "\\", "a,b", "a b "]
        )
    ),
    *(event("summer time", SUMMER + i * cases.HOUR, n=i) for i in range(-3, 4)),
    *(event("2038", FAR - i, n=i) for i in (0, 1, 2, 3 * cases.DAY)),
    *(event("before 1970", -5 - i, n=i, x=-0.0) for i in (0, 1, 2, 3 * cases.DAY)),
    *(
        event("near 64 bits", NOON - i, n=n)
        for i, n in enumerate([2**62, 2**62 - 1, -(2**63), 2**63 - 1], 1)
    ),
]
TIMES = {"summer time": SUMMER + cases.HOUR, "2038": FAR, "before 1970": -5}
ASKED = [
    *(
        ("n", r)
        for r in ("sum", "average", "variance_pop", "p50", "min", "last3", "unique_count", "mode")
    ),
    *(("x", r) for r in ("sum", "average", "stddev", "p90", "max", "first", "top2", "count")),
    *(("s", r) for r in ("last", "mode", "bottom2", "collect")),
]


def hard_case(rows, asked):
    users = list(dict.fromkeys(e["user"] for e in rows))
    named = {
        (c, r.name): r
        for c in "nxs"
        for r in (*cases.numeric(c), *cases.ordered(c))
        if r.value({c: 1, "b": False}) is not None
    }
    left = [
        {"user": u, "shop": 1, "t": TIMES.get(u, NOON) + later} for u in users for later in (0, 1)
    ]
    return cases.Case(
        rows,
        left,
        ("user",),
        False,
        "exact",
        None,
        None,
        tuple((named[a], span) for a in asked for span in ("3d", "all")),
    )


def test_hard_cases_are_what_the_oracle_says(way):
    check(*way, hard_case(HARD, ASKED), cases.SIMPLE)


def test_a_sum_that_does_not_fit_is_an_error_and_never_wraps(way):
    rows = [event("u", NOON - i, n=2**62) for i in (1, 2)]

    with pytest.raises(EngineError, match=r"9223372036854775808|out of range|OVERFLOW|overflow"):
        check(*way, hard_case(rows, [("n", "sum")]), cases.SIMPLE)


def test_keys_that_would_collide_if_glued_are_apart(way):
    con, plan = way
    keys = [("ab", "c"), ("a", "bc"), ("abc", ""), ("", "abc"), ("a,b", "c"), ("a", "b,c")]
    at = pa.array([cases.moment(NOON)] * len(keys), pa.timestamp("us"))
    rows = pa.table(
        {"k": [k for k, _ in keys], "l": [k for _, k in keys], "t": at, "n": range(len(keys))}
    )
    events = con.create_table("glued", rows, overwrite=True)
    left = con.create_table(
        "asked",
        rows.set_column(2, "t", pa.array([cases.moment(NOON + 1)] * len(keys), pa.timestamp("us"))),
        overwrite=True,
    )
    group_by = GroupBy(
        name="g",
        source=EventSource(events, time="t"),
        keys=["k", "l"],
        aggregations=[events.count(), events.n.sum()],
    )

    got = (
        backfill(Join(name="j", left=EventSource(left, time="t"), parts=[group_by]), plan=plan)
        .to_pyarrow()
        .to_pylist()
    )

    assert [(n, 1, n) for n in range(len(keys))] == sorted(
        (r["n"], r["g_count"], r["g_n_sum"]) for r in got
    )


# --- what is told of one engine


@pytest.mark.parametrize("case", AGREED)
def test_an_operation_gives_the_agreed_value(con, case):
    check_agreed(con, case)


def test_a_number_without_a_scale_keeps_its_digits(postgres):
    postgres.raw_sql(
        "drop table if exists numbers; create table numbers as select 'a' k, timestamp '2024-01-01'"
        " t, 1.23456::numeric v union all select 'a', timestamp '2024-01-01', 2.000001"
    )
    postgres.raw_sql(
        "drop table if exists asked; create table asked as select 'a' k, timestamp '2024-01-02' t"
    )
    table = postgres.table("numbers")
    group_by = GroupBy(
        name="g",
        source=EventSource(table, time="t"),
        keys=["k"],
        aggregations=[
            table.v.sum(),
            table.v.max(),
            (table.v * table.v).sum().name("squares"),
            table.v.mean(),
        ],
    )

    (row,) = (
        backfill(
            Join(name="j", left=EventSource(postgres.table("asked"), time="t"), parts=[group_by])
        )
        .execute()
        .to_dict("records")
    )

    assert (3.234561, 2.000001, 5.5241423936010) == tuple(
        pytest.approx(float(row[f"g_{c}"]), rel=1e-12) for c in ("v_sum", "v_max", "squares")
    )


def test_a_plan_that_cannot_take_what_is_asked_is_refused_with_what_it_takes(postgres):
    postgres.raw_sql(
        "drop table if exists numbers; create table numbers as select 'a' k, timestamp '2024-01-01'"
        " t, 1.5::float8 v"
    )
    table = postgres.table("numbers")
    group_by = GroupBy(
        name="g",
        source=EventSource(table, time="t"),
        keys=["k"],
        aggregations=trailing(days(1), table.v.sum()),
    )

    with pytest.raises(
        EngineError, match="plan='running' takes counts, and sums and means of whole numbers"
    ):
        backfill(
            Join(name="j", left=EventSource(table, time="t"), parts=[group_by]), plan="running"
        )


def test_a_hot_key_is_cut_by_time_and_gives_the_same(spark, monkeypatch):
    import workbench.backends.spark_kernel

    monkeypatch.setattr(workbench.backends.spark_kernel, "MAX_VALUES_OF_TASK", 400)

    check(spark, "kernel", hard_case(HARD, ASKED[:6]), cases.SIMPLE)


ALL_OF_THE_PAST = [
    *(("n", r) for r in ("sum", "average", "max", "last", "count", "unique_count")),
    *(("x", r) for r in ("sum", "average", "min", "first2", "last3", "bottom2", "variance")),
    *(("s", r) for r in ("first", "top2", "mode")),
    *(("b", r) for r in ("any", "all")),
    ("", "count"),
]


def test_all_of_a_hot_keys_past_is_cut_by_time_and_gives_the_same(spark, monkeypatch):
    import workbench.backends.spark_kernel

    monkeypatch.setattr(workbench.backends.spark_kernel, "MAX_VALUES_OF_TASK", 600)
    rng = random.Random(3)  # noqa: S311 a history, not a secret
    # The sum of a part of them does not fit 64 bits, that of all of them does.
    large = [
        2**62,
        2**62,
        2**62,
        -(2**62),
        -(2**62),
        -(2**62),
    ]
    rows = [
        *hot(rng),
        *(event("hot", NOON - 19 * cases.DAY + i, n=n, x=1e15 + n) for i, n in enumerate(large)),
        *(event("hot", NOON - 15 * cases.DAY, n=i, x=0.1, s="tie") for i in range(9)),
    ]
    users = [("hot", back) for back in (0, 1, 5, 10, 14, 16, 18, 25)] + [("cold", 0), ("none", 0)]
    left = [{"user": u, "shop": 1, "t": NOON - back * cases.DAY + 1} for u, back in users]
    over = [(re.match(r"_(?:\['(\w)'\]|\.(\w)\.|())", repr(r.expr)), r) for r in cases.REDUCTIONS]
    asked = [
        r for found, r in over if found and (found[1] or found[2] or "", r.name) in ALL_OF_THE_PAST
    ]
    assert len(ALL_OF_THE_PAST) < len(asked)  # some with where=

    check(
        spark,
        "kernel",
        cases.Case(
            rows,
            left,
            ("user",),
            True,
            "exact",
            None,
            None,
            tuple((r, span) for r in asked for span in ("3d", "all")),
        ),
        cases.SIMPLE,
    )


def test_more_events_than_memory_should_hold_are_taken_in_parts(duck_of_all, monkeypatch):
    import workbench.backends.kernel_runner

    monkeypatch.setattr(workbench.backends.kernel_runner, "MAX_VALUES_HELD", 400)

    check(duck_of_all, "kernel", hard_case(HARD, ASKED), cases.SIMPLE)
