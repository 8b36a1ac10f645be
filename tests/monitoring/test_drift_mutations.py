"""Each planted mistake in a formula is found: no figure of this package is right by chance."""

from __future__ import annotations

import math

import ibis
import numpy as np
import pyarrow as pa
import pytest
from conftest import lacking

try:
    from workbench.monitoring.drifts import significance
except ModuleNotFoundError:
    lacking("drift scores need scipy: pip install 'feature-workbench[monitoring]'")

import test_drift as figures

from workbench.backends.duckdb import DuckDB
from workbench.backends.duckdb import histogram as by_cuts
from workbench.monitoring import drift_of, edges_of, summarise
from workbench.monitoring.drifts import distances, psi_verdicts
from workbench.monitoring.drifts.exact_distances import gap_of
from workbench.monitoring.tiles import bin_edges, measured_columns, tile_queries

same = pytest.approx


def in_nats(ref, cur):
    return distances.kl(*(distances.shares(s) for s in (ref, cur)))


def js_without_root(ref, cur, original=distances.js2):
    return original(ref, cur) ** 2


def js_in_nats(ref, cur, original=distances.js2):
    return original(ref, cur) * math.sqrt(math.log(2))


def hellinger_without_root(ref, cur, original=distances.hellinger):
    return original(ref, cur) ** 2


def goodness_of_fit(ref, cur, original=distances.homogeneity):
    expected = np.maximum(ref, 1e-9) * cur.sum() / ref.sum()
    return float(((cur - expected) ** 2 / expected).sum()), original(ref, cur)[1]


def one_more_degree(ref, cur, original=distances.homogeneity):
    return original(ref, cur)[0], original(ref, cur)[1] + 1


def no_new_zero(counts):
    return distances.shares(counts + 1e-4)


def kl_swapped(p, q, original=distances.kl):
    return original(q, p)


def closed_right(x, cuts, before):
    """Count values on an edge in the bin below."""
    if not cuts:
        return ibis.literal(before, "int64")
    middle = len(cuts) // 2
    return (x > measured_columns.double(cuts[middle])).ifelse(
        closed_right(x, cuts[middle + 1 :], before + middle + 1),
        closed_right(x, cuts[:middle], before),
    )


def bare_literal(value):
    return ibis.literal(float(value))


def tallied_right(self, value, cuts):
    return by_cuts(-value, ibis.array([measured_columns.double(c) for c in cuts]))


def tallied_bare(self, value, cuts):
    return by_cuts(-value, ibis.array([ibis.literal(float(-c)) for c in reversed(cuts)]))


def all_rows_at_the_ends(a, b):
    return (np.abs(a) + np.abs(b)) / 2 + 1e-3


def no_bound(ref, cur, original=distances.ks):
    return original(ref, cur)[0], 0.0


def without_cross_term(a, b):
    n, m = a[0], b[0]
    return ((a[1] or 0) * n + (b[1] or 0) * m) / max(n + m, 1), (a[2] or 0) + (b[2] or 0)


MUTATIONS = {
    "psi as one divergence": (
        distances,
        "psi",
        lambda ref, cur, zeros="jeffreys": in_nats(ref + 0.5, cur + 0.5),
    ),
    "no half row": (distances.ZEROS, "jeffreys", no_new_zero),
    "js without its root": (distances, "js2", js_without_root),
    "js in nats": (distances, "js2", js_in_nats),
    "hellinger without its root": (distances, "hellinger", hellinger_without_root),
    "tvd without its half": (
        distances,
        "tvd",
        lambda ref, cur: float(np.abs(distances.shares(ref) - distances.shares(cur)).sum()),
    ),
    "kl with its sides swapped": (distances, "kl", kl_swapped),
    "chi2 as goodness of fit": (distances, "homogeneity", goodness_of_fit),
    "chi2 with a degree more": (distances, "homogeneity", one_more_degree),
    "V without its root": (distances, "cramer", lambda statistic, rows: statistic / rows),
    "ks p of all rows": (significance, "ks_p", lambda d, n, m: math.exp(-2 * d * d * (n + m))),
    "bins closed on the right": (tile_queries, "reached", closed_right),
    "tallies closed on the right": (DuckDB, "tallied", tallied_right),
    "tallies by bare literals": (DuckDB, "tallied", tallied_bare),
    "a bin a number without its end": (
        tile_queries,
        "bounds",
        lambda made: sorted({*made.cuts, -tile_queries.LARGEST, -1e150, 1e150, math.inf}),
    ),
    "bare literals": (bin_edges, "double", bare_literal),
    "w1 of uneven lines": (distances, "_area", all_rows_at_the_ends),
    "ks without its bound": (distances, "ks", no_bound),
    "moments without the distance between": (tile_queries, "moments", without_cross_term),
    "floor without the current side": (
        significance,
        "floor",
        lambda bins, n, m, rare=0.999: 3.0 * bins / n,
    ),
    "persistence of one": (psi_verdicts, "persisted", lambda found, rules=None: list(found)),
}


