"""`compare`: one definition on several engines; the certificate, and the rows that differ."""

from __future__ import annotations

import ibis
import pyarrow as pa
import pytest
from ibis import _

from workbench import (
    DefinitionError,
    EventSource,
    GroupBy,
    Join,
    compare,
    days,
    histogram,
    last_k,
    samples,
    trailing,
)
from workbench.commands import main
from workbench.quickstart import training_set

DAY = 1_704_067_200_000_000  # 2024-01-01
EVENTS = {
    "k": ["a", "a", "b"],
    "t": [DAY + 1, DAY + 2, DAY + 3],
    "n": [1, 2, 3],
    "x": [1e16, 0.1, 0.2],
    "s": ["u", "v", "u"],
}
LEFTS = {
    "id": [1, 2, 3, 3],
    "k": ["a", "b", None, None],
    "t": [DAY + 9, DAY + 86_400_000_000, DAY + 9, DAY + 9],
}


def loaded(con, **changed):
    """Load the events and left rows above on a connection, with some columns changed."""
    events = {**EVENTS, **changed}
    con.create_table(
        "compared_events",
        pa.table({**events, "t": pa.array(events["t"], pa.timestamp("us"))}),
        overwrite=True,
    )
    con.create_table(
        "compared_lefts",
        pa.table({**LEFTS, "t": pa.array(LEFTS["t"], pa.timestamp("us"))}),
        overwrite=True,
    )
    return con


def joined(*reductions, by=None, **more):
    """Return a join of unbound tables, which every connection is taken to have."""
    events = ibis.table(
        {"k": "string", "t": "timestamp", "n": "int64", "x": "float64", "s": "string"},
        name="compared_events",
    )
    lefts = ibis.table({"id": "int64", "k": "string", "t": "timestamp"}, name="compared_lefts")
    group_by = GroupBy(
        name="g",
        source=EventSource(events, time="t"),
        keys=["k"],
        aggregations=trailing(days(3), *reductions),
    )
    return Join(name="both", left=EventSource(lefts, time="t"), parts=[group_by], **more)


@pytest.fixture
def pair():
    return [loaded(ibis.duckdb.connect()), loaded(ibis.duckdb.connect())]


ALL = (_.n.sum(), _.x.mean(), _.s.last(), last_k(_.x, 2), histogram(_.s), _.count())


def test_two_engines_that_agree_are_certified(pair):
    got = compare(joined(*ALL), on=pair)

    assert got
    assert (4, 6, {}, ()) == (got.rows, got.features, got.differing, got.differences)
    assert ["DuckDB (1)", "DuckDB (2)"] == [w.label for w in got.ways]
    assert "both: equal: 24 values (4 rows x 6 features) are the same number both ways" in repr(got)
    assert [] == got.to_pandas().to_dict("records")


def test_one_connection_is_compared_by_its_two_plans(pair):
    got = compare(joined(*ALL), on=pair[0])

    assert got.equal
    assert [("DuckDB by pairs", "pairs"), ("DuckDB by kernel", "kernel")] == [
        (w.label, w.plan) for w in got.ways
    ]


def test_a_value_that_differs_is_named_with_its_row_and_both_numbers(pair):
    loaded(pair[1], n=[1, 2, 4])

    got = compare(joined(*ALL), on=pair)

    assert not got
    assert {"g_n_sum_3d": 1} == got.differing
    (one,) = got.differences
    assert (2, "b", "g_n_sum_3d", (3, 4)) == (one.left["id"], one.left["k"], one.feature, one.given)
    assert "differs: 1 of 24 values" in repr(got)
    assert "id=2, k=b" in repr(got)
    assert [
        {
            "id": 2,
            "k": "b",
            "feature": "g_n_sum_3d",
            "way": "DuckDB (1)",
            "value": 3,
            "other_way": "DuckDB (2)",
            "other_value": 4,
        }
    ] == got.to_pandas().drop(columns="t").to_dict("records")


@pytest.mark.parametrize(
    ("column", "values", "features"),
    [
        ("s", ["u", "v", "v"], {"g_s_last_3d": 1, "g_s_histogram_3d": 1}),
        ("x", [1e16, 0.1, None], {"g_x_average_3d": 1, "g_x_last2_3d": 1}),
    ],
)
def test_texts_lists_maps_and_nulls_that_differ_are_found(pair, column, values, features):
    loaded(pair[1], **{column: values})

    assert features == compare(joined(*ALL), on=pair).differing


def test_rows_that_one_side_lacks_are_differences_too(pair):
    pair[1].raw_sql(
        "delete from compared_lefts where id = 3; insert into compared_lefts values (3, null,"
        " timestamp '2024-01-01 00:00:00.000009')"
    )

    got = compare(joined(*ALL), on=pair)

    assert {None: 1} == got.differing
    assert (3, ("a row", None)) == (got.differences[0].left["id"], got.differences[0].given)
    assert "1 rows that one way lacks" in got.verdict


