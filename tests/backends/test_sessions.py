"""No value depends on a session's settings (N10, N2; rules 1, 8, 9).

The settings are the zone, the forms of dates and numbers, the encoding, the order and ANSI.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import date, datetime

import cases
import ibis
import pytest
from ibis import _
from ibis import literal as lit

from workbench import EventSource, GroupBy, Join, each

HOSTILE = {
    "postgres": [
        "set timezone = 'America/New_York'",
        "set datestyle = 'SQL, DMY'",
        "set intervalstyle = 'sql_standard'",
        "set extra_float_digits = -10",
        "set client_encoding = 'LATIN1'",
        "set standard_conforming_strings = off",
        "set bytea_output = escape",
    ],
    "duckdb": [
        "set TimeZone = 'America/New_York'",
        "set default_order = 'DESC'",
        "set default_null_order = 'NULLS_FIRST'",
        "set integer_division = true",
    ],
    "pyspark": {
        "spark.sql.session.timeZone": "America/New_York",
        "spark.sql.ansi.enabled": "false",
    },
}
CALM = {
    "postgres": ["reset all", "set timezone = 'UTC'"],
    "duckdb": [
        "set TimeZone = 'UTC'",
        "reset default_order",
        "reset default_null_order",
        "set integer_division = false",
    ],
}


@contextmanager
def hostile(con):
    """Set the connection as an unlucky user's session has it."""
    if con.name == "pyspark":
        conf = con._session.conf  # noqa: SLF001 Ibis hands out no session
        before = {name: conf.get(name) for name in HOSTILE["pyspark"]}
        for name, value in HOSTILE["pyspark"].items():
            conf.set(name, value)
        yield
        assert HOSTILE["pyspark"] == {name: conf.get(name) for name in before}, (
            "the user's own settings are as they were"
        )
        for name, value in before.items():
            conf.set(name, value)
        return
    for statement in HOSTILE[con.name]:
        run(con, statement)
    yield
    for statement in CALM[con.name]:
        run(con, statement)


def run(con, statement):
    cursor = con.raw_sql(statement)
    if con.name == "postgres":
        cursor.close()


def tables(con):
    zoned = "timestamp" if con.name == "pyspark" else "timestamptz"
    at = (
        "timestamp '2024-01-05 03:00:00+00:00'"
        if con.name == "pyspark"
        else "timestamptz '2024-01-05 03:00:00+00'"
    )
    events = (
        f"select 'ž' as k, {at} as ts, '2024-02-03 04:05:06' as told, cast(0.1 as double"
        f" {'' if con.name == 'pyspark' else 'precision'}) as x, 'a\\b' as s, 7 as n"
    )
    if con.name == "pyspark":
        events = events.replace("'a\\b'", "'a\\\\b'")
    left = f"select 'ž' as k, cast('2024-01-05 03:00:01+00:00' as {zoned}) as ts"
    for name, query in (("session_events", events), ("session_left", left)):
        if con.name == "pyspark":
            # Ibis hands out no session
            con._session.sql(query).createOrReplaceTempView(name)  # noqa: SLF001
        else:
            run(con, f"drop table if exists {name}")
            run(con, f"create table {name} as {query}")
    return con.table("session_events"), con.table("session_left")


ASKED = {
    "day": (_.ts.date().max(), date(2024, 1, 5)),
    "hour": (_.ts.hour().max(), 3),
    "naive": (_.ts.cast("timestamp").max(), datetime(2024, 1, 5, 3)),  # noqa: DTZ001 naive is UTC
    "from_text": (_.told.cast("timestamp").max(), datetime(2024, 2, 3, 4, 5, 6)),  # noqa: DTZ001
    "compared": ((_.ts > _.told.cast("timestamp")).any(), False),
    "double": (_.x.sum(), 0.1),
    "letters": (_.s.last(), "a\\b"),
    "backslash": (_.n.sum(where=_.s == "a\\b"), 7),
    "quoted": (_.n.sum(where=_.s == "\\' or 1=1"), None),
    "divided": ((_.n.sum() / lit(2)), 3.5),
}


