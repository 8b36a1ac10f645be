"""A second connection to an engine, for another thread.

It has the first one's tables, and what it runs can be cancelled.
"""

from __future__ import annotations

import threading
import time

import ibis
import pytest

from workbench.backends import EngineError, engine_of

# Runs for minutes if nobody stops it, on every engine.
ENDLESS = {
    "duck": "select sum(a.i * b.i % 7) as v from range(4000000) a(i), range(4000000) b(i)",
    "postgres": (
        "select sum(a.i * b.i % 7) as v from generate_series(1, 400000) a(i), generate_series(1,"
        " 400000) b(i)"
    ),
    "spark": "select sum(a.id * b.id % 7) as v from range(4000000) a cross join range(4000000) b",
}
EVERY = ["duck", *(pytest.param(name, marks=pytest.mark.slow) for name in ("postgres", "spark"))]


@pytest.fixture(params=EVERY)
def named(request):
    return request.param, request.getfixturevalue(request.param)


def test_a_connection_apart_has_the_same_tables(named):
    _, con = named
    con.create_table("apart_t", ibis.memtable({"a": [1, 2, 3]}), overwrite=True)

    apart = engine_of(con).apart()

    assert 6 == apart.rows(apart.table("apart_t").agg(s=lambda t: t.a.sum()))[0][0]
    apart.leave()
    assert 3 == con.table("apart_t").count().to_pyarrow().as_py()


def test_views_of_files_are_there_too(duck, tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    table = duck.read_csv(tmp_path / "x.csv", table_name="x")

    apart = engine_of(duck).apart()

    assert table.to_pyarrow().to_pylist() == apart.table("x").to_pyarrow().to_pylist()


@pytest.mark.parametrize(
    "named", ["duck", pytest.param("postgres", marks=pytest.mark.slow)], indirect=True
)
def test_a_table_of_the_session_alone_keeps_those_who_need_it_on_the_connection(named):
    _, con = named
    con.raw_sql("create temporary table mine as select 1 as v")
    engine = engine_of(con)

    others, mine, unknown = engine.apart({"elsewhere"}), engine.apart({"mine"}), engine.apart()

    assert others is not engine
    assert mine is engine
    assert unknown is engine
    mine.leave()
    mine.interrupt()
    assert 1 == con.sql("select v from mine").to_pyarrow()["v"][0].as_py()
    others.leave()
    con.raw_sql("drop table mine")


def test_a_view_of_a_temporary_table_stays_with_those_who_need_it(duck):
    duck.raw_sql("create temporary table mine as select 1 as v")
    duck.raw_sql("create temporary view seen as select * from mine")
    engine = engine_of(duck)

    assert engine.apart({"seen"}) is engine
    assert engine.apart({"other"}) is not engine


def test_a_temporary_view_hides_a_table_there_as_here(duck):
    duck.create_table("t", ibis.memtable({"a": [1, 2, 3]}))
    duck.raw_sql("create temporary view t as select * from memory.main.t limit 1")

    apart = engine_of(duck).apart({"t"})

    assert apart.table("t").to_pyarrow().num_rows == 1


def test_a_connection_apart_is_in_the_schema_and_time_zone_of_the_other(duck):
    duck.raw_sql("create schema there")
    duck.raw_sql("use memory.there")

    apart = engine_of(duck).apart()

    assert ("there", "UTC") == (
        apart.connected.current_database,
        apart.connected.raw_sql("select current_setting('TimeZone')").fetchone()[0],
    )


def test_what_runs_apart_is_cancelled_and_the_connection_lives_on(named):
    name, con = named
    apart = engine_of(con).apart()
    failed = []

    def work():
        try:
            apart.rows(apart.connected.sql(ENDLESS[name]))
        except EngineError as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    end = time.monotonic() + 60
    while thread.is_alive() and time.monotonic() < end:
        time.sleep(0.3)
        apart.interrupt()

    thread.join(1)
    assert not thread.is_alive()
    assert 1 == len(failed)
    assert 1 == apart.rows(apart.connected.sql("select 1 as v"))[0][0]
    assert 1 == con.sql("select 1 as v").to_pyarrow()["v"][0].as_py()
    apart.leave()
