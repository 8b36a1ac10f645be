"""Reductions of windows that only move forward: each event enters once and leaves once.

That holds whatever the window and the skew. Every function takes `low` and `high`, the row range of
each left row, both never falling, and answers in their order. Where a reduction answers with one of
its inputs, it returns that event's row, or -1 over no rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from workbench.backends.kernel.jit import compiled

if TYPE_CHECKING:
    from workbench.backends.kernel.jit import Longs


@compiled
def least(values: Longs, low: Longs, high: Longs) -> Longs:
    """Returns the row of the smallest value; the first of equal ones."""
    out = np.full(len(low), -1)
    queue = np.empty(len(values) + 1, np.int64)
    front = back = stop = 0
    for j in range(len(low)):
        if stop < low[j]:
            stop = low[j]
            front = back
        for row in range(stop, high[j]):
            while back > front and values[queue[back - 1]] > values[row]:
                back -= 1
            queue[back] = row
            back += 1
        stop = max(stop, high[j])
        while front < back and queue[front] < low[j]:
            front += 1
        if front < back and low[j] < high[j]:
            out[j] = queue[front]
    return out


@compiled
def distinct(ids: Longs, low: Longs, high: Longs) -> Longs:
    """Returns how many different ids there are; ids count from 0, and no two keys share one."""
    out = np.zeros(len(low), np.int64)
    counts = np.zeros(ids.max() + 1 if len(ids) else 1, np.int64)
    start = stop = distinct_count = 0
    for j in range(len(low)):
        while start < min(low[j], stop):
            counts[ids[start]] -= 1
            distinct_count -= counts[ids[start]] == 0
            start += 1
        if start < low[j]:
            start = stop = low[j]
        while stop < high[j]:
            distinct_count += counts[ids[stop]] == 0
            counts[ids[stop]] += 1
            stop += 1
        out[j] = distinct_count
    return out


# compiled functions take no keywords
@compiled
def bits(values: Longs, low: Longs, high: Longs, every: bool) -> Longs:  # noqa: FBT001
    """Returns the bits that all values have (`every`), or any of them.

    It keeps two stacks, so that each row is combined at most twice.
    """
    out = np.zeros(len(low), np.int64)
    suffix = np.empty(len(values) + 1, np.int64)
    nothing = -1 if every else 0
    start = stop = middle = 0
    newer = nothing
    for j in range(len(low)):
        if stop < low[j]:
            stop = middle = low[j]
            newer = nothing
        start = low[j]
        for row in range(stop, high[j]):
            newer = newer & values[row] if every else newer | values[row]
        stop = max(stop, high[j])
        if start >= middle:
            older = nothing
            for row in range(stop - 1, start - 1, -1):
                older = older & values[row] if every else older | values[row]
                suffix[row] = older
            middle, newer = stop, nothing
        if start < middle:
            out[j] = suffix[start] & newer if every else suffix[start] | newer
        else:
            out[j] = newer
    return out
