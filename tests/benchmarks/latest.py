"""The latest value of each left row's key, by us and by Feast, on DuckDB, dask and Postgres.

python tests/benchmarks/latest.py STORE EVENTS SPINE [HOST PORT USER DATABASE]      # ours, one
store
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import engines
import histories
import ibis
import services
from ibis import _
from processes import Watch

from workbench import EventSource, GroupBy, Join, backfill
from workbench.backends import engine_of

if TYPE_CHECKING:
    from collections.abc import Callable

EVENTS, LEFT, KEYS = 1_000_000, 100_000, 1_000
FEAST = "feast[duckdb,postgres]==0.67.0"


def peers(folder: Path, limit: int, answered: Callable[[list[str], int], dict]) -> list[dict]:
    """Return every store's answer, or why there is none."""
    events, spine = histories.made(folder, "uniform", EVENTS, LEFT, KEYS)
    python, reason = feast_python(folder)
    found = []

    def tell(by: str, store: str, command: list[str]) -> None:
        answer = {"left_out": reason} if by == "feast" and reason else answered(command, limit)
        found.append({"by": by, "store": store} | answer)
        print(json.dumps(found[-1]), file=sys.stderr, flush=True)

    def each(store: str, *address: str) -> None:
        if store != "dask":
            tell(
                "ours", store, [sys.executable, __file__, store, str(events), str(spine), *address]
            )
        tell(
            "feast",
            store,
            [
                str(python),
                str(Path(__file__).with_name("feast_peer.py")),
                store,
                str(events),
                str(spine),
                *address,
            ],
        )

    each("duckdb")
    each("dask")
    if lack := services.lacks_postgres():
        return [*found, {"by": "feast", "store": "postgres", "left_out": lack}]
    with engines.postgres_server(events, spine) as (address, _roots):
        each("postgres", *map(str, address.values()))
    return found


def feast_python(folder: Path) -> tuple[Path, str | None]:
    """Return the Python of an environment that has Feast, made where it is absent.

    Or why there is none.
    """
    home = folder / "feast"
    python = home / "bin" / "python"
    if python.exists():
        return python, None
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    make = (
        [uv, "venv", "-q", "--python", sys.executable, str(home)]
        if uv
        else [sys.executable, "-m", "venv", str(home)]
    )
    install = (
        [uv, "pip", "install", "-q", "--python", str(python), FEAST]
        if uv
        else [str(python), "-m", "pip", "install", "-q", FEAST]
    )
    for command in (make, install):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            shutil.rmtree(home, ignore_errors=True)
            return (
                python,
                f"Feast could not be installed: {done.stderr.strip().splitlines()[-1][:200]}",
            )
    return python, None


def ours(store: str, events: str, spine: str, *address: str) -> dict:
    """From files or tables to Arrow, as Feast's clock runs: from the call to the Arrow table.

    The first call, and the median of three more.
    """
    roots = [os.getpid()]
    if store == "duckdb":
        con = ibis.duckdb.connect()
        for name, files in (("events", events), ("spine", spine)):
            con.read_parquet(f"{files}/*.parquet", table_name=name)
    else:
        con = ibis.postgres.connect(
            **dict(
                zip(
                    ("host", "port", "user", "database"),
                    (address[0], int(address[1]), *address[2:]),
                    strict=True,
                )
            )
        )
    group_by = GroupBy(
        name="g",
        source=EventSource(con.table("events"), time="ts"),
        keys=["key"],
        aggregations=[_.v.last().name("latest")],
    )
    asked = Join(
        name="j",
        left=EventSource(con.table("spine").select("key", "ts"), time="ts"),
        parts=[group_by],
    )
    watches = []
    for _turn in range(4):
        with Watch(roots) as watch:
            found = engine_of(con).fetch(backfill(asked))
        watches.append(watch)
    first, *rest = watches
    wall, cpu = statistics.median(w.wall for w in rest), statistics.median(w.cpu for w in rest)
    known = found.num_rows - found["g_latest"].null_count
    return {
        "wall": wall,
        "cpu": cpu,
        "first_wall": first.wall,
        "first_cpu": first.cpu,
        "peak": max(w.peak for w in watches),
        "rows": found.num_rows,
        "known": known,
    }


if __name__ == "__main__":
    print(json.dumps(ours(*sys.argv[1:])))
