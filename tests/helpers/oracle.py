"""The semantics in plain Python, by brute force: what every engine is held against.

Rows are dicts; times are microseconds since 1970 (rule 1); a reduction is a function of the
window's rows in the order of rule 10. Nothing here is shared with the code under test.
"""

from __future__ import annotations

import math
from collections import Counter
from datetime import timedelta
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import reduce

DAY = 86_400_000_000
HOUR = DAY // 24
MINUTE = HOUR // 60


def us(span: timedelta) -> int:
    return span // timedelta(microseconds=1)


def clean(value):
    """Rule 9: replace NaN and infinities by nulls, and -0.0 by 0.0."""
    if isinstance(value, float):
        return value + 0.0 if math.isfinite(value) else None
    return value


def instant(t: int, accuracy: str | None) -> int:
    """Rule 4: return t, or the midnight at or before it."""
    return t // DAY * DAY if accuracy == "snapshot" else t


def tail(t: int, window: int | None, resolution: str) -> float:
    """Rules 2 and 3: return the first instant that counts."""
    if window is None:
        return -math.inf
    if resolution == "exact":
        return t - window
    hop = DAY if window >= 12 * DAY else HOUR if window >= 12 * HOUR else 5 * MINUTE
    return (t - window) // hop * hop


def rank(value):
    """Return the place of a value: nulls come first, strings go by their UTF-8 bytes."""
    if value is None:
        return (0,)
    return (1, value.encode() if isinstance(value, str) else value)


def events_at(events, key, t, *, window=None, resolution="exact", accuracy=None):
    """Return the key's events in [tail, t), unordered; a null equals no key (rule 8)."""
    if any(part is None for part in key):
        return []
    at = instant(t, accuracy)
    start = tail(at, window, resolution)
    return [e for e in events if e["key"] == key and start <= e["time"] < at]


def in_order(rows, value):
    """Rule 10: sort by time, then the source's order, then the value (of a pair, its first)."""
    own = lambda x: x[0] if isinstance(x, tuple) else x  # noqa: E731
    return sorted(
        rows, key=lambda e: (e["time"], *(rank(o) for o in e.get("order", ())), rank(own(value(e))))
    )


# --- reductions: the non-null values of a window in order -> the value


def exact_mean(xs):
    return float(sum(map(Fraction, xs)) / len(xs))


def central(xs, power):
    mean = sum(map(Fraction, xs)) / len(xs)
    return sum((Fraction(x) - mean) ** power for x in xs)


def total(xs):
    if isinstance(xs[0], float):
        return float(sum(map(Fraction, xs)))
    with localcontext(prec=200):
        return sum(xs) if isinstance(xs[0], Decimal) else sum(int(x) for x in xs)


def variance(xs, *, sample):
    return None if sample and len(xs) < 2 else float(central(xs, 2) / (len(xs) - sample))


def quantile(xs, q):
    at, ordered = q * (len(xs) - 1), sorted(map(float, xs))
    low = math.floor(at)
    return ordered[low] + (ordered[min(low + 1, len(xs) - 1)] - ordered[low]) * (at - low)


def skew(xs):
    if len(xs) < 3 or min(xs) == max(xs):
        return None
    return math.sqrt(len(xs)) * float(central(xs, 3)) / float(central(xs, 2)) ** 1.5


def kurtosis(xs):
    if len(xs) < 4 or min(xs) == max(xs):
        return None
    return float(len(xs) * central(xs, 4) / central(xs, 2) ** 2) - 3


def histogram(xs, k=None):
    return dict(sorted(Counter(xs).items(), key=lambda item: (-item[1], rank(item[0])))[:k])


def covariance(pairs, *, sample):
    if len(pairs) <= sample:
        return None
    ls, rs = [Fraction(a) for a, _ in pairs], [Fraction(b) for _, b in pairs]
    ml, mr = sum(ls) / len(ls), sum(rs) / len(rs)
    return float(sum((a - ml) * (b - mr) for a, b in zip(ls, rs, strict=True)) / (len(ls) - sample))


def correlation(pairs):
    spread = [float(central([p[i] for p in pairs], 2)) for i in (0, 1)]
    return (
        covariance(pairs, sample=False) * len(pairs) / math.sqrt(spread[0] * spread[1])
        if all(spread)
        else None
    )


def extreme(pairs, sign):
    """Return the first in order among those whose key is extreme (rule 10)."""
    best = (min if sign < 0 else max)((k for _, k in pairs), key=rank)
    return next(v for v, k in pairs if k == best)


