"""Variance, covariance and higher moments of windows, from exact sums (semantics rules 11, 12)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from workbench.backends.kernel.exact_sums import DIGIT, add, carried, quotient, rounded
from workbench.backends.kernel.jit import compiled

if TYPE_CHECKING:
    from workbench.backends.kernel.jit import Doubles, Longs

    Number = tuple[Longs, int]

HALF = 31  # bits of a mantissa's lower half; products of halves fit 62 bits
WIDEST = 1 << 2 * HALF  # mantissas below this split into halves
THIRD, FOURTH = 3, 4


# --- arithmetic of digits and signs


@compiled
def _times(a: Number, b: Number) -> Number:
    digits = np.zeros(len(a[0]) + len(b[0]), np.int64)
    for i in range(len(a[0])):
        if a[0][i]:
            carry, factor = np.uint64(0), np.uint64(a[0][i])
            for k in range(len(b[0])):
                carry += factor * np.uint64(b[0][k]) + np.uint64(digits[i + k])
                digits[i + k] = np.int64(carry & np.uint64(0xFFFFFFFF))
                carry >>= np.uint64(DIGIT)
            digits[i + len(b[0])] = np.int64(carry)
    return digits, a[1] * b[1]


@compiled
def _plus(a: Number, times_a: int, b: Number, times_b: int) -> Number:
    """Returns `times_a * a + times_b * b`, for small factors."""
    total = np.zeros(max(len(a[0]), len(b[0])) + 1, np.int64)
    total[: len(a[0])] += a[0] * (a[1] * times_a)
    total[: len(b[0])] += b[0] * (b[1] * times_b)
    return carried(total)


@compiled
def _number_of(n: int) -> Number:
    digits = np.empty(2, np.int64)
    digits[0], digits[1] = n & 0xFFFFFFFF, n >> DIGIT
    return digits, 1


@compiled
def _away(n: int, products: Number, x: Number, y: Number) -> Number:
    """Returns n**2 times the population covariance: n * sum(xy) - sum(x) * sum(y)."""
    return _plus(_times(_number_of(n), products), 1, _times(x, y), -1)


@compiled
def _bits(number: Number) -> int:
    """Returns the number's length in bits, rounded up to an even number."""
    top = len(number[0]) - 1
    while top > 0 and not number[0][top]:
        top -= 1
    bits = 0
    while number[0][top] >> bits:
        bits += 1
    return (top * DIGIT + bits + 1) // 2 * 2


@compiled
def _double(number: Number, exponent: int) -> float:
    return number[1] * rounded(number[0], exponent, False)


# --- second moments


@compiled
def _add_product(total: Longs, x: int, y: int, shift: int, sign: int) -> None:
    """Adds `sign * x * y * 2**shift`."""
    if (x < 0) != (y < 0):
        sign = -sign
    x, y = abs(x), abs(y)
    a, b, c, d = x >> HALF, x & (2**HALF - 1), y >> HALF, y & (2**HALF - 1)
    add(total, b * d, shift, sign)
    add(total, a * d, shift + HALF, sign)
    add(total, b * c, shift + HALF, sign)
    add(total, a * c, shift + 2 * HALF, sign)


@compiled
def variances(
    mantissas: Longs,
    shifts: Longs,
    low: Longs,
    high: Longs,
    sizes: tuple[int, int],
    unit: tuple[int, int],
    less: int,
) -> Doubles:
    """Returns the variance of each window over `n - less`; NaN where that is not above 0.

    `unit` is what a mantissa counts: 2**unit[0] * 10**-unit[1].
    """
    out = np.full(len(low), np.nan)
    total, squares, last = (
        np.zeros(sizes[0], np.int64),
        np.zeros(sizes[1], np.int64),
        len(shifts) - 1,
    )
    start = stop = 0
    for j in range(len(low)):
        while start < min(low[j], stop):
            x, shift = mantissas[start], shifts[min(start, last)]
            add(total, x, shift, -1)
            _add_product(squares, x, x, 2 * shift, -1)
            start += 1
        if start < low[j]:
            start = stop = low[j]
        while stop < high[j]:
            x, shift = mantissas[stop], shifts[min(stop, last)]
            add(total, x, shift, 1)
            _add_product(squares, x, x, 2 * shift, 1)
            stop += 1
        n = stop - start
        if n > less:
            first = carried(total)
            spread = _away(n, carried(squares), first, first)
            out[j] = quotient(spread[0], 2 * unit[0], n, 2 * unit[1]) / (n - less)
    return out


@compiled
def _step(
    sums: tuple[Longs, Longs, Longs, Longs, Longs], x: int, by: int, y: int, along: int, sign: int
) -> None:
    add(sums[0], x, by, sign)
    add(sums[1], y, along, sign)
    _add_product(sums[2], x, x, 2 * by, sign)
    _add_product(sums[3], y, y, 2 * along, sign)
    _add_product(sums[4], x, y, by + along, sign)


