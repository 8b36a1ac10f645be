"""C6: through PgBouncer nothing fails and nothing is wrong.

It is tried with and without PgBouncer's support for prepared statements.
"""

from __future__ import annotations

import asyncio
import threading
from datetime import datetime

import cases
import psycopg
import pyarrow as pa
import pytest
from conftest import lacking
from delivered_histories import CON, check, deliveries
from hypothesis import HealthCheck, Phase, given, seed, settings
from pooler import SERVERS, lacks_pooler, lacks_preparing, pooler, preparing
from psycopg.conninfo import make_conninfo

from workbench import EventSource, GroupBy, days, publish, trailing, unpublish, upload
from workbench.online import AsyncFetcher, Store, StoreError, fetch

pytestmark = pytest.mark.slow

KEYS, EVENTS = 40, 5
TYPES = pa.schema(
    [("k", pa.string()), ("t", pa.timestamp("us")), ("v", pa.int64()), ("c", pa.string())]
)
T = datetime(2024, 1, 1)  # noqa: DTZ001 the tables' timestamps are naive UTC
WANT = [{"v_sum_30d": k * EVENTS, "c_last_30d": f"é{k}"} for k in range(KEYS)]
ASKED = [{"k": f"ключ {k}"} for k in range(KEYS)]


@pytest.fixture(scope="module")
def pooled_database(wheel_server):
    """The URL of a database of its own, whose settings are against it."""
    with psycopg.connect(wheel_server, autocommit=True) as con:
        con.execute("create database pooled template template0 encoding 'UTF8'")
        con.execute("alter database pooled set timezone = 'Asia/Tokyo'")
        con.execute("alter database pooled set extra_float_digits = -10")
        con.execute("alter database pooled set search_path = 'nowhere'")
    yield make_conninfo(wheel_server, dbname="pooled")
    with psycopg.connect(wheel_server, autocommit=True) as con:
        con.execute("drop database pooled with (force)")


# Whether the pooler brings prepared statements along, and how it is run.
POOLERS = {
    "transaction": (False, {"more": "", "mode": "transaction"}),
    "preparing": (
        True,
        {"more": "max_prepared_statements = 2", "mode": "transaction"},
    ),  # fewer than are asked
    "session": (False, {"more": "", "mode": "session"}),
}


