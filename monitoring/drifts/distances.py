"""How far two distributions are apart, from counts per bin: each formula once, in numpy.

Larger is worse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    Numbers = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

LEAST_STD = 1e-12  # of a reference that does not vary


def shares(counts: Numbers) -> Numbers:
    """Counts as parts of 1; NaN over none."""
    total = counts.sum()
    return counts / total if total else np.full(len(counts), np.nan)


# --- what a bin without rows counts as, where a logarithm would be infinite


def jeffreys(counts: Numbers) -> Numbers:
    """Half a row more in each bin: Jeffreys' prior."""
    return (counts + 0.5) / (counts.sum() + 0.5 * len(counts))


def evidently(counts: Numbers) -> Numbers:
    """Evidently 0.7: 1e-4, or a millionth of the smallest share where that is not above 1e-4.

    Sums to more than 1.
    """
    p = shares(counts)
    if not (p == 0).any():
        return p
    least = p[p != 0].min()
    return np.where(p == 0, least / 1e6 if least <= 1e-4 else 1e-4, p)  # noqa: PLR2004 its constant


def chronon_kll(counts: Numbers) -> Numbers:
    """Chronon: what bins without rows get, 1e-6 a bin with rows, is taken from those, evenly."""
    p, eps = shares(counts), 1e-6
    zero = p == 0
    if not zero.any():
        return p
    return np.where(zero, eps * (~zero).sum() / zero.sum(), p - eps)


def zipline(counts: Numbers) -> Numbers:
    """Zipline's fork of Chronon: 1e-5; sums to more than 1."""
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
    """The population stability index, sum of (p - q) ln(p / q), over the bins that either has rows
    in.
    """
    there = (ref + cur) > 0
    p, q = (ZEROS[zeros](side[there]) for side in (ref, cur))
    return float(((p - q) * np.log(p / q)).sum())


def kl(p: Numbers, q: Numbers) -> float:
    """The divergence of q from p in nats, sum of p ln(p / q); a share of 0 in p adds nothing."""
    there = p > 0
    with np.errstate(divide="ignore"):
        return float((p[there] * np.log(p[there] / q[there])).sum())


def js2(ref: Numbers, cur: Numbers) -> float:
    """The Jensen-Shannon distance: the square root of the divergence in bits, in [0, 1]."""
    p, q = shares(ref), shares(cur)
    middle = (p + q) / 2
    bits = (kl(p, middle) + kl(q, middle)) / 2 / np.log(2)
    return float(np.sqrt(max(bits, 0.0)))


def hellinger(ref: Numbers, cur: Numbers) -> float:
    """The length of the difference of the roots of the shares, over the root of 2, in [0, 1]."""
    return float(np.linalg.norm(np.sqrt(shares(ref)) - np.sqrt(shares(cur))) / np.sqrt(2))


def tvd(ref: Numbers, cur: Numbers) -> float:
    """Half the sum of the differences of shares: the part of the rows that would have to change
    bin, in [0, 1].
    """
    return float(np.abs(shares(ref) - shares(cur)).sum() / 2)


def linf(ref: Numbers, cur: Numbers) -> tuple[float, int]:
    """The largest difference of shares, and the bin that has it."""
    apart = np.abs(shares(ref) - shares(cur))
    return float(apart.max()), int(apart.argmax())


def homogeneity(ref: Numbers, cur: Numbers) -> tuple[float, int]:
    """The chi-square statistic of the 2 x bins table, with both sides as samples, and its degrees
    of freedom.
    """
    observed = np.stack([ref, cur])[:, (ref + cur) > 0]
    expected = observed.sum(1, keepdims=True) * observed.sum(0) / observed.sum()
    return float(((observed - expected) ** 2 / expected).sum()), observed.shape[1] - 1


def cramer(statistic: float, rows: float) -> float:
    """Cramer's V of a table of two rows, in [0, 1]."""
    return float(np.sqrt(statistic / rows))


# --- of bins that have an order


def ks(ref: Numbers, cur: Numbers) -> tuple[float, float]:
    """The largest difference of the cumulative shares at the bins' ends, and how much more it may
    be inside a bin.

    Inside, one share can rise by p before the other rises by q: at most min(p, q) above the larger
    end.
    """
    p, q = shares(ref), shares(cur)
    return float(np.abs(np.cumsum(p - q)).max()), float(np.minimum(p, q).max())


def w1(ref: Numbers, cur: Numbers, ends: Numbers) -> tuple[float, float]:
    """Wasserstein-1 in the feature's unit as if each bin's rows lay evenly between its ends, and
    how far that may be off.

    To spread a bin's rows evenly moves each by at most half its width on average, on either side.
    """
    p, q, width = shares(ref), shares(cur), np.diff(ends)
    apart = np.concatenate([[0.0], np.cumsum(p - q)])
    apart[-1] = 0.0
    return float((_area(apart[:-1], apart[1:]) * width).sum()), float((width * (p + q)).sum() / 2)


def _area(a: Numbers, b: Numbers) -> Numbers:
    """The mean of |line from a to b|."""
    crosses = a * b < 0
    length = np.where(crosses, np.abs(a) + np.abs(b), 1.0)
    return np.where(crosses, (a * a + b * b) / (2 * length), (np.abs(a) + np.abs(b)) / 2)


def w1_of_values(ref: Numbers, cur: Numbers, values: Numbers) -> float:
    """Wasserstein-1 of shares that stand at these values, in their unit; exact."""
    return float((np.abs(np.cumsum(shares(ref) - shares(cur)))[:-1] * np.diff(values)).sum())
