"""How long backfills take against DuckDB's own sort of the same events: ratios inside one run, on DuckDB.

    python tests/benchmarks/backfill.py [--events 10000000] [--left 1000000] [--json FILE]

Ninety days, string keys, doubles with two decimals; each job warmed once and then measured three times, the sort beside it.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from argparse import ArgumentParser
from pathlib import Path

import ibis
import numpy as np
import pyarrow as pa
from attrs import asdict, frozen
from ibis import _
from rich.console import Console
from rich.table import Table

from workbench import EventSource, GroupBy, Join, backfill, days, last_k, trailing

KEYS, DAY_US, START = 100_000, 86_400_000_000, 1_700_000_000_000_000
SORT = "create or replace temp table sorted as select key, ts, v from events order by key, ts"
THREE, TWELVE = days(3, 14, 30), days(*range(1, 37, 3))
# name -> reductions, windows, and the goal as a ratio to the sort: CPU, wall
JOBS = {
    "sum, count, mean x 3": ([_.v.sum(), _.v.count(), _.v.mean()], THREE, (2.5, 3.0)),
    "sum, count, mean x 12": ([_.v.sum(), _.v.count(), _.v.mean()], TWELVE, (3.75, 4.5)),
    "min, max x 3": ([_.v.min(), _.v.max()], THREE, (8.0, None)),
    "unique_count x 3": ([_.item.nunique()], THREE, (8.0, None)),
    "median x 3": ([_.v.median()], THREE, (8.0, None)),
    "last_k(10) x 3": ([last_k(_.v, 10)], THREE, (8.0, None)),
}


@frozen
class Measure:
    """One job on one kind of data: seconds, medians of three, beside those of the sort."""

    data: str
    job: str
    wall: float
    cpu: float
    sort_wall: float
    sort_cpu: float
    peak_gb: float


def rows(n: int, skew: float, rng: np.random.Generator) -> pa.Table:
    """Keys, times, values and items; with `skew` the keys' frequencies fall as a power of their rank."""
    if skew:
        share = np.arange(1, KEYS + 1) ** -skew
        keys = rng.choice(KEYS, n, p=share / share.sum())
    else:
        keys = rng.integers(0, KEYS, n)
    times = START + rng.integers(0, 90 * DAY_US, n)
    times[::3] -= times[::3] % 1_000_000
    return pa.table({"k": keys, "t": times, "v": np.round(rng.gamma(2.0, 30.0, n), 2), "item": rng.integers(0, 5_000, n)})


def load(events: int, left: int, skew: float) -> ibis.BaseBackend:
    """A DuckDB that has them as `events` and `spine`."""
    con, rng = ibis.duckdb.connect(), np.random.default_rng(1)
    for name, n in (("events", events), ("spine", left)):
        con.con.register("made", rows(n, skew, rng))
        con.raw_sql(f"create table {name} as select 'user_' || k as key, make_timestamp(t) as ts, v, item from made")
        con.con.unregister("made")
    return con


def join(con: ibis.BaseBackend, job: str) -> Join:
    """What the job computes."""
    reductions, spans, _goal = JOBS[job]
    group_by = GroupBy(name="g", source=EventSource(con.table("events"), time="ts"), keys=["key"], aggregations=trailing(spans, *reductions))
    return Join(name="j", left=EventSource(con.table("spine").select("key", "ts"), time="ts"), parts=[group_by])


def timed(action: object) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    action()  # type: ignore[operator]  # a function without arguments
    return time.perf_counter() - wall, time.process_time() - cpu


def measured(con: ibis.BaseBackend, data: str, job: str, left: int) -> Measure:
    """The job and the sort by turns, after one of each."""
    asked = join(con, job)
    assert left == backfill(asked).count().to_pyarrow().as_py(), "one row out per left row"
    con.raw_sql(SORT)
    turns = [(*timed(lambda: backfill(asked)), *timed(lambda: con.raw_sql(SORT))) for _ in range(3)]
    medians = [round(statistics.median(column), 2) for column in zip(*turns, strict=True)]
    return Measure(data, job, *medians, round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2))


def shown(measures: list[Measure]) -> Table:
    """The ratios beside their goals."""
    table = Table("data", "job", "wall s", "CPU s", "sort wall", "sort CPU", "wall ratio", "CPU ratio", "goal (CPU, wall)", "peak GB so far")
    for m in measures:
        cells = (m.wall, m.cpu, m.sort_wall, m.sort_cpu, round(m.wall / m.sort_wall, 2), round(m.cpu / m.sort_cpu, 2), JOBS[m.job][2], m.peak_gb)
        table.add_row(m.data, m.job, *map(str, cells))
    return table


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--left", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    measures = []
    for data, skew in (("uniform", 0.0), ("zipf 1.2", 1.2)):
        con = load(options.events, options.left, skew)
        for job in JOBS:
            measures.append(measured(con, data, job, options.left))
            print(measures[-1], file=sys.stderr)
        con.disconnect()
    Console(width=160).print(shown(measures))
    if options.json:
        options.json.write_text(json.dumps([asdict(m) for m in measures], indent=1))


if __name__ == "__main__":
    main()
