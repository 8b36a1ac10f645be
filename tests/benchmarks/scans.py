"""What a backfill of one day's left rows reads of a year of events, by the engines' own counts.

    python tests/benchmarks/scans.py [--events 500000] [--only duckdb postgres spark lakes] [--plan
    kernel]

DuckDB reads Parquet by day and tells its seconds; Postgres tells the rows that scans and indexes
gave, of a table with an index of its time and of one that is partitioned by month; Spark tells the
records of all stages, over Parquet by day with times in microseconds, with a zone and without, and
without and with `partition=`; and over Delta and Iceberg, of 4,000 events of sixty days. An
entity's snapshots are a row a key and day. Nothing of it is pass or fail.
"""

from __future__ import annotations

import inspect
import sys
import tempfile
import time
import warnings
from argparse import ArgumentParser, Namespace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import ibis

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]  # a checkout needs no install

import services  # noqa: E402 found by the line above

from workbench import (  # noqa: E402
    EntitySource,
    EventSource,
    GroupBy,
    Join,
    backfill,
    days,
    trailing,
)

LAST = date(2024, 12, 30)
YEAR_S = 366 * 86_400
ROWS = (
    "select (i % 1000)::int as k, timestamp '2024-01-01' + i * interval {} second as ts, i % 97 as"
    " v from range({}) t(i)"
)
LEFT = (
    "select i as k, timestamp '2024-12-30 06:00' + i * interval 1 minute as ts from range(500) t(i)"
)
STATES = (
    "select k::int as k, date '2024-01-01' + d::int as ds, d * 1000 + k as v from range(366) a(d),"
    " range(500) b(k)"
)


def stated(states: ibis.Table, left: ibis.Table) -> Join:
    """Return the snapshots' features of an entity, for a left of one day."""
    part = GroupBy(name="e", source=EntitySource(states, snapshot="ds"), keys=["k"], features=["v"])
    return Join(name="s", left=EventSource(left, time="ts"), parts=[part])


def joined(events: ibis.Table, left: ibis.Table, **declared: Any) -> Join:
    """Return a join of sums and counts of three days, for a left of one day."""
    source = EventSource(events, time="ts", **declared)
    part = GroupBy(
        name="g",
        source=source,
        keys=["k"],
        aggregations=trailing(days(1, 3), events.v.sum(), events.count()),
    )
    return Join(name="j", left=EventSource(left, time="ts"), parts=[part])


def filled(join: Join, plan: str) -> float:
    """Return the seconds of a backfill of the day."""
    began = time.perf_counter()
    backfill(join, LAST, LAST + timedelta(days=1), plan=plan).to_pyarrow()
    return time.perf_counter() - began


def partitioned(events: ibis.Table) -> list[tuple[str, dict[str, Any]]]:
    """Return the ways to declare a source: without its partition, and with it.

    The second is left out where this version takes no partition.
    """
    takes = "partition" in inspect.signature(EventSource).parameters
    return [("", {}), *([(", partition=", {"partition": events.day})] if takes else [])]


def on_duckdb(options: Namespace, folder: Path) -> None:
    con = ibis.duckdb.connect()
    con.create_table("lefts", con.sql(LEFT).to_pyarrow())
    events = con.read_parquet(folder / "*" / "*.parquet", hive_partitioning=True)
    filled(joined(events, con.table("lefts")), options.plan)
    for said, declared in partitioned(events):
        print(
            f"DuckDB, Parquet by day{said}:"
            f" {filled(joined(events, con.table('lefts'), **declared), options.plan):.2f} s",
            flush=True,
        )