def test_a_sum_that_cancels_is_equal_by_the_sum_of_what_it_adds(pair):
    """Rule 11: the error is relative to the sum of |x|, not to what is left of it."""
    loaded(pair[0], x=[1e6, -1e6 + 1e-3, 5.0])
    loaded(pair[1], x=[1e6, -1e6 + 1.0000001e-3, 5.0])

    assert compare(joined(_.x.sum(), _.x.mean(), _.x.var()), on=pair).equal
    loaded(pair[1], x=[1e6, -1e6 + 1.1e-3, 5.0])
    assert {"g_x_sum_3d": 1, "g_x_average_3d": 1, "g_x_variance_3d": 1} == compare(
        joined(_.x.sum(), _.x.mean(), _.x.var()), on=pair
    ).differing


def test_a_derivation_may_be_as_far_off_as_what_it_is_made_of(pair):
    loaded(pair[0], x=[1e6, 0.0, 5.0])
    loaded(pair[1], x=[1e6 + 1e-9, 0.0, 5.0])

    assert compare(
        joined(_.x.sum(), _.x.max(), derivations={"left_over": _.g_x_sum_3d - 999_999.999}), on=pair
    ).equal


def test_days_outside_the_range_are_not_compared(pair):
    loaded(pair[1], n=[1, 2, 4])

    got = compare(joined(*ALL), end="2024-01-02", on=pair)

    assert (3, True) == (got.rows, got.equal)


def test_one_way_alone_is_refused():
    con = loaded(ibis.duckdb.connect())

    with pytest.raises(
        DefinitionError,
        match=(
            r"compare\(both\) has one way only, DuckDB by pairs: pass on=\[...\] with two or more"
            r" connections"
        ),
    ):
        compare(joined(_.count()), on=con, plan="pairs")


def test_the_page_says_what_the_text_says(pair):
    loaded(pair[1], n=[1, 2, 4])

    page = compare(joined(*ALL), on=pair)._repr_html_()

    assert 3 == page.count("<table>")
    assert all(
        said in page
        for said in ("differs", "1 of 24 values", "g_n_sum_3d", "rule 11", "DuckDB (2)")
    )


@pytest.mark.slow
def test_the_three_engines_give_the_quickstart_the_same_numbers(duck, postgres, spark, tmp_path):
    """The one promise, on the sample shop: counts, sums, lists, lookups, buckets, derivations."""
    samples.load(duck, samples.write(tmp_path / "shop"))
    for name in samples.TABLES:
        rows = duck.table(name).to_pyarrow()
        for con in (postgres, spark):
            con.create_table(name, rows, overwrite=True)

    got = compare(training_set, on=[duck, postgres, spark])

    assert got.equal, got
    assert ["DuckDB", "Postgres", "Spark"] == [w.engine for w in got.ways]
    assert 1 == len({w.rows for w in got.ways})
    assert "pairs" in got.ways[2].plan  # Spark's, which `test_contract.py` holds by the kernel


@pytest.mark.slow
def test_types_that_engines_name_differently_compare_equal(duck, postgres, spark):
    for con in (duck, postgres, spark):
        loaded(con)

    got = compare(joined(*ALL), on=[duck, postgres, spark])

    assert got.equal, got


def test_the_command_exits_with_1_where_something_differs(pair, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "defs.py").write_text(FILE)
    for name, n in (("one", 3), ("two", 3), ("three", 4)):
        con = loaded(ibis.duckdb.connect(tmp_path / f"{name}.duckdb"), n=[1, 2, n])
        con.disconnect()

    assert 0 == main.main(["compare", "defs.py:both", "--on", "one.duckdb", "--on", "two.duckdb"])
    assert 1 == main.main(["compare", "defs.py:both", "--on", "one.duckdb", "--on", "three.duckdb"])
    assert 2 == main.main(["compare", "defs.py:both", "--on", "four.duckdb"])

    out = capsys.readouterr()
    assert "both: equal: 4 values" in out.out
    assert "both: differs: 1 of 4 values" in out.out
    assert "--on four.duckdb is no file" in out.err


FILE = """
import ibis
from ibis import _
from workbench import EventSource, GroupBy, Join, days, trailing

events = ibis.table({"k": "string", "t": "timestamp", "n": "int64"}, name="compared_events")
lefts = ibis.table({"id": "int64", "k": "string", "t": "timestamp"}, name="compared_lefts")
g = GroupBy(
    name="g",
    source=EventSource(events, time="t"),
    keys=["k"],
    aggregations=trailing(days(3), _.n.sum()),
)
both = Join(name="both", left=EventSource(lefts, time="t"), parts=[g])
"""
