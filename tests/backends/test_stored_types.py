"""N5 to N7, N9: an engine's own types and endless values become plain values (rules 8 to 10).

They do so where a source or a left is read: types that the engine stores under other names, and
times or numbers without an end.
"""

from __future__ import annotations

import cases
import ibis
import pytest
from ibis import _

from workbench import Aggregation, DefinitionError, EventSource, GroupBy, Join, JoinPart, bottom_k

T = "timestamp '2024-01-0"


def made(con, **tables):
    """Make tables of `con` from queries; on Spark, views."""
    for name, query in tables.items():
        if con.name == "pyspark":
            # Ibis hands out no session
            con._session.sql(query).createOrReplaceTempView(name)  # noqa: SLF001
            continue
        for statement in (f"drop table if exists {name}", f"create table {name} as {query}"):
            cursor = con.raw_sql(statement)
            if con.name == "postgres":
                cursor.close()
    return [con.table(name) for name in tables]


def sized(con):
    """Return an enum whose order is not that of its texts."""
    known = "duckdb_types() where type_name" if con.name == "duckdb" else "pg_type where typname"
    if not con.raw_sql(f"select 1 from {known} = 'size'").fetchall():
        cursor = con.raw_sql("create type size as enum ('small', 'medium', 'large')")
        if con.name == "postgres":
            cursor.close()


def join(events, left, *aggregations, keys=None, order=()):
    group_by = GroupBy(
        name="g",
        source=EventSource(events, time="ts", order=order),
        keys=["k"],
        aggregations=aggregations,
    )
    return Join(
        name="j", left=EventSource(left, time="ts"), parts=[JoinPart(group_by, keys=keys or {})]
    )


def rows(way, definition):
    return sorted(
        (
            tuple(v for c, v in r.items() if c.startswith("g_"))
            for r in cases.computed(way, definition).to_pylist(maps_as_pydicts="strict")
        ),
        key=str,
    )


def test_an_enum_is_a_text_as_key_order_bucket_and_condition(way):
    con = way[0]
    if con.name == "pyspark":  # has none
        return
    sized(con)
    events, left = made(
        con,
        st_events=(
            f"select v::size as k, v::size as v, n, {T}1' as ts from (values ('small', 1),"
            " ('large', 2), ('medium', 3), ('small', 4)) t(v, n)"
        ),
        st_left=(
            f"select v::text as k, {T}2' as ts from (values ('small'), ('large'), ('tiny')) t(v)"
        ),
    )
    one = events.mutate(k=ibis.literal("all"))
    ones = left.mutate(k=ibis.literal("all")).limit(1)

    by_key = rows(way, join(events, left, _.n.sum()))
    first = rows(
        way,
        join(
            one,
            ones,
            _.n.last(),
            _.v.max(),
            bottom_k(_.v, 2),
            Aggregation(_.n.sum(), by="v"),
            _.n.sum(where=_.v > "medium").name("after"),
            order=["v"],
        ),
    )

    assert [(2,), (5,), (None,)] == by_key
    assert [(4, "small", ["large", "medium"], {"large": 2, "medium": 3, "small": 5}, 5)] == first


KEYS = {
    "text": ("varchar(3)", "text"),
    "longer": ("varchar(3)", "varchar(9)"),
    "padded": ("char(3)", "text"),
    "padded both": ("char(3)", "char(6)"),
    "decimals": ("numeric(6, 2)", "numeric(12, 4)"),
}


@pytest.mark.parametrize("kinds", KEYS.values(), ids=KEYS)
def test_keys_compare_whatever_their_length_and_no_value_is_cut(way, kinds):
    con = way[0]
    event, asking = kinds
    value, longer = ("'12.5'", "'12.5001'") if "numeric" in event else ("'abc'", "'abcd'")
    longer = value if asking == "char(3)" else longer
    if con.name == "pyspark":  # whose casts know no varchar(n), and numbers by another name
        event, asking = (
            (
                k.split("(")[0]
                .replace("varchar", "string")
                .replace("char", "string")
                .replace("text", "string")
                if "numeric" not in k
                else k
            )
            for k in kinds
        )
    events, left = made(
        con,
        st_events=f"select cast({value} as {event}) as k, 1 as n, {T}1' as ts",
        st_left=(
            f"select cast({value} as {asking}) as k, {T}2' as ts union all select cast({longer} as"
            f" {asking}), {T}3'"
        ),
    )

    found = rows(way, join(events, left, _.n.sum()))

    assert [(1,), (None,)] == found


ADVICE = {
    ("int64", "float64"): "store both as one type",
    ("int32", "float64"): r"cast\('float64'\)",
    ("decimal(6, 2)", "int64"): r"cast\('decimal\(20, 0\)'\)",
    ("decimal(38, 0)", "decimal(38, 38)"): "store both as one type",
    ("float32", "float64"): r"cast\('float64'\)",
    ("int64", "string"): r"cast\('string'\)",
    ("string", "int64"): r"cast\('string'\)",
    ("string(3)", "int64"): r"cast\('string'\)",
    ("date", "timestamp"): r"cast\('timestamp'\)",
    ("timestamp", "timestamp('UTC')"): "UTC",
    ("uuid", "string(36)"): r"cast\('string'\)",
}


@pytest.mark.parametrize("kinds", ADVICE, ids="-".join)
def test_a_cast_that_is_advised_for_keys_makes_no_two_keys_one(kinds):
    tables = [
        ibis.table({"k": kind, "n": "int64", "ts": "timestamp"}, name=name)
        for name, kind in zip(("a", "b"), kinds, strict=True)
    ]

    for events, left in (tables, tables[::-1]):
        with pytest.raises(DefinitionError, match=ADVICE[kinds]):
            join(events, left, _.n.sum())


@pytest.mark.parametrize("kind", ["double precision", "real", "numeric(10, 2)", "numeric"])
def test_what_is_no_number_is_null_in_a_lefts_key(way, kind):
    con = way[0]
    if con.name != "postgres":
        if kind.startswith("numeric"):  # has no NaN
            return
        kind = "double" if kind.startswith("double") else "float"
    bad = ["NaN"] + (["Infinity", "-Infinity"] if "numeric(" not in kind else [])
    asking = " union all ".join(
        f"select cast('{b}' as {kind}) as k, {T}2' as ts" for b in (*bad, "0")
    )
    events, left = made(
        con,
        st_events=(
            f"select cast('NaN' as {kind}) as k, 7 as n, {T}1' as ts union all select cast('0' as"
            f" {kind}), 1, {T}1'"
        ),
        st_left=asking,
    )

    found = rows(way, join(events, left, _.count()))

    assert [(1,), *[(None,)] * len(bad)] == found


def test_a_time_without_an_end_is_no_time(way):
    con = way[0]
    if con.name == "pyspark":  # has none
        return
    events, left = made(
        con,
        st_events=(
            "select 'a' as k, n, t::timestamp as ts from (values (1, '-infinity'), (2, 'infinity'),"
            " (4, '2024-01-01')) t(n, t)"
        ),
        st_left=(
            "select 'a' as k, t::timestamp as ts from (values ('infinity'), ('-infinity'),"
            " ('2024-01-02')) t(t)"
        ),
    )

    with pytest.warns(UserWarning, match="2 of 3 rows of st_events have no ts"):
        found = rows(way, join(events, left, _.n.sum(), _.count()))

    assert [(4, 1), (None, None), (None, None)] == found
