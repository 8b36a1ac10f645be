"""All exact reductions by name: a lane and an ask in, one Arrow array out.

The array has a value for each left row, in order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workbench.backends.kernel import (
    central_moments,
    exact_sums,
    order_statistics,
    sliding_windows,
    wide_integers,
)
from workbench.backends.kernel.answer_arrays import (
    MAX_LIST_ELEMENTS,
    chosen_values,
    finite_numbers,
    list_offsets,
    spread_rows,
    value_lists,
    whole_numbers,
)
from workbench.backends.kernel.arrow_arrays import alike, squarable
from workbench.backends.kernel.sum_reductions import mean_of, sum_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.backends.asof_request import Ask
    from workbench.backends.kernel.event_lanes import Lane
    from workbench.backends.kernel.jit import Doubles, Flags, Longs


# --- counts


def _count(lane: Lane, ask: Ask) -> pa.Array:
    low, high = lane.range(ask.span)
    return whole_numbers(high - low)


def _unique_count(lane: Lane, ask: Ask) -> pa.Array:
    return whole_numbers(sliding_windows.distinct(lane.value_ids, *lane.range(ask.span)))


# --- spread


def _less(ask: Ask) -> int:
    return 0 if ask.options.get("how") == "pop" else 1


def _variance(lane: Lane, ask: Ask) -> pa.Array:
    low, high = lane.range(ask.span)
    numbers = squarable(lane.numbers(ask.inputs["arg"]))
    if numbers.wide:
        return finite_numbers(
            wide_integers.variances(numbers.mantissas, low, high, numbers.scale, _less(ask)),
            low == high,
        )
    sizes = exact_sums.digits_of(numbers.shifts, 1), exact_sums.digits_of(numbers.shifts, 2)
    values = central_moments.variances(
        numbers.mantissas, numbers.shifts, low, high, sizes, numbers.unit, _less(ask)
    )
    return finite_numbers(values, low == high)


def _stddev(lane: Lane, ask: Ask) -> pa.Array:
    return pc.sqrt(_variance(lane, ask))


def _together(less: Callable[[Ask], int]) -> Callable[[Lane, Ask], pa.Array]:
    def reduce(lane: Lane, ask: Ask) -> pa.Array:
        low, high = lane.range(ask.span)
        x, y = alike(*(squarable(lane.numbers(ask.inputs[side])) for side in ("left", "right")))
        if x.wide:
            return finite_numbers(
                wide_integers.covariances(
                    (x.mantissas, y.mantissas), low, high, x.scale + y.scale, less(ask)
                ),
                low == high,
            )
        most = (
            x.shifts
            if exact_sums.digits_of(x.shifts, 1) > exact_sums.digits_of(y.shifts, 1)
            else y.shifts
        )
        sizes = exact_sums.digits_of(most, 1), exact_sums.digits_of(most, 2)
        unit = x.exponent + y.exponent, x.scale + y.scale
        return finite_numbers(
            central_moments.covariances(
                x.mantissas, x.shifts, y.mantissas, y.shifts, low, high, sizes, unit, less(ask)
            ),
            low == high,
        )

    return reduce


def _shape(order: int) -> Callable[[Lane, Ask], pa.Array]:
    def reduce(lane: Lane, ask: Ask) -> pa.Array:
        low, high = lane.range(ask.span)
        numbers = squarable(lane.numbers(ask.inputs["arg"]))
        if numbers.wide:
            return finite_numbers(
                wide_integers.shapes(numbers.mantissas, low, high, order), low == high
            )
        return finite_numbers(
            central_moments.shapes(
                numbers.mantissas,
                numbers.shifts,
                low,
                high,
                exact_sums.digits_of(numbers.shifts, 1),
                order,
            ),
            low == high,
        )

    return reduce


# --- one of the inputs


def _extreme(sign: int) -> Callable[[Lane, Ask], pa.Array]:
    def reduce(lane: Lane, ask: Ask) -> pa.Array:
        ordinals = lane.ordinals(ask.inputs["arg"])
        return chosen_values(
            lane,
            ask,
            sliding_windows.least(ordinals if sign < 0 else ~ordinals, *lane.range(ask.span)),
        )

    return reduce


def _arg_extreme(sign: int) -> Callable[[Lane, Ask], pa.Array]:
    def reduce(lane: Lane, ask: Ask) -> pa.Array:
        keys = lane.ordinals(ask.inputs["key"])[lane.in_time]
        rows = sliding_windows.least(keys if sign < 0 else ~keys, *lane.range(ask.span))
        return chosen_values(
            lane, ask, np.where(rows < 0, -1, lane.in_time[rows] if len(lane.rows) else -1)
        )

    return reduce


def _first(lane: Lane, ask: Ask) -> pa.Array:
    low, high = lane.range(ask.span)
    return chosen_values(lane, ask, _at(lane, low, low < high))


def _last(lane: Lane, ask: Ask) -> pa.Array:
    low, high = lane.range(ask.span)
    return chosen_values(lane, ask, _at(lane, high - 1, low < high))


def _at(lane: Lane, places: Longs, valid_mask: Flags) -> Longs:
    if not len(lane.rows):
        return np.full(len(places), -1)
    return np.where(valid_mask, lane.in_time[np.where(valid_mask, places, 0)], -1)


def _oldest(lane: Lane, ask: Ask) -> pa.Array:
    low, high = lane.range(ask.span)
    lengths = np.minimum(high - low, ask.options.get("k") or MAX_LIST_ELEMENTS)
    return value_lists(lane, ask, lane.in_time[spread_rows(low, lengths, 1)], lengths)


def _newest(lane: Lane, ask: Ask) -> pa.Array:
    low, high = lane.range(ask.span)
    lengths = np.minimum(high - low, ask.options["k"])
    return value_lists(lane, ask, lane.in_time[spread_rows(high - 1, lengths, -1)], lengths)


def _concat(lane: Lane, ask: Ask) -> pa.Array:
    return pc.binary_join(_oldest(lane, ask), ask.options["separator"])


# --- by value


def _nth(lane: Lane, ask: Ask, ranks: Longs) -> Longs:
    low, high = lane.range(ask.span)
    bits = order_statistics.levels(len(lane.rows), order_statistics.WORD)
    return order_statistics.nth(lane.by_value, bits, low, high, np.ascontiguousarray(ranks))


def _ordered(*, descending: bool) -> Callable[[Lane, Ask], pa.Array]:
    def reduce(lane: Lane, ask: Ask) -> pa.Array:
        low, high = lane.range(ask.span)
        lengths = np.minimum(high - low, ask.options["k"])
        most = int(lengths.max(initial=0))
        places = np.arange(most)[None, :]
        ranks = np.where(
            places < lengths[:, None],
            (high - low)[:, None] - 1 - places if descending else places,
            -1,
        )
        rows = _nth(lane, ask, ranks)
        return value_lists(lane, ask, rows[ranks >= 0], lengths)

    return reduce


def _quantiles(lane: Lane, ask: Ask) -> list[pa.Array]:
    low, high = lane.range(ask.span)
    at = (high - low - 1)[:, None] * np.asarray(ask.options["quantiles"], float)[None, :]
    floor = np.floor(at)
    below = np.where(at >= 0, floor, -1).astype(np.int64)
    above = np.where(at > floor, below + 1, below)
    rows = _nth(lane, ask, np.concatenate((below, np.where(at >= 0, above, -1)), axis=1))
    m = below.shape[1]
    return [_between(lane, ask, rows[:, i], rows[:, m + i], (at - floor)[:, i]) for i in range(m)]


def _between(lane: Lane, ask: Ask, below: Longs, above: Longs, share: Doubles) -> pa.Array:
    low, high = (
        chosen_values(lane, ask, rows).cast(pa.float64(), safe=False).fill_null(0.0).to_numpy()
        for rows in (below, above)
    )
    with np.errstate(over="ignore", invalid="ignore"):
        return finite_numbers(low + (high - low) * share, below < 0)


def _quantile(lane: Lane, ask: Ask) -> pa.Array:
    return _quantiles(lane, ask)[0]


def _several(lane: Lane, ask: Ask) -> pa.Array:
    quantiles = _quantiles(lane, ask)
    low, high = lane.range(ask.span)
    lengths = np.where(low < high, len(quantiles), 0)
    rows = np.column_stack([f.fill_null(np.nan).to_numpy() for f in quantiles])[low < high].ravel()
    return pa.ListArray.from_arrays(
        list_offsets(lengths), pa.array(rows, mask=np.isnan(rows)), mask=pa.array(low == high)
    )


def _tallied(lane: Lane, ask: Ask, most: int | None) -> tuple[Longs, Longs, Longs]:
    """Returns rows of the values of each left row's window, their counts, and their number.

    They are the `most` frequent values, or all by value.
    """
    low, high = lane.range(ask.span)
    ids = lane.value_ids
    lengths = sliding_windows.distinct(ids, low, high)
    lengths = lengths if most is None else np.minimum(lengths, most)
    list_offsets(lengths)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    value_ids, counts = order_statistics.tally(
        ids,
        order_statistics.levels(int(ids.max(initial=0)) + 1, 0),
        low,
        high,
        offsets,
        most is not None,
    )
    example = np.zeros(int(ids.max(initial=0)) + 1, np.int64)
    example[ids] = np.arange(len(ids))
    return example[value_ids], counts, lengths


def _mode(lane: Lane, ask: Ask) -> pa.Array:
    rows, _, lengths = _tallied(lane, ask, 1)
    out = np.full(len(lengths), -1)
    out[lengths > 0] = rows
    return chosen_values(lane, ask, out)


def _histogram(lane: Lane, ask: Ask) -> pa.Array:
    rows, counts, lengths = _tallied(lane, ask, ask.options.get("k"))
    keys = chosen_values(lane, ask, rows)
    entries = pa.MapArray.from_arrays(list_offsets(lengths), keys, pa.array(counts))
    return pc.if_else(pa.array(lengths > 0), entries, pa.nulls(len(entries), entries.type))


# --- bits and truth


def _trues(lane: Lane, ask: Ask) -> tuple[Longs, Longs]:
    low, high = lane.range(ask.span)
    so_far = np.concatenate(([0], np.cumsum(lane.ordinals(ask.inputs["arg"]))))
    return so_far[high] - so_far[low], high - low


def _any(lane: Lane, ask: Ask) -> pa.Array:
    trues, n = _trues(lane, ask)
    return pa.array(trues > 0, mask=n == 0)


def _all_true(lane: Lane, ask: Ask) -> pa.Array:
    trues, n = _trues(lane, ask)
    return pa.array(trues == n, mask=n == 0)


def _bits(*, every: bool) -> Callable[[Lane, Ask], pa.Array]:
    def reduce(lane: Lane, ask: Ask) -> pa.Array:
        low, high = lane.range(ask.span)
        return whole_numbers(
            sliding_windows.bits(lane.ordinals(ask.inputs["arg"]), low, high, every), low == high
        )

    return reduce


def _xor(lane: Lane, ask: Ask) -> pa.Array:
    low, high = lane.range(ask.span)
    so_far = np.bitwise_xor.accumulate(np.concatenate(([0], lane.ordinals(ask.inputs["arg"]))))
    return whole_numbers(so_far[high] ^ so_far[low], low == high)


REDUCTIONS: dict[str, Callable[[Lane, Ask], Any]] = {
    "count": _count,
    "unique_count": _unique_count,
    "sum": sum_of,
    "average": mean_of,
    "min": _extreme(-1),
    "max": _extreme(1),
    "argmin": _arg_extreme(-1),
    "argmax": _arg_extreme(1),
    "first": _first,
    "last": _last,
    "first_k": _oldest,
    "last_k": _newest,
    "top_k": _ordered(descending=True),
    "bottom_k": _ordered(descending=False),
    "collect": _oldest,
    "group_concat": _concat,
    "variance": _variance,
    "stddev": _stddev,
    "covariance": _together(_less),
    "correlation": _together(lambda _: -1),
    "skew": _shape(3),
    "kurtosis": _shape(4),
    "quantile": _quantile,
    "quantiles": _several,
    "mode": _mode,
    "histogram": _histogram,
    "any": _any,
    "all": _all_true,
    "bit_and": _bits(every=True),
    "bit_or": _bits(every=False),
    "bit_xor": _xor,
}