REDUCTIONS = {
    "sum": total,
    "average": exact_mean,
    "min": lambda xs: min(xs, key=rank),
    "max": lambda xs: max(xs, key=rank),
    "first": lambda xs: xs[0],
    "last": lambda xs: xs[-1],
    "first2": lambda xs: xs[:2],
    "last3": lambda xs: xs[::-1][:3],
    "top2": lambda xs: sorted(xs, key=rank, reverse=True)[:2],
    "bottom2": lambda xs: sorted(xs, key=rank)[:2],
    "collect": list,
    "group_concat": ",".join,
    "variance": lambda xs: variance(xs, sample=True),
    "variance_pop": lambda xs: variance(xs, sample=False),
    "stddev": lambda xs: None if len(xs) < 2 else math.sqrt(variance(xs, sample=True)),
    "p50": lambda xs: quantile(xs, 0.5),
    "p90": lambda xs: quantile(xs, 0.9),
    "quantiles": lambda xs: [quantile(xs, 0.25), quantile(xs, 0.75)],
    "skew": skew,
    "kurtosis": kurtosis,
    "mode": lambda xs: min(xs, key=lambda x: (-Counter(xs)[x], rank(x))),
    "histogram": histogram,
    "histogram2": lambda xs: histogram(xs, 2),
    "any": any,
    "all": all,
    "bit_and": lambda xs: reduce(int.__and__, xs),
    "bit_or": lambda xs: reduce(int.__or__, xs),
    "bit_xor": lambda xs: reduce(int.__xor__, xs),
    "covariance": lambda ps: covariance(ps, sample=True),
    "correlation": correlation,
    "argmin": lambda ps: extreme(ps, -1),
    "argmax": lambda ps: extreme(ps, 1),
}
COUNTS = {"count": len, "unique_count": lambda xs: len(set(xs))}


def reduce_(name, rows, value):
    """Rule 9: skip nulls; over nothing, counts are 0 and every other reduction is null."""
    there = [
        e for e in rows if (x := value(e)) is not None and not (isinstance(x, tuple) and None in x)
    ]
    xs = [value(e) for e in in_order(there, value)]
    if name in COUNTS:
        return COUNTS[name](xs)
    return clean(REDUCTIONS[name](xs)) if xs else None


def scale(name, rows, value):
    """Return the scale that rule 11 measures this reduction's error against."""
    given = [x for x in map(value, rows) if not isinstance(x, tuple) or None not in x]
    xs = [
        abs(float(x))
        for v in given
        for x in (v if isinstance(v, tuple) else (v,))
        if isinstance(x, int | float | Decimal)
    ]
    if not xs:
        return 1.0
    if name in ("sum", "average"):
        return sum(xs) / (len(xs) if name == "average" else 1)
    squares = sum(x * x for x in xs) / len(xs)
    # Skewness, kurtosis and correlation have no unit.
    return max(1.0, squares) if name in ("skew", "kurtosis", "correlation") else squares


def snapshot_at(rows, key, t):
    """Rule 6: return the key's row of the latest snapshot whose day ended at or before t."""
    ends = [r["end"] for r in rows if r["end"] is not None and r["end"] <= t]
    if not ends or None in key:
        return None
    return next((r for r in rows if r["key"] == key and r["end"] == max(ends)), None)


def expired(events, key, t, accuracy, max_age):
    """Rule 17: say whether the key's newest visible event is older than max_age."""
    seen = [e["time"] for e in events_at(events, key, t, accuracy=accuracy)]
    return bool(seen) and t - max(seen) > max_age


# --- rule 13: how far off a sketch's answer may be, of the non-null values of a window


def near_count(got, xs, error):
    """Say whether a count is a whole number within three standard errors."""
    n = len(set(xs))
    return abs(got - n) <= 3 * error * n + 1


def near_rank(got, xs, q, error):
    """Say whether `got` is one of the values, at rank `q` within the bound.

    At most `q` of all values lie below it, give or take the bound, and at least `q` do not lie
    above it.
    """
    below, upto = (sum(f(x, got) for x in xs) / len(xs) for f in (float.__lt__, float.__le__))
    return got in xs and below <= q + error and upto >= q - error


def near_counts(got, xs, k, error):
    """Say whether counts are too high by at most the bound, and hold all that are surely frequent.

    Fewer than k counts hold all of these.
    """
    true, most = Counter(xs), error * len(xs)
    sure = {x for x, n in true.items() if n > 2 * most} if len(got) < k else set()
    return (
        len(got) <= k
        and sure <= got.keys()
        and all(true[x] <= n <= true[x] + most for x, n in got.items())
    )
