"""What a definition computes with that is not proven on every engine is named (semantics rule 9).

It is named wherever it stands.
"""

from __future__ import annotations

import warnings
from datetime import datetime

import ibis
import pyarrow as pa
import pytest
from ibis import _

from workbench import EventSource, GroupBy, Join, backfill, days, each, preview, trailing
from workbench.portable.unproven_operations import UnprovenOperation, doubt, unproven

EVENTS = ibis.table(
    {
        "k": "string",
        "t": "timestamp",
        "x": "float64",
        "i": "int64",
        "s": "string",
        "f": "float32",
        "z": "timestamp('UTC')",
        "items": "array<int64>",
        "m": "map<string, int64>",
    },
    name="events",
)


@ibis.udf.scalar.builtin
def soundex(text: str) -> str: ...


def group_by(table=EVENTS, *aggregations, **more):
    return GroupBy(
        name="g",
        source=EventSource(table, time="t"),
        keys=["k"],
        aggregations=aggregations or [table.count()],
        **more,
    )


def join(part, left=EVENTS, **derivations):
    return Join(
        name="j",
        left=EventSource(left.select("k", "t"), time="t"),
        parts=[part],
        derivations=derivations,
    )


def named(definition):
    return [d.what for d in unproven(definition)]


def test_an_operation_is_named_wherever_a_value_depends_on_it():
    in_source = EVENTS.mutate(odd=_.x.isnan().ifelse(1, 0))

    assert ["isnan()"] == named(group_by(in_source, in_source.odd.sum()))
    assert ["hash() of string"] == [
        f"{w} of string" for w in named(group_by(EVENTS.filter(EVENTS.s.hash() > 0)))
    ]
    assert ["re_extract()"] == named(
        group_by(EVENTS, EVENTS.s.re_extract("a+", 0).last().name("a"))
    )
    assert ["isinf()"] == named(group_by(EVENTS, EVENTS.x.sum(where=EVENTS.x.isinf()).name("a")))
    assert ["<<"] == named(group_by(EVENTS, (EVENTS.i.sum() << 2).name("a")))
    assert ["strftime()"] == named(
        group_by(EVENTS, EVENTS.t.last(), derivations={"name": _.t_last.strftime("%A")})
    )
    assert ["hash()"] == named(join(group_by(), h=_.g_count.hash()))


def test_what_no_value_depends_on_is_not_named():
    unused = EVENTS.mutate(odd=_.s.hash())

    assert [] == named(group_by(unused, unused.x.sum()))


def test_a_left_may_use_anything():
    assert [] == named(join(group_by(), left=EVENTS.mutate(k=_.s.reverse())))


def test_proven_operations_are_not_named():
    proven = [
        (EVENTS.x / EVENTS.i).mean().name("a"),
        EVENTS.s.strip().lower().last().name("b"),
        EVENTS.t.truncate("h").nunique().name("c"),
        (EVENTS.x.sum() / EVENTS.count()).round(2).name("d"),
        each(EVENTS.items).sum(),
    ]

    assert () == unproven(group_by(EVENTS, trailing(days(7), *proven)))


@pytest.mark.parametrize(
    ("value", "what", "instead"),
    [
        (
            soundex(EVENTS.s),
            "the function soundex() of your own",
            "write it with Ibis's operations",
        ),
        (EVENTS.x % 2.5, "% of float64", "cast it to one of decimal, int"),
        (EVENTS.f * 2, "* of float32", "cast it to one of decimal, float, int"),
        (EVENTS.x.cast("string"), "cast() of float64 to string", "store its result"),
        (EVENTS.s.split("."), "split()", "a written out separator without any of"),
        (EVENTS.s.re_search(r"\bword"), "re_search()", "plain characters, classes, groups"),
        (EVENTS.s.re_search("a(?=b)"), "re_search()", "plain characters"),
        (EVENTS.s.re_search("a$|b"), "re_search()", "plain characters"),
        (EVENTS.s.re_search(EVENTS.k), "re_search()", "a written out pattern"),
        (EVENTS.s.re_replace("a+b", "c"), "re_replace()", "one class"),
        (EVENTS.s.like("50\\%"), "like()", "without backslash"),
        (EVENTS.s.rpad(9, "ab"), "rpad()", "one character"),
        (EVENTS.x.round(EVENTS.i), "round()", "a number of digits that is written out"),
        (EVENTS.t.delta(EVENTS.t, unit="month"), "delta()", "weeks or shorter"),
        (EVENTS.t + ibis.interval(quarters=1), "time + interval", "no quarters"),
        (
            EVENTS.z + ibis.interval(days=1),
            "time + interval of timestamp('UTC')",
            "cast it to one of interval, timestamp",
        ),
        (EVENTS.m["a"], "map.get()", "store its result"),
        (EVENTS.items.sort(), "sort()", "store its result"),
        (EVENTS.s + "\x0b", "a text with control characters", "store it"),
    ],
)
def test_what_is_wrong_and_what_to_do_is_said(value, what, instead):
    (found,) = [d for n in value.op().find(ibis.expr.operations.Value) if (d := doubt(n))]

    assert isinstance(found, UnprovenOperation)
    assert what == found.what
    assert instead in found.instead


@pytest.fixture
def events(duck):
    # The tables' times are naive UTC.
    rows = pa.table(
        {"k": ["a"], "t": pa.array([datetime(2024, 1, 1)], pa.timestamp("us")), "s": ["ab"]}  # noqa: DTZ001
    )
    return duck.create_table("events", rows)


def test_a_backfill_runs_and_warns_once_by_name(events):
    part = group_by(
        events, events.s.reverse().last().name("r"), events.s.re_extract("b", 0).last().name("e")
    )

    with pytest.warns(UserWarning, match="j uses") as said:
        backfill(join(part, events))

    ours = [w for w in said if w.category is UserWarning]
    assert [
        (
            "j uses reverse() and re_extract(), not proven to give the same value on DuckDB,"
            " Postgres and Spark, so publish will refuse it; for reverse() and re_extract(), store"
            " its result as a column of the table"
        )
    ] == [str(w.message) for w in ours]
    assert [__file__] == [w.filename for w in ours]


def test_a_preview_warns_too(events):
    with pytest.warns(UserWarning, match="j uses reverse"):
        preview(join(group_by(events, events.s.reverse().last().name("r")), events))


def test_proven_operations_warn_of_nothing(events):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        backfill(join(group_by(events, events.s.upper().last().name("u")), events))
