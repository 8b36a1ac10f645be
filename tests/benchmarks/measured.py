"""One job of the benchmark in a process of its own, so that its memory is its own.

It takes the job as JSON and answers as JSON.

python tests/benchmarks/measured.py '{"engine": "duckdb", "job": "sums3", "data": "zipf", ...}'
"""

from __future__ import annotations

import gc
import json
import signal
import sys
from pathlib import Path

import histories
from engines import ENGINES, Ready
from ibis import _
from processes import Watch

from workbench import EventSource, GroupBy, Join, backfill, days, last_k, trailing
from workbench.backends import engine_of

THREE, TWELVE = days(3, 14, 30), days(*range(1, 37, 3))
JOBS = {
    "sums3": trailing(THREE, _.v.sum(), _.v.count(), _.v.mean()),
    "sums12": trailing(TWELVE, _.v.sum(), _.v.count(), _.v.mean()),
    "extremes3": trailing(THREE, _.v.min(), _.v.max()),
    "unique3": trailing(THREE, _.item.nunique()),
    "median3": trailing(THREE, _.v.median()),
    "last_k3": trailing(THREE, last_k(_.v, 10)),
}
NAIVE = """create or replace temp table naive as select s.key, s.ts,
  sum(e.v) filter (e.ts >= s.ts - interval 3 day),
  count(e.v) filter (e.ts >= s.ts - interval 3 day),
  avg(e.v) filter (e.ts >= s.ts - interval 3 day),
  sum(e.v) filter (e.ts >= s.ts - interval 14 day),
  count(e.v) filter (e.ts >= s.ts - interval 14 day),
  avg(e.v) filter (e.ts >= s.ts - interval 14 day),
  sum(e.v), count(e.v), avg(e.v)
from spine s
left join events e on s.key = e.key and e.ts < s.ts and e.ts >= s.ts - interval 30 day
group by s.key, s.ts"""


def join(con: object, job: str) -> Join:
    """Return the join that the job computes."""
    group_by = GroupBy(
        name="g",
        source=EventSource(con.table("events"), time="ts"),
        keys=["key"],
        aggregations=JOBS[job],
    )
    return Join(
        name="j",
        left=EventSource(con.table("spine").select("key", "ts"), time="ts"),
        parts=[group_by],
    )


def turn(ready: Ready, asked: object) -> dict[str, float]:
    """Run the backfill and the sort, one after the other, in whatever state the machine is."""
    gc.collect()
    with Watch(ready.roots) as job:
        result = backfill(asked)
    del result
    with Watch(ready.roots) as sort:
        ready.sort()
    return {
        "wall": job.wall,
        "cpu": job.cpu,
        "peak": job.peak,
        "sort_wall": sort.wall,
        "sort_cpu": sort.cpu,
        "sort_peak": sort.peak,
    }


def run(told: dict) -> dict:
    """Run the turns, after one of each that is not counted."""
    events, spine = histories.made(Path(told["folder"]), told["data"], told["events"], told["left"])
    more = {"memory": told["memory"]} if told.get("memory") else {}
    with ENGINES[told["engine"]](events, spine, **more) as ready:
        if told["job"] == "naive":
            with Watch(ready.roots) as naive:
                ready.con.raw_sql(NAIVE)
            return {"turns": [{"wall": naive.wall, "cpu": naive.cpu, "peak": naive.peak}]}
        asked = join(ready.con, told["job"])
        result = backfill(asked)
        rows = engine_of(ready.con).rows(result.agg(n=result.count()))[0][0]
        assert rows == told["left"], f"{rows} rows came out for {told['left']} left rows"
        del result
        ready.sort()
        return {"rows": rows, "turns": [turn(ready, asked) for _ in range(told["turns"])]}


if __name__ == "__main__":
    # A server that was started is stopped on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(json.dumps(run(json.loads(sys.argv[1]))))
