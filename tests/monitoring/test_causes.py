"""Causes of differences that lie elsewhere than in late or changed events.

They are faults of the store or the code, answers of other definitions and times, and definitions of
other shapes.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pyarrow as pa
import pytest
import simulator
from ibis import _
from simulator import AT, DAY

from workbench import (
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    approx_percentile,
    days,
    last_k,
    publish,
    trailing,
    unpublish,
)
from workbench.monitoring import consistency
from workbench.monitoring.comparison.mismatch_causes import CAUSES
from workbench.online import Fetcher
from workbench.online.storage import registry
from workbench.serving.history_queries import of_definition, uploaded
from workbench.serving.online_plans import plan_of

pytestmark = pytest.mark.slow

COMPLETE = datetime(2030, 1, 1, tzinfo=UTC)


def payments(con, name="edge_v1", rows=(), **more):
    found = con.create_table(
        "edge_pays", pa.Table.from_pylist(list(rows), simulator.EVENT), overwrite=True
    )
    con.create_table(
        "edge_lefts",
        pa.table({"user": ["x"], "t": pa.array([AT], pa.timestamp("us"))}),
        overwrite=True,
    )
    asked = [trailing(days(1), _.amount.sum(), _.amount.count())]
    group_by = GroupBy(
        name="edge_pays_v1",
        source=EventSource(found, time="ts", topic="edge", id="pid"),
        keys=["user"],
        aggregations=asked,
        **more,
    )
    return Join(name=name, left=EventSource(con.table("edge_lefts"), time="t"), parts=[group_by])


ROWS = [
    simulator.event("a", i, 0.1 * (i + 1), DAY - timedelta(hours=12) + timedelta(minutes=15 * i))
    for i in range(12)
]


@contextlib.contextmanager
def tampered(store, join, con, change):
    """Return a join that is served by a plan that differs from its definition."""
    plan = plan_of(join)
    registry.prepare(store, plan)
    uploaded(
        [of_definition(plan.group_bys[0], join.parts[0].group_by, con)],
        store,
        int(DAY.replace(tzinfo=UTC).timestamp() * 1e6),
    )
    registry.register(store, replace(plan, group_bys=tuple(map(change, plan.group_bys))))
    try:
        yield plan
    finally:
        registry.unpublish(store, join.name)


def ask(store, name, keys, at):
    fetcher = Fetcher(store, sample=1.0)
    found = fetcher.fetch(name, keys, at=at)
    fetcher.close()
    return found


def causes_of(store, join, con, change):
    with store.connection() as told:
        told.execute("delete from workbench.served where name = %s", (join.name,))
    with tampered(store, join, con, change):
        ask(store, join.name, [{"user": "a"}], AT + timedelta(minutes=10))
        found = consistency(store, join, complete=COMPLETE)
    return {r.feature.removeprefix("edge_pays_v1_"): r.cause for r in found.rows}, found


def expressed(feature, text):
    return lambda g: replace(
        g,
        features=tuple(
            replace(f, expression=text.format(f.expression)) if f.name == feature else f
            for f in g.features
        ),
    )


def test_windows_that_are_cut_at_hops_are_a_window_edge_and_unexplained_without_the_rule(
    store, duck
):
    join = payments(duck, rows=ROWS)

    got, found = causes_of(
        store,
        join,
        duck,
        lambda g: replace(g, cells=tuple(replace(c, hop=3_600_000_000) for c in g.cells)),
    )

    assert {"amount_sum_1d": "window_edge", "amount_count_1d": "window_edge"} == got
    assert {"unexplained"} == set(
        found.explained_by([c for c in CAUSES if c.name != "window_edge"])
    )
    assert "alert" == found.status


def test_a_value_that_went_through_32_bits_lacks_precision(store, duck):
    got, found = causes_of(
        store, payments(duck, rows=ROWS), duck, expressed("amount_sum_1d", "({})::float4::float8")
    )

    assert {"amount_sum_1d": "precision"} == got
    assert ("unexplained",) == found.explained_by([c for c in CAUSES if c.name != "precision"])


def test_code_that_disagrees_is_unexplained_and_an_alert(store, duck):
    got, found = causes_of(
        store, payments(duck, rows=ROWS), duck, expressed("amount_count_1d", "({}) + 7")
    )

    assert {"amount_count_1d": "unexplained"} == got
    assert ("alert", 1) == (found.status, found.verdicts[0].skew)
    assert "the code that serves and the code that trains disagree" in repr(found)


def test_answers_of_another_definition_are_left_out_and_of_earlier_rows_unknown(store, duck):
    with store.connection() as told:
        told.execute("delete from workbench.served where name = 'edge_v1'")
    old, new = payments(duck, rows=ROWS[:6]), payments(duck, rows=ROWS[:6], resolution="sawtooth")
    for join in (old, new):
        publish(join, store, confirm=True, end=DAY)
        ask(store, join.name, [{"user": "a"}], DAY)
        unpublish(join.name, store)
    new = payments(duck, rows=ROWS, resolution="sawtooth")
    publish(new, store, confirm=True, end=DAY)

    got = consistency(store, new, complete=COMPLETE)

    unpublish("edge_v1", store)
    assert {"answers": 2, "scored": 1, "pending": 0, "version": 1, "error": 0} == got.counts
    assert {"unknown"} == {r.cause for r in got.rows}
    assert not any(r.skew or r.late for r in got.rows)
    assert {"unknown", "version"} == set(got.causes)
    assert "watch" == got.status


def test_a_group_by_alone_is_compared_under_its_own_names(store, duck):
    group_by = payments(duck, rows=ROWS).parts[0].group_by
    publish(group_by, store, confirm=True, end=DAY)
    ask(store, group_by.name, [{"user": "a"}, {"user": None}, {"user": "nobody"}], DAY)

    got = consistency(store, group_by, complete=COMPLETE)

    unpublish(group_by.name, store)
    assert ("ok", 3) == (got.status, got.counts["scored"])
    assert {"amount_sum_1d", "amount_count_1d"} == {v.feature for v in got.verdicts}


def test_names_and_values_of_any_letters_are_compared(store, duck):
    key, value = 'u"; drop table x; --', "o'brien \\ %s {} é\n"
    paid = duck.create_table(
        "odd",
        pa.table(
            {
                key: [value, "x"],
                "ts": pa.array([DAY - timedelta(hours=1)] * 2, pa.timestamp("us")),
                "amount": [1.5, 2.5],
            }
        ),
    )
    duck.create_table(
        "odd_lefts", pa.table({key: [value], "t": pa.array([AT], pa.timestamp("us"))})
    )
    group_by = GroupBy(
        name="odd_v1",
        source=EventSource(paid, time="ts", topic="odd"),
        keys=[key],
        aggregations=[trailing(days(1), _.amount.sum()), last_k(_.amount, 2)],
    )
    join = Join(
        name="odd_join_v1", left=EventSource(duck.table("odd_lefts"), time="t"), parts=[group_by]
    )
    publish(join, store, confirm=True, end=DAY)
    ask(store, join.name, [{key: value}], DAY)
    duck.create_table(
        "odd",
        pa.table(
            {
                key: [value] * 2,
                "ts": pa.array([DAY - timedelta(hours=1)] * 2, pa.timestamp("us")),
                "amount": [1.5, 3.5],
            }
        ),
        overwrite=True,
    )

    got = consistency(store, join, complete=COMPLETE)

    unpublish(join.name, store)
    assert {"late_across_batch"} == {r.cause for r in got.rows}
    assert {key: value} == got.rows[0].keys
    assert 2 == got.events(got.rows[0]).num_rows
    assert "o'brien" in got._repr_html_()


def test_sketches_are_compared_by_their_bound(store, duck):
    rows = [
        simulator.event("a", i, float(i % 997), DAY - timedelta(seconds=i)) for i in range(4_000)
    ]
    paid = duck.create_table("many", pa.Table.from_pylist(rows, simulator.EVENT))
    duck.create_table(
        "many_lefts", pa.table({"user": ["x"], "t": pa.array([AT], pa.timestamp("us"))})
    )
    group_by = GroupBy(
        name="many_v1",
        source=EventSource(paid, time="ts", topic="many", id="pid"),
        keys=["user"],
        aggregations=trailing(days(1), approx_percentile(_.amount, 0.5), _.amount.approx_nunique()),
    )
    join = Join(
        name="many_join_v1", left=EventSource(duck.table("many_lefts"), time="t"), parts=[group_by]
    )
    publish(join, store, confirm=True, end=DAY)
    ask(store, join.name, [{"user": "a"}] * 12, DAY)

    got = consistency(store, join, complete=COMPLETE)
    duck.create_table(
        "many",
        pa.Table.from_pylist(
            [*rows, simulator.event("a", "late", 5000.0, DAY - timedelta(hours=1))], simulator.EVENT
        ),
        overwrite=True,
    )
    late = consistency(store, join, complete=COMPLETE)

    unpublish(join.name, store)
    assert {("many_v1_amount_approx_unique_count_1d", "late_across_batch")} == {
        (r.feature, r.cause) for r in late.rows
    }
    counts = Counter()
    for row in got.metrics.to_pylist():
        counts.update({k: row[k] for k in ("match", "tol_match", "value_diff")})
    assert 24 == counts["match"] + counts["tol_match"]
    assert counts["tol_match"] > 0  # the library draws what it keeps
    assert "ok" == got.status


def test_of_a_store_that_forgets_the_window_is_still_known_and_all_time_is_not(store, duck):
    rows = [simulator.event("a", i, 1.0, DAY - timedelta(days=i)) for i in range(1, 20)]
    paid = duck.create_table("kept", pa.Table.from_pylist(rows, simulator.EVENT))
    duck.create_table(
        "kept_lefts", pa.table({"user": ["x"], "t": pa.array([AT], pa.timestamp("us"))})
    )
    group_by = GroupBy(
        name="kept_v1",
        source=EventSource(paid, time="ts", topic="kept", id="pid"),
        keys=["user"],
        aggregations=[trailing(days(3), _.amount.count()), _.amount.sum()],
    )
    join = Join(
        name="kept_join_v1",
        left=EventSource(duck.table("kept_lefts"), time="t"),
        parts=[JoinPart(group_by)],
    )
    publish(join, store, confirm=True, end=DAY, retain=days(5))
    ask(store, join.name, [{"user": "a"}], DAY)

    clean = consistency(store, join, complete=COMPLETE)
    late = simulator.event("a", "late", 1.0, DAY - timedelta(hours=1))
    duck.create_table("kept", pa.Table.from_pylist([*rows, late], simulator.EVENT), overwrite=True)
    got = consistency(store, join, complete=COMPLETE)

    unpublish(join.name, store)
    assert ("ok", ()) == (clean.status, clean.rows)
    assert {
        "kept_v1_amount_count_3d": "late_across_batch",
        "kept_v1_amount_sum": "late_across_batch",
    } == {r.feature: r.cause for r in got.rows}


def test_ids_as_keys_and_as_identities_are_compared(store, duck):
    keys = [UUID(int=i) for i in range(3)]
    duck.raw_sql("create table ided (k uuid, pid uuid, ts timestamp, amount double)")
    for i in range(9):
        duck.raw_sql(
            f"insert into ided values ('{keys[i % 3]}', '{UUID(int=100 + i)}', timestamp"
            f" '2024-01-09 12:00:00', {i})"
        )
    duck.raw_sql(
        f"create table ided_lefts as select uuid '{keys[0]}' as k, timestamp '2024-01-10' as t"
    )
    group_by = GroupBy(
        name="ided_v1",
        source=EventSource(duck.table("ided"), time="ts", topic="ided", id="pid"),
        keys=["k"],
        aggregations=trailing(days(1), _.amount.sum()),
    )
    join = Join(
        name="ided_join_v1", left=EventSource(duck.table("ided_lefts"), time="t"), parts=[group_by]
    )
    publish(join, store, confirm=True, end=DAY)
    ask(store, join.name, [{"k": k} for k in keys], DAY)
    clean = consistency(store, join, complete=COMPLETE)
    duck.raw_sql(f"update ided set amount = 99 where pid = '{UUID(int=101)}'")

    got = consistency(store, join, complete=COMPLETE)

    unpublish(join.name, store)
    assert ("ok", ()) == (clean.status, clean.rows)
    assert [(str(keys[1]), "mutation")] == [(r.keys["k"], r.cause) for r in got.rows]


def test_a_warehouse_in_spark_is_compared(store, spark):
    spark.drop_table("spark_pays", force=True)
    spark.create_table(
        "spark_pays",
        schema={"ts": "timestamp('UTC')", "pid": "string", "user": "string", "amount": "float64"},
    )

    def kept(rows):
        values = ", ".join(
            f"(timestamp '{r['ts']}', '{r['pid']}', '{r['user']}', {r['amount']}d)" for r in rows
        )
        spark.raw_sql(f"insert into spark_pays values {values}")

    kept(ROWS[:4])
    paid, at = spark.table("spark_pays"), DAY
    lefts = paid.select("user", t="ts")
    group_by = GroupBy(
        name="spark_pays_v1",
        source=EventSource(paid, time="ts", topic="spark", id="pid"),
        keys=["user"],
        aggregations=trailing(days(1), _.amount.sum()),
    )
    join = Join(name="spark_join_v1", left=EventSource(lefts, time="t"), parts=[group_by])
    publish(join, store, confirm=True, end=DAY)
    ask(store, join.name, [{"user": "a"}, {"user": "b"}], at)
    kept(ROWS[4:6])

    got = consistency(store, join, complete=COMPLETE)

    unpublish(join.name, store)
    spark.drop_table("spark_pays")
    assert [("a", "late_across_batch")] == [(r.keys["user"], r.cause) for r in got.rows]
