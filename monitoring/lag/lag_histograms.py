"""Mergeable histograms of durations: counts by logarithmic bucket, which add up without loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen

from workbench.online.streaming.lag_buckets import BUCKETS, MIN_LAG_US, SHARES, counted
from workbench.online.time_units import SECOND_US

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# The error of a percentile between 1 ms and 12.4 days: half a bucket, 9.05 %.
ERROR = 2 ** (1 / (2 * SHARES)) - 1


@frozen
class LagHistogram:
    """Durations in seconds, counted by bucket: i has [1 ms * 2^(i/4), 1 ms * 2^((i+1)/4)).

    The first bucket also has shorter ones, the last also longer ones. `negative` are those below 0,
    a clock's fault: they are counted in the first bucket too. `largest` is exact.
    """

    counts: tuple[int, ...] = (0,) * BUCKETS
    negative: int = 0
    largest: float | None = None

    @classmethod
    def of(cls, seconds: Iterable[float]) -> LagHistogram:
        """Returns the histogram of durations in seconds, exact to a microsecond."""
        return cls.read(
            counted(np.rint(np.asarray(list(seconds), float) * SECOND_US).astype(np.int64))
        )

    @classmethod
    def read(cls, told: Mapping[str, Any] | None) -> LagHistogram:
        """Reads a histogram from the JSON of `told`, which a batch's mark has too."""
        if told is None:
            return cls()
        counts = [0] * BUCKETS
        for bucket, count in told["counts"].items():
            counts[int(bucket)] += int(count)
        return cls(
            tuple(counts),
            int(told["negative"]),
            None if told["max"] is None else told["max"] / SECOND_US,
        )

    def told(self) -> dict[str, Any]:
        """Returns the histogram as JSON: nonempty buckets, and the largest in microseconds."""
        return {
            "counts": {str(i): n for i, n in enumerate(self.counts) if n},
            "negative": self.negative,
            "max": None if self.largest is None else round(self.largest * SECOND_US),
        }

    @property
    def n(self) -> int:
        """The number of durations."""
        return sum(self.counts)

    def __add__(self, other: LagHistogram) -> LagHistogram:
        """Returns the histogram of both sides' durations."""
        largest = max((x for x in (self.largest, other.largest) if x is not None), default=None)
        return LagHistogram(
            tuple(a + b for a, b in zip(self.counts, other.counts, strict=True)),
            self.negative + other.negative,
            largest,
        )

    def percentile(self, share: float) -> float | None:
        """Returns the duration in seconds that this share does not exceed (numpy's "inverted_cdf").

        It is None without durations. It is within 9.1 % of the true one where that is from 1 ms to
        12.4 days: the middle of its bucket, by ratio. Below 1 ms it is some 1.1 ms.
        """
        n = self.n
        if not n:
            return None
        place = int(np.searchsorted(np.cumsum(self.counts), max(int(np.ceil(share * n)), 1)))
        middle = float(MIN_LAG_US / SECOND_US * 2 ** ((place + 0.5) / SHARES))
        assert self.largest is not None  # noqa: S101 it has durations
        return max(min(middle, self.largest), MIN_LAG_US / SECOND_US)

    @property
    def summary(self) -> dict[str, float | None]:
        """The p50, p95, p99 and maximum, in seconds."""
        return {
            "p50": self.percentile(0.5),
            "p95": self.percentile(0.95),
            "p99": self.percentile(0.99),
            "max": self.largest,
        }

    def above(self, seconds: float) -> float:
        """Estimates how many durations are longer than a limit.

        It counts whole buckets above, and the share by ratio of the bucket that has the limit.
        """
        place = SHARES * np.log2(max(seconds * SECOND_US, MIN_LAG_US) / MIN_LAG_US)
        bucket = int(place)
        if bucket >= BUCKETS:
            return 0.0
        return sum(self.counts[bucket + 1 :]) + self.counts[bucket] * (1 - float(place - bucket))


def merged(histograms: Iterable[LagHistogram]) -> LagHistogram:
    """Merges histograms into one."""
    total, negative, largest = np.zeros(BUCKETS, np.int64), 0, list[float]()
    for h in histograms:
        total += np.asarray(h.counts, np.int64)
        negative += h.negative
        largest += [] if h.largest is None else [h.largest]
    return LagHistogram(tuple(int(n) for n in total), negative, max(largest, default=None))