@compiled
def _together(
    n: int, sums: tuple[Longs, Longs, Longs, Longs, Longs], exponent: int, scale: int, less: int
) -> float:
    """Returns the covariance over `n - less`, or with `less` below 0 the correlation.

    It is NaN where there is none.
    """
    x, y = carried(sums[0]), carried(sums[1])
    cross_moment = _away(n, carried(sums[4]), x, y)
    if less >= 0:
        return cross_moment[1] * quotient(cross_moment[0], exponent, n, scale) / (n - less)
    x_moment, y_moment = _away(n, carried(sums[2]), x, x), _away(n, carried(sums[3]), y, y)
    if not x_moment[1] or not y_moment[1]:
        return np.nan
    a, b = _bits(x_moment), _bits(y_moment)
    return _double(cross_moment, -(a + b) // 2) / math.sqrt(
        _double(x_moment, -a) * _double(y_moment, -b)
    )


@compiled
def covariances(
    xs: Longs,
    by: Longs,
    ys: Longs,
    along: Longs,
    low: Longs,
    high: Longs,
    sizes: tuple[int, int],
    unit: tuple[int, int],
    less: int,
) -> Doubles:
    """Returns each window's covariance over `n - less`, or with `less` below 0 the correlation.

    It is NaN where there is none. `unit` is what a product of mantissas counts.
    """
    out = np.full(len(low), np.nan)
    sums = (
        np.zeros(sizes[0], np.int64),
        np.zeros(sizes[0], np.int64),
        np.zeros(sizes[1], np.int64),
        np.zeros(sizes[1], np.int64),
        np.zeros(sizes[1], np.int64),
    )
    start = stop = 0
    for j in range(len(low)):
        while start < min(low[j], stop):
            _step(
                sums,
                xs[start],
                by[min(start, len(by) - 1)],
                ys[start],
                along[min(start, len(along) - 1)],
                -1,
            )
            start += 1
        if start < low[j]:
            start = stop = low[j]
        while stop < high[j]:
            _step(
                sums,
                xs[stop],
                by[min(stop, len(by) - 1)],
                ys[stop],
                along[min(stop, len(along) - 1)],
                1,
            )
            stop += 1
        if stop - start > max(less, 0):
            out[j] = _together(stop - start, sums, unit[0], unit[1], less)
    return out


# --- third and fourth moments


@compiled
def _add_powers(sums: tuple[Longs, Longs, Longs, Longs], x: int, shift: int, sign: int) -> None:
    mantissa_digits = np.zeros(len(sums[0]), np.int64)
    add(mantissa_digits, x, shift, 1)
    value = carried(mantissa_digits)
    power = value
    for p in range(4):
        total = sums[p]
        for i in range(min(len(total), len(power[0]))):
            total[i] += sign * power[1] * power[0][i]
        power = _times(power, value)


@compiled
def _shape(n: int, sums: tuple[Longs, Longs, Longs, Longs], order: int) -> float:
    """Returns the population's skewness (`order` 3) or excess kurtosis (4).

    It is NaN where all values are equal.
    """
    count, first, second = _number_of(n), carried(sums[0]), carried(sums[1])
    spread = _away(n, second, first, first)
    if not spread[1]:
        return np.nan
    third, square = carried(sums[2]), _times(first, first)
    bits = _bits(spread)
    if order == THIRD:
        rest = _plus(_times(count, _times(first, second)), -3, _times(first, square), 2)
        central = _plus(_times(_times(count, count), third), 1, rest, 1)
        return _double(central, -bits // 2 * 3) / _double(spread, -bits) ** 1.5
    rest = _plus(_times(count, _times(square, second)), 6, _times(square, square), -3)
    rest = _plus(_times(_times(count, count), _times(first, third)), -4, rest, 1)
    central = _plus(_times(_times(count, _times(count, count)), carried(sums[3])), 1, rest, 1)
    excess = _plus(central, 1, _times(spread, spread), -3)
    return _double(excess, -2 * bits) / _double(spread, -bits) ** 2


@compiled
def shapes(
    mantissas: Longs, shifts: Longs, low: Longs, high: Longs, size: int, order: int
) -> Doubles:
    """Returns the skewness (`order` 3) or excess kurtosis (4) of each window.

    It is NaN under `order` values or where all are equal.
    """
    out = np.full(len(low), np.nan)
    sums = (
        np.zeros(size, np.int64),
        np.zeros(2 * size, np.int64),
        np.zeros(3 * size, np.int64),
        np.zeros(4 * size, np.int64),
    )
    start = stop = 0
    last = len(shifts) - 1
    for j in range(len(low)):
        while start < min(low[j], stop):
            _add_powers(sums, mantissas[start], shifts[min(start, last)], -1)
            start += 1
        if start < low[j]:
            start = stop = low[j]
        while stop < high[j]:
            _add_powers(sums, mantissas[stop], shifts[min(stop, last)], 1)
            stop += 1
        if stop - start >= order:
            out[j] = _shape(stop - start, sums, order)
    return out
