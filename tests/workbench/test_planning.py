"""Which plan computes a part, and what `explain` says of it."""

from __future__ import annotations

import re
from datetime import datetime

import ibis
import pyarrow as pa
import pytest
from ibis import _

import workbench.planner.plan_choice
from workbench import (
    Aggregation,
    DefinitionError,
    EventSource,
    GroupBy,
    Join,
    approx_histogram,
    approx_percentile,
    backfill,
    compare,
    days,
    explain,
    last_k,
    preview,
    trailing,
)

NOON = datetime(2024, 1, 1, 12)  # noqa: DTZ001 the tables' times are naive UTC


def join(con, n=40):
    """Return a join of `n` events of one key and as many left rows after them: n * n pairs."""
    con.create_table(
        "events",
        pa.table({"k": ["a"] * n, "t": [NOON] * n, "x": [0.5] * n, "l": [["p"]] * n}),
        overwrite=True,
    )
    # The tables' times are naive UTC.
    con.create_table(
        "lefts",
        pa.table({"k": ["a"] * n, "t": [datetime(2024, 1, 2, 0, i) for i in range(n)]}),  # noqa: DTZ001
        overwrite=True,
    )
    events = con.table("events")
    group_by = GroupBy(
        name="g",
        source=EventSource(events, time="t"),
        keys=["k"],
        aggregations=trailing(days(3), events.x.sum(), events.count()),
    )
    return Join(name="j", left=EventSource(con.table("lefts"), time="t"), parts=[group_by])


def test_few_pairs_are_joined(duck):
    (line,) = [s for s in explain(join(duck)).plan if s.startswith("g:")]

    assert "by pairs: joined with the left's distinct (k, t)" in line
    assert line.endswith("on DuckDB, since 40 left rows and 40 events make at most 1,000,000 pairs")


@pytest.mark.parametrize(
    ("few", "why"),
    [
        (1_000, "40 left rows and 40 events make 1,600 pairs of equal keys, more than 1,000"),
        (10, "there are 40 events, more than 10"),
    ],
)
def test_many_pairs_go_by_the_kernel(duck, monkeypatch, few, why):
    monkeypatch.setattr(workbench.planner.plan_choice, "MAX_PAIRS", few)

    (line,) = [s for s in explain(join(duck)).plan if s.startswith("g:")]

    assert "by the kernel: in order of (k, t)" in line
    assert line.endswith(f"on DuckDB, since {why}")


def test_a_forced_plan_is_taken(duck):
    (line,) = [s for s in explain(join(duck), plan="kernel").plan if s.startswith("g:")]

    assert line.endswith("on DuckDB, since it was asked for")
    assert {20.0} == set(backfill(join(duck), plan="kernel").g_x_sum_3d.to_pyarrow().to_pylist())


def test_values_that_the_kernel_does_not_take_go_by_pairs(duck):
    asked = join(duck)
    events = duck.table("events")
    group_by = GroupBy(
        name="g",
        source=EventSource(events, time="t"),
        keys=["k"],
        aggregations=[Aggregation(events.l.nunique(), days(3))],
    )
    lists = Join(name="j", left=asked.left, parts=[group_by])

    got = backfill(lists, plan="kernel").g_l_unique_count_3d.to_pyarrow().to_pylist()

    assert [1] * 40 == got


def test_without_a_connection_the_rule_is_told():
    events = ibis.table({"k": "string", "t": "timestamp"}, name="events")
    group_by = GroupBy(
        name="g", source=EventSource(events, time="t"), keys=["k"], aggregations=[events.count()]
    )

    (line,) = [
        s
        for s in explain(Join(name="j", left=EventSource(events, time="t"), parts=[group_by])).plan
        if s.startswith("g:")
    ]

    assert line.endswith("where they make at most 1,000,000, else by the engine's own plan")


def test_a_plan_that_an_engine_lacks_is_refused_with_those_it_has(duck):
    with pytest.raises(
        DefinitionError, match="plan='running' is none of DuckDB's: it has pairs, kernel"
    ):
        backfill(join(duck), plan="running")


