"""Events and left rows of a benchmark, as Parquet files.

They span ninety days, with string keys and doubles with two decimals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from pathlib import Path

KEYS, DAY_US, START, PIECE = 100_000, 86_400_000_000, 1_700_000_000_000_000, 2_500_000
KINDS = ("uniform", "zipf", "hot")
HOT = 0.2  # of the events and of the left rows, the one hot key's


def rows(n: int, kind: str, keys: int, rng: np.random.Generator) -> pa.Table:
    """Return keys, times (a third on whole seconds, so that some tie), values and items."""
    if kind == "zipf":
        share = np.arange(1, keys + 1) ** -1.2
        key = rng.choice(keys, n, p=share / share.sum())
    else:
        key = rng.integers(0, keys, n)
    if kind == "hot":
        key[rng.random(n) < HOT] = 0
    times = START + rng.integers(0, 90 * DAY_US, n)
    times[::3] -= times[::3] % 1_000_000
    return pa.table(
        {
            "k": key,
            "t": times,
            "v": np.round(rng.gamma(2.0, 30.0, n), 2),
            "item": rng.integers(0, 5_000, n),
        }
    )


def made(folder: Path, kind: str, events: int, left: int, keys: int = KEYS) -> tuple[Path, Path]:
    """Return the folders of both tables' files, which are written where they are absent."""
    found = []
    for seed, (name, n) in enumerate((("events", events), ("spine", left))):
        place = folder / f"{name}-{kind}-{n}-{keys}"
        if not place.exists():
            beside = place.with_suffix(".partial")
            beside.mkdir(parents=True, exist_ok=True)
            for piece, start in enumerate(range(0, n, PIECE)):
                _write(
                    rows(min(PIECE, n - start), kind, keys, np.random.default_rng([seed, piece])),
                    beside / f"{piece:04}.parquet",
                )
            beside.rename(place)
        found.append(place)
    return found[0], found[1]


def _write(made: pa.Table, file: Path) -> None:
    con = duckdb.connect()
    con.register("made", made)
    con.execute(
        f"copy (select 'user_' || k as key, make_timestamp(t) as ts, v, item from made) to '{file}'"
        " (format parquet)"
    )
    con.close()
