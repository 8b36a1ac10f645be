"""Histograms of durations: percentiles within their bound, sums that lose nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.monitoring.lag.lag_histograms import ERROR, LagHistogram, merged

durations = st.lists(
    st.floats(0.001, 1_000_000).map(lambda x: round(x, 6)), min_size=1, max_size=60
)
anything = st.lists(st.floats(-1e6, 1e8).map(lambda x: round(x, 6)), max_size=40)


@given(durations, st.sampled_from([0.0, 0.5, 0.9, 0.95, 0.99, 1.0]))
def test_a_percentile_is_within_nine_percent_of_numpys(seconds, share):
    got = LagHistogram.of(seconds).percentile(share)

    assert np.percentile(seconds, share * 100, method="inverted_cdf") == pytest.approx(
        got, rel=ERROR + 1e-6
    )


@given(st.lists(anything, max_size=5))
def test_the_sum_of_parts_is_the_whole(parts):
    whole = LagHistogram.of([x for part in parts for x in part])

    assert whole == merged(map(LagHistogram.of, parts))
    assert whole == sum(map(LagHistogram.of, parts), LagHistogram())


@given(anything)
def test_a_histogram_is_what_its_json_says(seconds):
    made = LagHistogram.of(seconds)

    assert made == LagHistogram.read(json.loads(json.dumps(made.told())))


def test_what_lies_beyond_the_buckets_is_clipped_and_negative_lags_are_counted_apart():
    made = LagHistogram.of([-30, -0.5, 0, 0.0001, 0.001, 5_000_000])

    assert (6, 2, 5_000_000) == (made.n, made.negative, made.largest)
    assert (5, 1) == (made.counts[0], made.counts[-1])


def test_a_bucket_has_its_lower_edge_and_not_its_upper():
    edges = [0.001 * 2 ** (i // 4) for i in range(0, 120, 4)]

    assert list(range(0, 120, 4)) == [LagHistogram.of([e]).counts.index(1) for e in edges]


def test_no_durations_have_no_percentile():
    assert {"p50": None, "p95": None, "p99": None, "max": None} == LagHistogram().summary


@given(durations, st.floats(0.001, 100_000))
def test_what_is_above_a_limit_is_counted_but_for_the_limits_own_bucket(seconds, limit):
    got = LagHistogram.of(seconds).above(limit)

    assert (
        sum(s > limit * 2**0.25 for s in seconds) - 1e-6
        <= got
        <= sum(s >= limit / 2**0.25 for s in seconds) + 1e-6
    )