def test_a_value_is_the_same_whatever_the_session_is_set_to(way):
    con = way[0]
    events, left = tables(con)
    with hostile(con):
        group_by = GroupBy(
            name="g",
            source=EventSource(events, time="ts"),
            keys=["k"],
            aggregations=[e.name(n) for n, (e, _want) in ASKED.items()],
        )
        snapshot = GroupBy(
            name="s",
            source=EventSource(events, time="ts"),
            keys=["k"],
            aggregations=[_.n.sum()],
            accuracy="snapshot",
        )

        (got,) = cases.computed(
            way, Join(name="j", left=EventSource(left, time="ts"), parts=[group_by, snapshot])
        ).to_pylist()

    assert {n: want for n, (_e, want) in ASKED.items()} == {n: got[f"g_{n}"] for n in ASKED}
    assert ("ž", None) == (got["k"], got["s_n_sum"])


@pytest.mark.parametrize(
    "most", [lit(2**63 - 1, "int64"), lit(10**38 - 1, "decimal(38, 0)")], ids=["int64", "decimal38"]
)
def test_a_sum_that_does_not_fit_is_an_error_though_the_session_lets_casts_wrap(way, most):
    con = way[0]
    events, left = tables(con)
    rows = events.mutate(v=(_.n > 0).ifelse(most, 0))
    twice = EventSource(rows.mutate(l=ibis.array([rows.v, rows.v])), time="ts")
    with hostile(con):
        join = Join(
            name="j",
            left=EventSource(left, time="ts"),
            parts=[GroupBy(name="g", source=twice, keys=["k"], aggregations=[each(_.l).sum()])],
        )

        with pytest.raises(
            Exception,
            match=r"(?i)out of range|overflow|18446744073709551614|199999|represent|exceed",
        ):
            cases.computed(way, join)


def test_texts_compare_by_bytes_whatever_collation_a_column_has(way):
    con = way[0]
    collated = {
        "duckdb": "collate nocase",
        "postgres": 'collate "en-x-icu"',
        "pyspark": "collate UTF8_LCASE",
    }[con.name]
    if (
        con.name == "postgres"
        and not con.raw_sql("select 1 from pg_collation where collname = 'en-x-icu'").fetchall()
    ):
        pytest.skip("this Postgres has no ICU")
    values = (
        "(values ('B'), ('a'), ('b'), ('é'))"
        if con.name != "pyspark"
        else "values ('B'), ('a'), ('b'), ('é')"
    )
    query = f"select 'k' as k, timestamp '2024-01-01' as ts, v {collated} as v from {values} t(v)"
    left = "select 'k' as k, timestamp '2024-01-02' as ts"
    for name, one in (("collated", query), ("collated_left", left)):
        if con.name == "pyspark":
            # Ibis hands out no session
            con._session.sql(one).createOrReplaceTempView(name)  # noqa: SLF001
        else:
            run(con, f"drop table if exists {name}")
            run(con, f"create table {name} as {one}")
    aggregations = [
        _.v.min(),
        _.v.max(),
        _.v.nunique(),
        _.v.mode(),
        _.v.last(),
        _.v.count(where=_.v == "b").name("same"),
        _.v.count(where=_.v < "a").name("below"),
        _.v.upper().max().name("upper"),
    ]

    join = Join(
        name="j",
        left=EventSource(con.table("collated_left"), time="ts"),
        parts=[
            GroupBy(
                name="g",
                source=EventSource(con.table("collated"), time="ts"),
                keys=["k"],
                aggregations=aggregations,
            )
        ],
    )
    (got,) = cases.computed(way, join).to_pylist()

    assert ["B", "é", 4, "B", "é", 1, 1, "É"] == [v for c, v in got.items() if c.startswith("g_")]