SKETCHES = {
    "approx_unique_count": (_.x.approx_nunique(), "nunique()"),
    "approx_percentile": (approx_percentile(_.x, 0.9), "quantile()"),
    "approx_histogram": (approx_histogram(_.x, 8), "histogram()"),
}


def sketched(con, *reductions):
    plain = join(con)
    group_by = GroupBy(
        name="g",
        source=plain.parts[0].group_by.source,
        keys=["k"],
        aggregations=trailing(days(3), *reductions),
    )
    return Join(name="j", left=plain.left, parts=[group_by])


@pytest.mark.parametrize("name", SKETCHES)
def test_sketches_always_go_by_the_kernel_and_pairs_refuse_them(duck, name):
    reduction, exact = SKETCHES[name]
    asked = sketched(duck, reduction, _.count())

    (line,) = [s for s in explain(asked).plan if s.startswith("g:")]

    assert "by the kernel: in order of (k, t)" in line
    assert line.endswith(f"on DuckDB, since {name} is a sketch, made in one pass")
    for verb in (backfill, explain):
        with pytest.raises(
            DefinitionError,
            match=re.escape(
                f"{name} is a sketch, which plan='pairs' cannot make: use {exact}, exact"
                " everywhere, or leave the plan to the engine"
            ),
        ):
            verb(asked, plan="pairs")


LACKED = {
    "approx_unique_count": (
        _.x.approx_nunique(),
        (
            "approx_unique_count is a sketch, which sqlite cannot make: use nunique(), exact"
            " everywhere, or compute it on DuckDB, Postgres or Spark"
        ),
    ),
    "last_k": (
        last_k(_.x, 2),
        (
            "x_last2_3d of g takes last_k, which sqlite cannot compute: compute it on DuckDB,"
            " Postgres or Spark, over tables of theirs or with on=, or leave it out"
        ),
    ),
    "quantile": (
        (_.x.quantile(0.9) / _.count()).name("q"),
        "q_3d of g takes quantile, which sqlite cannot compute",
    ),
}


@pytest.mark.parametrize("name", LACKED)
def test_what_an_engine_lacks_is_refused_by_name_where_it_is_defined(name):
    reduction, sentence = LACKED[name]
    con = ibis.sqlite.connect()
    con.raw_sql("create table events (k text, t timestamp, x real)")

    with pytest.raises(DefinitionError, match=re.escape(sentence)):
        GroupBy(
            name="g",
            source=EventSource(con.table("events"), time="t"),
            keys=["k"],
            aggregations=trailing(days(3), reduction),
        )


@pytest.mark.parametrize("name", LACKED)
def test_what_the_engine_of_on_lacks_is_refused_before_anything_runs(duck, name):
    reduction, sentence = LACKED[name]
    asked = sketched(duck, reduction)
    nothing = ibis.sqlite.connect()  # not even the tables are looked for

    for verb in (backfill, explain, preview):
        with pytest.raises(DefinitionError, match=re.escape(sentence)):
            verb(asked, on=nothing)
    with pytest.raises(DefinitionError, match=re.escape(sentence)):
        compare(asked, on=[duck, nothing])


def test_what_an_engine_can_do_is_defined_over_its_tables():
    con = ibis.sqlite.connect()
    con.raw_sql("create table events (k text, t timestamp, x real)")

    assert 3 == len(
        GroupBy(
            name="g",
            source=EventSource(con.table("events"), time="t"),
            keys=["k"],
            aggregations=[_.x.sum(), _.count(), _.x.var()],
        ).outputs
    )


def test_a_sketch_has_no_sql_and_explain_says_so(duck):
    (sql,) = explain(sketched(duck, _.x.approx_nunique()), on=duck).sql.values()

    assert sql.startswith(
        "-- there is none: approx_unique_count is a sketch, which SQL cannot make: use nunique(),"
        " exact everywhere, or"
    )


def test_a_dated_table_by_the_kernel_is_the_one_by_pairs(duck):
    backfill(join(duck), into="by_pairs", plan="pairs")
    backfill(join(duck), into="by_kernel", plan="kernel")

    assert (
        duck.table("by_pairs").order_by("t").to_pyarrow()
        == duck.table("by_kernel").order_by("t").to_pyarrow()
    )
