"""Sketches in definitions: every way a group-by can ask for one (rule 13).

Each is held against exact values, within the stated bound.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import ibis
import oracle
import pyarrow as pa
import pytest
from ibis import _

from workbench import (
    Aggregation,
    DefinitionError,
    EntitySource,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    approx_histogram,
    approx_percentile,
    approx_unique_count,
    backfill,
    days,
    each,
    explain,
    hours,
    preview,
    trailing,
)
from workbench.definitions.sketch_reductions import bound

T = datetime(2024, 1, 9)  # noqa: DTZ001 the tables' times are naive UTC
N = 3_000
ROWS = [
    {
        "k": "ab"[i % 2],
        "t": T - timedelta(minutes=N - i),
        "x": i * 37 % 2_003,
        "s": f"s{i * i % 701}",
        "b": (None, "u", "v")[i % 3],
        "l": [i % 977, -i],
        "m": {"p": float(i), "q": 1.0},
    }
    for i in range(N)
]
SCHEMA = pa.schema(
    {
        "k": pa.string(),
        "t": pa.timestamp("us"),
        "x": pa.int64(),
        "s": pa.string(),
        "b": pa.string(),
        "l": pa.list_(pa.int64()),
        "m": pa.map_(pa.string(), pa.float64()),
    }
)
X = ibis.table({"x": "int64"}).x
COUNT, RANK, SHARE = (
    bound(e.op())
    for e in (approx_unique_count(X), approx_percentile(X, 0.5), approx_histogram(X, 8))
)


@pytest.fixture
def con(duck):
    duck.create_table(
        "events", pa.Table.from_pylist([r | {"m": list(r["m"].items())} for r in ROWS], SCHEMA)
    )
    duck.create_table("lefts", pa.table({"k": ["a", "b", "c", None], "t": [T] * 4}))
    return duck


def group_by(con, *aggregations, **options):
    return GroupBy(
        name="g",
        source=EventSource(con.table("events"), time="t"),
        keys=["k"],
        aggregations=aggregations,
        **options,
    )


def join(con, *parts):
    return Join(name="j", left=EventSource(con.table("lefts"), time="t"), parts=parts)


def answers(con, *parts):
    """Return the features of each key, under their names without the group-by's."""
    rows = backfill(join(con, *parts)).to_pyarrow().to_pylist(maps_as_pydicts="strict")
    return {
        r["k"]: {c.removeprefix("g_"): v for c, v in r.items() if c.startswith("g_")} for r in rows
    }


def of(key, what, since=timedelta(days=9)):
    """Return the values that `what` takes of a key's events."""
    return [x for r in ROWS if r["k"] == key and r["t"] >= T - since and (x := what(r)) is not None]


def test_bounds_are_those_of_the_settings():
    assert (0.0153, 0.0133, 0.0273) == tuple(round(b, 4) for b in (COUNT, RANK, SHARE))
    assert 0.0433 == round(bound(approx_unique_count(X, lg_k=8).op()), 4)
    assert 0.0205 == round(bound(approx_percentile(X, [0.5], k=128).op()), 4)
    assert bound(X.sum().op()) is None


def test_windows_conditions_and_expressions_are_within_the_bound(con):
    got = answers(
        con,
        group_by(
            con,
            trailing((*days(1), *hours(6)), approx_unique_count(_.s), approx_percentile(_.x, 0.9)),
            _.x.approx_nunique(where=_.b == "u").name("some"),
            (_.s.approx_nunique() / _.count()).name("ratio"),
        ),
    )

    for key in "ab":
        for span, since in (("1d", timedelta(days=1)), ("6h", timedelta(hours=6))):
            assert oracle.near_count(
                got[key][f"s_approx_unique_count_{span}"], of(key, lambda r: r["s"], since), COUNT
            )
            assert oracle.near_rank(
                got[key][f"x_approx_p90_{span}"],
                of(key, lambda r: float(r["x"]), since),
                0.9,
                2 * RANK,
            )
        assert oracle.near_count(
            got[key]["some"], of(key, lambda r: r["x"] if r["b"] == "u" else None), COUNT
        )
        assert abs(got[key]["ratio"] - len(set(of(key, lambda r: r["s"]))) / (N / 2)) < 0.02


def test_over_nothing_a_count_is_0_and_the_rest_null_and_all_are_null_without_a_key(con):
    got = answers(
        con,
        group_by(
            con,
            approx_unique_count(_.s),
            approx_percentile(_.x, 0.9),
            approx_percentile(_.x, [0.1]).name("several"),
            approx_histogram(_.s, 8),
            approx_unique_count(each(_.l)),
        ),
    )

    assert {
        "s_approx_unique_count": 0,
        "l_approx_unique_count": 0,
        "x_approx_p90": None,
        "several": None,
        "s_approx_histogram8": None,
    } == got["c"]
    assert {None} == set(got[None].values())


