"""The scores, against published figures, on every engine, and the laws that they keep."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import ibis
import numpy as np
import pyarrow as pa
import pytest
from attrs import evolve
from conftest import lacking
from hypothesis import given, settings
from hypothesis import strategies as st

try:
    import scipy.stats
    from scipy.spatial.distance import jensenshannon
except ModuleNotFoundError:
    lacking("drift scores need scipy: pip install 'feature-workbench[monitoring]'")

from workbench.monitoring import Edges, Rules, Tile, drift_of, edges_of, series, summarise
from workbench.monitoring.drifts import distances, significance
from workbench.monitoring.drifts.drift_values import marked
from workbench.monitoring.drifts.exact_distances import Gap, gap_of
from workbench.monitoring.drifts.psi_verdicts import judged, persisted
from workbench.monitoring.drifts.wilson_interval import wilson_interval

AT = datetime(2026, 1, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)
same = pytest.approx


def repeated(counts):
    return [float(v) for v, n in enumerate(counts) for _ in range(n)]


# Fixtures of ../shared/reference/monitoring.md 1.4, computed with SciPy or published by the tools.
F0 = (
    [v + 1 for v in repeated([16, 18, 16, 14, 12, 12])],
    [v + 1 for v in repeated([16, 16, 16, 16, 16, 8])],
)
F0B = (
    [38.7, 41.5, 43.8, 44.5, 45.5, 46.0, 47.7, 58.0],
    [39.2, 39.3, 39.7, 41.4, 41.8, 42.9, 43.3, 45.8],
)
F1 = (
    repeated([100, 120, 90, 110, 80, 100, 130, 90, 100, 80]),
    repeated([40, 55, 60, 50, 45, 55, 70, 60, 45, 20]),
)
F2 = (
    [c for c, n in zip("abc", (500, 300, 200), strict=True) for _ in range(n)],
    [c for c, n in zip("abd", (260, 120, 20), strict=True) for _ in range(n)],
)
F3 = (
    [((i * 7919) % 1000) / 10 for i in range(1000)],
    [(((i * 104729) % 1000) / 10) ** 1.02 + 0.5 for i in range(800)],
)
FIXTURES = {"f0": F0, "f0b": F0B, "f1": F1, "f2": F2, "f3": F3}


@pytest.fixture(
    scope="module",
    params=[
        "duck",
        pytest.param("postgres", marks=pytest.mark.slow),
        pytest.param("spark", marks=pytest.mark.slow),
    ],
)
def found(request):
    """Every fixture's drift and exact distances, computed on one engine."""
    con = (
        ibis.duckdb.connect() if request.param == "duck" else request.getfixturevalue(request.param)
    )
    tables = [
        con.create_table(f"drift_{side}", beside(i), overwrite=True)
        for i, side in enumerate(("ref", "cur"))
    ]
    edges = edges_of(tables[0], features=[*FIXTURES])
    sides = [{t.feature: t for t in summarise(table, edges)} for table in tables]
    answers = {}
    for name in FIXTURES:
        gap = gap_of(*tables, name) if name in {"f0b", "f1", "f3"} else None
        ref, cur = (tiles[name] for tiles in sides)
        answers[name] = (
            drift_of(ref, cur, edges[name], gap=gap),
            drift_of(ref, cur, edges[name]),
            edges[name],
            ref,
            cur,
        )
    for side in ("ref", "cur"):
        con.drop_table(f"drift_{side}")
    return answers


def beside(side):
    """Return the fixtures as columns of one table, with nulls below the shorter ones."""
    rows = max(len(sides[side]) for sides in FIXTURES.values())
    return pa.table(
        {name: sides[side] + [None] * (rows - len(sides[side])) for name, sides in FIXTURES.items()}
    )


def test_evidentlys_own_table_of_counts_scores_as_published(found):
    scores = found["f0"][0].scores

    assert same(0.08173421330573756, rel=1e-9) == scores["js2"].value
    assert same(0.06812774370983354, rel=1e-9) == scores["hellinger"].value
    assert same(0.06818181818181819, rel=1e-9) == scores["tvd"].value
    assert same(0.04545454545454547, rel=1e-9) == scores["linf"].value
    assert same(0.8985262394026607, rel=1e-9) == scores["chi2"].p
    assert same(math.sqrt(1.6224089635854342 / 176), rel=1e-9) == scores["chi2"].value
    ref, cur = (np.array(t.counts, float) for t in found["f0"][3:])
    assert same(0.037218381577290835, rel=1e-9) == distances.psi(ref, cur, "evidently")
    assert same(0.01890967696532045, rel=1e-9) == distances.kl(
        *(distances.shares(c[c > 0]) for c in (ref, cur))
    )


