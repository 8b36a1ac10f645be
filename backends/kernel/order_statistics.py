"""Order statistics and tallies of sliding windows.

They keep a bit or a count for each rank, and summaries of 64 of them, level by level.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from workbench.backends.kernel.jit import compiled

if TYPE_CHECKING:
    from workbench.backends.kernel.jit import Longs

    Levels = tuple[Longs, Longs, Longs, Longs]

WORD, FAN = 5, 6  # a word holds 2**5 ranks as bits, a summary 2**6 of what is below it


def by_key_and_value(codes: Longs, ordinals: Longs) -> Longs:
    """Returns rows sorted by code, then ordinal; `codes` are sorted, as rows come."""
    if not len(codes):
        return np.zeros(0, np.int64)
    keys = np.cumsum(np.concatenate(([0], codes[1:] != codes[:-1])))
    low = int(ordinals.min())
    span = int(ordinals.max()) - low + 1
    if span * (int(keys[-1]) + 1) < np.iinfo(np.int64).max:
        return np.argsort(keys * span + (ordinals - low))
    starts = np.flatnonzero(np.concatenate(([True], codes[1:] != codes[:-1])))
    return _dealt(np.argsort(ordinals, kind="stable"), keys, starts)


@compiled
def _dealt(order: Longs, keys: Longs, starts: Longs) -> Longs:
    """Deals `order` out to the keys' places, keeping the order of each key's rows."""
    out = np.empty(len(order), np.int64)
    at = starts.copy()
    for row in order:
        out[at[keys[row]]] = row
        at[keys[row]] += 1
    return out


def value_ids(order: Longs, codes: Longs, ordinals: Longs) -> Longs:
    """Returns a number for each row that it shares with the rows of equal key and value.

    Larger values have larger numbers.
    """
    new = np.zeros(len(order), bool)
    new[1:] = (codes[order[1:]] != codes[order[:-1]]) | (
        ordinals[order[1:]] != ordinals[order[:-1]]
    )
    out = np.empty(len(order), np.int64)
    out[order] = np.cumsum(new)
    return out


def levels(size: int, base: int) -> Levels:
    """Returns zeros: one for each 2**base ranks, and three levels of summaries."""
    shifts = (base, base + FAN, base + 2 * FAN, base + 3 * FAN)
    level_zero, level_one, level_two, level_three = (
        np.zeros((size >> s) + 1, np.int64) for s in shifts
    )
    return level_zero, level_one, level_two, level_three


# --- which ranks are in the window, and the n-th of them


@compiled
def _count_ones(word: int) -> int:
    word = word - ((word >> 1) & 0x55555555)
    word = (word & 0x33333333) + ((word >> 2) & 0x33333333)
    word = (word + (word >> 4)) & 0x0F0F0F0F
    return ((word * 0x01010101) & 0xFFFFFFFF) >> 24


@compiled
def _flip(bits: Levels, rank: int, change: int) -> None:
    words, level_one, level_two, level_three = bits
    at = rank >> WORD
    words[at] ^= 1 << (rank & 31)
    level_one[at >> FAN] += change
    level_two[at >> 2 * FAN] += change
    level_three[at >> 3 * FAN] += change


@compiled
def _find(bits: Levels, n: int) -> int:
    """Returns the rank of the n-th that is in the window, from 0."""
    words, level_one, level_two, level_three = bits
    at = 0
    while n >= level_three[at]:
        n -= level_three[at]
        at += 1
    at <<= FAN
    while n >= level_two[at]:
        n -= level_two[at]
        at += 1
    at <<= FAN
    while n >= level_one[at]:
        n -= level_one[at]
        at += 1
    at <<= FAN
    while n >= _count_ones(words[at]):
        n -= _count_ones(words[at])
        at += 1
    word = words[at]
    for _ in range(n):
        word &= word - 1
    place = 0
    while not (word >> place) & 1:
        place += 1
    return (at << WORD) + place


@compiled
def nth(order: Longs, bits: Levels, low: Longs, high: Longs, which: Longs) -> Longs:
    """Returns the rows at the places `which` among each window's, by value.

    `which` has left rows by columns, with -1 for none. `order` is that of key and value; `bits` are
    zeros, a bit for each row.
    """
    ranks = np.empty(len(order), np.int64)
    for rank in range(len(order)):
        ranks[order[rank]] = rank
    out = np.full(which.shape, -1)
    start = stop = 0
    for j in range(len(low)):
        while start < min(low[j], stop):
            _flip(bits, ranks[start], -1)
            start += 1
        if start < low[j]:
            start = stop = low[j]
        while stop < high[j]:
            _flip(bits, ranks[stop], 1)
            stop += 1
        for i in range(which.shape[1]):
            if which[j, i] >= 0:
                out[j, i] = order[_find(bits, which[j, i])]
    return out


# --- how often each value is in the window


@compiled
def _more(counts: Levels, at: int) -> None:
    level_zero, level_one, level_two, level_three = counts
    level_zero[at] += 1
    count = level_zero[at]
    level_one[at >> FAN] = max(level_one[at >> FAN], count)
    level_two[at >> 2 * FAN] = max(level_two[at >> 2 * FAN], count)
    level_three[at >> 3 * FAN] = max(level_three[at >> 3 * FAN], count)


@compiled
def _settle(counts: Levels, at: int, was: int) -> None:
    """Updates the summaries above a count that was `was` and fell."""
    below = counts[0]
    for level in range(1, 4):
        above = counts[level]
        at >>= FAN
        if above[at] > was:
            return
        above[at] = below[at << FAN : (at + 1) << FAN].max()
        below = above


@compiled
def _heaviest(counts: Levels) -> int:
    """Returns the smallest value among the most frequent."""
    level_zero, level_one, level_two, level_three = counts
    at = np.argmax(level_three) << FAN
    at = (at + np.argmax(level_two[at : at + (1 << FAN)])) << FAN
    at = (at + np.argmax(level_one[at : at + (1 << FAN)])) << FAN
    return int(at + np.argmax(level_zero[at : at + (1 << FAN)]))


@compiled
def _next(counts: Levels, at: int) -> int:
    """Returns the smallest value in the window from `at` on."""
    level_zero, level_one, level_two, level_three = counts
    while True:
        if not level_three[at >> 3 * FAN]:
            at = ((at >> 3 * FAN) + 1) << 3 * FAN
        elif not level_two[at >> 2 * FAN]:
            at = ((at >> 2 * FAN) + 1) << 2 * FAN
        elif not level_one[at >> FAN]:
            at = ((at >> FAN) + 1) << FAN
        elif level_zero[at]:
            return at
        else:
            at += 1


# compiled functions take no keywords
@compiled
def _emit(
    counts: Levels,
    start: int,
    end: int,
    values: Longs,
    numbers: Longs,
    frequent: bool,  # noqa: FBT001
) -> None:
    """Writes the values of one window and their counts into [start, end).

    They are the most frequent values, or all by value.
    """
    at = 0
    for i in range(start, end):
        at = _heaviest(counts) if frequent else _next(counts, at)
        values[i], numbers[i] = at, counts[0][at]
        if frequent:
            counts[0][at] = 0
            _settle(counts, at, numbers[i])
        else:
            at += 1
    if frequent:
        for i in range(start, end):
            at = values[i]
            counts[0][at] = numbers[i] - 1
            _more(counts, at)


# compiled functions take no keywords
@compiled
def tally(
    ids: Longs,
    counts: Levels,
    low: Longs,
    high: Longs,
    offsets: Longs,
    frequent: bool,  # noqa: FBT001
) -> tuple[Longs, Longs]:
    """Returns value ids and their counts for each left row, at its place in `offsets`.

    `counts` are zeros, one for each id.
    """
    values, numbers = np.empty(offsets[-1], np.int64), np.empty(offsets[-1], np.int64)
    start = stop = 0
    for j in range(len(low)):
        while start < min(low[j], stop):
            at = ids[start]
            counts[0][at] -= 1
            _settle(counts, at, counts[0][at] + 1)
            start += 1
        if start < low[j]:
            start = stop = low[j]
        while stop < high[j]:
            _more(counts, ids[stop])
            stop += 1
        _emit(counts, offsets[j], offsets[j + 1], values, numbers, frequent)
    return values, numbers
