"""An engine with a history loaded, and its own sort of the events: the yardstick."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import duckdb
import ibis
import services
from attrs import frozen

SORTED = "select key, ts, v from events order by key, ts"
# what a person would set before so large a job, for the sort and for the backfill alike; nothing is
# lost that a benchmark needs
POSTGRES = {
    "shared_buffers": "2GB",
    "fsync": "off",
    "synchronous_commit": "off",
    "max_wal_size": "8GB",
    "work_mem": "1GB",
    "maintenance_work_mem": "2GB",
}
SPARK = {
    "spark.sql.shuffle.partitions": "16",
    "spark.driver.memory": "4g",
    "spark.ui.showConsoleProgress": "false",
}


@frozen
class Ready:
    """A connection that has `events` and `spine`, its processes, and what sorts the events."""

    con: ibis.BaseBackend
    roots: list[int]
    sort: object


@contextmanager
def duck(events: Path, spine: Path, memory: str | None = None):
    """Open DuckDB in memory or, with `memory`, in a file with that limit."""
    with tempfile.TemporaryDirectory() as folder:
        con = ibis.duckdb.connect(
            f"{folder}/bench.duckdb" if memory else ":memory:", temp_directory=f"{folder}/spill"
        )
        if memory:
            con.raw_sql(f"set memory_limit = '{memory}'")
        for name, files in (("events", events), ("spine", spine)):
            con.raw_sql(f"create table {name} as from read_parquet('{files}/*.parquet')")
        yield Ready(
            con,
            [os.getpid()],
            lambda: con.raw_sql(f"create or replace temp table sorted as {SORTED}"),
        )
        con.disconnect()


@contextmanager
def postgres_server(events: Path, spine: Path):
    """Start a Postgres with unlogged tables, analyzed, without an index; yield its address.

    And the process that is its root.
    """
    with services.postgres(**POSTGRES) as (address, data):
        con = ibis.postgres.connect(**address, autocommit=True)
        for name, files in (("events", events), ("spine", spine)):
            con.raw_sql(
                f"create unlogged table {name} (key text, ts timestamp, v float8, item bigint)"
            ).close()
            _copied(con, name, files)
            con.raw_sql(f"vacuum analyze {name}").close()
        con.disconnect()
        yield address, int((data / "postmaster.pid").read_text().split()[0])


@contextmanager
def postgres(events: Path, spine: Path):
    """Open a connection to such a Postgres."""
    with postgres_server(events, spine) as (address, root):
        con = ibis.postgres.connect(**address)

        def sort() -> None:
            con.raw_sql("drop table if exists sorted").close()
            con.raw_sql(f"create temp table sorted as {SORTED}").close()

        yield Ready(con, [os.getpid(), root], sort)
        con.disconnect()


def _copied(con: ibis.BaseBackend, name: str, files: Path) -> None:
    with tempfile.TemporaryDirectory() as folder, con.con.cursor() as cursor:
        text = Path(folder) / "rows.csv"
        duckdb.connect().execute(
            f"copy (from read_parquet('{files}/*.parquet')) to '{text}' (format csv, header false)"
        )
        with text.open("rb") as lines, cursor.copy(f"copy {name} from stdin (format csv)") as copy:
            while block := lines.read(1 << 20):
                copy.write(block)


@contextmanager
def spark(events: Path, spine: Path):
    """Open Spark over the files, which it reads anew for every job, with its own partitions."""
    with services.spark(**SPARK) as con:
        session = con._session  # noqa: SLF001 Ibis hands out no session
        for name, files in (("events", events), ("spine", spine)):
            session.read.parquet(str(files)).createOrReplaceTempView(name)
        by_key = "select key, ts, v from events distribute by key sort by key, ts"
        yield Ready(
            con,
            [os.getpid()],
            lambda: session.sql(by_key).write.format("noop").mode("overwrite").save(),
        )


ENGINES = {"duckdb": duck, "postgres": postgres, "spark": spark}
