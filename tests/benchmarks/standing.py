"""Measured ratios beside their goals: medians, and whether each goal is met."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# (engine, job) -> the most that CPU and wall may be of the sort's
GOALS = {
    ("duckdb", "sums3"): (2.5, 3.0),
    ("duckdb", "sums12"): (3.75, 4.5),
    ("spark", "sums3"): (1.2, 1.2),
    ("postgres", "sums3"): (3.0, 3.0),
}
GOALS |= {("duckdb", job): (8.0, None) for job in ("extremes3", "unique3", "median3", "last_k3")}
FASTER = 50  # than Feast


def ratio(found: dict, what: str) -> float:
    """Return the median over the turns of the job's seconds to the sort's."""
    return statistics.median(t[what] / t[f"sort_{what}"] for t in found["turns"])


def median(found: dict, what: str) -> float:
    return statistics.median(t[what] for t in found["turns"])


def tables(results: list[dict], compared: list[dict]) -> Iterator[Table]:
    """Return tables: jobs beside their sorts, pairs of jobs, and the latest value by others."""
    if results:
        yield against_sort(results)
        yield between_jobs(results)
    if compared:
        yield latest(compared)


def against_sort(results: list[dict]) -> Table:
    table = Table(
        "engine",
        "data",
        "job",
        "CPU s",
        "wall s",
        "CPU / sort",
        "wall / sort",
        "goal",
        "met",
        "peak GB",
        "sort's GB",
        title="A backfill beside the engine's own sort of the events",
    )
    for r in results:
        head = (
            r["engine"],
            r["data"],
            r["job"] + (f" of {r['events']:.0e}" if r.get("memory") else ""),
        )
        if "turns" not in r:
            table.add_row(*head, "", "", "", "", "", "", r.get("failed") or r.get("left_out"), "")
        elif "sort_wall" not in r["turns"][0]:
            table.add_row(*head, *_seconds(r), "", "", "none", "", _gb(r, "peak"), "")
        else:
            cpu, wall = (
                GOALS.get((r["engine"], r["job"]), (None, None))
                if not r.get("memory")
                else (None, None)
            )
            met = all(
                most is None or ratio(r, what) <= most
                for what, most in (("cpu", cpu), ("wall", wall))
            )
            goal = " ".join(
                f"{what} {most}x" for what, most in (("CPU", cpu), ("wall", wall)) if most
            )
            table.add_row(
                *head,
                *_seconds(r),
                f"{ratio(r, 'cpu'):.2f}",
                f"{ratio(r, 'wall'):.2f}",
                goal,
                _yes(met) if goal else "",
                _gb(r, "peak"),
                _gb(r, "sort_peak"),
            )
    return table


def _seconds(found: dict) -> tuple[str, str]:
    return f"{median(found, 'cpu'):.1f}", f"{median(found, 'wall'):.1f}"


def _gb(found: dict, what: str) -> str:
    return f"{max(t[what] for t in found['turns']) / 1e9:.2f}"


def _yes(met: object) -> str:
    return "yes" if met else "no"


def between_jobs(results: list[dict]) -> Table:
    """Return what a job costs more than another, each in CPU relative to its own sort's.

    The large one by CPU seconds an event.
    """
    table = Table(
        "what", "engine", "measured", "goal", "met", title="One job beside another, by CPU"
    )
    done = {
        (r["engine"], r["data"], r["job"], bool(r.get("memory"))): r
        for r in results
        if "sort_cpu" in (r.get("turns") or [{}])[0]
    }

    def line(
        what: str,
        of: tuple,
        to: tuple,
        most: float,
        cost: Callable[[dict], float] = lambda r: ratio(r, "cpu"),
    ) -> None:
        if of in done and to in done:
            more = cost(done[of]) / cost(done[to])
            table.add_row(what, of[0], f"{more:.2f}x", f"{most}x", _yes(more <= most))

    for engine in ("duckdb", "spark"):
        line(
            "zipf beside uniform (seconds)",
            (engine, "zipf", "sums3", False),
            (engine, "uniform", "sums3", False),
            1.3,
            lambda r: median(r, "cpu"),
        )
    for data in ("uniform", "zipf"):
        line(
            f"12 windows beside 3, {data}",
            ("duckdb", data, "sums12", False),
            ("duckdb", data, "sums3", False),
            1.5,
        )
    line(
        "a key with 20 % beside uniform (seconds)",
        ("spark", "hot", "sums3", False),
        ("spark", "uniform", "sums3", False),
        1.3,
        lambda r: median(r, "cpu"),
    )
    line(
        "10^8 events beside fewer, an event",
        ("duckdb", "zipf", "sums3", True),
        ("duckdb", "zipf", "sums3", False),
        1.5,
        lambda r: median(r, "cpu") / r["events"],
    )
    return table


def latest(compared: list[dict]) -> Table:
    """Return Feast beside us, on one engine where it has one of ours."""
    table = Table(
        "store",
        "wall s",
        "first call",
        "CPU s",
        "peak GB",
        "left rows returned",
        "times ours",
        "goal",
        "met",
        title="The latest value, 100,000 left rows, 1,000,000 events, 1,000 keys",
    )
    ours = {r["store"]: r for r in compared if r["by"] == "ours"}
    for r in compared:
        name = f"{r['by']} {r['store']}"
        if "wall" not in r:
            table.add_row(name, *[""] * 7, r.get("failed") or r.get("left_out"))
            continue
        mine = ours.get(r["store"]) or ours.get("duckdb")
        times = r["wall"] / mine["wall"] if r["by"] != "ours" and mine and "wall" in mine else None
        goal = (f"{times:.0f}x", f"{FASTER}x", _yes(times >= FASTER)) if times else ("", "", "")
        table.add_row(
            name,
            f"{r['wall']:.2f}",
            f"{r['first_wall']:.2f}" if "first_wall" in r else "",
            f"{r['cpu']:.2f}",
            f"{r['peak'] / 1e9:.2f}",
            f"{r['rows']:,}",
            *goal,
        )
    return table
