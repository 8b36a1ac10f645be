"""Distances between two distributions from counts by bin, in numpy; larger is worse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    Numbers = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

LEAST_STD = 1e-12  # of a reference that does not vary


def shares(counts: Numbers) -> Numbers:
    """Returns counts as parts of 1; NaN where they sum to 0."""
    total = counts.sum()
    return counts / total if total else np.full(len(counts), np.nan)


# --- what a bin without rows counts as, where a logarithm would be infinite


def jeffreys(counts: Numbers) -> Numbers:
    """Adds half a row to each bin: Jeffreys' prior."""
    return (counts + 0.5) / (counts.sum() + 0.5 * len(counts))


def evidently(counts: Numbers) -> Numbers:
    """Fills empty bins as Evidently 0.7 does: with 1e-4, or less where the smallest share is lower.

    Where the smallest share is at most 1e-4, it is a millionth of that. The result sums to more
    than 1.
    """
    p = shares(counts)
    if not (p == 0).any():
        return p
    least = p[p != 0].min()
    return np.where(p == 0, least / 1e6 if least <= 1e-4 else 1e-4, p)  # noqa: PLR2004 its constant


def chronon_kll(counts: Numbers) -> Numbers:
    """Fills empty bins as Chronon does: 1e-6 is taken from each other bin and shared out evenly."""
    p, eps = shares(counts), 1e-6
    zero = p == 0
    if not zero.any():
        return p
    return np.where(zero, eps * (~zero).sum() / zero.sum(), p - eps)


def zipline(counts: Numbers) -> Numbers:
    """Fills empty bins as Zipline's fork of Chronon does: with 1e-5.

    The result sums to more than 1.
    """
    p = shares(counts)
    return np.where(p == 0, 1e-5, p)


ZEROS: dict[str, Callable[[Numbers], Numbers]] = {
    "jeffreys": jeffreys,
    "evidently": evidently,
    "chronon_kll": chronon_kll,
    "zipline": zipline,
}


# --- of counts per bin; the reference first


def psi(ref: Numbers, cur: Numbers, zeros: str = "jeffreys") -> float:
    """Returns the population stability index over the bins in which either side has rows.

    It is the sum of (p - q) ln(p / q).
    """
    filled = (ref + cur) > 0
    p, q = (ZEROS[zeros](side[filled]) for side in (ref, cur))
    return float(((p - q) * np.log(p / q)).sum())


def kl(p: Numbers, q: Numbers) -> float:
    """Returns the Kullback-Leibler divergence in nats, sum of p ln(p / q).

    A share of 0 in p adds nothing.
    """
    filled = p > 0
    with np.errstate(divide="ignore"):
        return float((p[filled] * np.log(p[filled] / q[filled])).sum())


def js2(ref: Numbers, cur: Numbers) -> float:
    """Returns the Jensen-Shannon distance: the square root of the divergence in bits, in [0, 1]."""
    p, q = shares(ref), shares(cur)
    middle = (p + q) / 2
    bits = (kl(p, middle) + kl(q, middle)) / 2 / np.log(2)
    return float(np.sqrt(max(bits, 0.0)))


def hellinger(ref: Numbers, cur: Numbers) -> float:
    """Returns the Hellinger distance, in [0, 1].

    It is the length of the difference of the roots of the shares, over the root of 2.
    """
    return float(np.linalg.norm(np.sqrt(shares(ref)) - np.sqrt(shares(cur))) / np.sqrt(2))


def tvd(ref: Numbers, cur: Numbers) -> float:
    """Returns the total variation distance: half the sum of the differences of shares, in [0, 1].

    It is the part of the rows that would have to change bin.
    """
    return float(np.abs(shares(ref) - shares(cur)).sum() / 2)


def linf(ref: Numbers, cur: Numbers) -> tuple[float, int]:
    """Returns the largest difference of shares, and its bin."""
    apart = np.abs(shares(ref) - shares(cur))
    return float(apart.max()), int(apart.argmax())


def homogeneity(ref: Numbers, cur: Numbers) -> tuple[float, int]:
    """Returns the chi-square statistic of the 2 x bins table and its degrees of freedom.

    Both sides count as samples.
    """
    observed = np.stack([ref, cur])[:, (ref + cur) > 0]
    expected = observed.sum(1, keepdims=True) * observed.sum(0) / observed.sum()
    return float(((observed - expected) ** 2 / expected).sum()), observed.shape[1] - 1


def cramer(statistic: float, rows: float) -> float:
    """Returns Cramer's V of a table of two rows, in [0, 1]."""
    return float(np.sqrt(statistic / rows))


# --- of bins that have an order


def ks(ref: Numbers, cur: Numbers) -> tuple[float, float]:
    """Returns the largest difference of cumulative shares at bin ends, and the most a bin may add.

    Inside a bin one share can rise by p before the other rises by q: at most min(p, q) above the
    larger end.
    """
    p, q = shares(ref), shares(cur)
    return float(np.abs(np.cumsum(p - q)).max()), float(np.minimum(p, q).max())


def w1(ref: Numbers, cur: Numbers, ends: Numbers) -> tuple[float, float]:
    """Returns Wasserstein-1 in the feature's unit, and its largest error.

    It takes the rows of each bin as spread evenly between the bin's ends. That moves each row by at
    most half the width on average, on either side.
    """
    p, q, width = shares(ref), shares(cur), np.diff(ends)
    apart = np.concatenate([[0.0], np.cumsum(p - q)])
    apart[-1] = 0.0
    return float((_area(apart[:-1], apart[1:]) * width).sum()), float((width * (p + q)).sum() / 2)


def _area(a: Numbers, b: Numbers) -> Numbers:
    """Returns the mean of |line from a to b|."""
    crosses = a * b < 0
    length = np.where(crosses, np.abs(a) + np.abs(b), 1.0)
    return np.where(crosses, (a * a + b * b) / (2 * length), (np.abs(a) + np.abs(b)) / 2)


def w1_of_values(ref: Numbers, cur: Numbers, values: Numbers) -> float:
    """Returns the exact Wasserstein-1 of shares at these values, in the values' unit."""
    return float((np.abs(np.cumsum(shares(ref) - shares(cur)))[:-1] * np.diff(values)).sum())
