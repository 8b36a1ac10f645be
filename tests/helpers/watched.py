"""A served join whose log has a known history.

Two days are as the training set; then come half a day of other customers, and events that are late.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
from ibis import _

from workbench import EventSource, GroupBy, Join, days, publish, trailing
from workbench.online import Fetcher

NAME = "orders_watched_v1"
DAY = datetime(2024, 3, 10)  # noqa: DTZ001 the tables' timestamps are naive UTC
NOW = datetime(2024, 3, 12, 18, tzinfo=UTC)
COMPLETE = datetime(2030, 1, 1, tzinfo=UTC)
TILE = timedelta(hours=6)
SUM, COUNT, KIND = (
    f"orders_v1_{f}" for f in ("amount_sum_30d", "amount_count_30d", "kind_last_30d")
)
USUAL, OTHERS, UNKNOWN = range(200), range(200, 400), range(900, 940)


def definition(con, name=NAME, checks=()):
    """Return a join of a month's orders, with a derivation."""
    orders = con.table("orders")
    of = [trailing(days(30), _.amount.sum(), _.amount.count(), _.kind.last())]
    orders_v1 = GroupBy(
        name="orders_v1",
        source=EventSource(orders, time="ts", checks=checks),
        keys=["user"],
        aggregations=of,
        accuracy="temporal",
        owner="orders@example",
    )
    return Join(
        name=name,
        left=EventSource(con.table("asks"), time="t"),
        parts=[orders_v1],
        derivations={"per_order": _[SUM] / _[COUNT]},
    )


def warehouse(con, late=()):
    """Make the tables: one order for each customer; those of the other customers are 150 higher."""
    chance = np.random.default_rng(3)
    amounts = chance.uniform(0, 100, 400).round(2)
    rows = [
        {
            "ts": DAY - timedelta(days=3),
            "user": u,
            "amount": float(a) + 150 * (u >= OTHERS.start),
            "kind": "abc"[u % 3],
        }
        for u, a in enumerate(amounts)
    ]
    rows += [
        {"ts": DAY - timedelta(hours=1), "user": u, "amount": 7.0, "kind": "late"} for u in late
    ]
    schema = pa.schema(
        [
            ("ts", pa.timestamp("us")),
            ("user", pa.int64()),
            ("amount", pa.float64()),
            ("kind", pa.string()),
        ]
    )
    con.create_table("orders", pa.Table.from_pylist(rows, schema), overwrite=True)
    asked = [{"user": u, "t": DAY - timedelta(hours=h)} for u in USUAL for h in range(2, 22, 4)]
    con.create_table(
        "asks",
        pa.Table.from_pylist(asked, pa.schema([("user", pa.int64()), ("t", pa.timestamp("us"))])),
        overwrite=True,
    )


def served(store, con):
    """Publish the join, fetch for two and a half days, then add two customers' late orders."""
    warehouse(con)
    join = definition(con)
    publish(join, store, confirm=True, end=DAY)
    fetcher = Fetcher(store, sample=1.0)
    for tile in range(10):
        users = [*USUAL] if tile < 8 else [*OTHERS, *UNKNOWN]
        fetcher.fetch(NAME, [{"user": u} for u in users], at=DAY + timedelta(hours=6 * tile + 8))
    fetcher.close()
    assert 0 == fetcher.log.dropped
    warehouse(con, late=(3, 5))
    return join
