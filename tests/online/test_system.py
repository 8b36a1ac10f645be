"""The store on the system's own Postgres, whose version is another.

One database compares texts by a language.
"""

from __future__ import annotations

import os

import cases
import psycopg
import pyarrow as pa
import pytest
from delivered_histories import CON, check, deliveries
from held import hold, table
from hypothesis import HealthCheck, Phase, given, seed, settings
from ibis import _
from psycopg.conninfo import make_conninfo
from value_cases import ASKING, ELEMENTS, EVERY, LEFT, LISTS, MIXED, NESTED, ROWS, D, held, named

from workbench import EventSource, GroupBy, Join, bottom_k, days, histogram, top_k
from workbench.online import Store

pytestmark = pytest.mark.slow

LANGUAGE = (
    "create database language template template0 encoding 'UTF8' locale_provider icu icu_locale"
    " 'en-US' locale 'C.UTF-8'"
)


@pytest.fixture(scope="module")
def system_store(system_server):
    made = Store(system_server)
    yield made
    made.close()


@pytest.fixture(scope="module")
def language_store(system_server):
    """A store in a database whose texts compare as an English dictionary has them."""
    with psycopg.connect(system_server, autocommit=True) as con:
        try:
            con.execute(LANGUAGE)
        except psycopg.Error as error:
            pytest.skip(f"the system's Postgres has no ICU: {error}")
    made = Store(make_conninfo(system_server, dbname="language"))
    yield made
    made.close()


@seed(23)
@settings(
    max_examples=int(os.environ.get("WORKBENCH_SYSTEM_HISTORIES", "36")),
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(case=cases.cases, delivery=deliveries)
def test_the_promise_holds_on_the_systems_own_postgres(system_store, case, delivery):
    check(system_store, CON, case, delivery)


@pytest.mark.parametrize("by", [None, "c"])
def test_every_reduction_is_fetched_alike_on_the_systems_own_postgres(system_store, duck, by):
    held(system_store, duck, MIXED, ROWS, LEFT, named(EVERY, days(4), by), scale=1e10)


@pytest.mark.parametrize("what", ["a list", "a map", "texts, times and flags"])
def test_elements_are_reduced_alike_on_the_systems_own_postgres(system_store, duck, what):
    held(system_store, duck, NESTED, LISTS, ASKING, named(ELEMENTS[what], days(9), "c"), scale=1e3)


def test_texts_compare_by_bytes_where_the_database_compares_them_by_a_language(
    language_store, duck
):
    types = {
        "k": pa.string(),
        "t": pa.timestamp("us"),
        "c": pa.string(),
        "s": pa.string(),
        "l": pa.list_(pa.string()),
    }
    words = ["b", "B", "a", "A", "é", "E", "z", "Z", "ä", "a b", "ab", "a-b", "_"]
    rows = [
        {"k": k, "t": D[0], "c": w, "s": w, "l": [w, words[-i]]}
        for i, w in enumerate(words)
        for k in ("K", "k")
    ]
    events = table(duck, "events", rows, types)
    left = [
        {"row": i, "k": k, "t": D[3], "word": w}
        for i, (k, w) in enumerate((k, w) for k in ("K", "k", "ķ") for w in words[:6])
    ]
    lefts = table(
        duck,
        "lefts",
        left,
        {"row": pa.int64(), "k": pa.string(), "t": pa.timestamp("us"), "word": pa.string()},
    )
    asked = [
        _.s.min(),
        _.s.max(),
        _.s.first(),
        _.s.last(),
        top_k(_.s, 5),
        bottom_k(_.s, 5),
        _.s.mode(),
        histogram(_.s, 4),
        _.s.nunique(),
        _.s.group_concat(","),
        _.s.argmax(_.c),
        _.s.argmin(_.c),
        _.s.collect(),
    ]
    group_by = GroupBy(
        name="g",
        source=EventSource(events, time="t"),
        keys=["k"],
        aggregations=[*named(asked), *named([_.s.max().name("x")], by="c")][: len(asked)],
    )
    derivations = {
        "less": _.word < _.g_f0,
        "up": _.word.upper(),
        "low": _.g_f1.lower(),
        "same": _.word == _.g_f2,
        "most": _.g_f0 < _.g_f1,
        "key": _.k < _.word,
    }

    hold(
        language_store,
        Join(
            name="j", left=EventSource(lefts, time="t"), parts=[group_by], derivations=derivations
        ),
        duck,
    )
