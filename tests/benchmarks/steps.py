"""What the steps of a dated backfill cost, and what it costs to compile a plan.

The costs are seconds of CPU and of the clock, on DuckDB.

    python tests/benchmarks/steps.py [--only compile steps business sparse preview] [--folder]

`compile` writes the SQL of 200 features; `steps` fills 25 days by daily steps of 40 features;
`business` fills the business days of a year beside as many days in a row, and beside all days of
that year with as many rows; `sparse` is 10,000 left rows over 12 years; `preview` shows 300
features. Nothing of it is pass or fail.
"""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

import ibis

sys.path[:0] = [str(Path(__file__).parents[2])]  # a checkout needs no install

from workbench import EventSource, GroupBy, Join, backfill, days, preview, trailing  # noqa: E402
from workbench.backends import engine_of  # noqa: E402 found by the line above
from workbench.planner.training_set import training_set  # noqa: E402

KINDS = ("sum", "mean", "max", "min", "count")
EVENTS = (
    "create table events as select (i % 50)::varchar k, timestamp '2012-01-01' + i * interval 13"
    " hour ts{} from range(8000) t(i)"
)


def joined(features: int, lefts: str) -> Join:
    """Return features of as many columns, for left rows that a query gives."""
    con = ibis.duckdb.connect()
    con.raw_sql(
        EVENTS.format("".join(f", (i * {n + 1} % 97)::double v{n}" for n in range(features)))
    )
    con.raw_sql(f"create table lefts as {lefts}")
    events = con.table("events")
    wanted = [getattr(events[f"v{n}"], KINDS[n % len(KINDS)])() for n in range(features)]
    group_by = GroupBy(
        name="g",
        source=EventSource(events, time="ts"),
        keys=["k"],
        aggregations=[trailing(days(30), *wanted)],
    )
    return Join(name="j", left=EventSource(con.table("lefts"), time="ts"), parts=[group_by])


def lefts(count: int, day: str) -> str:
    """Return a query for left rows, the n-th on a day from 2012 on."""
    return (
        f"select i id, (i % 50)::varchar k, timestamp '2012-01-02 09:00' + ({day}) * interval 1 day"
        f" + i * interval 1 second ts from range({count}) t(i)"
    )


def timed(what: str, action: Callable[[], object]) -> None:
    """Print what an action takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    action()
    print(
        f"{what:58} {time.process_time() - cpu:7.2f} s of CPU {time.perf_counter() - wall:7.2f} s",
        flush=True,
    )


def filled(what: str, join: Join, folder: str | None, **options: int) -> None:
    """Print what it takes to fill a dated table, or a folder."""
    with tempfile.TemporaryDirectory() as place:
        timed(
            what, lambda: backfill(join, into=Path(place) / "out" if folder else "out", **options)
        )


def main() -> None:
    jobs = ("compile", "steps", "business", "sparse", "preview")
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=jobs, default=list(jobs))
    parser.add_argument(
        "--folder", action="store_true", help="fill folders of Parquet files, not tables"
    )
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    filled(
        "(the first backfill of a process, not counted)", joined(2, lefts(50, "i")), options.folder
    )
    if "compile" in options.only:
        join = joined(200, lefts(100, "i"))
        engine = engine_of(join.left.connection)
        timed("200 features: SQL written", lambda: engine.query(training_set(join, engine)))
        timed("200 features: a backfill", lambda: backfill(join))
    if "steps" in options.only:
        filled(
            "40 features: 25 daily steps", joined(40, lefts(1000, "i % 25")), options.folder, step=1
        )
    if "business" in options.only:
        filled("2 features: 262 days in a row", joined(2, lefts(2620, "i % 262")), options.folder)
        filled(
            "2 features: 367 days in a row, as many rows",
            joined(2, lefts(2620, "i % 367")),
            options.folder,
        )
        filled(
            "2 features: 262 business days",
            joined(2, lefts(2620, "i % 262 // 5 * 7 + i % 262 % 5")),
            options.folder,
        )
    if "sparse" in options.only:
        filled(
            "2 features: 10,000 left rows over 12 years",
            joined(2, lefts(10_000, "i * 7919 % 4383")),
            options.folder,
        )
    if "preview" in options.only:
        join = joined(300, lefts(100, "i"))
        timed("300 features: a preview", lambda: preview(join))
        timed("300 features: a backfill", lambda: backfill(join))


if __name__ == "__main__":
    main()
