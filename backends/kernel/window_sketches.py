"""Sketches of windows: DataSketches of blocks of events, merged.

Windows that a sketch holds exactly are counted as they are. A sketch cannot forget, so that windows
do not slide over one. What a sketch distinguishes does slide: few different values, which it holds
as they are, and the bins of a CPC sketch, which is the set of them: both are counted without any
merge.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa

from workbench.backends.kernel import order_statistics, sliding_windows
from workbench.backends.sketches import Frequent, Percentiles, Uniques

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workbench.backends.asof_request import Ask
    from workbench.backends.kernel.event_lanes import Lane
    from workbench.backends.kernel.jit import Doubles, Longs

BLOCK = 256  # values that a sketch is updated with about as fast as it is merged
# Types whose values sketches hash as they come.
NATIVE = (pa.types.is_floating, pa.types.is_string, pa.types.is_large_string)


class SketchKind(Protocol):
    """A kind of sketch."""

    def of(self, values: Any) -> Any:
        """Returns a sketch of these values."""
        ...

    def merged(self, *sketches: Any) -> Any:
        """Returns a sketch of all their values."""
        ...


class Blocks:
    """Sketches of the row ranges [low, high), both never falling.

    There are two stacks of blocks, so that each block is merged at most twice. `older` has for each
    block of the front the sketch of the blocks from it to the middle, `newer` is one sketch of
    those since. A block that no range holds whole, as one of two keys, is never made.
    """

    def __init__(self, kind: SketchKind, values: Any) -> None:
        self.kind, self.values = kind, values
        self.older: dict[int, Any] = {}
        self.newer: Any = None
        self.middle = self.end = 0

    def over(self, low: int, high: int) -> Any:
        """Returns the sketch of one range."""
        first, last = -(-low // BLOCK), high // BLOCK
        if first >= last:
            return self._plain(low, high)
        parts = [
            self._plain(low, first * BLOCK),
            *self._whole(first, last),
            self._plain(last * BLOCK, high),
        ]
        return self.kind.merged(*parts)

    def _plain(self, low: int, high: int) -> Any:
        return self.kind.of(self.values[low:high])

    def _whole(self, first: int, last: int) -> Sequence[Any]:
        """Returns sketches that make up the blocks [first, last)."""
        if first >= self.middle:
            self._turn(first, last)
        for block in range(self.end, last):
            new = self._plain(block * BLOCK, (block + 1) * BLOCK)
            self.newer = new if self.newer is None else self.kind.merged(self.newer, new)
        self.end = max(self.end, last)
        return [s for s in (self.older[first], self.newer) if s is not None]

    def _turn(self, first: int, last: int) -> None:
        """Makes all blocks of the range the older ones."""
        self.older, self.newer, self.middle, self.end = {}, None, last, last
        for block in range(last - 1, first - 1, -1):
            new = self._plain(block * BLOCK, (block + 1) * BLOCK)
            self.older[block] = (
                self.kind.merged(self.older[block + 1], new) if block + 1 < last else new
            )


def _estimates_of_ranges(
    kind: SketchKind, values: Any, low: Longs, high: Longs, estimate: Callable[[Any], Any]
) -> list[Any]:
    """Returns the estimate for each range; equal ranges in a row are sketched once."""
    blocks, out, before = Blocks(kind, values), [], None
    for span in zip(low.tolist(), high.tolist(), strict=True):
        out.append(out[-1] if span == before else estimate(blocks.over(*span)))
        before = span
    return out


# --- how many different values


def _approx_unique_count(lane: Lane, ask: Ask) -> pa.Array:
    """Counts the values of windows that have few different ones.

    In other windows it counts the bins that a sketch has of them.
    """
    kind, columns, name = Uniques(ask.options["lg_k"]), lane.part.columns, ask.inputs["arg"]
    values, distinct_values = columns.once(f"values {name}", lambda: _values(columns[name]))
    counts = _distinct(lane, ask, values[lane.rows])
    many = counts > kind.held
    if many.any():
        bins, some = columns.once(f"bins {kind.lg_k} {name}", lambda: _bins(distinct_values, kind))
        bin_counts, window_groups = np.unique(
            _distinct(lane, ask, bins[values][lane.rows])[many], return_inverse=True
        )
        counts[many] = np.asarray(kind.estimates(some, bin_counts.tolist()), np.int64)[
            window_groups
        ]
    return pa.array(counts, pa.int64())


def _distinct(lane: Lane, ask: Ask, numbers: Longs) -> Longs:
    """Returns how many different numbers each window has."""
    ids = order_statistics.value_ids(
        order_statistics.by_key_and_value(lane.codes, numbers), lane.codes, numbers
    )
    return sliding_windows.distinct(ids, *lane.range(ask.span))


def _values(column: pa.Array) -> tuple[Longs, list[Any]]:
    """Returns a number for each row's value, and the values as sketches take them.

    Nulls have a number beyond all.
    """
    coded = column.dictionary_encode()
    numbers_by_value: dict[Any, int] = {}
    numbers = [
        numbers_by_value.setdefault(value, len(numbers_by_value))
        for value in _hashed(coded.dictionary)
    ]
    value_numbers = np.array([*numbers, len(numbers_by_value)], np.int64)
    return value_numbers[
        coded.indices.fill_null(len(coded.dictionary))
        .to_numpy(zero_copy_only=False)
        .astype(np.int64)
    ], [*numbers_by_value]


def _bins(values: Sequence[Any], kind: Uniques) -> tuple[Longs, list[Any]]:
    """Returns a number for the bin of each value, and a value of each bin.

    Nulls are in the first bin.
    """
    numbers_by_bin: dict[bytes, int] = {}
    some: list[Any] = []
    bins = np.zeros(len(values) + 1, np.int64)
    for i, value in enumerate(values):
        bins[i] = numbers_by_bin.setdefault(kind.bin(value), len(numbers_by_bin))
        if bins[i] == len(some):
            some.append(value)
    return bins, some


def _hashed(values: pa.Array) -> list[Any]:
    """Returns the values as sketches take them.

    Texts and doubles are as they are, 64-bit whole numbers too (microseconds and days of times),
    and anything else is text.
    """
    kind = values.type
    if any(is_native(kind) for is_native in NATIVE):
        return (
            values.cast(pa.float64()).to_pylist()
            if pa.types.is_floating(kind)
            else values.to_pylist()
        )
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return [v.hex() for v in values.to_pylist()]
    if pa.types.is_decimal(kind):
        return values.cast(pa.string()).to_pylist()
    if pa.types.is_timestamp(kind):
        values = values.cast(pa.timestamp("us", kind.tz)).cast(pa.int64())
    elif pa.types.is_date32(kind):
        values = values.cast(pa.int32())
    return (
        values.cast(pa.uint64() if kind == pa.uint64() else pa.int64())
        .to_numpy(zero_copy_only=False)
        .astype(np.int64)
        .tolist()
    )


# --- which value stands at a rank


def _approx_percentile(lane: Lane, ask: Ask) -> pa.Array:
    return pa.array(_percentiles(lane, ask)[:, 0], mask=_empty(lane, ask))


def _approx_percentiles(lane: Lane, ask: Ask) -> pa.Array:
    percentiles, empty = _percentiles(lane, ask), _empty(lane, ask)
    offsets = np.concatenate(([0], np.cumsum(np.where(empty, 0, percentiles.shape[1])))).astype(
        np.int32
    )
    return pa.ListArray.from_arrays(
        pa.array(offsets), pa.array(percentiles[~empty].ravel()), mask=pa.array(empty)
    )


def _empty(lane: Lane, ask: Ask) -> np.ndarray[Any, np.dtype[np.bool_]]:
    low, high = lane.range(ask.span)
    return low == high


def _percentiles(lane: Lane, ask: Ask) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Returns a row for each left row, a column for each quantile; 0 over no rows."""
    low, high = lane.range(ask.span)
    kind, quantiles = Percentiles(ask.options["k"]), ask.options["quantiles"]
    # a copy: the library takes no read-only array
    values = np.array(
        lane.values(ask.inputs["arg"], np.arange(len(lane.rows))).cast(pa.float64(), safe=False)
    )
    out, large = np.zeros((len(low), len(quantiles))), high - low > kind.k
    out[~large] = _exact_percentiles(lane, values, low[~large], high[~large], quantiles)
    out[large] = np.asarray(
        _estimates_of_ranges(
            kind, values, low[large], high[large], lambda s: kind.estimate(s, quantiles)
        ),
        float,
    ).reshape(-1, len(quantiles))
    return out


