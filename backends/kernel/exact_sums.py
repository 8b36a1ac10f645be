"""Sums without rounding, as `math.fsum` makes them (semantics rule 11).

Numbers are digits of base 2**32, rounded once at the end. An accumulator is an array of 64-bit
integers, one for each digit; adding does not carry, so 2**30 terms fit. A finished number is its
digits, lowest first, and a sign.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from workbench.backends.kernel.jit import compiled

if TYPE_CHECKING:
    from workbench.backends.kernel.jit import Doubles, Longs

DIGIT, MASK = 32, 0xFFFFFFFF
MANTISSA = 53
# Digits below the point of a quotient: more than a double's mantissa, whatever the divisor.
QUOTIENT_DIGITS = 4


def decomposed(values: Doubles) -> tuple[Longs, Longs, int]:
    """Returns mantissas, shifts and the common exponent: x = m * 2**(shift + exponent)."""
    fraction, exponents = np.frexp(values)
    mantissas = np.ldexp(fraction, MANTISSA).astype(np.int64)
    nonzero_mask = mantissas != 0
    least = int(exponents[nonzero_mask].min()) if nonzero_mask.any() else 0
    return (
        mantissas,
        np.where(nonzero_mask, exponents - least, 0).astype(np.int64),
        least - MANTISSA,
    )


def digits_of(shifts: Longs | None, power: int) -> int:
    """Returns how many digits sums of powers of such numbers take."""
    width = (64 if shifts is None else MANTISSA + (int(shifts.max()) if len(shifts) else 0)) * power
    return width // DIGIT + 3


@compiled
def add(total: Longs, mantissa: int, shift: int, sign: int) -> None:
    """Adds `sign * mantissa * 2**shift`."""
    size = np.uint64(mantissa if mantissa >= 0 else -mantissa)
    if mantissa < 0:
        sign = -sign
    at, by = shift >> 5, np.uint64(shift & 31)
    mask = np.uint64(MASK)
    total[at] += sign * np.int64((size << by) & mask)
    total[at + 1] += sign * np.int64((size >> (np.uint64(DIGIT) - by)) & mask)
    if by:
        total[at + 2] += sign * np.int64(size >> (np.uint64(64) - by))


@compiled
def carried(total: Longs) -> tuple[Longs, int]:
    """Returns the digits of an accumulator, each below 2**32, and its sign: -1, 0 or 1."""
    out = np.zeros(len(total) + 2, np.int64)
    carry = 0
    for i in range(len(total)):
        carry += total[i]
        out[i] = carry & MASK
        carry >>= DIGIT
    out[len(total)] = carry & MASK
    out[len(total) + 1] = (carry >> DIGIT) & MASK
    if carry >= 0:
        return out, 1 if out.any() else 0
    borrow = 1
    for i in range(len(out)):
        borrow += MASK - out[i]
        out[i] = borrow & MASK
        borrow >>= DIGIT
    return out, -1


# compiled functions take no keywords
@compiled
def rounded(digits: Longs, exponent: int, rest: bool) -> float:  # noqa: FBT001
    """Returns the double nearest to `digits * 2**exponent`, ties to even.

    `rest` says that more follows below the lowest digit.
    """
    top = len(digits) - 1
    while top > 0 and not digits[top]:
        top -= 1
    if top == 0:
        return math.ldexp(float(digits[0]), exponent)
    lower = digits[top - 2] if top > 1 else 0
    for i in range(top - 2):
        rest |= digits[i] != 0
    bits = 0
    while digits[top] >> bits:
        bits += 1
    spare = 30 - bits  # to the left where the top digit is small, so that 62 bits are kept
    if spare >= 0:
        high = (
            (digits[top] << (DIGIT + spare))
            | (digits[top - 1] << spare)
            | (lower >> (DIGIT - spare))
        )
        rest |= (lower & ((1 << (DIGIT - spare)) - 1)) != 0
    else:
        high = (digits[top] << (DIGIT + spare)) | (digits[top - 1] >> -spare)
        rest |= (digits[top - 1] & ((1 << -spare) - 1)) != 0 or lower != 0
    return math.ldexp(float(high | 1 if rest else high), exponent + (top - 1) * DIGIT - spare)


@compiled
def divided(digits: Longs, by: int) -> tuple[Longs, bool]:
    """Returns the whole quotient by a number below 2**31, and whether a remainder is left."""
    out = np.zeros(len(digits), np.int64)
    rest = 0
    for i in range(len(digits) - 1, -1, -1):
        rest = (rest << DIGIT) | digits[i]
        out[i] = rest // by
        rest %= by
    return out, rest != 0


@compiled
def quotient(digits: Longs, exponent: int, count: int, scale: int) -> float:
    """Returns `digits * 2**exponent / count / 10**scale`, rounded once."""
    longer = np.zeros(len(digits) + QUOTIENT_DIGITS + scale // 9, np.int64)
    below = len(longer) - len(digits)
    longer[below:] = digits
    longer, rest = divided(longer, count)
    while scale > 0:
        step = min(scale, 9)
        longer, more = divided(longer, 10**step)
        rest |= more
        scale -= step
    return rounded(longer, exponent - below * DIGIT, rest)


# --- sums of windows


@compiled
def totals(
    mantissas: Longs, shifts: Longs, low: Longs, high: Longs, size: int
) -> tuple[Longs, Longs]:
    """Returns the digits and the sign of each window's sum; one shift may stand for all."""
    digits, signs = np.zeros((len(low), size + 2), np.int64), np.zeros(len(low), np.int64)
    total, last = np.zeros(size, np.int64), len(shifts) - 1
    start = stop = 0
    for j in range(len(low)):
        while start < min(low[j], stop):
            add(total, mantissas[start], shifts[min(start, last)], -1)
            start += 1
        if start < low[j]:
            start = stop = low[j]
        while stop < high[j]:
            add(total, mantissas[stop], shifts[min(stop, last)], 1)
            stop += 1
        digits[j], signs[j] = carried(total)
    return digits, signs


@compiled
def as_doubles(digits: Longs, signs: Longs, exponent: int) -> Doubles:
    """Returns each sum rounded once."""
    out = np.empty(len(signs))
    for j in range(len(signs)):
        out[j] = signs[j] * rounded(digits[j], exponent, False)
    return out


@compiled
def as_means(digits: Longs, signs: Longs, exponent: int, counts: Longs, scale: int) -> Doubles:
    """Returns each sum divided by its count and by 10**scale, rounded once.

    It is 0 where the count is 0.
    """
    out = np.zeros(len(signs))
    for j in range(len(signs)):
        if counts[j]:
            out[j] = signs[j] * quotient(digits[j], exponent, counts[j], scale)
    return out


@compiled
def as_words(digits: Longs, signs: Longs) -> tuple[Longs, Longs, np.ndarray]:
    """Returns each sum as the low and high word of a 128-bit integer, and whether it fits."""
    low, high = np.empty(len(signs), np.int64), np.empty(len(signs), np.int64)
    fits = np.empty(len(signs), np.bool_)
    for j in range(len(signs)):
        row = digits[j]
        fits[j] = not row[4:].any() and row[3] < (1 << 31)
        low[j], high[j] = (row[1] << DIGIT) | row[0], (row[3] << DIGIT) | row[2]
        if signs[j] < 0:
            low[j], high[j] = -low[j], ~high[j] + (low[j] == 0)
    return low, high, fits
