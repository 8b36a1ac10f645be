"""Sums of whole numbers that are too wide for the compiled loops, by Python's integers."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.backends.kernel.jit import Doubles, Longs

THIRD = 3


def sums(terms: Any, low: Longs, high: Longs) -> Any:
    """Returns each window's sum, as Python integers: these may leave any width in between."""
    so_far = np.concatenate((np.zeros(1, object), np.cumsum(terms)))
    return so_far[high] - so_far[low]


def means(terms: Any, low: Longs, high: Longs, scale: int) -> Doubles:
    """Returns each window's mean in units of 10**-scale, rounded once; 0 over no rows."""
    totals = sums(terms, low, high)
    return np.array(
        [
            float(Fraction(t, n * 10**scale)) if n else 0.0
            for t, n in zip(totals, (high - low).tolist(), strict=True)
        ],
        np.float64,
    )


def variances(x: Any, low: Longs, high: Longs, scale: int, less: int) -> Doubles:
    """Returns each window's variance over `n - less`; NaN where that is not above 0."""
    return covariances((x, x), low, high, 2 * scale, less)


def covariances(pair: tuple[Any, Any], low: Longs, high: Longs, scale: int, less: int) -> Doubles:
    """Returns each window's covariance over `n - less`, or with `less` below 0 the correlation.

    It is NaN where there is none.
    """
    x, y = pair
    pair_sums = (sums(t, low, high) for t in (x, y, x * x, y * y, x * y))
    return np.array(
        [
            _together(n, row, scale, less)
            for n, *row in zip((high - low).tolist(), *pair_sums, strict=True)
        ],
        np.float64,
    )


def _together(n: int, sums: Sequence[int], scale: int, less: int) -> float:
    x, y, xx, yy, xy = sums
    cross_moment, x_moment, y_moment = n * xy - x * y, n * xx - x * x, n * yy - y * y
    if less >= 0:
        return float(Fraction(cross_moment, n * (n - less) * 10**scale)) if n > less else math.nan
    return (
        float(Fraction(cross_moment, math.isqrt(x_moment * y_moment << 128)) * 2**64)
        if x_moment and y_moment
        else math.nan
    )


def shapes(x: Any, low: Longs, high: Longs, order: int) -> Doubles:
    """Returns the skewness (`order` 3) or excess kurtosis (4) of each window.

    It is NaN under `order` values or where all are equal.
    """
    power_sums = (sums(x**p, low, high) for p in range(1, 5))
    return np.array(
        [_shape(n, row, order) for n, *row in zip((high - low).tolist(), *power_sums, strict=True)],
        np.float64,
    )


def _shape(n: int, powers: Sequence[int], order: int) -> float:
    sum_one, sum_two, sum_three, sum_four = powers
    spread = n * sum_two - sum_one * sum_one
    if n < order or not spread:
        return math.nan
    if order == THIRD:
        central = n * n * sum_three - 3 * n * sum_one * sum_two + 2 * sum_one**3
        return float(Fraction(central, math.isqrt(spread**3 << 128)) * 2**64)
    central = (
        n**3 * sum_four
        - 4 * n * n * sum_one * sum_three
        + 6 * n * sum_one * sum_one * sum_two
        - 3 * sum_one**4
    )
    return float(Fraction(central, spread * spread) - 3)