def test_evidentlys_short_lists_have_their_exact_distances(found):
    scores = found["f0b"][0].scores

    assert same(0.625, rel=1e-9) == scores["ks"].value
    assert same(0.04931640625, rel=1e-9) == scores["ks"].p
    assert same(4.1625, rel=1e-9) == scores["w1"].value
    assert same(0.781236105789365, rel=1e-9) == scores["w1_std"].value


@pytest.mark.parametrize("how", [0, 1], ids=["by the rows", "by the bins"])
def test_ten_values_score_as_scipy_has_them_from_rows_and_from_bins(found, how):
    scores = found["f1"][how].scores

    assert same(0.05, rel=1e-9) == scores["ks"].value
    assert same(0.36381774664618716, rel=1e-9) == scores["ks"].p
    assert same(0.18, rel=1e-9) == scores["w1"].value
    assert same(0.06349848301192375, rel=1e-9) == scores["w1_std"].value
    assert same(0.09921593573137906, rel=1e-9) == scores["js2"].value
    assert same(0.08283175569955616, rel=1e-9) == scores["hellinger"].value
    assert same(0.09, rel=1e-9) == scores["tvd"].value
    assert same(0.04, rel=1e-9) == scores["linf"].value
    assert same(0.04359096562704068, rel=1e-9) == scores["chi2"].p
    assert same(0.05519851519645097, rel=1e-9) == distances.psi(
        *(np.array(t.counts, float) for t in found["f1"][3:]), zeros="evidently"
    )


def test_a_vanished_and_a_new_value_score_by_each_zero_rule(found):
    drift, _, _, ref, cur = found["f2"]
    counts = [np.array(t.counts, float) for t in (ref, cur)]

    assert same(1.282614995489455, rel=1e-9) == drift.scores["psi"].value
    assert same(1.8688839854438535, rel=1e-9) == distances.psi(*counts, zeros="evidently")
    assert same(2.4457276029407216, rel=1e-9) == distances.psi(*counts, zeros="zipline")
    assert same(2.746819765642627, rel=1e-9) == distances.psi(*counts, zeros="chronon_kll")
    assert same(0.36342372980436105, rel=1e-9) == drift.scores["js2"].value
    assert same(0.36043347160111394, rel=1e-9) == drift.scores["hellinger"].value
    assert same(1.514435960782513e-30, rel=1e-9) == drift.scores["chi2"].p
    assert (0.2, 0.05) == (drift.scores["vanished_mass"].value, drift.scores["new_rate"].value)
    assert "c" == drift.scores["linf"].note
    assert "alert" == drift.status


def test_deterministic_floats_have_scipys_exact_distances(found):
    scores = found["f3"][0].scores

    assert same(0.092, rel=1e-9) == scores["ks"].value
    assert same(0.001013051835950843, rel=1e-9) == scores["ks"].p
    assert same(4.749271170653821, rel=1e-9) == scores["w1"].value
    assert same(0.16451966158974213, rel=1e-9) == scores["w1_std"].value


def test_what_bins_say_of_floats_is_within_the_bounds_that_it_names(found):
    exact, binned = (found["f3"][i].scores for i in (0, 1))

    assert binned["ks"].low <= exact["ks"].value <= binned["ks"].high
    assert binned["w1"].low <= exact["w1"].value <= binned["w1"].high
    assert 0.06 > binned["ks"].high - binned["ks"].low


def test_deciles_of_numpy_give_the_decile_psi(duck):
    ref, cur = (
        duck.create_table(n, pa.table({"v": v})) for n, v in zip(("r", "c"), F3, strict=True)
    )
    edges = Edges("v", "ranges", np.quantile(F3[0], np.arange(0.1, 0.95, 0.1)))

    counts = [np.array(summarise(t, {"v": edges})[0].counts, float) for t in (ref, cur)]

    assert same(0.05614259066123384, rel=1e-9) == distances.psi(*counts, zeros="evidently")


def test_great_expectations_divergence():
    assert same(0.06895927460353621, rel=1e-13) == distances.kl(
        np.array([0.5, 0.3, 0.2]), np.full(3, 1 / 3)
    )


