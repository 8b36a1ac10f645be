"""C4: a dated backfill compiles its plan once, however many steps run it.

This holds on every engine and for every plan.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pyarrow as pa
import pytest
from ibis import _

from workbench import EventSource, GroupBy, Join, backfill, days, trailing
from workbench.backends.table_results import LedgerEntry
from workbench.training.backfill_steps import gaps, steps

START = datetime(2024, 1, 1)  # noqa: DTZ001 naive is UTC
PLANS = [
    pytest.param(p, id="-".join(p), marks=[] if p[0] == "duck" else pytest.mark.slow)
    for p in (
        ("duck", "pairs"),
        ("duck", "kernel"),
        ("postgres", "pairs"),
        ("postgres", "kernel"),
        ("postgres", "running"),
        ("spark", "pairs"),
        ("spark", "kernel"),
    )
]


@pytest.fixture(params=PLANS)
def planned(request):
    engine, plan = request.param
    con = request.getfixturevalue(engine)
    hours = [START + timedelta(hours=7 * i) for i in range(80)]
    con.create_table(
        "stepped_events",
        pa.table(
            {
                "k": [str(i % 3) for i in range(80)],
                "t": pa.array(hours, pa.timestamp("us")),
                "v": list(range(80)),
            }
        ),
        overwrite=True,
    )
    left = [START + timedelta(days=2 * i + 1, hours=i) for i in range(6)]
    con.create_table(
        "stepped_lefts",
        pa.table(
            {
                "id": list(range(6)),
                "k": [str(i % 3) for i in range(6)],
                "t": pa.array(left, pa.timestamp("us")),
            }
        ),
        overwrite=True,
    )
    group_by = GroupBy(
        name="g",
        source=EventSource(con.table("stepped_events"), time="t"),
        keys=["k"],
        aggregations=[trailing(days(3), _.v.sum(), _.count()), _.v.mean()],
    )
    return (
        con,
        Join(
            name="stepped", left=EventSource(con.table("stepped_lefts"), time="t"), parts=[group_by]
        ),
        plan,
    )


@pytest.fixture
def written(planned, monkeypatch):
    """The expressions that are compiled to SQL."""
    found, kind = [], type(planned[0].compiler)
    real = kind.to_sqlglot
    monkeypatch.setattr(
        kind,
        "to_sqlglot",
        lambda self, expr, *args, **options: (
            found.append(expr),
            real(self, expr, *args, **options),
        )[1],
    )
    return found


def test_the_number_of_steps_writes_no_sql(planned, written, tmp_path):
    con, join, plan = planned
    counts, tables = [], []

    for step in (30, 3, 1):
        written.clear()
        tables.append(
            backfill(join, into=tmp_path / f"by_{step}", on=con, plan=plan, step=step)
            .order_by("id")
            .to_pyarrow()
            .to_pylist()
        )
        counts.append(len(written))

    assert counts[1] == counts[2]
    assert tables[0] == tables[1] == tables[2]
    assert 6 == len(tables[0])


@pytest.mark.parametrize("engine", ["duck", pytest.param("postgres", marks=pytest.mark.slow)])
def test_nor_do_those_of_a_table(request, engine, monkeypatch):
    planned = request.getfixturevalue(engine)
    planned.create_table(
        "stepped_asked",
        pa.table(
            {
                "k": ["0"] * 9,
                "t": pa.array([START + timedelta(days=i) for i in range(9)], pa.timestamp("us")),
            }
        ),
        overwrite=True,
    )
    source = EventSource(planned.table("stepped_asked"), time="t")
    found, kind = [], type(planned.compiler)
    real = kind.to_sqlglot
    monkeypatch.setattr(
        kind,
        "to_sqlglot",
        lambda self, expr, *args, **options: (
            found.append(expr),
            real(self, expr, *args, **options),
        )[1],
    )
    counts = []

    for step in (4, 1):
        found.clear()
        group_by = GroupBy(name="g", source=source, keys=["k"], aggregations=[_.count()])
        backfill(
            Join(name="asked", left=source, parts=[group_by]), into=f"stepped_by_{step}", step=step
        )
        counts.append(len(found))

    assert counts[0] == counts[1]
    assert list(range(9)) == sorted(
        planned.table("stepped_by_1").to_pyarrow()["g_count"].to_pylist()
    )


def entries(*numbers):
    return [LedgerEntry(date(2024, 1, n), "j", "", {}, {}) for n in numbers]


@pytest.mark.parametrize(
    ("todo", "others", "length", "want"),
    [
        ((1, 2, 3, 4, 5), (), 2, [[1, 2], [3, 4], [5]]),
        ((1, 3, 5, 9), (), 30, [[1, 3, 5, 9]]),
        ((1, 3, 5, 9), (), 5, [[1, 3, 5], [9]]),
        ((1, 2, 4, 5), (3,), 30, [[1, 2], [4, 5]]),
        ((2, 6), (1, 7), 30, [[2, 6]]),
        ((), (1,), 30, []),
    ],
)
def test_a_step_reaches_over_empty_days_and_over_no_day_that_is_left_alone(
    todo, others, length, want
):
    assert want == [
        [e.day.day for e in s.entries]
        for s in steps(entries(*todo), [date(2024, 1, n) for n in others], length)
    ]


def test_gaps_are_what_no_day_is_in():
    found = list(
        gaps(
            [date(2024, 1, 2), date(2024, 1, 3), date(2024, 1, 6)],
            date(2024, 1, 1),
            date(2024, 1, 8),
        )
    )

    assert [(1, 2), (4, 6), (7, 8)] == [(a.day, b.day) for a, b in found]
    assert [(date.min, date.max)] == list(gaps([], None, None))