def test_elements_and_buckets_are_sketched_apart(con):
    got = answers(
        con,
        group_by(
            con,
            approx_unique_count(each(_.l)),
            approx_percentile(each(_.m), 0.5),
            Aggregation(approx_unique_count(_.s), by=_.b),
            Aggregation(approx_histogram(_.b, 2), by=_.b),
        ),
    )["a"]

    assert oracle.near_count(
        got["l_approx_unique_count"], [x for xs in of("a", lambda r: r["l"]) for x in xs], COUNT
    )
    assert all(
        oracle.near_rank(got["m_approx_p50"][m], of("a", lambda r, m=m: r["m"][m]), 0.5, 2 * RANK)
        for m in "pq"
    )
    assert all(
        oracle.near_count(
            got["s_approx_unique_count_by_b"][b],
            of("a", lambda r, b=b: r["s"] if r["b"] == b else None),
            COUNT,
        )
        for b in "uv"
    )
    assert {b: {b: N // 6} for b in "uv"} == got["b_approx_histogram2_by_b"]


def test_what_the_kernel_lacks_goes_by_pairs_beside_the_sketches(con):
    got = answers(
        con,
        group_by(
            con,
            approx_unique_count(_.s),
            _.l.nunique(),
            _.count(),
            Aggregation(approx_unique_count(_.s), by=_.b),
            Aggregation(_.l.nunique(), by=_.b),
        ),
    )

    assert (N // 2, N // 2, got["a"]["s_approx_unique_count"]) == (
        got["a"]["l_unique_count"],
        got["a"]["count"],
        answers(con, group_by(con, approx_unique_count(_.s)))["a"]["s_approx_unique_count"],
    )
    assert {"u": N // 6, "v": N // 6} == got["a"]["l_unique_count_by_b"]
    assert oracle.near_count(
        got["a"]["s_approx_unique_count_by_b"]["u"],
        of("a", lambda r: r["s"] if r["b"] == "u" else None),
        COUNT,
    )


@pytest.mark.parametrize("day", [None, "ds"])
def test_an_entity_is_sketched_by_the_rows_of_its_snapshot(con, day):
    old, new = (
        [{"ds": d, "k": k, "x": x} for k in ks for x in range(n)]
        for d, ks, n in (("2024-01-01", "ab", 40), ("2024-01-05", "a", 90))
    )
    con.create_table(
        "entity",
        pa.Table.from_pylist(
            (old if day else []) + new + [{"ds": None, "k": "b", "x": 1}] * bool(day)
        ),
    )
    # The tables' times are naive UTC.
    con.create_table(
        "asked",
        pa.table({"k": list("ababaz"), "t": [datetime(2024, 1, d) for d in (1, 1, 3, 3, 7, 7)]}),  # noqa: DTZ001
    )
    e = GroupBy(
        name="g",
        source=EntitySource(con.table("entity"), snapshot=day),
        keys=["k"],
        aggregations=[approx_unique_count(_.x), _.count(), approx_percentile(_.x, 0.5)],
    )
    asked = Join(
        name="j",
        left=EventSource(con.table("asked"), time="t"),
        parts=[JoinPart(e, max_age=None if day is None else days(1))],
    )

    rows = sorted(
        (r["t"].day, r["k"], r["g_x_approx_unique_count"], r["g_count"], r["g_x_approx_p50"])
        for r in backfill(asked).to_pyarrow().to_pylist()
    )

    expired, seen = (None, None, None), (90, 90, 44.0)
    if day is None:
        assert [
            (1, "a", *seen),
            (1, "b", 0, 0, None),
            (3, "a", *seen),
            (3, "b", 0, 0, None),
            (7, "a", *seen),
            (7, "z", 0, 0, None),
        ] == rows
    else:
        assert [
            (1, "a", 0, 0, None),
            (1, "b", 0, 0, None),
            (3, "a", 40, 40, 19.0),
            (3, "b", 40, 40, 19.0),
            (7, "a", *seen),
            (7, "z", 0, 0, None),
        ] == rows
        late = Join(
            name="j",
            left=EventSource(con.table("asked").mutate(t=_.t + ibis.interval(days=2)), time="t"),
            parts=asked.parts,
        )
        assert {expired} == {
            (r["g_x_approx_unique_count"], r["g_count"], r["g_x_approx_p50"])
            for r in backfill(late).to_pyarrow().to_pylist()
            if r["t"].day == 9
        }
    assert "by the kernel, since approx_unique_count is a sketch" in explain(asked).plan[1]


@pytest.mark.parametrize(
    "name",
    [
        "g_s_approx_unique_count_1h",
        "g_x_approx_p90_1h",
        "g_s_approx_histogram3_1h",
        "g_l_approx_unique_count_1h",
        "g_twice",
    ],
)
def test_a_preview_shows_what_stands_behind_a_sketch(con, name):
    g = group_by(
        con,
        trailing(
            hours(1),
            approx_unique_count(_.s),
            approx_percentile(_.x, 0.9),
            approx_histogram(_.s, 3),
            approx_unique_count(each(_.l)),
        ),
        derivations={"twice": _.s_approx_unique_count_1h * 2},
    )
    asked = join(con, g)

    seen = preview(asked, 2, name)

    expected = next(
        r
        for r in backfill(asked).to_pyarrow().to_pylist(maps_as_pydicts="strict")
        if r["k"] == seen.page.rows[1]["k"]
    )[name]
    assert expected == seen.value == seen.page.rows[1][name]
    assert 30 == seen.moment.count("counts")
    assert name in repr(seen)
    assert name in seen._repr_html_()


def test_a_dated_table_holds_sketches(con):
    asked = join(con, group_by(con, trailing(days(1), approx_unique_count(_.s))))

    assert (
        answers(con, *asked.parts)["a"]["s_approx_unique_count_1d"]
        == backfill(asked, into="sketched")
        .filter(_.k == "a")
        .g_s_approx_unique_count_1d.to_pyarrow()[0]
        .as_py()
    )


def test_a_plan_in_the_database_is_refused_with_what_it_takes(con):
    with pytest.raises(DefinitionError, match="plan='running' is none of DuckDB's"):
        backfill(join(con, group_by(con, approx_unique_count(_.s))), plan="running")
