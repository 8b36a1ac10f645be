"""Every reduction over every input type that it takes is the oracle's, on every engine and plan.

Items N5 to N7 and C1, rules 8 to 12.
"""

from __future__ import annotations

import os
from decimal import Decimal
from statistics import stdev

import cases
import pyarrow as pa
import pytest
import type_matrix as matrix
from ibis import _

from workbench import Aggregation, EventSource, GroupBy, Join, hours
from workbench.backends.equality import equal


@pytest.fixture(scope="module")
def tables(way):
    """Return the way's connection, and the history and the left there."""
    con = way[0]
    return matrix.loaded(con, matrix.there(con.name)), cases.stored(
        con, "matrix_left", matrix.left()
    )


def wrong(way, join, kinds, windows=tuple(matrix.WINDOWS)):
    """Return every cell that is not the oracle's, and how many were compared."""
    rows = {r["row"]: r for r in cases.computed(way, join).to_pylist(maps_as_pydicts="strict")}
    found, compared = [], 0
    for kind in kinds:
        for name, ask, window in matrix.features(kind, windows):
            for left in matrix.LEFT:
                want, scale = matrix.expected(kind, ask, window, left)
                got = rows[left["row"]][f"{kind.name}_{name}"]
                compared += 1
                if not equal(want, got, scale):
                    found.append((kind.name, ask.name, window, left["k"], want, got))
    return found, compared


def test_spreads_of_decimals_keep_every_digit(way):
    """Rule 11: Spark's difference of two decimals of 38 digits drops the last.

    DuckDB computes it of rows that a window lacks.
    """
    con, plan = way
    if plan == "kernel":
        return
    tiny, most, hour = (
        [Decimal("1E-10"), Decimal("3E-10"), Decimal("2E-10")],
        Decimal("9" * 28 + "." + "9" * 10),
        3_600_000_000,
    )
    rows = [("a", i, d) for i, d in enumerate((tiny[0].copy_negate(), *tiny))] + [
        ("b", i, d)
        for i, d in enumerate((most.copy_negate(), tiny[0].copy_negate(), most, tiny[0], tiny[1]))
    ]
    kind = pa.schema({"k": pa.string(), "at": pa.timestamp("us"), "d": pa.decimal128(38, 10)})
    events = cases.stored(
        con,
        "digits",
        pa.Table.from_pylist(
            [{"k": k, "at": matrix.moment(matrix.BASE + i * hour), "d": d} for k, i, d in rows],
            kind,
        ),
    )
    left = cases.stored(
        con,
        "digits_left",
        pa.table(
            {
                "k": ["a", "b"],
                "t": pa.array([matrix.moment(matrix.BASE + 5 * hour)] * 2, pa.timestamp("us")),
            }
        ),
    )
    asks = [Aggregation(_.d.std().name("s"), hours(h)) for h in (1, 2, 5)]

    join = Join(
        name="digits",
        left=EventSource(left, time="t"),
        parts=[
            GroupBy(name="g", source=EventSource(events, time="at"), keys=["k"], aggregations=asks)
        ],
    )
    got = {
        r["k"]: [r[f"g_s_{h}h"] for h in (1, 2, 5)] for r in cases.computed(way, join).to_pylist()
    }

    assert [None, None] == got["a"][:2]
    assert float(stdev(d for k, _i, d in rows if k == "a")) == pytest.approx(got["a"][2], rel=1e-9)
    assert float(stdev([tiny[0], tiny[1]])) == pytest.approx(got["b"][1], rel=1e-9)
    assert float(stdev(d for k, _i, d in rows if k == "b")) == pytest.approx(got["b"][2], rel=1e-9)


WAYS = [(con, plan) for con in ("duckdb", "postgres", "pyspark") for plan in ("pairs", "kernel")]
WHOLE = os.environ.get("WORKBENCH_TYPES") == "all"


def due(engine, plan, number, kind, *, whole=WHOLE):
    """Say whether a way, an engine and a plan, takes this type in this run.

    Each run takes every type on one or two of its ways and over one window; WORKBENCH_TYPES=all
    takes all ways and both windows.
    """
    ways = [w for w in WAYS if w[0] in kind.engines]
    return (engine, plan) in ways and (
        whole or (number + ways.index((engine, plan))) % min(4, len(ways)) == 0
    )


def test_a_run_takes_every_type():
    """N5 to N7: generated cases never held types that one engine has."""
    taken = [
        k.name
        for n, k in enumerate(matrix.KINDS)
        if any(due(*way, n, k, whole=False) for way in WAYS)
    ]

    assert [k.name for k in matrix.KINDS] == taken


@pytest.mark.parametrize(
    ("number", "kind"), list(enumerate(matrix.KINDS)), ids=[k.name for k in matrix.KINDS]
)
def test_every_reduction_that_takes_a_type_gives_what_the_oracle_says(way, tables, number, kind):
    if not due(way[0].name, way[1], number, kind):
        return
    windows = tuple(matrix.WINDOWS) if WHOLE else (list(matrix.WINDOWS)[number % 2],)

    found, compared = wrong(way, matrix.join(*tables, [kind], windows), [kind], windows)

    print(f"{compared} cells of {kind.name} compared on {way[0].name} by {way[1]}")
    assert not found
