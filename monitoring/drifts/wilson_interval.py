"""Wilson's interval of a share: where it may lie, given how often it was drawn."""

from __future__ import annotations

import math

Z_95_PERCENT = 1.96  # standard deviations of an interval that 95 of 100 hold


def wilson_interval(hits: float, n: float, z: float = Z_95_PERCENT) -> tuple[float, float]:
    """Returns Wilson's interval of a share of hits in n, by default of 95 %; (0, 1) where n is 0.

    >>> [round(bound, 6) for bound in wilson_interval(20, 1000)]
    [0.012984, 0.03069]
    >>> wilson_interval(0, 0)
    (0.0, 1.0)
    """
    if n <= 0:
        return 0.0, 1.0
    share, z2 = hits / n, z * z
    middle = share + z2 / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max((middle - half) / (1 + z2 / n), 0.0), min((middle + half) / (1 + z2 / n), 1.0)
