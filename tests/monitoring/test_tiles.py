"""Tiles: what is counted, that engines agree, that merging is adding, and that they are kept."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.monitoring import Edges, Tile, edges_of, merged, summarise
from workbench.monitoring.tiles.tile_series import to_arrow
from workbench.monitoring.tiles.tile_store import Origin, load, load_edges, save

AT = datetime(2026, 1, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)
FEATURES = ["x", "whole", "flag", "country", "user", "day", "items"]
same = pytest.approx


def rows(n=3000, seed=5):
    """Return rows of four hours, with every kind of value that is no finite number in x."""
    rng = np.random.default_rng(seed)
    odd = {0: None, 1: math.nan, 2: math.inf, 3: -math.inf, 4: 0.0, 5: -0.0}
    return pa.table(
        {
            "ts": pa.array(
                [AT + timedelta(seconds=int(s)) for s in rng.integers(0, 4 * 3600, n)],
                pa.timestamp("us", "UTC"),
            ),
            "key": pa.array(rng.integers(0, 500, n)),
            "x": pa.array(
                [odd.get(i % 60, float(v)) for i, v in enumerate(rng.normal(size=n))], pa.float64()
            ),
            "whole": pa.array(
                [None if i % 7 == 0 else int(v) for i, v in enumerate(rng.poisson(3, n))],
                pa.int64(),
            ),
            "flag": pa.array(
                [None if i % 9 == 0 else bool(v) for i, v in enumerate(rng.integers(0, 2, n))]
            ),
            "country": pa.array(
                [None if i % 11 == 0 else f"c{v}" for i, v in enumerate(rng.geometric(0.02, n))]
            ),
            "user": pa.array([f"user {i}" for i in range(n)]),
            "day": pa.array([AT.date() - timedelta(days=int(v)) for v in rng.integers(0, 400, n)]),
            "items": pa.array(
                [
                    None if i % 13 == 0 else [float(v)] * (i % 4)
                    for i, v in enumerate(rng.normal(size=n))
                ],
                pa.list_(pa.float64()),
            ),
        }
    )


def summary(con, folder, name="tiles"):
    pq.write_table(rows(), folder / "rows.parquet", coerce_timestamps="us")
    # Ibis hands rows to Spark by pandas, which makes NaN a null
    table = con.create_table(
        name,
        con.read_parquet(folder / "rows.parquet") if con.name == "pyspark" else rows(),
        overwrite=True,
    )
    try:
        edges = edges_of(table.filter(table.key < 250), features=FEATURES, name="half")
        return (
            edges,
            summarise(table, edges, time="ts", keys=["key"]),
            summarise(table, edges, keys=["key"]),
        )
    finally:
        con.drop_table(name)


@pytest.fixture(scope="module")
def duckdbs(tmp_path_factory):
    return summary(ibis.duckdb.connect(), tmp_path_factory.mktemp("rows"))


def told(tile):
    """Return what engines agree on to the bit, and what they agree on but for rounding.

    Hashes of keys are an engine's own.
    """
    exact = {
        k: getattr(tile, k)
        for k in (
            "feature",
            "edges_id",
            "start",
            "n_rows",
            "n_null",
            "n_nan",
            "n_posinf",
            "n_neginf",
            "n_zero",
            "n_finite",
            "n_eff",
            "low",
            "high",
            "n_below",
            "n_above",
            "n_distinct",
            "counts",
        )
    }
    return exact, (tile.mean, tile.m2)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["postgres", "spark"])
def test_engines_make_the_same_edges_and_tiles(request, duckdbs, engine, tmp_path):
    edges, tiles, whole = summary(request.getfixturevalue(engine), tmp_path)

    assert duckdbs[0] == edges
    for expected, got in zip([*duckdbs[1], *duckdbs[2]], [*tiles, *whole], strict=True):
        assert told(expected)[0] == told(got)[0]
        assert [None, None] == [expected.mean, got.mean] or same(
            told(expected)[1], rel=1e-9, abs=1e-9
        ) == told(got)[1]


def test_a_tile_has_what_numpy_counts(duckdbs):
    data, edges = rows(), duckdbs[0]["x"]
    x = np.array([math.nan if v is None else v for v in data["x"].to_pylist()])
    finite = x[np.isfinite(x)]

    tile = next(t for t in duckdbs[2] if t.feature == "x")

    assert (3000, 50, 50, 50, 50, 100) == (
        tile.n_rows,
        tile.n_null,
        tile.n_nan,
        tile.n_posinf,
        tile.n_neginf,
        tile.n_zero,
    )
    assert np.histogram(finite, [-np.inf, *edges.cuts, np.inf])[0].tolist() == list(tile.counts)
    assert (len(finite), finite.min(), finite.max()) == (tile.n_finite, tile.low, tile.high)
    assert same((finite.mean(), finite.std()), rel=1e-12) == (tile.mean, tile.std)
    assert ((finite < edges.low).sum(), (finite > edges.high).sum()) == (tile.n_below, tile.n_above)
    assert len(set(data["key"].to_pylist())) == tile.n_eff


def test_edges_are_numpys_inverted_cdf(duckdbs):
    data = rows()
    x = np.array(
        [
            v
            for v, k in zip(data["x"].to_pylist(), data["key"].to_pylist(), strict=True)
            if k < 250 and v is not None and math.isfinite(v)
        ]
    )

    assert np.unique(
        [np.quantile(x, i / 20, method="inverted_cdf") for i in range(1, 20)]
    ).tolist() == list(duckdbs[0]["x"].cuts)


def test_the_kinds_of_bins(duckdbs):
    kinds = {name: edges.kind for name, edges in duckdbs[0].items()}

    assert {
        "x": "ranges",
        "whole": "numbers",
        "flag": "texts",
        "country": "texts",
        "user": "none",
        "user.length": "numbers",
        "day": "ranges",
        "items.length": "numbers",
        "items[]": "ranges",
    } == kinds


@pytest.mark.parametrize(
    "feature", ["x", "whole", "flag", "country", "day", "items[]", "items.length", "user.length"]
)
def test_merged_hours_are_the_whole(duckdbs, feature):
    tiles, whole = ([t for t in some if t.feature == feature] for some in duckdbs[1:])

    got = merged(tiles)

    assert 4 == len(tiles)
    assert (AT, 4 * HOUR) == (got.start, got.length)
    exact, moments = told(got)
    expected, expected_moments = told(whole[0])
    assert {k: v for k, v in expected.items() if k not in {"start", "n_eff"}} == {
        k: v for k, v in exact.items() if k not in {"start", "n_eff"}
    }
    assert (
        (expected_moments == moments)
        if whole[0].mean is None
        else (same(expected_moments, rel=1e-9) == moments)
    )
    assert 0.25 > abs(got.n_eff - 500) / 500
    assert whole[0].keys == got.keys


def test_few_keys_are_counted_exactly_across_tiles():
    tiles = [
        Tile("x", "e", AT + i * HOUR, HOUR, n_rows=50, n_eff=50, keys=range(i * 10, i * 10 + 50))
        for i in range(4)
    ]

    assert 80 == merged(tiles).n_eff


def test_many_keys_are_estimated_within_their_error(duck):
    n = 40_000
    table = duck.create_table(
        "t",
        pa.table(
            {
                "ts": [AT + i % 5 * HOUR for i in range(n)],
                "k": [i % 9_000 for i in range(n)],
                "x": [1.0] * n,
            }
        ),
    )

    got = merged(summarise(table, edges_of(table, features=["x"]), time="ts", keys=["k"]))

    assert same(9_000, rel=0.3) == got.n_eff


def test_a_row_at_the_end_of_an_hour_is_in_the_next(duck):
    #    9:00                   10:00
    #      a-----------------b|---c       [9:00, 10:00): a b   [10:00, 11:00): c
    times = [
        AT.replace(hour=9),
        AT.replace(hour=9, minute=59, second=59, microsecond=999_999),
        AT.replace(hour=10),
        None,
    ]
    table = duck.create_table(
        "t", pa.table({"ts": pa.array(times, pa.timestamp("us", "UTC")), "x": [1.0, 2.0, 3.0, 4.0]})
    )

    tiles = summarise(table, edges_of(table, features=["x"]), time="ts")

    assert [(AT.replace(hour=9), 2), (AT.replace(hour=10), 1)] == [
        (t.start, t.n_rows) for t in tiles
    ]


def test_hours_before_1970_are_floored_too(duck):
    table = duck.create_table(
        "t", pa.table({"ts": [datetime(1969, 12, 31, 23, 30, tzinfo=UTC)], "x": [1.0]})
    )

    (tile,) = summarise(table, edges_of(table, features=["x"]), time="ts")

    assert datetime(1969, 12, 31, 23, tzinfo=UTC) == tile.start


def test_values_on_an_edge_are_in_the_bin_above_though_doubles_have_many_digits(duck):
    x = np.random.default_rng(2).random(4000)
    table = duck.create_table("t", pa.table({"x": x}))
    edges = Edges("x", "ranges", np.sort(x)[::10])

    (tile,) = summarise(table, {"x": edges})

    assert [0, *[10] * 400] == list(tile.counts)


def test_values_that_the_reference_lacks_are_told_from_its_tail(duck):
    many = [f"v{i:03}" for i in range(250) for _ in range(3)]
    ref, cur = (
        duck.create_table(n, pa.table({"c": v}))
        for n, v in (
            ("r", [*many, *many[:600]]),
            ("c", ["v000", "v249", "?", "other values of the reference", None]),
        )
    )
    edges = edges_of(ref, features=["c"])

    (tile,) = summarise(cur, edges)

    assert (1, 1, 2, 1) == (tile.counts[0], tile.counts[-2], tile.counts[-1], tile.n_null)
    assert 202 == edges["c"].bins == len(edges["c"].labels)


def test_maps_are_their_keys_and_values(duck):
    table = duck.sql(
        "select * from (values (map {'a': 1.5, 'b': 2.5}), (map {'a': 3.5}), (null)) t(m)"
    )
    table = duck.create_table("t", table)

    edges = edges_of(table, features=["m"])
    tiles = {t.feature: t for t in summarise(table, edges)}

    assert {"m.key", "m.value", "m.length"} == set(tiles)
    assert (2, 1) == tiles["m.key"].counts[:2]
    assert 2.5 == tiles["m.value"].mean
    assert 1 == tiles["m.length"].n_null


def test_a_table_without_rows_has_a_tile_of_none(duck):
    table = duck.create_table(
        "t", pa.table({"x": pa.array([], pa.float64()), "c": pa.array([], pa.string())})
    )
    edges = edges_of(table, features=["x", "c"])

    tiles = summarise(table, edges)

    assert ["c", "x"] == sorted(t.feature for t in tiles)
    assert [(0, 0)] * 2 == [(t.n_rows, t.n_eff) for t in tiles]


def test_a_value_whose_square_is_no_double_leaves_counts_and_takes_moments(duck):
    table = duck.create_table("t", pa.table({"x": [1.0, 1e200, -1e308, 1e308]}))

    (tile,) = summarise(table, edges_of(table, features=["x"]))

    assert (4, 1e308, None, None) == (tile.n_finite, tile.high, tile.mean, tile.m2)


@pytest.mark.parametrize(
    ("features", "sentence"), [(["y"], "no column of the table"), (["s"], "which has no summary")]
)
def test_what_cannot_be_summarised_is_said(duck, features, sentence):
    table = duck.create_table("t", pa.table({"x": [1.0], "s": [{"a": 1}]}))

    with pytest.raises(ValueError, match=sentence):
        edges_of(table, features=features)


def test_a_feature_without_edges_is_no_silent_gap(duck):
    table = duck.create_table("t", pa.table({"x": [1.0], "y": [1.0]}))

    with pytest.raises(ValueError, match="y have no edges"):
        summarise(table, edges_of(table, features=["x"]), features=["x", "y"])


def test_tiles_of_different_edges_do_not_merge():
    with pytest.raises(ValueError, match="merge those of one feature"):
        merged([Tile("x", "a"), Tile("x", "b")])


def test_tiles_and_edges_come_back_from_json_and_go_to_arrow(duckdbs):
    edges, tiles, _ = duckdbs

    assert tiles == [Tile.loads(t.dumps()) for t in tiles]
    assert edges == {name: Edges.loads(e.dumps()) for name, e in edges.items()}
    table = to_arrow(tiles)
    assert ([t.start for t in tiles], [list(t.counts) for t in tiles]) == (
        table["start"].to_pylist(),
        table["counts"].to_pylist(),
    )


VALUES = st.lists(
    st.tuples(
        st.integers(0, 5), st.none() | st.floats(width=32, allow_infinity=True, allow_nan=True)
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=25, deadline=None)
@given(VALUES, st.randoms(use_true_random=False))
def test_merging_is_adding_whatever_the_rows_and_their_order(pairs, random):
    con, edges = (
        ibis.duckdb.connect(),
        {"x": Edges("x", "ranges", [-1.0, 0.0, 2.5], low=-1.0, high=3.0)},
    )
    shuffled = random.sample(pairs, len(pairs))
    plain, other = (
        con.create_table(
            n,
            pa.table(
                {
                    "ts": [AT + h * HOUR for h, _ in p],
                    "x": pa.array([x for _, x in p], pa.float64()),
                }
            ),
        )
        for n, p in (("a", pairs), ("b", shuffled))
    )

    (whole,), hours = summarise(other, edges), summarise(plain, edges, time="ts")
    got = merged(hours)

    skipped = {"start"}
    assert {k: v for k, v in told(whole)[0].items() if k not in skipped} == {
        k: v for k, v in told(got)[0].items() if k not in skipped
    }
    scale = max(abs(whole.low or 0), abs(whole.high or 0)) ** 2 * len(pairs)
    if whole.mean is not None:
        assert same(whole.mean, rel=1e-9, abs=1e-9 * scale**0.5) == got.mean
        assert same(whole.m2, rel=1e-9, abs=1e-9 * scale) == got.m2


@pytest.mark.slow
def test_kept_tiles_come_back_and_a_second_save_changes_nothing(store, duckdbs):
    edges, tiles, whole = duckdbs
    origin = Origin("checkout_v1", "offline")

    for _ in range(2):
        save(store, origin, [*tiles, *whole], edges.values())

    assert {t.dumps() for t in (*tiles, *whole)} == {
        t.dumps() for t in load(store, origin, edges.values())
    }
    assert sorted(edges.values(), key=lambda e: e.feature) == load_edges(store, origin)
    assert [t for t in tiles if t.feature == "x" and t.start == AT + HOUR] == load(
        store, origin, [edges["x"]], start=AT + HOUR, end=AT + 2 * HOUR
    )
    assert [] == load(store, Origin("checkout_v1", "served"), edges.values())
