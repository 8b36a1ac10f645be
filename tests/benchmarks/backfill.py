"""How long backfills take, against each engine's own sort of those events, and against peers.

    python tests/benchmarks/backfill.py [--events 10000000] [--left 1000000] [--turns 3] [--only
    duckdb spark ...] [--large] [--json FILE]

Each job runs in a process of its own: one turn that is not counted, then the job and the engine's
sort by turns. The figures are medians of the ratios inside a turn. Postgres and Spark are started,
Feast is installed into an environment of its own; what cannot be is left out, with the reason.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from pathlib import Path

from rich.console import Console

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent / "helpers")]  # a checkout needs no install

import services  # noqa: E402 found by the line above
import standing  # noqa: E402
from latest import peers  # noqa: E402

WINDOWED = ("extremes3", "unique3", "median3", "last_k3")
LARGE = {
    "engine": "duckdb",
    "data": "zipf",
    "job": "sums3",
    "events": 100_000_000,
    "left": 1_000_000,
    "memory": "2GB",
}
PARTS = ("duckdb", "spark", "postgres", "latest", "naive")


def jobs(options: Namespace) -> list[dict]:
    """Return every job that is measured against a sort, in turn."""
    size = {"events": options.events, "left": options.left}
    told = [
        {"engine": "duckdb", "data": data, "job": job} | size
        for data in ("uniform", "zipf")
        for job in ("sums3", "sums12", *WINDOWED)
    ]
    told += [
        {"engine": "spark", "data": data, "job": "sums3"} | size
        for data in ("uniform", "zipf", "hot")
    ]
    told += [{"engine": "postgres", "data": "zipf", "job": "sums3"} | size]
    if "naive" in options.only:
        told += [{"engine": "duckdb", "data": "zipf", "job": "naive"} | size]
    told = [t for t in told if (t["job"] if t["job"] == "naive" else t["engine"]) in options.only]
    told = [t for t in told if options.jobs is None or t["job"] in options.jobs]
    return [*told, *([LARGE] if options.large else [])]


def lacking(engine: str) -> str | None:
    """Return why an engine cannot be started here, or None."""
    return {"spark": services.lacks_spark, "postgres": services.lacks_postgres}.get(
        engine, lambda: None
    )()


def measured(told: dict, options: Namespace, folder: str) -> dict:
    """Return what a job's own process answers, or why it did not."""
    if reason := lacking(told["engine"]):
        return told | {"left_out": reason}
    asked = told | {"folder": folder, "turns": options.turns}
    limit = options.naive_timeout if told["job"] == "naive" else options.timeout
    found = answered([sys.executable, str(HERE / "measured.py"), json.dumps(asked)], limit)
    return told | found


def answered(command: list[str], limit: int) -> dict:
    """Return the JSON in a process's last line, or what became of it."""
    paths = [str(HERE.parents[1]), str(HERE.parent / "helpers"), str(HERE)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            services.ended(process)
            return {"failed": f"not finished in {limit} s"}
        except BaseException:
            services.ended(process)
            raise
    if process.returncode:
        return {
            "failed": (
                err.strip().splitlines()[-1][:300]
                if err.strip()
                else f"ended with {process.returncode}"
            )
        }
    return json.loads(out.strip().splitlines()[-1])


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--left", type=int, default=1_000_000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument(
        "--jobs",
        nargs="+",
        help="sums3, sums12, extremes3, unique3, median3, last_k3; all by default",
    )
    parser.add_argument(
        "--large", action="store_true", help="10^8 events on DuckDB too, within 6 GB"
    )
    parser.add_argument(
        "--timeout", type=int, default=3600, help="seconds for one job, all its turns"
    )
    parser.add_argument(
        "--naive-timeout",
        type=int,
        default=300,
        help="seconds for the range join and for each of the peers",
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--data", help="a folder that keeps the made files for the next run")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is stopped
    results, compared = [], []
    with tempfile.TemporaryDirectory() as made:
        folder = options.data or made
        for told in jobs(options):
            results.append(measured(told, options, folder))
            print(json.dumps(results[-1]), file=sys.stderr, flush=True)
        if "latest" in options.only:
            compared = peers(Path(folder), options.naive_timeout, answered)
    console = Console(width=180)
    for table in standing.tables(results, compared):
        console.print(table)
    if options.json:
        options.json.write_text(
            json.dumps(
                {
                    "sizes": {
                        "events": options.events,
                        "left": options.left,
                        "turns": options.turns,
                    },
                    "against_sort": results,
                    "latest_value": compared,
                },
                indent=1,
            )
        )


if __name__ == "__main__":
    main()
