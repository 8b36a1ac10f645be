"""C12: wherever an engine fails, the error gives the reason in a few lines and keeps the SQL.

It has no trace and no link.
"""

from __future__ import annotations

import re
from threading import Event, Thread

import ibis
import psycopg
import pytest
from ibis import _
from psycopg.conninfo import conninfo_to_dict

from workbench import (
    EventSource,
    GroupBy,
    Join,
    backfill,
    days,
    manifest,
    preview,
    publish,
    trailing,
    unpublish,
    upload,
)
from workbench.backends import EngineError, engine_of
from workbench.online import StoreError

pytestmark = pytest.mark.slow

NOISE = re.compile(r"Traceback|Background on|File \"|SELECT |\[SQL|LINE \d")
ROWS = (
    "select 'k' || (i % 5) as k, '1' as s, cast(i as bigint) as v, 0 as zero, timestamp"
    " '2024-01-01' + interval '1 second' * i as ts from {} as r(i)"
)
END = "2024-01-10"


class Warehouse:
    """Tables of an engine, and ways to break them."""

    def __init__(self, kind, server):
        self.kind, self.admin = kind, psycopg.connect(server, autocommit=True)
        if kind == "duckdb":
            self.con = ibis.duckdb.connect()
        else:
            self.admin.execute(
                "drop schema if exists failing cascade; create schema failing; drop role if exists"
                " failing; create role failing login"
            )
            self.admin.execute("grant all on schema failing to failing")
            self.con = self.connect()
        series = "range(1, 100001)" if kind == "duckdb" else "generate_series(1, 100000)"
        self.do(
            f"create table base as {ROWS.format(series)}",
            "create view events as select * from base",
        )
        self.do("create table lefts as select 'k1' as k, timestamp '2024-01-03' as ts")

    def connect(self):
        place = conninfo_to_dict(self.admin.info.dsn)
        con = ibis.postgres.connect(
            host=place["host"], port=int(place["port"]), user="failing", database=place["dbname"]
        )
        con.raw_sql("set search_path = failing")
        con.con.commit()
        return con

    def do(self, *statements):
        for statement in statements:
            self.con.raw_sql(statement)
        if self.kind == "postgres":
            self.con.con.commit()

    def view(self, columns):
        self.do("drop view events", f"create view events as select {columns} from base")

    def killing(self, stop):
        while not stop.wait(0.02):
            if self.kind == "duckdb":
                self.con.con.interrupt()
            else:
                self.admin.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity where usename ="
                    " 'failing'"
                )

    def close(self):
        if self.kind == "postgres":
            self.admin.execute(
                "drop schema failing cascade; drop owned by failing; drop role failing"
            )
        self.admin.close()


@pytest.fixture(params=["duckdb", "postgres"])
def warehouse(request, wheel_server):
    made = Warehouse(request.param, wheel_server)
    yield made
    made.con.disconnect()
    made.close()


def join(warehouse):
    events = warehouse.con.table("events")
    source = EventSource(events.mutate(n=events.s.cast("int64")), time="ts")
    group_by = GroupBy(
        name="failing_g",
        source=source,
        keys=["k"],
        accuracy="temporal",
        aggregations=[trailing(days(3), _.n.sum().name("whole"))],
    )
    return Join(
        name="failing", left=EventSource(warehouse.con.table("lefts"), time="ts"), parts=[group_by]
    )


def a_column_is_gone(warehouse):
    warehouse.view("k, v, zero, ts")


def the_view_is_gone(warehouse):
    warehouse.do("drop view events")


def a_text_is_no_number(warehouse):
    warehouse.do("insert into base select 'k1', 'abc', 1, 0, timestamp '2024-01-02'")


def a_cast_of_the_view_overflows(warehouse):
    warehouse.view(
        "k, s, cast(v * 100000 as int) as v, zero, ts + interval '1 second' * cast(v * 100000 as"
        " int) as ts"
    )


def no_right_to_read(warehouse):
    warehouse.do("revoke all on events from failing")


def a_statement_takes_too_long(warehouse):
    warehouse.view("k, s, v, zero, ts + (pg_sleep(0.5)::text || '0 s')::interval as ts")
    warehouse.do("set statement_timeout = '200ms'")


def a_connection_is_lost(warehouse):
    if warehouse.kind == "duckdb":
        warehouse.con.con.close()
    else:
        warehouse.admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'failing'"
        )


EVERYWHERE = [
    a_column_is_gone,
    the_view_is_gone,
    a_text_is_no_number,
    a_cast_of_the_view_overflows,
    a_connection_is_lost,
]
OF_POSTGRES = [no_right_to_read, a_statement_takes_too_long]


def check_told(action):
    with pytest.raises((EngineError, StoreError)) as refused:
        action()

    text = str(refused.value)
    assert len(text.splitlines()) <= 3
    assert not NOISE.search(text)
    assert "its SQL is in the error's .sql" not in text or "SELECT" in refused.value.sql.upper()
    return text


@pytest.mark.parametrize("fault", [*EVERYWHERE, *OF_POSTGRES], ids=lambda f: f.__name__)
def test_an_engine_that_fails_says_why_wherever_it_is_asked(warehouse, store, fault):
    if fault in OF_POSTGRES and warehouse.kind != "postgres":
        pytest.skip("DuckDB has no roles and no statement timeout")
    made = join(warehouse)
    publish(made, store, end="2024-01-02", confirm=True)
    try:
        fault(warehouse)

        told = [
            check_told(lambda: backfill(made, into="failing_days")),
            check_told(lambda: backfill(made)),
            check_told(lambda: upload("failing", store, end=END, on=warehouse.con)),
        ]
    finally:
        unpublish("failing", store)
    told += [
        check_told(lambda: publish(made, store, end=END, confirm=True)),
        check_told(lambda: repr(preview(made))),
    ]
    if fault is a_text_is_no_number:
        assert all("no whole number: abc" in text for text in told)


def test_a_query_that_fails_while_its_rows_are_read_says_why(warehouse):
    a_text_is_no_number(warehouse)
    table = warehouse.con.table("events")
    engine = engine_of(warehouse.con)

    assert 100_001 == sum(batch.num_rows for batch in engine.batches(table))
    assert "abc" in check_told(
        lambda: engine.batches(table.mutate(n=table.s.cast("int64"))).read_all()
    )


def test_a_dated_backfill_that_is_killed_says_why(warehouse):
    made, stop = join(warehouse), Event()
    thread = Thread(target=warehouse.killing, args=(stop,))
    thread.start()
    try:
        check_told(lambda: [backfill(made, into=f"failing_days{n}") for n in range(50)])
    finally:
        stop.set()
        thread.join()


def test_a_warehouse_that_may_not_be_written_says_why(warehouse, tmp_path):
    made = join(warehouse)
    if warehouse.kind == "duckdb":
        warehouse.do(
            f"attach '{tmp_path}/read.duckdb' as other",
            "create table other.events as from events",
            "create table other.lefts as from lefts",
            "detach other",
            f"attach '{tmp_path}/read.duckdb' as other (read_only)",
            "use other",
        )
    else:
        warehouse.admin.execute("revoke create on schema failing from failing")

    assert "backfill of failing_days failed on" in check_told(
        lambda: backfill(made, into="failing_days")
    )
    assert "manifest('failing_days') failed on" in check_told(
        lambda: manifest("failing_days", on=warehouse.con)
    )