def on_postgres(options: Namespace, rows: Any, left: Any, states: Any) -> None:
    with services.postgres() as (place, _):
        con = ibis.postgres.connect(**place)
        con.create_table("lefts", left)
        con.create_table("states", states)
        con.raw_sql("create index on states (ds)")
        con.create_table("plain", rows)
        con.raw_sql("create index on plain (ts)")
        con.raw_sql("create table monthly (k int, ts timestamp, v bigint) partition by range (ts)")
        for month in range(1, 13):
            end = f"2024-{month + 1:02}-01" if month < 12 else "2025-01-01"
            con.raw_sql(
                f"create table monthly_{month} partition of monthly for values from"
                f" ('2024-{month:02}-01') to ('{end}')"
            )
        con.raw_sql("insert into monthly select k, ts, v from plain")
        con.raw_sql("analyze")
        for name, what in {
            "plain": "an index of the time",
            "monthly": "partitions by month",
        }.items():
            read = _told_by_postgres(
                con, name, joined(con.table(name), con.table("lefts")), options.plan
            )
            print(f"Postgres, {what}: {read:,} of {options.events:,} rows", flush=True)
        read = _told_by_postgres(
            con, "states", stated(con.table("states"), con.table("lefts")), options.plan
        )
        print(f"Postgres, snapshots with an index: {read:,} of {len(states):,} rows", flush=True)


def _told_by_postgres(con: Any, name: str, join: Join, plan: str) -> int:
    con.raw_sql("select pg_stat_force_next_flush()")
    before = _read(con, name)
    filled(join, plan)
    con.raw_sql("select pg_stat_force_next_flush()")
    return _read(con, name) - before


def _read(con: Any, name: str) -> int:
    """Return the rows that scans and indexes of a table and its partitions gave so far."""
    con.raw_sql("select pg_stat_clear_snapshot()")
    counted = (
        "select sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::int8 from"
        " pg_stat_user_tables where relname like '{}%'"
    )
    return con.raw_sql(counted.format(name)).fetchone()[0] or 0


def on_spark(options: Namespace, home: Path, left: Any) -> None:
    with services.spark(**{"spark.sql.shuffle.partitions": "2"}) as con:
        session = con._session  # noqa: SLF001 Ibis hands it out nowhere
        session.createDataFrame(left).createOrReplaceTempView("lefts")
        for name in ("events", "zoned", "states"):
            session.read.parquet(str(home / name)).createOrReplaceTempView(name)

        def told(what: str, rows: int, join: Join) -> None:
            before = services.spark_records(session)
            seconds = filled(join, options.plan)
            print(
                f"Spark, {what}: {services.spark_records(session) - before:,} of {rows:,} records,"
                f" {seconds:.1f} s",
                flush=True,
            )

        for name, what in {"events": "no zone", "zoned": "a zone"}.items():
            for said, declared in partitioned(con.table(name)):
                told(
                    f"Parquet by day, times with {what}{said}",
                    options.events,
                    joined(con.table(name), con.table("lefts"), **declared),
                )
        told(
            "Parquet by day, snapshots",
            con.table("states").count().execute(),
            stated(con.table("states"), con.table("lefts")),
        )


def on_lakes(folder: Path) -> None:
    import lakes

    for kind, found in lakes.job(folder)["lakes"].items():
        print(f"Spark, {kind}: {found['read']:,} of 4,000 records", flush=True)


def main() -> None:
    engines = ("duckdb", "postgres", "spark", "lakes")
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--only", nargs="+", choices=engines, default=list(engines[:3]))
    parser.add_argument("--plan", default="kernel", choices=("kernel", "pairs"))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    made = ibis.duckdb.connect()
    query = ROWS.format(YEAR_S // options.events, options.events)
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "events"
        for name, rows, by in (
            ("events", f"select *, ts::date as day from ({query})", "day"),
            ("zoned", f"select k, ts::timestamptz as ts, v, ts::date as day from ({query})", "day"),
            ("states", STATES, "ds"),
        ):
            made.raw_sql(
                f"copy ({rows}) to '{Path(home) / name}' (format parquet, partition_by ({by}))"
            )
        if "duckdb" in options.only:
            on_duckdb(options, folder)
        if "postgres" in options.only:
            on_postgres(
                options,
                made.sql(query).to_pyarrow(),
                made.sql(LEFT).to_pyarrow(),
                made.sql(STATES).to_pyarrow(),
            )
        if "spark" in options.only:
            on_spark(options, Path(home), made.sql(LEFT).to_pyarrow())
        if "lakes" in options.only:
            on_lakes(Path(home))


if __name__ == "__main__":
    main()
