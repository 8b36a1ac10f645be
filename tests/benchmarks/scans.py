"""What one day's left reads of a year of events, by the engines' own counts.

    python tests/benchmarks/scans.py [--events 500000] [--only duckdb postgres spark] [--plan kernel]

DuckDB reads Parquet by day and tells its seconds; Postgres tells the rows that scans and indexes gave, of a table with an
index of its time and of one that is partitioned by month; Spark tells the records of all stages, over Parquet by day with
times in microseconds, without and with `partition=`. Nothing of it is pass or fail.
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
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]  # a checkout needs no install

import services  # noqa: E402 found by the line above

from workbench import EventSource, GroupBy, Join, backfill, days, trailing  # noqa: E402

LAST = date(2024, 12, 30)
YEAR_S = 366 * 86_400
ROWS = "select (i % 1000)::int as k, timestamp '2024-01-01' + i * interval {} second as ts, i % 97 as v from range({}) t(i)"
LEFT = "select i as k, timestamp '2024-12-30 06:00' + i * interval 1 minute as ts from range(500) t(i)"


def joined(events: ibis.Table, left: ibis.Table, **declared: Any) -> Join:
    """Sums and counts of three days, of a left of one day."""
    source = EventSource(events, time="ts", **declared)
    part = GroupBy(name="g", source=source, keys=["k"], aggregations=trailing(days(1, 3), events.v.sum(), events.count()))
    return Join(name="j", left=EventSource(left, time="ts"), parts=[part])


def filled(join: Join, plan: str) -> float:
    """The seconds of a backfill of the day."""
    began = time.perf_counter()
    backfill(join, LAST, LAST + timedelta(days=1), plan=plan).to_pyarrow()
    return time.perf_counter() - began


def partitioned(events: ibis.Table) -> list[tuple[str, dict[str, Any]]]:
    """How a source may be declared: without its partition, and with it where this version takes one."""
    takes = "partition" in inspect.signature(EventSource).parameters
    return [("", {}), *([(", partition=", {"partition": events.day})] if takes else [])]


def on_duckdb(options: Namespace, folder: Path) -> None:
    con = ibis.duckdb.connect()
    con.create_table("lefts", con.sql(LEFT).to_pyarrow())
    events = con.read_parquet(folder / "*" / "*.parquet", hive_partitioning=True)
    filled(joined(events, con.table("lefts")), options.plan)
    for said, declared in partitioned(events):
        print(f"DuckDB, Parquet by day{said}: {filled(joined(events, con.table('lefts'), **declared), options.plan):.2f} s", flush=True)


def on_postgres(options: Namespace, rows: Any, left: Any) -> None:
    with services.postgres() as (place, _):
        con = ibis.postgres.connect(**place)
        con.create_table("lefts", left)
        con.create_table("plain", rows)
        con.raw_sql("create index on plain (ts)")
        con.raw_sql("create table monthly (k int, ts timestamp, v bigint) partition by range (ts)")
        for month in range(1, 13):
            end = f"2024-{month + 1:02}-01" if month < 12 else "2025-01-01"
            con.raw_sql(f"create table monthly_{month} partition of monthly for values from ('2024-{month:02}-01') to ('{end}')")
        con.raw_sql("insert into monthly select k, ts, v from plain")
        con.raw_sql("analyze")
        for name, what in {"plain": "an index of the time", "monthly": "partitions by month"}.items():
            con.raw_sql("select pg_stat_force_next_flush()")
            before = _read(con, name)
            filled(joined(con.table(name), con.table("lefts")), options.plan)
            con.raw_sql("select pg_stat_force_next_flush()")
            print(f"Postgres, {what}: {_read(con, name) - before:,} of {options.events:,} rows", flush=True)


def _read(con: Any, name: str) -> int:
    """The rows that scans and indexes of a table and its partitions gave so far."""
    con.raw_sql("select pg_stat_clear_snapshot()")
    counted = "select sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::int8 from pg_stat_user_tables where relname like '{}%'"
    return con.raw_sql(counted.format(name)).fetchone()[0] or 0


def on_spark(options: Namespace, folder: Path, left: Any) -> None:
    with services.spark(**{"spark.sql.shuffle.partitions": "2"}) as con:
        session = con._session  # noqa: SLF001 Ibis hands it out nowhere
        session.read.parquet(str(folder)).createOrReplaceTempView("events")
        session.createDataFrame(left).createOrReplaceTempView("lefts")
        events = con.table("events")
        for said, declared in partitioned(events):
            before = services.spark_records(session)
            seconds = filled(joined(events, con.table("lefts"), **declared), options.plan)
            print(f"Spark, Parquet by day{said}: {services.spark_records(session) - before:,} of {options.events:,} records, {seconds:.1f} s", flush=True)


def main() -> None:
    engines = ("duckdb", "postgres", "spark")
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--only", nargs="+", choices=engines, default=list(engines))
    parser.add_argument("--plan", default="kernel", choices=("kernel", "pairs"))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    made = ibis.duckdb.connect()
    query = ROWS.format(YEAR_S // options.events, options.events)
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "events"
        made.raw_sql(f"copy (select *, ts::date as day from ({query})) to '{folder}' (format parquet, partition_by (day))")
        if "duckdb" in options.only:
            on_duckdb(options, folder)
        if "postgres" in options.only:
            on_postgres(options, made.sql(query).to_pyarrow(), made.sql(LEFT).to_pyarrow())
        if "spark" in options.only:
            on_spark(options, folder, made.sql(LEFT).to_pyarrow())


if __name__ == "__main__":
    main()
