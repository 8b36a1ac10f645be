"""Rows in order of key and time, and the row ranges of windows (semantics rules 2, 3 and 10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from workbench.backends.kernel.jit import compiled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.backends.asof_request import WindowSpan
    from workbench.backends.kernel.jit import Longs

BEFORE_ALL_US = np.iinfo(np.int64).min


def tails(span: WindowSpan, times: Longs) -> Longs:
    """Returns the first instant inside the window of each time."""
    if span.length is None:
        return np.full(len(times), BEFORE_ALL_US)
    start = times - span.length
    return start if span.hop is None else start - start % span.hop


def in_order(codes: Longs, times: Longs) -> Longs:
    """Returns the rows' positions sorted by code, then time; equal ones are in any order."""
    if not len(codes):
        return np.zeros(0, np.int64)
    low, least = int(codes.min()), int(times.min())
    span = int(times.max()) - least + 1
    if (int(codes.max()) - low + 1) * span < np.iinfo(np.int64).max:
        return np.argsort((codes - low) * span + (times - least))
    return np.lexsort((times, codes))


def settled(order: Longs, same: Longs, ranks: Sequence[Longs]) -> Longs:
    """Returns `order` with the rows of each tie sorted by `ranks`.

    `same` numbers the ties in that order: equal numbers are equal rows so far.
    """
    tied = np.zeros(len(order), bool)
    tied[1:] = same[1:] == same[:-1]
    tied[:-1] |= tied[1:]
    (at,) = np.nonzero(tied)
    if not len(at) or not ranks:
        return order
    rows = order[at]
    out = order.copy()
    out[at] = rows[np.lexsort((*(r[rows] for r in reversed(ranks)), same[at]))]
    return out


def groups(columns: Sequence[Longs]) -> Longs:
    """Returns a number for each row that equals its predecessor's where all columns do."""
    new = np.zeros(len(columns[0]), bool)
    for column in columns:
        new[1:] |= column[1:] != column[:-1]
    return np.cumsum(new)


@compiled
def first_at(codes: Longs, times: Longs, left_codes: Longs, left_times: Longs) -> Longs:
    """Returns for each left row the first event row at or after its code and time.

    Both sides are sorted, so it takes one pass over each.
    """
    out = np.empty(len(left_codes), np.int64)
    row, rows = 0, len(codes)
    for j in range(len(left_codes)):
        code, time = left_codes[j], left_times[j]
        while row < rows and (codes[row] < code or (codes[row] == code and times[row] < time)):
            row += 1
        out[j] = row
    return out
