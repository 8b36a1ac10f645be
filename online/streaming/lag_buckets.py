"""Lags from an event's time until it could be fetched, counted by logarithmic bucket.

Counts add up over batches, partitions and hours.
"""

from __future__ import annotations

from typing import Any

import numpy as np

BUCKETS, SHARES = 120, 4  # buckets, and how many a doubling has
# microseconds; the first bucket begins there and counts all below it too, the last ends at 12.4
# days and counts all above it too
MIN_LAG_US = 1000
# microseconds that an event may lie behind the newest of its partition before it is late
LATENESS = 300_000_000

Numbers = np.ndarray[Any, np.dtype[np.int64]]


def bucket(lags: Numbers) -> Numbers:
    """The bucket of each lag, in microseconds: i has [1 ms * 2^(i/4), 1 ms * 2^((i+1)/4))."""
    return np.clip(
        np.floor(SHARES * np.log2(np.maximum(lags, MIN_LAG_US) / MIN_LAG_US)), 0, BUCKETS - 1
    ).astype(np.int64)


def counted(lags: Numbers) -> dict[str, Any]:
    """Lags in microseconds as JSON: counts by bucket, how many were `negative`, and the largest.

    Negative lags are in the first bucket.
    """
    if not len(lags):
        return {"counts": {}, "negative": 0, "max": None}
    numbers, counts = np.unique(bucket(lags), return_counts=True)
    return {
        "counts": {str(i): int(n) for i, n in zip(numbers, counts, strict=True)},
        "negative": int((lags < 0).sum()),
        "max": int(lags.max()),
    }


def late(times: Numbers, newest: int | None) -> int:
    """How many events are late: more than the lateness behind the newest that came before.

    The events are in the order they came; `newest` is the newest before them.
    """
    if not len(times):
        return 0
    before = np.maximum.accumulate(
        np.concatenate([[times[0] if newest is None else newest], times])
    )[:-1]
    return int((times < before - LATENESS).sum())
