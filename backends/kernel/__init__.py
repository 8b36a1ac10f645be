"""The window kernel: every reduction over every window, on Arrow tables (semantics rules 1 to 15).

Rows are sorted once by key and time; windows are row ranges that only move forward, so that each
reduction takes each event in once and out once, whatever the window and however many events one key
has. Sums are exact.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from workbench.backends.kernel.answer_arrays import OutOfRangeError
from workbench.backends.kernel.arrow_arrays import Columns, codes, joined
from workbench.backends.kernel.event_lanes import KeyedRows, SortedRows
from workbench.backends.kernel.kernel_reductions import REDUCTIONS as EXACT
from workbench.backends.kernel.window_sketches import SKETCHED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.backends.asof_request import Ask
    from workbench.backends.kernel.jit import Longs

__all__ = ["REDUCTIONS", "OutOfRangeError", "as_of"]

REDUCTIONS = EXACT | SKETCHED
MAX_ROWS_OF_ONE_THREAD = 200_000  # rows below which one thread is faster than two


def as_of(
    events: pa.Table,
    left: pa.Table,
    asks: Sequence[Ask],
    *,
    keys: Sequence[str],
    time: str,
    at: str,
    order: Sequence[str] = (),
    threads: int = 2,
) -> pa.Table:
    """Returns the left rows, in another order, and one column for each ask.

    `keys` are columns of both tables, not null; `time` (events) and `at` (left) are microseconds
    since 1970. `order` are columns of the events that settle ties in time. Raises OutOfRangeError
    where a sum does not fit its type, and LacksError for values that the kernel cannot take.
    """
    event_codes, left_codes = codes(events, left, keys)
    columns = Columns(events)
    facts = SortedRows(event_codes, _times(events[time]), np.arange(len(events)))
    rows = SortedRows(left_codes, _times(left[at]), np.arange(len(left)))
    splits = _splits(
        event_codes, left_codes, 1 if len(events) + len(left) < MAX_ROWS_OF_ONE_THREAD else threads
    )

    def answer_keys(first: int, end: int) -> pa.Table:
        part = KeyedRows(facts.among(first, end), rows.among(first, end), columns, order)
        return _answered(part, left, asks)

    with ThreadPoolExecutor(threads) as pool:
        return pa.concat_tables(pool.map(answer_keys, splits[:-1], splits[1:]))


def _times(column: pa.ChunkedArray) -> Longs:
    return np.ascontiguousarray(
        joined(column).to_numpy(zero_copy_only=False).astype(np.int64, copy=False)
    )


def _splits(events: Longs, left: Longs, parts: int) -> list[int]:
    """Returns codes that cut the rows into parts of about one size; a code is never cut."""
    end = max(int(events.max(initial=0)), int(left.max(initial=0))) + 1
    if parts == 1:
        return [0, end]
    rows = np.cumsum(np.bincount(events, minlength=end) + np.bincount(left, minlength=end))
    cuts = np.searchsorted(rows, rows[-1] * np.arange(1, parts) // parts) + 1
    return [0, *sorted({int(c) for c in cuts} - {0, end}), end]


def _answered(part: KeyedRows, left: pa.Table, asks: Sequence[Ask]) -> pa.Table:
    """Returns the part's left rows with an answer to each ask."""
    out = left.take(pa.array(part.left.rows))
    # what shares a lane and a window follows one another, so that its sums are made once and not
    # held for long
    for ask in sorted(asks, key=lambda a: (str(a.lane), a.span.length or 0, a.span.hop or 0)):
        answer = REDUCTIONS[ask.reduction](part.lane(*ask.lane), ask)
        out = out.append_column(
            ask.name, answer if answer.type == ask.type else answer.cast(ask.type)
        )
    return out.select([*left.column_names, *(a.name for a in asks)])
