"""Answers of every type that is served, logged, recomputed and replayed.

They show no difference, but for one that was planted.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import ibis
import pyarrow as pa
import pytest
from ibis import _

from workbench import (
    Aggregation,
    EntitySource,
    EventSource,
    GroupBy,
    Join,
    Topic,
    days,
    each,
    histogram,
    last_k,
    publish,
    trailing,
    unpublish,
)
from workbench.monitoring import consistency
from workbench.online import Fetcher

pytestmark = pytest.mark.slow

AT = datetime(2024, 1, 10, tzinfo=UTC)
NAME = "typed_v1"
PAID = {
    "user": "string",
    "shop": "int64",
    "ts": "timestamp('UTC')",
    "price": "decimal(12, 2)",
    "weight": "float64",
    "short": "float32",
    "seen": "timestamp('UTC')",
    "day": "date",
    "kind": "string",
    "gift": "boolean",
    "raw": "binary",
    "tags": "array<string>",
    "sizes": "array<int64>",
    "scores": "map<string, float64>",
}
AVRO = {
    "string": "string",
    "int64": "long",
    "float64": "double",
    "float32": "float",
    "boolean": "boolean",
    "binary": "bytes",
    "date": {"type": "int", "logicalType": "date"},
    "timestamp('UTC')": {"type": "long", "logicalType": "timestamp-micros"},
}
AVRO |= {
    "decimal(12, 2)": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2},
    "array<string>": {"type": "array", "items": "string"},
    "array<int64>": {"type": "array", "items": "long"},
    "map<string, float64>": {"type": "map", "values": "double"},
}
SENT = {
    "type": "record",
    "name": "paid",
    "fields": [
        {"name": name, "type": ["null", AVRO[kind]], "default": None} for name, kind in PAID.items()
    ],
}


def row(i):
    at = datetime(2024, 1, 1 + i % 9, i % 24, tzinfo=UTC)
    return {
        "user": f"u{i % 5}",
        "shop": i % 2,
        "ts": at,
        "price": Decimal(f"{i}.25"),
        "weight": i / 7,
        "short": i / 3,
        "seen": at,
        "day": date(2024, 1, 1 + i % 9),
        "kind": "ab"[i % 2],
        "gift": i % 2 == 0,
        "raw": bytes([i, 255]),
        "tags": ["x", "é"[: i % 2]],
        "sizes": [i, None, 3],
        "scores": [("b", i / 9), ("a", 0.5)],
    }


def definition(con, rows):
    paid = con.create_table(
        "typed_paid", pa.Table.from_pylist(rows, ibis.schema(PAID).to_pyarrow()), overwrite=True
    )
    users = con.create_table(
        "typed_users",
        pa.table(
            {
                "user": ["u1", "u2"],
                "ds": ["2024-01-08"] * 2,
                "level": [3, None],
                "since": [date(2020, 1, 1)] * 2,
            }
        ),
        overwrite=True,
    )
    lefts = con.create_table(
        "typed_lefts",
        pa.table(
            {
                "user": ["u1"],
                "shop": [1],
                "t": [AT],
                "amount": pa.array([Decimal("7.50")], pa.decimal128(12, 2)),
            }
        ),
        overwrite=True,
    )
    taken = [
        _.seen.max(),
        _.day.min(),
        _.gift.any().name("gift_any"),
        _.raw.last(),
        _.tags.last(),
        _.short.last(),
        last_k(_.seen, 2),
        histogram(_.kind),
        histogram(_.day),
        each(_.sizes).sum(),
        each(_.scores).mean(),
    ]
    asked = [
        trailing(
            days(30),
            _.price.sum(),
            _.price.mean(),
            _.weight.mean(),
            _.weight.var(),
            _.price.count(),
        ),
        last_k(_.price, 3),
        taken,
        Aggregation(_.price.sum(), days(7), by="kind"),
    ]
    paid_v1 = GroupBy(
        name="typed_paid_v1",
        source=EventSource(paid, time="ts", topic=Topic("typed", format="avro", schema=SENT)),
        keys=["user", "shop"],
        aggregations=asked,
    )
    users_v1 = GroupBy(
        name="typed_users_v1",
        source=EntitySource(users, snapshot="ds"),
        keys=["user"],
        features=["level", "since"],
    )
    return Join(
        name=NAME,
        left=EventSource(lefts, time="t"),
        parts=[paid_v1, users_v1],
        derivations={"left_over": _.amount - _.typed_paid_v1_price_sum_30d},
    )


@pytest.fixture
def served(store, duck):
    rows = [row(i) for i in range(60)]
    publish(definition(duck, rows), store, confirm=True, end=AT)
    fetcher = Fetcher(store, sample=1.0)
    keys = [{"user": f"u{i}", "shop": s} for i in range(6) for s in (0, 1)] + [
        {"user": None, "shop": 1}
    ]
    fetcher.fetch(NAME, keys, at=AT, context={"amount": Decimal("9.25")})
    fetcher.fetch(NAME, keys[:2], at=AT)
    fetcher.close()
    yield rows
    unpublish(NAME, store)
    with store.connection() as con:
        con.execute("delete from workbench.served where name = %s", (NAME,))


def test_answers_of_every_type_are_what_the_warehouse_gives(store, duck, served):
    got = consistency(store, definition(duck, served), complete="2030-01-01")

    assert ("ok", ()) == (got.status, got.rows), got
    assert {"answers": 15, "scored": 15, "pending": 0, "version": 0, "error": 0} == got.counts
    compared = {v.feature: v.compared for v in got.verdicts}
    assert 13 == compared.pop("left_over")  # whoever gave no context was answered without it
    assert {15} == set(compared.values())


def test_an_event_that_the_warehouse_got_later_is_found_whatever_its_types(store, duck, served):
    late = row(7) | {
        "ts": AT - timedelta(hours=1),
        "seen": AT - timedelta(hours=1),
        "scores": [("b", 5.0)],
    }

    got = consistency(store, definition(duck, [*served, late]), complete="2030-01-01")

    assert {"late_across_batch"} == {r.cause for r in got.rows}
    assert {("u2", 1)} == {tuple(r.keys.values()) for r in got.rows}
    changed = {r.feature.removeprefix("typed_paid_v1_") for r in got.rows}
    assert {
        "price_sum_30d",
        "price_count_30d",
        "price_last3",
        "seen_max",
        "raw_last",
        "kind_histogram",
        "sizes_sum",
        "scores_average",
        "price_sum_7d_by_kind",
        "left_over",
    } <= changed


def test_an_event_that_was_served_and_is_gone_is_found_whatever_its_types(store, duck, served):
    left = [r for i, r in enumerate(served) if i != 7]

    got = consistency(store, definition(duck, left), complete="2030-01-01")

    assert {"mutation"} == {r.cause for r in got.rows}
    (event,) = [e for e in got.events(got.rows[0]).to_pylist() if e["kind"] == "mutation"]
    assert Decimal("7.25") == event["price"]
