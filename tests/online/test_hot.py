"""Keys with many events: daily totals give what the events give.

A fetch of such a key stays small.
"""

from __future__ import annotations

import random

import cases
import ibis
import numpy as np
import pyarrow as pa
import pytest
from ibis import _

from workbench import EventSource, GroupBy, Join, backfill, days, hours, minutes, trailing
from workbench.backends.equality import equal
from workbench.online import fetch
from workbench.online.fetching.fetcher import Fetcher
from workbench.online.storage import hot_keys, registry, uploads
from workbench.online.storage.table_names import stored
from workbench.online.streaming import batch_values, batch_writer
from workbench.serving.history_queries import of_definition
from workbench.serving.online_plans import plan_of

pytestmark = pytest.mark.slow

DAY, NOON = cases.DAY, cases.BASE + 12 * cases.HOUR
SPANS = (*minutes(5, 7), *hours(1, 12), *days(1, 3, 10))
SCHEMA = pa.schema(
    {
        "user": pa.string(),
        "at": pa.timestamp("us"),
        "n": pa.int64(),
        "x": pa.float64(),
        "b": pa.bool_(),
        "uid": pa.int64(),
    }
)


def history(rng, many):
    """Return events of one key over five days, some at edges of tiles, days and microseconds."""
    edges = [0, 1, -1, hot_keys.TILE_US, hot_keys.TILE_US - 1]
    at = lambda: (  # noqa: E731
        cases.BASE
        - rng.randrange(5) * DAY
        + rng.choice(
            [
                rng.randrange(DAY),
                rng.randrange(288) * hot_keys.TILE_US + rng.choice(edges),
                rng.choice(edges),
            ]
        )
    )
    return [
        {
            "user": "u",
            "at": cases.moment(at()),
            "n": rng.choice([None, rng.randrange(-5, 6)]),
            "x": rng.choice([None, 0.1, 1e9, -2.5]),
            "b": rng.choice([None, True, False]),
            "uid": i,
        }
        for i in range(many)
    ]


def definition(con, resolution):
    con.create_table("events", schema=ibis.Schema.from_pyarrow(SCHEMA), overwrite=True)
    asked = [
        _.n.sum(),
        _.n.count(),
        _.x.mean(),
        _.n.mean(),
        _.n.min(),
        _.x.max(),
        _.n.std(),
        _.b.any(),
        _.b.all(),
        _.b.sum(),
        _.x.sum(where=_.b).name("x_where"),
        _.n.nunique(),
    ]
    source = EventSource(con.table("events"), time="at", topic="events", id="uid")
    return GroupBy(
        name="g",
        source=source,
        keys=["user"],
        aggregations=[*trailing(SPANS, *asked), _.n.sum().name("all_n"), _.x.max().name("all_x")],
        resolution=resolution,
    )


@pytest.mark.parametrize("resolution", ["exact", "sawtooth"])
def test_a_hot_key_gives_what_its_events_give_while_they_come_and_go(
    store, monkeypatch, resolution
):
    monkeypatch.setattr(hot_keys, "HOT", 20)
    rng, con = random.Random(7), ibis.duckdb.connect()  # noqa: S311 a history, not a secret
    group_by = definition(con, resolution)
    plan = plan_of(group_by)
    (mine,) = plan.group_bys
    registry.prepare(store, plan)
    registry.register(store, plan)
    events = history(rng, 400)
    uploaded, streamed = events[:250], events[250:]
    steps = [
        ("upload", uploaded),
        *(("stream", streamed[i : i + 30]) for i in range(0, 150, 30)),
        ("upload", uploaded[40:]),
        ("upload", uploaded[40:] + streamed[:50]),
    ]

    try:
        there: dict[int, dict] = {}
        offset = 0
        for what, rows in steps:
            if what == "upload":
                con.create_table("events", pa.Table.from_pylist(rows, SCHEMA), overwrite=True)
                found = of_definition(mine, group_by, con)
                with store.connection() as connection:
                    uploads.upload(connection, mine, found.engine.batches(found.rows), 2**60)
                streams = {r["uid"] for r in streamed[:offset]}
                there = {u: e for u, e in there.items() if u in streams} | {
                    e["uid"]: e for e in rows
                }
            else:
                sent = batch_values.Messages(
                    "events",
                    pa.Table.from_pylist(rows, SCHEMA),
                    [0] * len(rows),
                    list(range(offset, offset + len(rows))),
                )
                with store.connection() as connection:
                    batch_writer.applied(connection, batch_values.RowLevel(mine), sent)
                offset += len(rows)
                there |= {e["uid"]: e for e in rows}
            held(store, con, group_by, list(there.values()), rng)
    finally:
        registry.unpublish(store, "g")


