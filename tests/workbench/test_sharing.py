"""Several joins in one backfill: what they have in common is computed once."""

from __future__ import annotations

import re
from datetime import datetime

import pyarrow as pa
import pytest
from ibis import _

from workbench import (
    DefinitionError,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    backfill,
    days,
    trailing,
)
from workbench.backends.duckdb import DuckDB

NOON = datetime(2024, 1, 1, 12)  # noqa: DTZ001 the tables' times are naive UTC


@pytest.fixture
def asked(duck, monkeypatch):
    """Return the requests that reach the engine's own plan."""
    questions = []

    def as_of(self, question, really=DuckDB.as_of):
        questions.append(question)
        return really(self, question)

    monkeypatch.setattr(DuckDB, "as_of", as_of)
    return questions


def parts(con, n=5):
    con.create_table(
        "events",
        pa.table(
            {
                "k": ["a", "b"] * n,
                "t": [NOON.replace(minute=i) for i in range(2 * n)],
                "x": range(2 * n),
            }
        ),
        overwrite=True,
    )
    con.create_table(
        "lefts",
        pa.table(
            {
                "k": ["a", "b", "c"],
                "other": ["b", "a", "a"],
                "t": [datetime(2024, 1, 2)] * 3,  # noqa: DTZ001 the tables' times are naive UTC
                "amount": [1, 2, 3],
            }
        ),
        overwrite=True,
    )
    events = con.table("events")
    made = [
        GroupBy(
            name=name,
            source=EventSource(events, time="t"),
            keys=["k"],
            aggregations=trailing(days(3), r),
        )
        for name, r in (("sums", _.x.sum()), ("counts", _.count()))
    ]
    return EventSource(con.table("lefts"), time="t"), *made


def test_joins_that_share_a_part_ask_the_engine_once(duck, asked):
    left, sums, counts = parts(duck)
    joins = [
        Join(name="one", left=left, parts=[sums]),
        Join(
            name="two",
            left=left,
            parts=[JoinPart(sums, prefix="p", max_age=days(2)), counts],
            derivations={"rest": _.p_sums_x_sum_3d - _.amount},
        ),
    ]

    got = [t.order_by("k").to_pyarrow() for t in backfill(joins, plan="kernel")]

    assert 2 == len(asked)  # sums, and counts
    assert [backfill(j, plan="kernel").order_by("k").to_pyarrow() for j in joins] == got
    assert (
        [20, 25, None]
        == got[0]["sums_x_sum_3d"].to_pylist()
        == got[1]["p_sums_x_sum_3d"].to_pylist()
    )


def test_a_part_that_is_asked_by_other_keys_is_another_one(duck, asked):
    left, sums, _counts = parts(duck)
    joins = [
        Join(name="one", left=left, parts=[sums]),
        Join(name="two", left=left, parts=[JoinPart(sums, keys={"other": "k"})]),
    ]

    got = [
        t.order_by("k").sums_x_sum_3d.to_pyarrow().to_pylist()
        for t in backfill(joins, plan="kernel")
    ]

    assert 2 == len(asked)
    assert [[20, 25, None], [25, 20, 20]] == got


def test_lefts_that_differ_share_nothing(duck, asked):
    left, sums, _counts = parts(duck)
    some = EventSource(duck.table("lefts").filter(_.amount > 1), time="t")

    got = [
        t.count().to_pyarrow().as_py()
        for t in backfill(
            [Join(name="one", left=left, parts=[sums]), Join(name="two", left=some, parts=[sums])],
            plan="kernel",
        )
    ]

    assert ([3, 2], 2) == (got, len(asked))


def test_several_joins_have_no_one_place_to_be_written_to(duck):
    left, sums, _counts = parts(duck)

    with pytest.raises(
        DefinitionError,
        match=re.escape(
            "backfill of 1 joins gives their tables, and into='there' is one place: fill it by one"
            " join at a time"
        ),
    ):
        backfill([Join(name="one", left=left, parts=[sums])], into="there")