def _exact_percentiles(
    lane: Lane, values: Doubles, low: Longs, high: Longs, quantiles: Sequence[float]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Returns the values at the ranks where a sketch holds all; 0 over no rows."""
    n = (high - low)[:, None]
    ranks = np.maximum(np.ceil(n * np.asarray(quantiles, float)[None, :]).astype(np.int64) - 1, 0)
    rows = order_statistics.nth(
        lane.by_value,
        order_statistics.levels(len(lane.rows), order_statistics.WORD),
        low,
        high,
        np.where(n > 0, ranks, -1),
    )
    return np.where(rows < 0, 0.0, values[rows]) if len(values) else np.zeros(rows.shape)


# --- which values are frequent


def _approx_histogram(lane: Lane, ask: Ask) -> pa.Array:
    low, high = lane.range(ask.span)
    kind, ids = Frequent(ask.options["k"]), lane.value_ids
    different = sliding_windows.distinct(ids, low, high)
    large = different > kind.counted
    histograms = np.empty(len(low), object)
    histograms[~large] = _tallied(
        ids, low[~large], high[~large], np.minimum(different[~large], kind.k)
    )
    histograms[large] = _estimates_of_ranges(
        kind, ids.tolist(), low[large], high[large], kind.estimate
    )
    return _maps(lane, ask, histograms.tolist())


def _tallied(ids: Longs, low: Longs, high: Longs, lengths: Longs) -> list[dict[int, int] | None]:
    """Returns the most frequent ids of each range and their counts; None over no rows.

    `lengths` says how many.
    """
    ends = np.concatenate(([0], np.cumsum(lengths)))
    value_ids, counts = order_statistics.tally(
        ids, order_statistics.levels(int(ids.max(initial=0)) + 1, 0), low, high, ends, True
    )
    rows = list(zip(value_ids.tolist(), counts.tolist(), strict=True))
    return [dict(rows[start:end]) or None for start, end in pairwise(ends.tolist())]


def _maps(lane: Lane, ask: Ask, histograms: Sequence[dict[int, int] | None]) -> pa.Array:
    """Returns maps of value ids to counts as maps of the values."""
    example = np.zeros(int(lane.value_ids.max(initial=0)) + 1, np.int64)
    example[lane.value_ids] = np.arange(len(lane.rows))
    ids = np.asarray([i for m in histograms for i in m or ()], np.int64)
    counts = pa.array([n for m in histograms for n in (m or {}).values()], pa.int64())
    ends = np.concatenate(([0], np.cumsum([len(m or ()) for m in histograms]))).astype(np.int32)
    nothing = np.array([*(m is None for m in histograms), False])
    return pa.MapArray.from_arrays(
        pa.array(ends, mask=nothing), lane.values(ask.inputs["arg"], example[ids]), counts
    )


SKETCHED: dict[str, Callable[[Lane, Ask], Any]] = {
    "approx_unique_count": _approx_unique_count,
    "approx_percentile": _approx_percentile,
    "approx_percentiles": _approx_percentiles,
    "approx_histogram": _approx_histogram,
}