def test_nannymls_figures_to_their_two_decimals():
    abcd, abce = np.array([1.0, 1, 1, 1, 0]), np.array([1.0, 1, 1, 0, 1])

    assert 0.50 == round(distances.js2(abcd, abce), 2)
    assert 0.14 == round(distances.linf(np.array([2.0, 2, 2, 0]), np.array([2.0, 2, 2, 1]))[0], 2)


def test_tfdvs_identical_and_disjoint_histograms_are_0_and_1():
    assert 0 == distances.js2(np.array([3.0, 4]), np.array([6.0, 8]))
    assert same(1, rel=1e-12) == distances.js2(np.array([3.0, 4, 0, 0]), np.array([0, 0, 6.0, 8]))


# --- SciPy, and laws

TABLES = st.integers(2, 30).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(0, 500), min_size=n, max_size=n).filter(any)] * 2)
)


@settings(max_examples=100, deadline=None)
@given(TABLES)
def test_scores_of_counts_are_scipys(sides):
    ref, cur = (np.array(s, float) for s in sides)
    there = (ref + cur) > 0

    assert same(jensenshannon(ref, cur, base=2), abs=1e-7, rel=1e-9) == distances.js2(ref, cur)
    if there.sum() > 1:
        expected = scipy.stats.chi2_contingency(np.stack([ref, cur])[:, there], correction=False)
        statistic, freedom = distances.homogeneity(ref, cur)
        assert same((expected.statistic, expected.dof, expected.pvalue), rel=1e-9, abs=1e-12) == (
            statistic,
            freedom,
            significance.chi2_p(statistic, freedom),
        )
    values = np.arange(len(ref)) ** 1.5
    assert same(
        scipy.stats.wasserstein_distance(values, values, ref, cur), rel=1e-9, abs=1e-12
    ) == distances.w1_of_values(ref, cur, values)


@settings(max_examples=100, deadline=None)
@given(TABLES)
def test_distances_are_symmetric_and_nothing_from_itself(sides):
    ref, cur = (np.array(s, float) for s in sides)

    for score in (distances.js2, distances.hellinger, distances.tvd, distances.psi):
        assert 0 == score(ref, ref)
        assert same(score(ref, cur), rel=1e-12, abs=1e-15) == score(cur, ref)
    assert 0 == distances.ks(ref, ref)[0] == distances.linf(ref, ref)[0]


def test_a_divergence_weighs_by_its_first_side():
    assert same(0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25), rel=1e-12) == distances.kl(
        np.array([0.5, 0.5]), np.array([0.75, 0.25])
    )


SAMPLES = st.lists(st.floats(-1e6, 1e6).map(lambda x: round(x, 1)), min_size=60, max_size=200)


@settings(max_examples=60, deadline=None)
@given(SAMPLES, SAMPLES)
def test_exact_distances_lie_within_the_bounds_of_bins(ref, cur):
    cuts = sorted(
        {
            x
            for x in np.quantile(ref, np.arange(1, 8) / 8, method="inverted_cdf").tolist()
            if x > min(ref)
        }
    )
    tiles = [tile_of(x, cuts) for x in (ref, cur)]

    scores = drift_of(*tiles, Edges("v", "ranges", cuts)).scores

    assert (
        scores["ks"].low - 1e-12
        <= scipy.stats.ks_2samp(ref, cur, method="asymp").statistic
        <= scores["ks"].high + 1e-12
    )
    assert (
        scores["w1"].low - 1e-6
        <= scipy.stats.wasserstein_distance(ref, cur)
        <= scores["w1"].high + 1e-6
    )


def tile_of(values, cuts, start=None, **more):
    """Return a tile as the query makes it, by numpy."""
    x = np.array(values, float)
    counts = np.bincount(np.searchsorted(cuts, x, side="right"), minlength=len(cuts) + 1)
    base = Tile(
        "v",
        Edges("v", "ranges", cuts).edges_id,
        start,
        None if start is None else HOUR,
        n_rows=len(x),
        n_finite=len(x),
        n_eff=len(x),
        counts=counts,
    )
    return evolve(
        base,
        **(
            {"mean": x.mean(), "m2": x.var() * len(x), "low": x.min(), "high": x.max()}
            if len(x)
            else {}
        ),
        **more,
    )


