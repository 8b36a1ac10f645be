"""Estimates by sketches over a window's values (rule 13), made by the fetcher.

Postgres has no DataSketches.
"""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.backends.sketches import Frequent, Percentiles, Uniques
from workbench.online.fetching.value_readers import reader
from workbench.online.time_units import days_since_epoch, us_since_epoch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workbench.online.plan import PlanFeature


def _hashed(value: Any) -> int | float | str:
    """A value as sketches take it.

    Texts and doubles stay, whole numbers and times are 64 bits, anything else is text.
    """
    match value:
        case str() | float():
            return value
        case bool() | int():
            return int(value) if int(value) < 2**63 else int(value) - 2**64
        case datetime():
            return int(us_since_epoch(value))
        case date():
            return days_since_epoch(value)
        case bytes():
            return value.hex()
        case _:
            return str(value)


def _unique_count(options: dict[str, Any]) -> Callable[[Sequence[Any]], Any]:
    kind = Uniques(options["lg_k"])
    return lambda values: kind.count(dict.fromkeys(map(_hashed, values)))


def _percentiles(options: dict[str, Any]) -> Callable[[Sequence[Any]], Any]:
    kind, quantiles = Percentiles(options["k"]), list(options["quantiles"])
    return lambda values: (
        kind.estimate(kind.of(np.array([float(v) for v in values], np.float64)), quantiles)
        if values
        else None
    )


def _percentile(options: dict[str, Any]) -> Callable[[Sequence[Any]], Any]:
    several = _percentiles(options)
    return lambda values: several(values)[0] if values else None


def _histogram(options: dict[str, Any]) -> Callable[[Sequence[Any]], Any]:
    kind = Frequent(options["k"])

    def frequent_values(values: Sequence[Any]) -> Any:
        if not values:
            return None
        counts = Counter(values)
        ordered = sorted(counts, key=lambda v: v.encode() if isinstance(v, str) else v)
        if len(counts) <= kind.counted:
            best = sorted(range(len(ordered)), key=lambda i: (-counts[ordered[i]], i))[: kind.k]
            return {ordered[i]: counts[ordered[i]] for i in best}
        ids = {v: i for i, v in enumerate(ordered)}
        estimates = kind.estimate(kind.of([ids[v] for v in values]))
        return None if estimates is None else {ordered[i]: n for i, n in estimates.items()}

    return frequent_values


KINDS = {
    "approx_unique_count": _unique_count,
    "approx_percentile": _percentile,
    "approx_percentiles": _percentiles,
    "approx_histogram": _histogram,
}


def estimator(feature: PlanFeature) -> Callable[[Any], Any]:
    """A function that computes the feature from the values that the store lists for it.

    It returns None where the store gives null.
    """
    assert feature.sketch is not None  # noqa: S101 the caller has looked
    estimate, element = (
        KINDS[feature.sketch["reduction"]](feature.sketch["options"]),
        reader(feature.sketch["element"]),
    )
    return lambda values: None if values is None else estimate([element(v) for v in values])
