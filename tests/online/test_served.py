"""The served log: the answers of a sample of keys, logged without delaying them."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import ibis
import numpy as np
import psycopg
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
    histogram,
    last_k,
    publish,
    trailing,
    unpublish,
)
from workbench.online import Fetcher, StoreError
from workbench.online.embedded import embedded_server
from workbench.online.fetching.served_log import BATCH, ServedLog, logged, share_of
from workbench.online.plan import Column, Plan
from workbench.online.storage.store import Store

pytestmark = pytest.mark.slow

AT = datetime(2024, 1, 10, tzinfo=UTC)
NAME = "logged_v1"
PAID = {
    "user": "string",
    "shop": "int64",
    "ts": "timestamp",
    "price": "decimal(12, 2)",
    "weight": "float64",
    "seen": "timestamp('UTC')",
    "day": "date",
    "kind": "string",
    "gift": "boolean",
    "raw": "binary",
    "tags": "array<string>",
}

AVRO = {
    "string": "string",
    "int64": "long",
    "float64": "double",
    "boolean": "boolean",
    "binary": "bytes",
    "date": {"type": "int", "logicalType": "date"},
    "array<string>": {"type": "array", "items": "string"},
}
AVRO |= {
    "timestamp": {"type": "long", "logicalType": "timestamp-micros"},
    "timestamp('UTC')": {"type": "long", "logicalType": "timestamp-micros"},
    "decimal(12, 2)": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2},
}
# JSON carries no binary, so these messages are Avro.
SENT = {
    "type": "record",
    "name": "paid",
    "fields": [
        {"name": name, "type": ["null", AVRO[kind]], "default": None} for name, kind in PAID.items()
    ],
}


def definition(con):
    rows = [
        {
            "user": f"u{i % 40}",
            "shop": i % 3,
            "ts": datetime(2024, 1, 1 + i % 9, tzinfo=UTC),
            "price": Decimal(f"{i}.25"),
            "weight": i / 7,
            "seen": datetime(2024, 1, 1, i % 24, tzinfo=UTC),
            "day": date(2024, 1, 1 + i % 9),
            "kind": "ab"[i % 2],
            "gift": i % 2 == 0,
            "raw": bytes([i, 255]),
            "tags": ["x", "é"[: i % 2]],
        }
        for i in range(120)
    ]
    paid = con.create_table(
        "paid", pa.Table.from_pylist(rows, ibis.schema(PAID).to_pyarrow()), overwrite=True
    )
    users = con.create_table(
        "users",
        pa.table({"user": ["u1", "u2"], "ds": ["2024-01-08"] * 2, "level": [3, None]}),
        overwrite=True,
    )
    lefts = con.create_table(
        "lefts",
        pa.table(
            {
                "user": ["u1"],
                "shop": [1],
                "t": [datetime(2024, 1, 9, tzinfo=UTC)],
                "amount": pa.array([Decimal("7.50")], pa.decimal128(12, 2)),
            }
        ),
        overwrite=True,
    )
    paid_v1 = GroupBy(
        name="paid_v1",
        source=EventSource(paid, time="ts", topic=Topic("paid", format="avro", schema=SENT)),
        keys=["user", "shop"],
        aggregations=[
            trailing(days(30), _.price.sum(), _.weight.mean(), _.price.count()),
            last_k(_.price, 3),
            [
                _.seen.max(),
                _.day.min(),
                _.gift.any().name("gift_any"),
                _.raw.last(),
                _.tags.last(),
                last_k(_.seen, 2),
                histogram(_.gift),
                histogram(_.day),
            ],
            Aggregation(_.price.sum(), days(7), by="kind"),
        ],
    )
    users_v1 = GroupBy(
        name="users_v1",
        source=EntitySource(users, snapshot="ds"),
        keys=["user"],
        features=["level"],
    )
    return Join(
        name=NAME,
        left=EventSource(lefts, time="t"),
        parts=[paid_v1, users_v1],
        derivations={"left_over": _.amount - _.paid_v1_price_sum_30d},
    )


@pytest.fixture(scope="module")
def shop(store):
    con = ibis.duckdb.connect()
    publish(definition(con), store, confirm=True, end=AT)
    yield store
    unpublish(NAME, store)


@pytest.fixture
def fetcher(shop):
    with shop.connection() as con:
        con.execute("truncate workbench.served")
    made = Fetcher(shop, sample=1.0, client="test")
    yield made
    made.close()


def fetched(fetcher, keys, **more):
    return fetcher.fetch(NAME, keys, at=AT, context={"amount": Decimal("9.25")}, **more)


def test_what_is_logged_is_what_was_answered_type_by_type(shop, fetcher):
    alone = fetched(fetcher, {"user": "u1", "shop": 1})
    many = fetched(
        fetcher,
        [{"user": "u2", "shop": 2}, {"user": None, "shop": 1}, {"user": "nobody", "shop": 1}],
    )
    fetcher.close()

    got = logged(shop, NAME)

    assert (4, 0) == (fetcher.log.logged, fetcher.log.dropped)
    assert [0, 0, 1, 2] == [g.number for g in got]
    assert 2 == len({g.request for g in got})
    kinds = set()
    for answer, entry in zip([alone, *many], got, strict=True):
        assert list(answer.items()) == list(entry.answer.items())
        assert [type(v) for v in answer.values()] == [type(v) for v in entry.answer.values()]
        assert (answer.asked, answer.context, answer.at, answer.plan) == (
            entry.answer.asked,
            entry.answer.context,
            entry.answer.at,
            entry.answer.plan,
        )
        assert (answer.parts, answer.errors) == (entry.answer.parts, entry.answer.errors)
        kinds |= {type(v) for v in answer.values()}
    assert {int, float, bool, Decimal, datetime, date, bytes, list, dict, type(None)} == kinds


def test_an_entry_says_when_by_whom_and_from_what_it_was_answered(shop, fetcher):
    before = datetime.now(UTC)
    fetched(fetcher, {"user": "u1", "shop": 1})
    fetcher.close()

    (got,) = logged(shop, NAME)

    assert ("test", "key", 1.0) == (got.client, got.reason, got.share)
    assert before <= got.served <= datetime.now(UTC)
    assert 0 < got.took < 60_000_000
    paid = got.answer.parts["paid_v1"]
    assert ("ok", AT, None) == (paid.status, paid.batch_end, paid.streamed)
    assert paid.uploaded == paid.written < before
    assert datetime(2024, 1, 9, tzinfo=UTC) >= paid.newest
    assert (
        "missing"
        == {p: s.status for p, s in fetched(fetcher, {"user": "u9", "shop": 1}).parts.items()}[
            "users_v1"
        ]
    )


def test_monitors_read_parts_and_features_in_sql(shop, fetcher):
    fetched(fetcher, {"user": "u1", "shop": 1})
    fetcher.close()

    with shop.connection() as con:
        row = con.execute(
            "select parts #>> '{paid_v1,status}', (parts #>> '{paid_v1,batch_end}')::int8,"
            " (features ->> 'paid_v1_price_count_30d')::int from workbench.served"
        ).fetchone()

    assert ("ok", 1704844800000000, 1) == row


def test_answers_changed_by_their_receiver_are_logged_as_they_were(shop, fetcher):
    answer = fetched(fetcher, {"user": "u1", "shop": 1})
    before = list(answer["paid_v1_price_last3"])
    answer["paid_v1_price_last3"].clear()
    fetcher.close()

    assert before == logged(shop, NAME)[0].answer["paid_v1_price_last3"] != []


def test_context_that_was_not_given_is_an_error_of_its_derivation_alone_in_the_log_too(
    shop, fetcher
):
    fetcher.fetch(NAME, user="u1", shop=1, at=AT)
    fetcher.close()

    (got,) = logged(shop, NAME)

    assert ["left_over"] == list(got.answer.errors)
    assert "left_over" not in got.answer


def test_context_may_stand_beside_the_keys_of_one_row(fetcher):
    beside = fetcher.fetch(NAME, user="u1", shop=1, amount=Decimal("9.25"), at=AT)

    assert dict(fetched(fetcher, {"user": "u1", "shop": 1})) == dict(beside)


def test_the_same_keys_are_sampled_by_every_process_and_about_the_share_of_them(shop, fetcher):
    half = Fetcher(shop, sample=0.5)
    for _i in range(2):
        fetched(half, [{"user": f"u{i}", "shop": s} for i in range(40) for s in range(3)])
    half.close()

    seen = [(g.answer.asked["user"], g.answer.asked["shop"]) for g in logged(shop, NAME)]

    assert 35 < len(set(seen)) < 85
    assert 2 * len(set(seen)) == len(seen)
    assert {
        k for k in seen if share_of(half.served(NAME).plan, {"user": k[0], "shop": k[1]}) < 0.5
    } == set(seen)


@pytest.mark.parametrize(
    ("sql", "one", "other"),
    [
        ("int8", 5, np.int64(5)),
        ("numeric(12,2)", Decimal("5.00"), 5),
        (
            "uuid",
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ),
        # a naive one is UTC
        ("timestamptz", datetime(2024, 1, 1), datetime(2024, 1, 1, tzinfo=UTC)),  # noqa: DTZ001
        ("text", None, float("nan")),
    ],
)
def test_a_key_is_sampled_alike_in_whichever_type_it_comes(sql, one, other):
    plan = Plan("p", "join", "h", (Column("k", "", sql),), (), (), (), ())

    assert share_of(plan, {"k": one}) == share_of(plan, {"k": other})


def test_the_sample_of_known_keys_never_changes():
    plan = Plan("p", "join", "h", (Column("k", "string", "text"),), (), (), (), ())

    assert [0.11588, 0.96761, 0.86191] == [share_of(plan, {"k": k}) for k in ("5", "é", None)]


def test_nothing_is_logged_unless_it_is_asked_for(shop):
    assert shop.fetcher.log is None
    with pytest.raises(
        StoreError, match="sample=2 is no share of the keys: give a number from 0, none, to 1, all"
    ):
        Fetcher(shop, sample=2)


def test_an_error_is_logged_whatever_its_key(shop, fetcher):
    fetcher.log.share = 1e-9
    answer = fetched(fetcher, {"user": "u1", "shop": 1})
    failed = {**answer.parts, "users_v1": type(answer.parts["users_v1"])("error", error="no")}
    answer.parts = failed
    served = fetcher.served(NAME)

    fetcher.log.offer(served.id, served.plan, [answer], 0, time.perf_counter_ns())
    fetcher.close()

    assert ["error"] == [g.reason for g in logged(shop, NAME)]


def test_a_table_that_is_locked_does_not_hold_answers_up_and_what_the_ring_cannot_hold_is_counted(
    shop, fetcher
):
    fetcher.log.size = 50
    with psycopg.connect(shop.url) as other:
        other.execute("lock table workbench.served in access exclusive mode")
        took = []
        for _i in range(3 * 50 + BATCH // 100):
            began = time.perf_counter()
            fetched(fetcher, {"user": "u1", "shop": 1})
            took.append(time.perf_counter() - began)
        dropped = fetcher.log.dropped
        assert fetcher.log.waiting + dropped == len(took)
        assert dropped > 0
        print(
            f"the slowest answer took {max(took):.2f} s while the writer waited two seconds at a"
            " time"
        )
        other.rollback()
    fetcher.close()

    assert len(took) == fetcher.log.logged + fetcher.log.dropped
    assert fetcher.log.logged == len(logged(shop, NAME)) >= 50


def test_a_server_that_is_gone_neither_slows_an_offer_nor_stops_a_close_and_all_is_counted(
    tmp_path, shop, fetcher
):
    store = Store(tmp_path / "pg", migrate=True)
    answer, served = fetched(fetcher, {"user": "u1", "shop": 1}), fetcher.served(NAME)
    log = ServedLog(store.access, 1.0, size=100)
    log.offer(served.id, served.plan, [answer], 0, time.perf_counter_ns())
    store.close()
    embedded_server.stop(tmp_path / "pg")

    began = time.perf_counter()
    for _i in range(1000):
        log.offer(served.id, served.plan, [answer], 0, began)
    took = time.perf_counter() - began
    log.close()

    print(f"an offer took {took * 1e3:.0f} us while the server was gone")
    assert 1001 == log.logged + log.dropped
    assert log.dropped >= 1000


def test_what_waited_while_the_server_was_away_is_written_when_it_is_back(tmp_path, shop, fetcher):
    store = Store(tmp_path / "pg", migrate=True)
    answer, served = fetched(fetcher, {"user": "u1", "shop": 1}), fetcher.served(NAME)
    log = ServedLog(store.access, 1.0)
    embedded_server.stop(tmp_path / "pg")
    log.offer(served.id, served.plan, [answer], 0, time.perf_counter_ns())
    time.sleep(1.5)
    assert (0, 0, 1) == (log.logged, log.dropped, log.waiting)

    embedded_server.start(tmp_path / "pg")
    log.close()

    assert (1, 0) == (log.logged, log.dropped)
    store.close()


def test_a_batch_that_was_written_before_its_writer_heard_so_is_logged_once(
    shop, fetcher, monkeypatch
):
    monkeypatch.setattr("workbench.online.fetching.served_log._number", lambda: UUID(int=7))
    fetched(fetcher, {"user": "u1", "shop": 1})
    fetcher.close()

    fetched(fetcher, {"user": "u1", "shop": 1})
    fetcher.close()

    assert (2, 0) == (fetcher.log.logged, fetcher.log.dropped)
    assert 1 == len(logged(shop, NAME))


def test_a_log_that_cannot_take_an_answer_fails_no_request(fetcher):
    fetcher.log.offer(1, None, [None], 0, 0)

    assert 1 == fetcher.log.dropped


def test_a_store_logs_a_share_of_what_fetch_answers_and_writes_it_when_it_is_closed(shop, fetcher):
    from workbench.online import fetch

    store = Store(shop.url, sample=1.0)
    fetch(store, NAME, user="u1", shop=1, at=AT)
    store.close()

    assert 1 == len(logged(shop, NAME))
