"""The sample shop: deterministic, any size and skew, with what breaks a careless join in it."""

from __future__ import annotations

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from workbench import DefinitionError, backfill, quickstart, samples


def read(folder):
    return {name: pq.read_table(folder / f"{name}.parquet") for name in samples.TABLES}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return read(samples.write(tmp_path_factory.mktemp("shop")))


def test_the_same_seed_writes_the_same_rows(shop, tmp_path):
    again, other = read(samples.write(tmp_path / "a")), read(samples.write(tmp_path / "b", seed=8))

    assert all(shop[name].equals(again[name]) for name in samples.TABLES)
    assert not any(shop[name].equals(other[name]) for name in samples.TABLES)


def test_a_table_grows_without_changing_another(shop, tmp_path):
    bigger = read(samples.write(tmp_path, returns=5_000, checkouts=300))

    assert shop["purchases"].equals(bigger["purchases"])
    assert (5_000, 300) == (bigger["returns"].num_rows, bigger["checkouts"].num_rows)


def test_it_has_ties_nulls_late_rows_a_hot_user_and_events_on_window_edges(shop):
    bought, checkouts = shop["purchases"], shop["checkouts"]
    pairs = bought.group_by(["user_id", "ts"]).aggregate([("purchase_id", "count")])
    counts = bought.group_by("user_id").aggregate([("purchase_id", "count")]).to_pylist()
    shares = {r["user_id"]: r["purchase_id_count"] / bought.num_rows for r in counts}
    times = {(r["user_id"], r["ts"]) for r in bought.to_pylist()}
    gaps = {
        r["ts"] - t
        for r in checkouts.to_pylist()
        for u, t in times
        if u == r["user_id"] and u is not None
    }

    assert pc.any(pc.greater(pairs["purchase_id_count"], 1)).as_py()
    assert bought["user_id"].null_count
    assert bought["purchase_price"].null_count
    assert checkouts["user_id"].null_count
    assert pc.any(pc.greater(bought["arrived"], bought["ts"])).as_py()
    assert 0.17 < shares["0"] < 0.23
    assert {0, 3, 14} <= {g.days for g in gaps if not g.seconds and not g.microseconds}


def test_skew_follows_a_zipf_law(tmp_path):
    bought = read(samples.write(tmp_path, purchases=50_000, users=1_000, skew=1.2))["purchases"]

    counts = {
        r["user_id"]: r["purchase_id_count"]
        for r in bought.group_by("user_id").aggregate([("purchase_id", "count")]).to_pylist()
    }

    assert 1.9 < counts["1"] / counts["2"] < 2.7


def test_more_rows_than_a_chunk_are_written_whole(tmp_path):
    written = samples.write(tmp_path, purchases=samples.CHUNK + 10, returns=1, checkouts=1)

    ids = pq.read_table(written / "purchases.parquet")["purchase_id"]
    assert (samples.CHUNK + 10, 0, samples.CHUNK + 9) == (
        len(ids),
        pc.min(ids).as_py(),
        pc.max(ids).as_py(),
    )


def test_the_quickstart_runs_on_it(duck, tmp_path):
    samples.load(duck, samples.write(tmp_path))

    table = backfill(quickstart.training_set, on=duck)

    assert (200, 25) == (table.count().to_pyarrow().as_py(), len(table.columns))


def test_a_folder_without_the_tables_is_refused(duck, tmp_path):
    with pytest.raises(
        DefinitionError,
        match=(
            r"has no users.parquet and no users.csv: a shop is the four tables users, purchases,"
            r" returns, checkouts"
        ),
    ):
        samples.load(duck, tmp_path)