@pytest.fixture(scope="module", params=POOLERS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def address(kind, pooled_database):
    prepares, how = POOLERS[kind]
    if reason := lacks_preparing() if prepares else lacks_pooler():
        lacking(reason)
    program = {"program": preparing()} if prepares else {}
    with pooler(pooled_database, **program, **how) as url:
        yield url


@pytest.fixture(scope="module")
def pooled(address):
    with Store(address) as store:
        yield store


@pytest.fixture(scope="module")
def keyed(pooled):
    import ibis

    con = ibis.duckdb.connect()
    rows = [
        {"k": f"ключ {k}", "t": T.replace(microsecond=i), "v": k, "c": f"é{k}"}
        for k in range(KEYS)
        for i in range(EVENTS)
    ]
    t = con.create_table("events", pa.Table.from_pylist(rows, TYPES))
    group_by = GroupBy(
        name="keyed",
        source=EventSource(t, time="t"),
        keys=["k"],
        aggregations=trailing(days(30), t.v.sum(), t.c.last()),
        accuracy="temporal",
    )
    publish(group_by, pooled, end="2024-01-10", confirm=True)
    upload("keyed", pooled, end="2024-01-11", on=con)
    yield "keyed"
    unpublish("keyed", pooled)


def test_a_pooler_is_told_by_itself_and_a_server_is_none(kind, pooled, store):
    assert (True, False) == (pooled.access.relayed, store.access.relayed)
    assert (POOLERS[kind][0], True) == (pooled.access.prepared, store.access.prepared)


def test_what_the_address_says_of_prepared_statements_is_done(kind, address, keyed):
    if not POOLERS[kind][0]:
        with Store(address, prepare=False) as told:
            assert (True, False) == (told.access.relayed, told.access.prepared)
        return
    for prepare in (True, False):
        with Store(address, prepare=prepare) as told:
            assert (True, prepare) == (told.access.relayed, told.access.prepared)
            assert WANT[5] == dict(fetch(told, keyed, ASKED[5], at="2024-01-12"))


@seed(31)
@settings(
    max_examples=4, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(case=cases.cases, delivery=deliveries)
# In session mode, a connection through the pooler is as a direct one.
@pytest.mark.parametrize("kind", ["transaction", "preparing"], indirect=True)
def test_the_promise_holds_through_a_pooler(pooled, case, delivery):
    check(pooled, CON, case, delivery)


def test_eight_threads_of_sixty_fetches_are_all_right(pooled, keyed):
    wrong = []

    def ask(thread):
        for i in range(60):
            k = (thread * 60 + i) % KEYS
            try:
                got = dict(fetch(pooled, keyed, ASKED[k], at="2024-01-12"))
            except BaseException as error:  # noqa: BLE001 whatever comes is what this looks for
                got = repr(error)
            if got != WANT[k]:
                wrong.append((k, got))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [] == wrong
    assert SERVERS < 8


def test_asyncio_and_the_served_log_through_a_pooler(pooled, keyed):
    async def ask():
        async with AsyncFetcher(pooled, connections=6, limit=20) as fetcher:
            alone = await asyncio.gather(
                *(fetcher.fetch(keyed, key, at="2024-01-12") for key in ASKED * 4)
            )
            return alone, await fetcher.fetch(keyed, ASKED, at="2024-01-12"), await fetcher.names()

    with pooled.connection() as con:
        con.execute("delete from workbench.served")
    pooled.sample = 1.0
    alone, many, names = asyncio.run(ask())
    pooled.sample = 0.0

    assert WANT * 4 == [dict(a) for a in alone]
    assert WANT == [dict(a) for a in many]
    assert keyed in names
    with pooled.connection() as con:
        assert [(5 * KEYS,)] == con.execute("select count(*) from workbench.served").fetchall()


def test_a_transaction_is_one_and_a_failed_one_leaves_nothing(pooled):
    for _ in range(6):
        with (
            pytest.raises(psycopg.errors.DivisionByZero),
            pooled.connection() as con,
            con.transaction(),
        ):
            con.execute("create temporary table mine (x int) on commit drop; select 1 / 0")
    with pooled.connection() as con:
        with con.transaction(), con.transaction():
            con.execute("create temporary table mine (x int) on commit drop")
            with con.cursor() as cursor:
                cursor.executemany("insert into mine values (%s)", [(i,) for i in range(3)])
                with cursor.copy("copy mine from stdin") as copy:
                    copy.write("7\n")
            assert [(4, "UTC")] == con.execute(
                "select count(*), current_setting('timezone') from mine"
            ).fetchall()
        assert [("UTC", "1")] == con.execute(
            "select current_setting('timezone'), current_setting('extra_float_digits')"
        ).fetchall()


def test_nothing_of_ours_stays_with_the_sessions_that_others_get(kind, address, pooled, keyed):
    fetch(pooled, keyed, ASKED[0], at="2024-01-12")
    theirs = "PGBOUNCER_%" if POOLERS[kind][0] else ""
    for _ in range(2 * SERVERS):
        with psycopg.connect(address, autocommit=True, prepare_threshold=None) as other:
            got = other.execute(
                "select current_setting('extra_float_digits'), current_setting('row_security'),"
                " (select count(*) from pg_catalog.pg_prepared_statements where name not like %s)",
                (theirs,),
            ).fetchall()
            assert [("-10", "on", 0)] == got


def test_options_of_the_address_that_a_pooler_does_not_take_are_told_to_each_transaction(
    address, keyed
):
    with Store(f"{address}?options=-c%20work_mem%3D7MB%20-c%20statement_timeout%3D54s") as store:
        with store.connection() as con:
            assert [("7MB", "54s", "UTC")] == con.execute(
                "select current_setting('work_mem'), current_setting('statement_timeout'),"
                " current_setting('timezone')"
            ).fetchall()
        assert WANT[3] == dict(fetch(store, keyed, ASKED[3], at="2024-01-12"))


def test_the_address_says_so_too(wheel_server, store):
    for url in (
        f"{wheel_server}&prepare=false",
        f"{make_conninfo(wheel_server, dbname='postgres')} prepare=false",
    ):
        with Store(url) as told, told.connection() as con:
            assert (True, False) == (told.access.relayed, told.access.prepared)
            assert [("UTC",)] == con.execute("select current_setting('timezone')").fetchall()
    with Store(wheel_server, prepare=False) as told:
        assert told.access.relayed
    with pytest.raises(
        StoreError, match="prepare=perhaps in the store's address is neither true nor false"
    ):
        Store(f"{wheel_server}&prepare=perhaps")