def test_ks_and_psi_of_bins_do_not_move_under_monotone_maps(duck):
    rng = np.random.default_rng(4)
    sides = {"ref": rng.normal(size=900), "cur": rng.normal(0.2, 1.1, 700)}
    answers = []
    for how, name in ((lambda x: x, "plain"), (np.exp, "exp")):
        ref, cur = (
            duck.create_table(f"{side}_{name}", pa.table({"v": how(v)}))
            for side, v in sides.items()
        )
        edges = edges_of(ref, features=["v"])["v"]
        answers.append(
            drift_of(
                summarise(ref, {"v": edges})[0],
                summarise(cur, {"v": edges})[0],
                edges,
                gap=gap_of(ref, cur, "v"),
            ).scores
        )

    assert answers[0]["psi"].value == answers[1]["psi"].value > 0
    assert answers[0]["ks"].value == answers[1]["ks"].value > 0


def test_nulls_and_nan_move_their_own_rates_alone():
    cuts = [0.0, 1.0]
    ref, cur = tile_of(np.linspace(-1, 2, 90), cuts), tile_of(np.linspace(-1, 3, 90), cuts)
    stormy = evolve(cur, n_rows=390, n_null=200, n_nan=90, n_posinf=10, n_eff=390)
    edges = Edges("v", "ranges", cuts)

    before, after = (drift_of(ref, c, edges).scores for c in (cur, stormy))

    kept = set(before) - {"null_rate_delta", "nan_rate_delta"}
    assert {k: before[k] for k in kept} == {k: after[k] for k in kept}
    assert (same(200 / 390), same(100 / 390)) == (
        after["null_rate_delta"].value,
        after["nan_rate_delta"].value,
    )


# --- probabilities


def test_wilsons_interval_is_scipys():
    low, high = scipy.stats.binomtest(20, 1000).proportion_ci(method="wilson")

    assert same((0.012984, 0.030690), abs=5e-7) == wilson_interval(20, 1000)
    assert same((low, high), rel=1e-4) == wilson_interval(20, 1000)


def test_the_chances_of_rates_are_scipys():
    two, few = ([[990, 10], [47, 3]], [[990, 10], [50, 0]])

    z = math.sqrt(scipy.stats.chi2_contingency(two, correction=False).statistic)
    assert same(2 * scipy.stats.norm.sf(z), rel=1e-9) == significance.rate_p(0.01, 1000, 0.06, 50)
    assert same(
        2 * scipy.stats.fisher_exact(two, alternative="greater").pvalue, rel=1e-9
    ) == significance.few_p(0.01, 1000, 0.06, 50)
    assert 1 == significance.few_p(0.01, 1000, 0, 50) == significance.rate_p(0, 10, 0, 10)
    assert 0.5 < scipy.stats.fisher_exact(few).pvalue


def test_benjamini_and_hochbergs_marks():
    p = [0.001, 0.008, 0.039, 0.041, 0.042, 0.06, 0.074, 0.205, 0.212, 0.216]

    assert [True] + [False] * 9 == significance.discovered(p, 0.0101)
    assert [True, True] + [False] * 8 == significance.discovered(p, 0.05)


def test_the_noise_floor_holds_under_no_change():
    rng = np.random.default_rng(7)
    p = np.full(10, 0.1)
    scores = [
        distances.psi(*(rng.multinomial(1000, p).astype(float) for _ in range(2)))
        for _ in range(4000)
    ]

    assert same(0.03384, abs=5e-6) == significance.floor(10, 1000, 1000, rare=0.95)
    assert same(0.05, abs=0.015) == np.mean(
        np.array(scores) > significance.floor(10, 1000, 1000, rare=0.95)
    )


def test_marks_are_of_features_whose_change_is_no_chance():
    cuts, rng = [-1.0, 0.0, 1.0], np.random.default_rng(1)
    ref, edges = tile_of(rng.normal(size=2000), cuts), Edges("v", "ranges", cuts)

    drifts = [
        drift_of(ref, tile_of(rng.normal(shift, 1, 2000), cuts), edges) for shift in (0, 1, 0, 0)
    ]

    assert [False, True, False, False] == marked(drifts)


# --- verdicts


def test_an_alert_needs_two_of_three_tiles():
    found = ["ok", "alert", "ok", "alert", "warn", "ok", "alert"]

    assert ["ok", "watch", "ok", "alert", "warn", "ok", "watch"] == persisted(found)
    assert ["watch", "alert", "alert"] == persisted(["alert", "alert", "alert"])


