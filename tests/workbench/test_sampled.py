"""A group-by and a reduction without a name, looked at for a sample of keys."""

from __future__ import annotations

import ibis
import pytest
from ibis import _

from workbench import (
    DefinitionError,
    EventSource,
    Join,
    backfill,
    days,
    preview,
    quickstart,
    samples,
    trailing,
)
from workbench.live import Request
from workbench.previews.distribution import distribution
from workbench.previews.grid_page import wanted_features


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    con = ibis.duckdb.connect()
    samples.load(con, samples.write(tmp_path_factory.mktemp("shop")))
    return con


@pytest.mark.parametrize("name", ["purchases_v1", "users_v1"])
def test_a_group_by_is_shown_for_keys_as_a_backfill_gives_them(shop, name):
    group_by = getattr(quickstart, name)

    seen = preview(group_by, on=shop, rows=100)

    left = ibis.memtable([{"user_id": r["user_id"], "t": r["t"]} for r in seen.rows])
    shop.create_table("asked", left, overwrite=True)
    expected = (
        backfill(
            Join(name="x", left=EventSource(shop.table("asked"), time="t"), parts=[group_by]),
            on=shop,
        )
        .to_pyarrow()
        .to_pylist()
    )
    assert sorted(map(str, expected)) == sorted(map(str, seen.rows))
    assert 100 == len({r["user_id"] for r in seen.rows})


def test_a_sample_is_the_same_each_time(shop):
    first, second = (preview(quickstart.returns_v1, on=shop) for _n in range(2))

    assert first.rows == second.rows
    assert first._repr_html_() == second._repr_html_()


def test_a_reduction_is_seen_before_it_has_a_name(shop):
    purchases = shop.table("purchases")
    bare = purchases.purchase_price.sum() / purchases.count()

    seen = preview(bare, keys="user_id", time="ts")
    like = preview(trailing(days(7), _.purchase_price.max()), of=quickstart.purchases_v1, on=shop)

    one = seen.rows[0]
    mine = purchases.filter(purchases.user_id == one["user_id"])
    assert one["preview_value"] == pytest.approx(
        mine.agg(v=mine.purchase_price.sum() / mine.count()).to_pyarrow()["v"][0].as_py()
    )
    assert "no name yet" in seen._repr_html_()
    assert ["preview_purchase_price_max_7d"] == [f.name for f in like.page.outputs]


def test_a_reduction_without_keys_or_table_says_what_to_give(shop):
    with pytest.raises(DefinitionError, match="with the keys and time of a group-by"):
        preview(shop.table("purchases").purchase_price.sum())
    with pytest.raises(DefinitionError, match="has no table"):
        preview(_.purchase_price.sum(), keys="user_id", time="ts")


def test_a_distribution_is_of_every_row_of_the_sample(shop):
    seen = preview(quickstart.purchases_v1, on=shop)
    name = "quickstart_purchases_v1_purchase_price_sum_3d"
    values = [r[name] for r in wanted_features(seen.page.near)]

    told = distribution(name, values)

    known = [v for v in values if v is not None]
    assert (100, 100 - len(known)) == (told.rows, told.nulls)
    assert (min(known), max(known)) == (told.quantiles[0], told.quantiles[-1])
    assert len(known) == sum(n for *_, n in told.bins)
    assert sum(known) / len(known) == pytest.approx(told.mean)
    drawn = (
        seen.live()[0]
        .answer(Request(1, "view", "tab", {"tab": "distribution"}), lambda _r: None)
        .parts["detail"]
    )
    assert f"{told.nulls} null" in drawn
    assert "all 100 sampled keys" in drawn


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([], (0, 0)),
        ([None, None], (2, 2)),
        ([1, 1, None], (3, 1)),
        ([True, False], (2, 0)),
        (["a", "b", "a"], (3, 0)),
        ([[1], [1], None], (3, 1)),
        ([1e300, -1e300], (2, 0)),
    ],
)
def test_any_values_have_a_distribution(values, said):
    told = distribution("x", values)

    assert said == (told.rows, told.nulls)
    if told.bins:
        assert len(values) - told.nulls == sum(n for *_, n in told.bins)


def test_a_bare_reduction_takes_windows(shop):
    price = shop.table("purchases").purchase_price

    seen = preview(price.sum(), windows=days(3, 14), keys="user_id", time="ts", at="2023-11-20")

    assert ["preview_purchase_price_sum_3d", "preview_purchase_price_sum_14d"] == [
        f.name for f in seen.page.outputs
    ]
    assert {"2023-11-20 00:00:00"} == {str(r["t"]) for r in seen.rows}


def test_a_file_that_was_read_without_a_name_is_called_a_file(duck, tmp_path):
    (tmp_path / "orders.csv").write_text("who,at,amount\na,2024-01-01 10:00:00,1\n")

    seen = preview(duck.read_csv(tmp_path / "orders.csv").amount.sum(), keys="who", time="at")

    assert "csv file count" in seen._repr_html_()
    assert "ibis_read" not in seen._repr_html_().split("<details")[0]