@pytest.fixture(scope="module")
def summaries():
    """The summaries and distances without a planted mistake."""
    duck = ibis.duckdb.connect()
    tables = [
        duck.create_table(f"drift_{side}", figures.beside(i))
        for i, side in enumerate(("ref", "cur"))
    ]
    made = edges_of(tables[0], features=[*figures.FIXTURES])
    both = [{t.feature: t for t in summarise(table, made)} for table in tables]
    return {
        name: (
            gap_of(*tables, name) if made[name].numeric else None,
            made[name],
            *(side[name] for side in both),
        )
        for name in figures.FIXTURES
    }


def suspects(duck, summaries):
    """Check every law that a mistake may break; raise nothing where none is planted."""
    found = {
        name: (drift_of(ref, cur, made, gap=gap), drift_of(ref, cur, made), made, ref, cur)
        for name, (gap, made, ref, cur) in summaries.items()
    }
    figures.test_evidentlys_own_table_of_counts_scores_as_published(found)
    figures.test_evidentlys_short_lists_have_their_exact_distances(found)
    figures.test_ten_values_score_as_scipy_has_them_from_rows_and_from_bins(found, 0)
    figures.test_a_vanished_and_a_new_value_score_by_each_zero_rule(found)
    figures.test_deterministic_floats_have_scipys_exact_distances(found)
    figures.test_what_bins_say_of_floats_is_within_the_bounds_that_it_names(found)
    assert (
        same(0.75) == distances.w1(np.array([1.0, 0, 1]), np.array([0, 2.0, 0]), np.arange(4.0))[0]
    )
    figures.test_a_divergence_weighs_by_its_first_side()
    assert same(significance.floor(10, 1000, 1000, rare=0.95), abs=5e-6) == 0.03384
    assert ["watch"] == psi_verdicts.persisted(["alert"])
    x = np.random.default_rng(2).random(400)
    cut = bin_edges.Edges("x", "ranges", np.sort(x)[::4])
    for odd in ([], [math.nan]):  # by one wide statement, and by groups
        table = duck.create_table("edges", pa.table({"x": [*x, *odd]}), overwrite=True)
        (tile,) = summarise(table, {"x": cut})
        (each,) = summarise(table, {"x": bin_edges.Edges("x", "numbers", np.sort(x)[:200])})
        assert [0, *[4] * 100] == list(tile.counts)
        assert [*[1] * 200, 200] == list(each.counts)
        assert same((x.mean(), x.std()), rel=1e-12) == (tile.mean, tile.std)
    duck.drop_table("edges")


def test_without_a_mistake_all_laws_hold(duck, summaries):
    suspects(duck, summaries)


@pytest.mark.parametrize("mistake", MUTATIONS)
def test_a_planted_mistake_breaks_a_law(duck, summaries, monkeypatch, mistake):
    place, name, wrong = MUTATIONS[mistake]
    if isinstance(place, dict):
        monkeypatch.setitem(place, name, wrong)
    else:
        monkeypatch.setattr(place, name, wrong)

    with pytest.raises(AssertionError):
        suspects(duck, summaries)
