"""How often one tile shows a planted shift or null storm, and how often a clean tile drifts.

    python tests/benchmarks/detection.py [tiles of each planted kind]

One reference of 100,000 rows of N(0, 1), edges frozen on it; tiles of independent rows. No
persistence: a series shows an alert only once it stays.
"""

from __future__ import annotations

import sys

import numpy as np
from attrs import evolve

from workbench.monitoring import Edges, Tile, drift_of
from workbench.monitoring.tiles.bin_edges import BINS

SIZES = (50, 100, 1_000, 10_000)
SHIFTS = (0.05, 0.1, 0.3, 0.5)
STORMS = (0.02, 0.05, 0.1, 0.3)  # nulls more than the reference's 1 %
REFERENCE, NULLS = 100_000, 0.01


def tile(x: np.ndarray, edges: Edges) -> Tile:
    """Return the tile of these values, with NaN as null."""
    finite = x[~np.isnan(x)]
    counts = np.bincount(np.searchsorted(edges.cuts, finite, side="right"), minlength=edges.bins)
    moments = (
        {
            "mean": finite.mean(),
            "m2": finite.var() * len(finite),
            "low": finite.min(),
            "high": finite.max(),
        }
        if len(finite)
        else {}
    )
    return evolve(
        Tile("x", edges.edges_id),
        n_rows=len(x),
        n_null=len(x) - len(finite),
        n_finite=len(finite),
        n_eff=len(x),
        counts=counts,
        **moments,
    )


def draw(rng: np.random.Generator, n: int, shift: float = 0.0, nulls: float = NULLS) -> np.ndarray:
    """Draw the values of one tile."""
    return np.where(rng.random(n) < nulls, np.nan, rng.normal(shift, 1, n))


def rates(
    clean: int, draws: int, sizes: tuple[int, ...] = SIZES, seed: int = 11
) -> list[tuple[str, int, float, float, float]]:
    """Return a line for each planted fault and tile size.

    Each line holds what was planted, the rows of a tile, and the shares of the tiles that warn or
    alert, that alert, and that are grey.
    """
    rng = np.random.default_rng(seed)
    reference = draw(rng, REFERENCE)
    finite = reference[~np.isnan(reference)]
    edges = Edges(
        "x",
        "ranges",
        np.unique(np.quantile(finite, np.arange(1, BINS) / BINS, method="inverted_cdf")),
    )
    ref = tile(reference, edges)
    planted = [
        ("nothing", 0.0, NULLS),
        *((f"shift {s} sd", s, NULLS) for s in SHIFTS),
        *((f"nulls +{s:.0%}", 0.0, NULLS + s) for s in STORMS),
    ]
    found = []
    for n in sizes:
        for name, shift, nulls in planted:
            statuses = [
                drift_of(ref, tile(draw(rng, n, shift, nulls), edges), edges).status
                for _ in range(draws if shift or nulls > NULLS else clean)
            ]
            alert, warn, grey = (
                statuses.count(s) / len(statuses) for s in ("alert", "warn", "insufficient data")
            )
            found.append((name, n, warn + alert, alert, grey))
    return found


if __name__ == "__main__":
    draws = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    print(
        f"1,000 clean tiles a size, {draws} of each other kind\n\n| planted | rows | warn or alert"
        " | alert | insufficient data |\n|---|---|---|---|---|"
    )
    for name, n, some, alert, grey in rates(1_000, draws):
        print(f"| {name} | {n:,} | {some:.1%} | {alert:.1%} | {grey:.1%} |")
