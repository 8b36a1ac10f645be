"""Where the time of an upload from Spark goes: each step with those before it, CPU, peak memory.

    python tests/benchmarks/spark_uploads.py [--events 1000000] [--folder FOLDER] [--turns 2]

A Spark of two cores and a Postgres, both started here. Rows have a text, a time, a double and a
number. COPY is also timed alone, by one connection and by two. Nothing of it is pass or fail.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow as pa
from pyarrow import csv

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]  # a checkout needs no install

import histories  # noqa: E402 found by the line above
import services  # noqa: E402
from processes import Watch, cpu  # noqa: E402

from workbench import EventSource, GroupBy, Join, days, publish, trailing, upload  # noqa: E402
from workbench.backends import engine_of  # noqa: E402
from workbench.online import Store  # noqa: E402
from workbench.online.storage.copy_writer import copied  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

    import ibis

COLUMNS = {"key": "text", "ts": "timestamptz", "v": "float8", "item": "int8"}
END = "2024-03-01"  # after all events
SETTINGS = {"spark.ui.showConsoleProgress": "false", "spark.sql.files.maxPartitionBytes": "16m"}
ALONE_ROWS = 1_000_000  # that COPY is given from memory


class Figures:
    """A printer of one line a step: seconds, CPU seconds by process, peak memory with Spark's."""

    def __init__(self, postmaster: int) -> None:
        self.postmaster = postmaster

    def step(self, name: str, do: Callable[[], Any]) -> None:
        """Run an action, and print what it took."""
        own, server = time.process_time(), cpu([self.postmaster])
        with Watch([os.getpid()]) as watch:
            do()
        own, server = time.process_time() - own, cpu([self.postmaster]) - server
        spent = f"CPU driver {own:5.1f}, Spark {watch.cpu - own:5.1f}, Postgres {server:5.1f}"
        print(f"{name:34}{watch.wall:6.1f} s; {spent}; {watch.peak / 2**20:,.0f} MB", flush=True)


def csv_bytes(batch: pa.RecordBatch) -> memoryview:
    """Return a batch as CSV."""
    sink = BytesIO()
    csv.write_csv(batch, sink, csv.WriteOptions(include_header=False))
    return sink.getbuffer()


def fill(url: str, batches: Any) -> None:
    """COPY the batches into a new bare table, as an upload does."""
    with psycopg.connect(url) as con, con.cursor() as cursor:
        cursor.execute("drop table if exists bare")
        cursor.execute(f"create table bare ({', '.join(' '.join(c) for c in COLUMNS.items())})")
        copied(cursor, "bare", list(COLUMNS), batches)


def send(url: str, parts: list[memoryview]) -> None:
    """COPY rows that are CSV already into the bare table."""
    said = "copy bare from stdin (format csv)"
    with psycopg.connect(url) as con, con.cursor() as cursor, cursor.copy(said) as copy:
        for part in parts:
            copy.write(part)


def alone(url: str, parts: list[memoryview], streams: int) -> None:
    """COPY by as many connections at once, each with its share of the rows."""
    with ThreadPoolExecutor(streams) as pool:
        list(pool.map(lambda i: send(url, parts[i::streams]), range(streams)))


def steps(con: ibis.BaseBackend, url: str, figures: Figures) -> None:
    """The transfer, one step more each time; the third without a partition ahead, as it was."""
    from pyspark import RDD

    engine, table = engine_of(con), con.table("events")
    ahead = RDD.toLocalIterator

    def drain() -> None:
        for _ in engine.batches(table):
            pass

    def encode() -> None:
        for batch in engine.batches(table):
            csv_bytes(batch)

    def copy() -> None:
        fill(url, engine.batches(table))

    noop = engine.frame(table).write.format("noop").mode("overwrite")
    figures.step("read by the executors", noop.save)
    figures.step("+ as Arrow to the driver", drain)
    figures.step("+ as CSV", encode)
    figures.step("+ COPY", copy)
    RDD.toLocalIterator = lambda rdd, **_: ahead(rdd)
    try:
        figures.step("+ COPY, no partition ahead", copy)
    finally:
        RDD.toLocalIterator = ahead


def wholes(con: ibis.BaseBackend, url: str, figures: Figures) -> None:
    """Measure COPY alone, then uploads: the first, and one of the rows that are already there."""
    batches = islice(engine_of(con).batches(con.table("events")), ALONE_ROWS // 10_000)
    parts = [csv_bytes(b) for b in batches]
    fill(url, [])
    for streams in (1, 2):
        figures.step(f"COPY alone, 1M rows, {streams} streams", partial(alone, url, parts, streams))
    del parts
    events, store = con.table("events"), Store(url)
    features = trailing(days(30), events.v.sum(), events.v.count())
    source = EventSource(events, time="ts")
    served = {"keys": ["key"], "aggregations": features, "accuracy": "temporal"}
    group_by = GroupBy(name="g", source=source, **served)
    join = Join(name="j", left=EventSource(con.table("spine"), time="ts"), parts=[group_by])
    figures.step("the first upload", lambda: publish(join, store, end=END, confirm=True))
    figures.step("the same again", lambda: upload("j", store, end=END, on=con))


def run(options: Namespace, folder: Path) -> None:
    """Run every measurement on servers of its own."""
    events, spine = histories.made(folder, "uniform", options.events, 1_000)
    with services.postgres() as (address, data), services.spark(**SETTINGS) as con:
        url = "postgresql://{user}@{host}:{port}/{database}".format(**address)
        for name, place in (("events", events), ("spine", spine)):
            con.read_parquet(str(place), table_name=name)
        figures = Figures(int((data / "postmaster.pid").read_text().split()[0]))
        for _ in range(options.turns):
            steps(con, url, figures)
        wholes(con, url, figures)


def main() -> None:
    """Run the measurements over so many events."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        run(options, options.folder or Path(home))


if __name__ == "__main__":
    main()
