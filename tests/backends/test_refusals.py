"""C12: an engine's error says the reason and the feature in a few lines.

The SQL stands behind `.sql`.
"""

from __future__ import annotations

import pytest
from ibis import _

from workbench import EventSource, GroupBy, Join, backfill, days, trailing
from workbench.backends import EngineError
from workbench.backends.engine_refusals import MAX_REASON_CHARACTERS, reason

EVENTS = (
    "select 'a' as k, 'abc' as s, 1 as v, cast(9223372036854775807 as bigint) as big, timestamp"
    " '2024-01-01' as ts"
)
LEFT = "select 'a' as k, timestamp '2024-01-02' as ts"


def made(con, *aggregations):
    for name, query in {
        "refused_events": f"{EVENTS} union all {EVENTS}",
        "refused_left": LEFT,
    }.items():
        if con.name == "pyspark":
            con.raw_sql(query).createOrReplaceTempView(name)
        else:
            con.raw_sql(f"drop table if exists {name}")
            con.raw_sql(f"create table {name} as {query}")
    events, left = con.table("refused_events"), con.table("refused_left")
    group_by = GroupBy(
        name="g",
        source=EventSource(events, time="ts"),
        keys=["k"],
        aggregations=[trailing(days(3, 7), _.v.sum()), *aggregations],
    )
    return Join(name="refused", left=EventSource(left, time="ts"), parts=[group_by])


@pytest.mark.parametrize(
    "fault",
    [_.big.sum(), _.s.cast("int64").sum().name("whole")],
    ids=["a sum beyond 64 bits", "a text that is no number"],
)
def test_the_reason_comes_first_and_then_the_feature(way, fault):
    con, plan = way
    join = made(con, fault)

    with pytest.raises(EngineError) as refused:
        backfill(join, plan=plan).to_pyarrow()

    lines = str(refused.value).splitlines()
    assert len(lines) <= 3
    assert f"in refused: '{join.outputs[-1].name}'" in lines[-1]
    assert "SELECT" not in str(refused.value)
    assert not any(
        noise in str(refused.value)
        for noise in ("Py4J", "py4j", "\tat ", "Traceback", "Background on this error")
    )
    assert refused.value.sql is None or "SELECT" in refused.value.sql


def test_a_question_that_fails_keeps_its_sql(duck):
    join = made(duck, _.big.sum())

    with pytest.raises(
        EngineError,
        match=r"failed on DuckDB: Conversion Error: .*; its SQL is in the error's \.sql",
    ) as refused:
        backfill(join, plan="pairs")

    assert "refused_events" in refused.value.sql


JAVA = (
    "An error occurred while calling o12.collect.\n: org.apache.spark.SparkException: Job"
    " aborted.\n\tat org.apache.spark.X(X.scala:1)\nCaused by: [DIVIDE_BY_ZERO] Division by zero."
    " Use try_divide. SQLSTATE: 22012\n\tat y"
)
WORKER = (
    'Python worker failed\nTraceback (most recent call last):\n  File "k.py", line 1, in'
    " f\nOverflowError: a sum is 2^64\n\n\tat org.apache.spark.X(X.scala:1)"
)
ALCHEMY = (
    "(psycopg.errors.X) permission denied for table t\n[SQL: select 1]\n(Background on this error"
    " at: https://sqlalche.me/e/20/f405)"
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (JAVA, "[DIVIDE_BY_ZERO] Division by zero. Use try_divide. SQLSTATE: 22012"),
        (WORKER, "OverflowError: a sum is 2^64"),
        (
            WORKER.replace("OverflowError", "workbench.backends.kernel.OutOfRangeError"),
            "a sum is 2^64",
        ),
        (ALCHEMY, "(psycopg.errors.X) permission denied for table t"),
        ("", "ValueError"),
    ],
)
def test_a_reason_is_one_line_of_what_a_driver_says(text, said):
    assert said == reason(ValueError(text))


def test_a_long_reason_is_cut():
    assert MAX_REASON_CHARACTERS == len(reason(ValueError("x" * 5000)))