def test_too_little_is_grey_and_never_green():
    cuts, edges = [0.0], Edges("v", "ranges", [0.0])
    ref = tile_of(np.linspace(-1, 1, 1000), cuts)

    assert "insufficient data" == drift_of(ref, tile_of(np.linspace(-1, 1, 29), cuts), edges).status
    assert "insufficient data" == drift_of(ref, tile_of([], cuts), edges).status
    assert (
        "insufficient data"
        == drift_of(ref, tile_of(np.linspace(-1, 1, 500), cuts, n_eff=5), edges).status
    )
    assert "ok" == drift_of(ref, tile_of(np.linspace(-1, 1, 500), cuts), edges).status


def test_nulls_everywhere_alert_though_no_value_is_left():
    cuts, edges = [0.0], Edges("v", "ranges", [0.0])
    gone = evolve(tile_of([], cuts), n_rows=500, n_null=500, n_eff=500)

    assert "alert" == drift_of(tile_of(np.linspace(-1, 1, 1000), cuts), gone, edges).status


def test_few_rows_are_judged_over_fewer_bins():
    ref = np.full(20, 5000.0)

    few, many = (judged(ref, np.full(20, n / 20), 100_000, n, ordered=True) for n in (100, 10_000))

    assert (5, 20) == (few.bins, many.bins)
    assert few.floor <= 0.25


def test_united_bins_hold_equal_shares_of_the_reference():
    ref = np.array([700.0, *[100.0] * 10])

    found = judged(ref, ref * 0.06, 1e5, 102, ordered=True)

    assert found.bins < 11
    assert 0.05 > found.psi


def test_a_least_threshold_raises_the_bar():
    cuts, edges, rng = (
        [-1.0, 0.0, 1.0],
        Edges("v", "ranges", [-1.0, 0.0, 1.0]),
        np.random.default_rng(3),
    )
    ref, cur = tile_of(rng.normal(size=5000), cuts), tile_of(rng.normal(0.6, 1, 5000), cuts)

    assert "alert" == drift_of(ref, cur, edges).status
    assert "ok" == drift_of(ref, cur, edges, rules=Rules(least=0.5)).status


def test_a_series_against_the_previous_tile_the_week_before_and_the_training_set():
    cuts, edges, rng = (
        [-1.0, 0.0, 1.0],
        Edges("v", "ranges", [-1.0, 0.0, 1.0]),
        np.random.default_rng(3),
    )
    tiles = [
        tile_of(rng.normal(2.0 if i >= 170 else 0.0, 1, 400), cuts, AT + i * HOUR)
        for i in range(173)
        if i != 5
    ]

    training = series(tiles, edges, tile_of(rng.normal(size=4000), cuts))
    previous, week = (series(tiles, edges, span) for span in (HOUR, timedelta(days=7)))

    assert ["ok", "watch", "alert", "alert"] == [d.status for d in training[169:]]
    assert ["insufficient data"] == [d.status for d in training if d.start == AT + 5 * HOUR]
    assert ["ok", "watch", "ok"] == [d.status for d in previous[169:172]]
    assert "insufficient data" == week[100].status
    assert "alert" == week[172].status
    assert 0 == week[170].scores["row_count_ratio"].value


def test_served_tiles_are_held_against_offline_tiles_of_the_same_hour():
    cuts, edges, rng = [0.0], Edges("v", "ranges", [0.0]), np.random.default_rng(3)
    offline = [tile_of(rng.normal(i, 1, 400), cuts, AT + i * HOUR) for i in range(3)]
    served = [tile_of(rng.normal(i, 1, 400), cuts, AT + i * HOUR) for i in range(3)]

    assert ["ok"] * 3 == [d.status for d in series(served, edges, offline)]


def test_tiles_of_other_edges_are_refused():
    with pytest.raises(ValueError, match="summarise both with the same edges"):
        drift_of(tile_of([1.0], [0.0]), tile_of([1.0], [0.5]), Edges("v", "ranges", [0.0]))


def test_more_rows_than_are_sorted_give_no_exact_distance(duck):
    table = duck.create_table("t", pa.table({"v": [1.0, 2.0]}))

    assert gap_of(table, table, "v", most=3) is None
    assert Gap(0.0, 0.0, 2, 2) == gap_of(table, table, "v")
