"""One job by the kernel on DuckDB and on each kind of Spark: equal certificates, and seconds.

    python tests/benchmarks/spark_kinds.py [--events 1000000] [--left 1000000] [--only classic
    connect cluster]

`classic` is a session of Spark in this machine's process, `connect` is Spark Connect, `cluster` a
master and two workers whose Python lacks this project; all are started for real, and each is held
against DuckDB, value by value. Nothing of it is pass or fail.
"""

from __future__ import annotations

import sys
import tempfile
from argparse import ArgumentParser, Namespace
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]  # a checkout needs no install

import clusters  # noqa: E402 found by the line above

MEMORY = {"spark.driver.memory": "4g", "spark.driver.maxResultSize": "0"}
EXECUTORS = {"spark.executor.memory": "2g"}
LONGEST_S = 3_600


def job(kind: str, options: Namespace, folder: Path) -> dict[str, Any]:
    """Return what one kind of Spark gave."""
    more = {
        "events": options.events,
        "left": options.left,
        "folder": str(folder),
        "timed": [options.plan],
        "plans": [options.plan],
    }
    with ExitStack() as started:
        if kind == "cluster":
            url, python = (
                started.enter_context(clusters.standalone(memory="3g")),
                clusters.bare_python(folder / "bare"),
            )
            return clusters.job(python, LONGEST_S, master=url, settings=MEMORY | EXECUTORS, **more)
        where = {"remote": "local[2]"} if kind == "connect" else {"master": "local[2]"}
        return clusters.job(sys.executable, LONGEST_S, settings=MEMORY, **where, **more)


def main() -> None:
    """Run the requested kinds of Spark, each in a process of its own."""
    kinds = ("classic", "connect", "cluster")
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--left", type=int, default=1_000_000)
    parser.add_argument("--plan", default="kernel")
    parser.add_argument("--only", nargs="+", choices=kinds, default=list(kinds))
    options = parser.parse_args()
    for kind in options.only:
        with tempfile.TemporaryDirectory() as home:
            done = job(kind, options, Path(home))
        (found,) = done["found"]
        if "error" in found:
            print(f"{kind}: {found['error']}", flush=True)
            continue
        took = ", ".join(f"{con} {seconds:.1f} s" for con, seconds in done["took"].items())
        print(
            f"{kind}: {found['verdict']}; plan {found['plan']}, {found['rows']:,} rows; {took}",
            flush=True,
        )


if __name__ == "__main__":
    main()
