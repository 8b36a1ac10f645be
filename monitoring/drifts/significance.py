"""Probabilities under no change, from SciPy: of statistics, of rates, and of many at once.

Rows of one key are not independent, so all of these are smaller than they should be where keys
repeat.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from scipy import special, stats

if TYPE_CHECKING:
    from collections.abc import Sequence

NOISE_FLOOR_QUANTILE = 0.999  # quantile of the noise floor
MIN_ROWS_FOR_NORMAL = 1_000  # rows from which a rate is normal enough, and the exact law slow


def chi2_p(statistic: float, freedom: int) -> float:
    """Returns the probability of a chi-square statistic this large.

    It is 1 without degrees of freedom.
    """
    return float(special.chdtrc(freedom, statistic)) if freedom > 0 else 1.0


def ks_p(distance: float, n: float, m: float) -> float:
    """Returns the probability of a Kolmogorov-Smirnov distance this large between n and m rows.

    It is the one-sample law at nm / (n + m) rows, rounded.
    """
    return float(stats.kstwo.sf(distance, max(round(n * m / (n + m)), 1)))


def rate_p(ref: float, n: float, cur: float, m: float) -> float:
    """Returns the probability of rates this far apart, of n and m rows.

    It is the two-sided z test with a pooled rate, and 1 where neither rate varies or a side has no
    rows.
    """
    if not n or not m:
        return 1.0
    pooled = (ref * n + cur * m) / (n + m)
    spread = math.sqrt(max(pooled * (1 - pooled), 0.0) * (1 / n + 1 / m))
    return float(2 * special.ndtr(-abs(cur - ref) / spread)) if spread else 1.0


def few_p(ref: float, n: int, cur: float, m: int) -> float:
    """Returns the probability of rates this far apart, also for few rows.

    It is twice the smaller tail of the hypergeometric law (Fisher), with counts rounded. The z test
    calls 3 nulls in 50 rows, against 1 % of a large reference, a chance of 4e-4; they come in 1 of
    70 such tiles.
    """
    if not n or not m:
        return 1.0
    current_count, total = round(cur * m), round(ref * n) + round(cur * m)
    usual = total * m / (n + m)
    if min(usual, m - usual) > MIN_ROWS_FOR_NORMAL:
        return rate_p(ref, n, cur, m)
    law = n + m, total, m
    return float(
        min(
            2
            * min(
                stats.hypergeom.cdf(current_count, *law),
                stats.hypergeom.sf(current_count - 1, *law),
            ),
            1.0,
        )
    )


def floor(bins: int, n: float, m: float, rare: float = NOISE_FLOOR_QUANTILE) -> float:
    """Returns the PSI that two samples of one distribution stay below in `rare` of the draws.

    The samples have n and m independent rows in this many bins. PSI nm / (n + m) is chi-square with
    bins - 1 degrees of freedom (Yurdakul 2018). It is infinite over no rows.
    """
    if not n or not m:
        return math.inf
    return float(special.chdtri(bins - 1, 1 - rare)) * (1 / n + 1 / m) if bins > 1 else 0.0


def discovered(chances: Sequence[float], rate: float = 0.01) -> list[bool]:
    """Marks probabilities small enough that at most `rate` of those marked are false.

    It is the Benjamini-Hochberg procedure.
    """
    return [bool(p <= rate) for p in stats.false_discovery_control(chances)] if chances else []
