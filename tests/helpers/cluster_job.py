"""One join on a Spark that is not this process's own, held against DuckDB.

A process, since Python has one kind of session.

    python tests/helpers/cluster_job.py '{"remote": "local[2]"}'
    python tests/helpers/cluster_job.py '{"master": "spark://127.0.0.1:7077"}'

Its last line says, as JSON, what the certificate found.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import workbench.backends.spark_kernel
import workbench.planner.plan_choice
from workbench import EventSource, GroupBy, Join, backfill, compare, days, trailing
from workbench.backends import EngineError, engine_of

START = 1_704_067_200_000_000  # 2024-01-01
DAY = 86_400_000_000
EXECUTOR = "CoarseGrainedExecutorBackend"
ENDLESS = "select count(*) as v from range(1000000000000) where pmod(hash(id), 7) = 9"
STAGES = 10  # that are over before an executor is killed


def tables(events: int, left: int) -> dict[str, pa.Table]:
    """Return events and left rows over 60 days; one key has a fifth of both."""
    rng = np.random.default_rng(7)

    def keys(n: int) -> np.ndarray:
        return np.where(rng.random(n) < 0.2, 0, rng.integers(1, max(2, n // 20), n))

    def times(n: int) -> pa.Array:
        return pa.array(START + rng.integers(0, 60 * DAY, n), pa.timestamp("us"))

    values = {
        "v": rng.integers(-1000, 1000, events),
        "x": rng.normal(size=events),
        "s": rng.choice(["a", "b", "ü"], events),
    }
    return {
        "events": pa.table({"k": keys(events), "t": times(events), **values}),
        "asked": pa.table({"k": keys(left), "t": times(left), "row": np.arange(left)}),
    }


def join_on(con: ibis.BaseBackend, *, sketches: bool = False) -> Join:
    """Return a join of sums, means, texts in order of time and, with `sketches`, sketches."""
    events, asked = con.table("events"), con.table("asked")
    reductions = [events.v.sum(), events.x.mean(), events.s.last()]
    reductions += [events.v.approx_nunique()] if sketches else []
    spans = days(1, 30)
    part = GroupBy(
        name="g",
        source=EventSource(events, time="t"),
        keys=["k"],
        aggregations=trailing(spans, *reductions),
    )
    past = GroupBy(
        name="past", source=EventSource(events, time="t"), keys=["k"], aggregations=[events.v.sum()]
    )
    return Join(name="j", left=EventSource(asked, time="t"), parts=[part, past])


def session(asked: dict) -> object:
    """Start the session that the argument describes, its warehouse in a folder of its own."""
    from pyspark.sql import SparkSession

    home = tempfile.mkdtemp(prefix="sparkjob")
    settings = {
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.warehouse.dir": f"{home}/warehouse",
        "spark.driver.extraJavaOptions": (
            f"-Dderby.system.home={home} -XX:+UseSerialGC -XX:TieredStopAtLevel=1"
        ),
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        **asked.get("settings", {}),
    }
    builder = SparkSession.builder
    builder = (
        builder.remote(asked["remote"]) if "remote" in asked else builder.master(asked["master"])
    )
    for name, value in settings.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def kill_an_executor(context: object, mark: str, done: threading.Event) -> list[int]:
    """Kill an executor once some stages are over and another one runs.

    The executor is recognized by a mark on its command line.
    """
    killed: list[int] = []

    def look() -> None:
        tracker = context.statusTracker()
        while not done.wait(0.05):
            running = tracker.getActiveStageIds()
            if not running or min(running) < STAGES:
                continue
            mine = [
                p for p in Path("/proc").glob("[0-9]*") if mark in _line(p) and EXECUTOR in _line(p)
            ]
            if mine:
                killed.append(int(mine[0].name))
                os.kill(killed[0], signal.SIGKILL)
                return

    threading.Thread(target=look, daemon=True).start()
    return killed


def _line(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def main() -> None:
    """Run what the argument describes, and print it as JSON."""
    asked = json.loads(sys.argv[1])
    began = time.monotonic()
    spark = ibis.pyspark.connect(session(asked))
    duck = ibis.duckdb.connect()
    for name, rows in tables(asked.get("events", 4_000), asked.get("left", 400)).items():
        duck.create_table(name, rows)
        _given(spark._session, name, rows, asked.get("folder"))  # noqa: SLF001
    workbench.backends.spark_kernel.MAX_VALUES_OF_TASK = asked.get(
        "held", workbench.backends.spark_kernel.MAX_VALUES_OF_TASK
    )
    workbench.planner.plan_choice.MAX_PAIRS = asked.get(
        "few", workbench.planner.plan_choice.MAX_PAIRS
    )
    done = threading.Event()
    killed = (
        kill_an_executor(spark._session.sparkContext, asked["kill"], done)  # noqa: SLF001
        if "kill" in asked
        else []
    )
    sketches = bool(asked.get("sketches"))
    found = [
        tried(duck, spark, plan, sketches=sketches, batches=asked.get("batches", False))
        for plan in asked.get("plans", ["kernel"])
    ]
    took = (
        {con.name: seconds(con, plan) for con in (duck, spark) for plan in asked["timed"]}
        if "timed" in asked
        else {}
    )
    done.set()
    cancelled = asked.get("cancel") and is_cancelled(spark)
    print(
        json.dumps(
            {
                "found": found,
                "cancelled": cancelled,
                "killed": len(killed),
                "took": took,
                "seconds": round(time.monotonic() - began, 1),
            }
        )
    )


def _given(session: object, name: str, rows: pa.Table, folder: str | None) -> None:
    """Make the rows a view of a session.

    They are handed over with each query, or stand in a file of a folder that all executors reach.
    """
    if folder is None:
        session.createDataFrame(rows).createOrReplaceTempView(name)
        return
    pq.write_table(rows, f"{folder}/{name}.parquet", row_group_size=100_000)
    session.read.parquet(f"{folder}/{name}.parquet").createOrReplaceTempView(name)


def seconds(con: ibis.BaseBackend, plan: str | None) -> float:
    """Return the seconds of a backfill with all its rows read."""
    began = time.monotonic()
    for _ in backfill(join_on(con), plan=plan).to_pyarrow_batches():
        pass
    return round(time.monotonic() - began, 1)


def is_cancelled(spark: ibis.BaseBackend) -> bool:
    """Say whether a query without an end fails once another thread cancels it."""
    apart, failed = engine_of(spark).apart(), threading.Event()

    def work() -> None:
        try:
            apart.rows(apart.connected.sql(ENDLESS))
        except EngineError:
            failed.set()

    threading.Thread(target=work, daemon=True).start()
    end = time.monotonic() + 60
    while not failed.wait(0.3) and time.monotonic() < end:
        apart.interrupt()
    return failed.is_set()


def tried(
    duck: ibis.BaseBackend,
    spark: ibis.BaseBackend,
    plan: str | None,
    *,
    sketches: bool,
    batches: bool,
) -> dict:
    """Return what a certificate says by a plan, its rows and its warnings; or the error.

    The rows are counted in the certificate or, with `batches`, in batches of rows.
    """
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            certificate = compare(join_on(duck, sketches=sketches), on=[duck, spark], plan=plan)
        rows = (
            sum(map(len, backfill(join_on(spark), plan=plan).to_pyarrow_batches()))
            if batches
            else certificate.ways[1].rows
        )
    except Exception as error:  # noqa: BLE001 what a user would see
        return {"error": f"{type(error).__name__}: {error}"}
    said = [str(w.message) for w in warned]
    return {
        "verdict": certificate.verdict,
        "plan": certificate.ways[1].plan,
        "rows": rows,
        "warned": said,
    }


if __name__ == "__main__":
    main()
