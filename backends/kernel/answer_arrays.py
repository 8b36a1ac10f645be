"""Answers as Arrow arrays: numbers, chosen values and lists, null where a window is empty."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from workbench.backends.asof_request import Ask
    from workbench.backends.kernel.event_lanes import Lane
    from workbench.backends.kernel.jit import Doubles, Flags, Longs


MAX_LIST_ELEMENTS = 2**31 - 1  # elements that Arrow's lists of one array hold


class OutOfRangeError(OverflowError):
    """A whole number or decimal does not fit its type (semantics rule 11).

    It is an error, never a wrapped number.
    """


def chosen_values(lane: Lane, ask: Ask, rows: Longs, argument: str = "arg") -> pa.Array:
    """Returns the values of the lane's rows `rows`; null for -1."""
    return lane.values(ask.inputs[argument], rows)


def whole_numbers(values: Any, empty: Flags | None = None) -> pa.Array:
    """Returns whole numbers of 64 bits."""
    return pa.array(values, pa.int64(), mask=empty)


def finite_numbers(values: Doubles, empty: Flags) -> pa.Array:
    """Returns doubles, with no negative zero; null for infinities and where there is no number."""
    return pa.array(values + 0.0, pa.float64(), mask=empty | ~np.isfinite(values))


def value_lists(lane: Lane, ask: Ask, rows: Longs, lengths: Longs) -> pa.Array:
    """Returns lists of the values of `rows`, of these lengths; null where empty."""
    values = chosen_values(lane, ask, rows)
    return pa.ListArray.from_arrays(list_offsets(lengths), values, mask=pa.array(lengths == 0))


def list_offsets(lengths: Longs) -> pa.Array:
    """Returns where each list begins and ends; OutOfRangeError where Arrow cannot count so far."""
    ends = np.cumsum(lengths)
    if len(ends) and ends[-1] > MAX_LIST_ELEMENTS:
        message = (
            f"the lists of one task hold {ends[-1]} values, and Arrow's hold {MAX_LIST_ELEMENTS}:"
            " ask for fewer by first_k() or last_k()"
        )
        raise OutOfRangeError(message)
    return pa.array(np.concatenate(([0], ends)), pa.int32())


def spread_rows(starts: Longs, lengths: Longs, step: int) -> Longs:
    """Returns start, start + step, ... of each length, one after another."""
    ends = np.cumsum(lengths)
    within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)
    return np.repeat(starts, lengths) + step * within