def held(store, con, group_by, events, rng):
    """Check that fetches at edges of tiles and days, at events, and far off are the backfill's."""
    con.create_table("events", pa.Table.from_pylist(events, SCHEMA), overwrite=True)
    at = (
        [e["at"] for e in rng.sample(events, 6)]
        + [
            cases.moment(cases.BASE + d * DAY + k)
            for d in (-4, -1, 0, 1)
            for k in (0, 1, hot_keys.TILE_US, 12 * cases.HOUR + 7)
        ]
        + [cases.moment(cases.BASE + 40 * DAY)]
    )
    left = con.create_table(
        "lefts",
        pa.table(
            {"row": range(len(at)), "user": ["u"] * len(at), "t": pa.array(at, pa.timestamp("us"))}
        ),
        overwrite=True,
    )
    offline = {
        r["row"]: r
        for r in (
            backfill(Join(name="j", left=EventSource(left, time="t"), parts=[group_by]))
            .to_pyarrow()
            .to_pylist()
        )
    }
    wrong = []
    for i, time in enumerate(at):
        got = fetch(store, "g", user="u", at=time)
        scale = sum(abs(e["x"] or 0) for e in events)
        wrong += [
            (time, n, v, offline[i][f"g_{n}"])
            for n, v in got.items()
            if not equal(offline[i][f"g_{n}"], v, scale)
        ]
    assert not wrong, wrong[:5]
    assert len(set(got)) == len(group_by.outputs)


def held_in_vain(connection, plan):
    """Count the pairs that Postgres looks at and throws away while all totals are made anew.

    A pair is of a tile and an event, or of a day and a tile.
    """

    def below(node):
        return sum(
            int(v) * node["Actual Loops"] for k, v in node.items() if k.startswith("Rows Removed")
        ) + sum(map(below, node.get("Plans", ())))

    removed = 0
    with connection.transaction(force_rollback=True), connection.cursor() as cursor:
        cursor.execute(hot_keys.changing(plan))
        cursor.execute(hot_keys.touched(plan, stored(plan)))
        for statement in hot_keys.refreshed(plan):
            if statement.startswith("insert"):
                ((told,),) = cursor.execute(
                    f"explain (analyze, format json) {statement}"
                ).fetchall()
                removed += below(told[0]["Plan"])
            else:
                cursor.execute(statement)
    return removed


def test_a_fetch_of_a_hot_key_touches_few_pages(store):
    con, rng = ibis.duckdb.connect(), np.random.default_rng(3)
    n = 60_000
    events = pa.table(
        {
            "user": ["hot"] * n,
            "at": pa.array(cases.BASE - rng.integers(0, 30 * DAY, n), pa.timestamp("us")),
            "v": rng.integers(0, 100, n),
        }
    )
    con.create_table("events", events)
    group_by = GroupBy(
        name="h",
        source=EventSource(con.table("events"), time="at", topic="t"),
        keys=["user"],
        aggregations=trailing(days(3, 14, 30), _.v.sum(), _.v.count(), _.v.max()),
    )
    plan = plan_of(group_by)
    registry.prepare(store, plan)
    registry.register(store, plan)
    try:
        found = of_definition(plan.group_bys[0], group_by, con)
        with store.connection() as connection:
            uploads.upload(connection, plan.group_bys[0], found.engine.batches(found.rows), 2**60)
            uploads.vacuumed(connection, plan.group_bys[0])
            statement = (
                Fetcher(store)
                .served("h")
                .one.replace("$1", "'hot'")
                .replace("$2", str(cases.BASE - DAY - 12_345))
            )
            connection.execute(f"explain (analyze, buffers) {statement}")
            told = [
                r[0]
                for r in connection.execute(f"explain (analyze, buffers, costs off) {statement}")
            ]
            removed = held_in_vain(connection, plan.group_bys[0])
        pages = next(int(line.split("hit=")[1].split()[0]) for line in told if "Buffers" in line)

        assert pages < 120, "\n".join(told)
        assert removed < n
    finally:
        registry.unpublish(store, "h")
