"""SQL of previews is compiled once a definition.

It never stands for another definition, or for earlier rows.
"""

from __future__ import annotations

import threading

import ibis
import pytest
from ibis import _

from workbench import (
    DefinitionError,
    EventSource,
    GroupBy,
    Join,
    days,
    preview,
    quickstart,
    samples,
    trailing,
)
from workbench.previews import local_copy, sql_cache
from workbench.training.backfilling import backfill

SUM = "quickstart_purchases_v1_purchase_price_sum_14d"


@pytest.fixture
def shop(tmp_path):
    con = ibis.duckdb.connect()
    samples.load(con, samples.write(tmp_path))
    return con


@pytest.fixture
def wrote(monkeypatch):
    """Return the keys of the compiled statements, in order."""
    keys, written = [], sql_cache.cached_statement
    monkeypatch.setattr(sql_cache, "STATEMENTS", type(sql_cache.STATEMENTS)())
    monkeypatch.setattr(
        local_copy,
        "cached_statement",
        lambda key, write: written(key, lambda: (keys.append(key[1]), write())[1]),
    )
    return keys


def of(shop, *aggregations, source=None, name="bought"):
    left = EventSource(shop.table("checkouts"), time="ts")
    other = GroupBy(
        name="back",
        source=EventSource(shop.table("returns"), time="ts"),
        keys=["user_id"],
        aggregations=[_.refund_amt.max()],
    )
    source = shop.table("purchases") if source is None else source
    return Join(
        name="j",
        left=left,
        parts=[
            GroupBy(
                name=name,
                source=EventSource(source, time="ts"),
                keys=["user_id"],
                aggregations=aggregations,
            ),
            other,
        ],
    )


def shown(join, shop, **options):
    return preview(join, on=shop, **options)


def backfilled(join, shop, rows):
    """Return these left rows as a backfill gives them."""
    whole = {
        (r["user_id"], r["ts"]): r
        for r in backfill(join, on=shop).to_pyarrow().to_pylist(maps_as_pydicts="strict")
    }
    return [whole[r["user_id"], r["ts"]] for r in rows]


def test_the_second_preview_of_equal_definitions_writes_nothing(shop, wrote):
    shown(of(shop, _.purchase_price.sum()), shop)
    first = len(wrote)
    shown(of(shop, _.purchase_price.sum()), shop)
    assert first > 0
    assert len(wrote) == first


def test_an_edit_writes_its_own_part_and_the_whole_alone(shop, wrote):
    shown(of(shop, _.purchase_price.sum()), shop, feature="back_refund_amt_max")
    wrote.clear()
    shown(of(shop, _.purchase_price.max()), shop, feature="back_refund_amt_max")
    assert [key if isinstance(key, str) else key[0] for key in wrote] == ["part", "counts", "grid"]


def test_rows_are_read_anew(shop, wrote):
    join = of(shop, _.purchase_price.sum())
    before = shown(join, shop)
    shop.raw_sql("update purchases set purchase_price = purchase_price + 1")
    wrote.clear()
    after = shown(join, shop)
    assert not wrote
    assert after.rows != before.rows
    assert list(after.rows) == backfilled(join, shop, after.rows)


def test_a_column_that_no_feature_takes_is_another_statement(shop):
    """Two such definitions are equal by meaning, but other columns stand beside an event."""
    purchases = shop.table("purchases")
    few = of(
        shop, _.purchase_price.sum(), source=purchases.select("user_id", "ts", "purchase_price")
    )
    more = of(
        shop,
        _.purchase_price.sum(),
        source=purchases.select("user_id", "ts", "purchase_price", twice=_.purchase_price * 2),
    )
    assert few.parts[0].group_by == more.parts[0].group_by
    assert "twice" not in shown(few, shop, row=1).moment.events[0].source
    assert "twice" in shown(more, shop, row=1).moment.events[0].source


def test_the_type_of_a_column_is_part_of_it(shop):
    price = shop.table("purchases").schema()["purchase_price"]
    shown(of(shop, _.purchase_price.sum()), shop)
    other = ibis.duckdb.connect()
    for name in ("checkouts", "returns"):
        other.create_table(name, shop.table(name).to_pyarrow())
    other.create_table(
        "purchases",
        shop.table("purchases")
        .mutate(purchase_price=_.purchase_price.cast("float64") + 0.5)
        .to_pyarrow(),
    )
    values = [
        r["bought_purchase_price_sum"] for r in shown(of(other, _.purchase_price.sum()), other).rows
    ]
    assert price.is_integer()
    assert any(v is not None and v % 1 for v in values)


def test_rows_in_memory_belong_to_their_connection(wrote):
    """A statement names an in-memory table as the connection that ran it does.

    Another one has to be told of it first.
    """
    rows = [{"user_id": "a", "ts": f"2024-01-0{d} 00:00:00", "v": d} for d in range(1, 5)]
    for _turn in range(2):
        con = ibis.duckdb.connect()
        con.raw_sql("create table asks as select 'a' user_id, timestamp '2024-01-04 12:00:00' ts")
        events = ibis.memtable(rows).mutate(ts=_.ts.cast("timestamp"))
        group_by = GroupBy(
            name="g",
            source=EventSource(events, time="ts"),
            keys=["user_id"],
            aggregations=[trailing(days(2), _.v.sum())],
        )
        found = shown(
            Join(name="j", left=EventSource(con.table("asks"), time="ts"), parts=[group_by]), con
        )
        assert found.value == 7
    assert sql_cache.identity(group_by) is None


def test_no_more_statements_are_kept_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(sql_cache, "STATEMENTS", type(sql_cache.STATEMENTS)())
    monkeypatch.setattr(sql_cache, "MAX_STATEMENTS_KEPT", 3)
    for key in (1, 2, 3, 1, 4):
        sql_cache.cached_statement(key, lambda key=key: (str(key), None))
    assert list(sql_cache.STATEMENTS) == [3, 1, 4]


def test_data_that_contradict_a_definition_are_refused_though_a_thread_reads_them(shop):
    shop.raw_sql("update purchases set ts = timestamp '1970-01-20 00:00:00'")
    before = threading.active_count()
    with pytest.raises(DefinitionError, match="are seconds read as milliseconds"):
        shown(of(shop, _.purchase_price.sum()), shop)
    assert threading.active_count() == before


def test_the_quickstart_is_the_same_by_parts_as_in_one(shop):
    rows = shown(quickstart.training_set, shop, feature=SUM).rows
    assert list(rows) == backfilled(quickstart.training_set, shop, rows)
