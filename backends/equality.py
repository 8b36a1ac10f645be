"""Equality of feature values (semantics rule 11), defined in this one place."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

TOLERANCE = 1e-12


def equal(a: Any, b: Any, scale: float = 0.0) -> bool:
    """Returns whether two feature values are equal: exact types to the bit, floats within 1e-12.

    `scale` is what the error is relative to: the sum of |x| in the window for a sum, its average
    for a mean, the mean of x^2 for a variance; 0 compares relative to the values. Null is equal to
    null only; an int is no float.

    >>> equal(0.1 + 0.2, 0.3), equal(1, 1.0), equal([1, None], [1, None]), equal(None, 0)
    (True, False, True, False)
    """
    if a is None or b is None:
        return a is b
    if isinstance(a, float) and isinstance(b, float):
        return _close(a, b, scale)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(equal(a[k], b[k], scale) for k in a)
    if _listed(a) and _listed(b):
        return len(a) == len(b) and all(equal(x, y, scale) for x, y in zip(a, b, strict=True))
    return _kind(a) is _kind(b) and bool(a == b)


def _close(a: float, b: float, scale: float) -> bool:
    if not (math.isfinite(a) and math.isfinite(b)):
        return False  # no feature is NaN or infinite (rule 9)
    return a == b or abs(a - b) <= TOLERANCE * max(scale, abs(a), abs(b))


def _listed(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _kind(value: Any) -> type:
    """Returns a type that is one for integers of all widths, and another for decimals."""
    return next((t for t in (bool, int, Decimal, str, bytes) if isinstance(value, t)), type(value))
