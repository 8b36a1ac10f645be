"""Sketches that are served.

Equal values give the sketch of a backfill, and the SQL function has no column of them.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import ibis
import pyarrow as pa
import pytest
from ibis import _

from workbench import (
    DefinitionError,
    EventSource,
    GroupBy,
    Join,
    approx_histogram,
    approx_percentile,
    approx_unique_count,
    backfill,
    days,
    publish,
    trailing,
    unpublish,
)
from workbench.online import fetch

pytestmark = pytest.mark.slow

START = datetime(2024, 1, 1)  # noqa: DTZ001 the tables' timestamps are naive UTC


@pytest.fixture(scope="module")
def con():
    made = ibis.duckdb.connect()
    rows = [
        {
            "user": f"u{i % 3}",
            "ts": START + timedelta(hours=i),
            "n": i % 17,
            "s": f"é{i % 40}",
            "d": Decimal(i % 9) / 4,
            "b": i % 2 == 0,
            "xs": [i % 5, None],
        }
        for i in range(300)
    ]
    schema = pa.schema(
        {
            "user": pa.string(),
            "ts": pa.timestamp("us"),
            "n": pa.int64(),
            "s": pa.string(),
            "d": pa.decimal128(9, 2),
            "b": pa.bool_(),
            "xs": pa.list_(pa.int64()),
        }
    )
    made.create_table("events", pa.Table.from_pylist(rows, schema))
    made.create_table(
        "lefts",
        pa.table(
            {
                "user": ["u0", "u1", "nobody", None],
                "t": pa.array([START + timedelta(days=8)] * 4, pa.timestamp("us")),
            }
        ),
    )
    return made


def test_a_served_sketch_is_the_backfills(store, con):
    asked = [
        approx_unique_count(_.s),
        approx_unique_count(_.n),
        approx_unique_count(_.d),
        approx_unique_count(_.ts),
        approx_percentile(_.n, 0.9),
        approx_percentile(_.d, [0.1, 0.5]).name("some"),
        approx_histogram(_.s, 5),
        approx_unique_count(_.b),
    ]
    group_by = GroupBy(
        name="g",
        source=EventSource(con.table("events"), time="ts", topic="t"),
        keys=["user"],
        aggregations=[*trailing(days(3), _.count(), *asked), approx_histogram(_.n, 20)],
    )
    join = Join(name="sketches", left=EventSource(con.table("lefts"), time="t"), parts=[group_by])

    publish(join, store, confirm=True)
    offline = backfill(join).to_pyarrow().to_pylist(maps_as_pydicts="strict")
    try:
        for row in offline:
            got = fetch(store, "sketches", user=row["user"], at=row["t"])
            assert {n: row[n] for n in got} == dict(got)
        with store.connection() as c:
            told = c.execute(
                "select obj_description(oid) from pg_proc where proname = 'sketches'"
            ).fetchone()[0]
            assert "Without g_s_approx_unique_count_3d" in told
            assert 1 == len(
                c.execute("select * from features.sketches('u0', '2024-01-09')").fetchall()[0]
            )
    finally:
        unpublish("sketches", store)


def test_what_computes_with_a_sketch_is_refused(store, con):
    source = EventSource(con.table("events"), time="ts", topic="t")
    share = GroupBy(
        name="g",
        source=source,
        keys=["user"],
        aggregations=[(approx_unique_count(_.s) / _.count()).name("share")],
    )

    with pytest.raises(
        DefinitionError, match="share of g computes with the sketch of approx_unique_count"
    ):
        publish(share, store)
