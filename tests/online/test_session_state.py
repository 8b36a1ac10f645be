"""N2: no value depends on session settings of the environment, the role or the database."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import cases
import hostile
import psycopg
import pyarrow as pa
import pytest
from conftest import lacking
from delivered_histories import CON, check, deliveries
from held import hold, served, table
from hypothesis import HealthCheck, Phase, given, seed, settings
from ibis import _
from pooler import lacks_pooler, pooler
from psycopg.conninfo import make_conninfo

from workbench import EventSource, GroupBy, Join, histogram, last_k
from workbench.online import AsyncFetcher, Store, StoreError, fetch
from workbench.online.storage import session_state

pytestmark = pytest.mark.slow

T = datetime(2024, 1, 2, 3, 4, 5, 678901)  # noqa: DTZ001 the tables' timestamps are naive UTC
TYPES = {
    "k": pa.string(),
    "t": pa.timestamp("us"),
    "c": pa.string(),
    "x": pa.float64(),
    "d": pa.date32(),
    "u": pa.timestamp("us", "UTC"),
    "b": pa.binary(),
    "n": pa.decimal128(20, 6),
}
WORDS = ["José", "a\\b", "'\\'", "Ж", "z", "Z", "ä", "日本", "\\x41"]
ROWS = [
    {
        "k": k,
        "t": T + timedelta(hours=i),
        "c": w,
        "x": 0.1 * 3**i / 7,
        "d": (T + timedelta(days=i)).date(),
        "u": (T + timedelta(days=i)).replace(tzinfo=UTC),
        "b": w.encode(),
        "n": Decimal(i) / 8,
    }
    for k in WORDS
    for i, w in enumerate(WORDS)
]
ASKED = [
    _.x.sum(),
    _.x.max(),
    last_k(_.x, 3),
    last_k(_.u, 2),
    last_k(_.d, 2),
    _.c.min(),
    _.c.max(),
    _.c.last(),
    _.b.last(),
    _.n.sum(),
    _.u.max(),
    histogram(_.c, 20),
    _.count(),
    _.x.mean(),
]


@pytest.fixture(scope="module", params=["direct", "pooled"])
def hostile_store(request, system_server):
    """A store in a database whose settings are against it, by itself and behind a pooler."""
    url = hostile.hostile(system_server)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in hostile.ENVIRONMENT.items():
            patch.setenv(name, value)
        if request.param == "direct":
            with Store(url) as made:
                yield made
            return
        if reason := lacks_pooler():
            lacking(reason)
        with pooler(url, users=("hostile",)) as relayed, Store(relayed) as made:
            yield made


def join(duck):
    events = table(duck, "events", ROWS, TYPES)
    lefts = table(
        duck,
        "lefts",
        [
            {"row": i, "k": k, "t": T + timedelta(days=2)}
            for i, k in enumerate([*WORDS, "nobody", None])
        ],
        {"row": pa.int64(), "k": pa.string(), "t": pa.timestamp("us")},
    )
    asked = [a.name(f"f{i}") for i, a in enumerate(ASKED)]
    parts = [
        GroupBy(name="g", source=EventSource(events, time="t"), keys=["k"], aggregations=asked)
    ]
    derivations = {
        "day": _.g_f4.length(),
        "up": _.g_f7.upper(),
        "less": _.g_f5 < _.g_f6,
        "same": _.k == _.g_f7,
    }
    return Join(name="j", left=EventSource(lefts, time="t"), parts=parts, derivations=derivations)


def test_every_value_is_the_backfills_in_a_session_that_is_against_it(hostile_store, duck):
    got = hold(hostile_store, join(duck), duck, scale=1e3)

    assert [len(WORDS)] * len(WORDS) + [0, None] == [r["g_f12"] for r in got]


@seed(29)
@settings(
    max_examples=8, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(case=cases.cases, delivery=deliveries)
def test_the_promise_holds_in_a_session_that_is_against_it(hostile_store, case, delivery):
    check(hostile_store, CON, case, delivery)


def test_asyncio_and_the_served_log_give_the_same_in_such_a_session(hostile_store, duck):
    async def asked(name):
        async with AsyncFetcher(hostile_store, connections=2) as fetcher:
            return await fetcher.fetch(name, [{"k": k} for k in WORDS], at=T + timedelta(days=2))

    with served(hostile_store, join(duck), duck) as plan:
        want = fetch(hostile_store, plan.name, [{"k": k} for k in WORDS], at=T + timedelta(days=2))
        with hostile_store.connection() as con:
            con.execute("delete from workbench.served")
        hostile_store.sample = 1.0
        got = asyncio.run(asked(plan.name))
        hostile_store.sample = 0.0
        with hostile_store.connection() as con:
            kept = con.execute(
                "select count(*), count(distinct keys ->> 'k') from workbench.served where name ="
                " %s and features ->> 'g_f7' = %s",
                (plan.name, WORDS[-1]),
            ).fetchall()

    assert [dict(a) for a in want] == [dict(a) for a in got]
    assert [(len(WORDS), len(WORDS))] == kept


def test_the_sql_function_gives_the_same_numbers_to_a_caller_whose_session_is_against_it(
    hostile_store, system_server, duck
):
    caller = make_conninfo(system_server, dbname="hostile", user="hostile")
    with (
        served(hostile_store, join(duck), duck) as plan,
        psycopg.connect(caller, autocommit=True) as con,
    ):
        assert "LATIN1" == con.info.encoding.upper().replace("ISO8859-1", "LATIN1")
        con.execute("set client_encoding = 'UTF8'")  # or no key of another alphabet could be asked
        for k in WORDS:
            want = fetch(hostile_store, plan.name, k=k, at=T + timedelta(days=2))
            names = [
                "g_f0",
                "g_f1",
                "g_f5",
                "g_f6",
                "g_f7",
                "g_f2",
                "g_f9",
                "g_f11",
                "g_f12",
                "g_f13",
                "up",
                "same",
            ]
            (got,) = (
                con.cursor(binary=True)
                .execute(
                    f"select {', '.join(names)} from features.{plan.name}(%s, %s)",
                    (k, (T + timedelta(days=2)).replace(tzinfo=UTC)),
                )
                .fetchall()
            )

            assert [want[n] for n in names] == list(got)


@pytest.mark.parametrize("kind", ["pool", "held", "engine", "fetcher"])
def test_every_kind_of_connection_has_the_same_settings(hostile_store, kind):
    shown = [*session_state.MEANING, "transaction_isolation"]
    ask = f"select {', '.join(f'''pg_catalog.current_setting('{n}')''' for n in shown)}"
    if kind == "engine":
        with hostile_store.catalog() as con:
            (got,) = con.exec_driver_sql(ask).fetchall()
    elif kind == "fetcher":

        async def told():
            async with AsyncFetcher(hostile_store, connections=1, limit=7) as fetcher:
                return await fetcher._told(ask)  # noqa: SLF001 any statement of its

        (got,) = asyncio.run(told())
    else:
        with hostile_store.connection() if kind == "pool" else hostile_store.held() as con:
            (got,) = con.execute(ask).fetchall()

    got = [value.strip('"') for value in got]
    want = session_state.MEANING | {"transaction_isolation": "read committed"}
    # A fetcher behind a pooler runs one statement alone.
    relaxed = (
        {"transaction_isolation"} if kind == "fetcher" and hostile_store.access.relayed else set()
    )
    assert {n: v for n, v in want.items() if n not in relaxed} == {
        n: v for n, v in zip(shown, got, strict=True) if n not in relaxed
    }


def test_only_what_is_otherwise_is_set_in_a_transaction(system_server):
    """N2, C6: behind a pooler each fetch pays for this, and one of the settings reads a file."""
    shown = (
        "select"
        f" {', '.join(f'''pg_catalog.current_setting('{n}')''' for n in session_state.MEANING)}"
    )
    local = "select name from pg_catalog.pg_settings where source = 'session' and name = any(%s)"
    with psycopg.connect(system_server, autocommit=True) as con:
        con.execute(
            "set timezone = 'Asia/Tokyo'; set extra_float_digits = -10; set search_path = 'nowhere'"
        )
        before = dict(zip(session_state.MEANING, con.execute(shown).fetchone(), strict=True))
        with con.transaction():
            con.execute("set local intervalstyle = 'iso_8601'")
            con.execute(session_state.of_statement(session_state.MEANING))
            within = con.execute(shown).fetchone()
            touched = {
                n.lower()
                for (n,) in con.execute(
                    local,
                    (["timezone_abbreviations", "bytea_output", "IntervalStyle", "TimeZone"],),
                ).fetchall()
            }
        after = con.execute(shown).fetchone()

    assert session_state.MEANING == dict(zip(session_state.MEANING, within, strict=True))
    assert list(before.values()) == list(after)
    assert {"intervalstyle", "timezone"} == touched


def test_a_database_that_is_not_utf8_is_refused_in_a_sentence(system_server):
    with psycopg.connect(system_server, autocommit=True) as con:
        con.execute("drop database if exists latin")
        con.execute("create database latin template template0 encoding 'LATIN1' locale 'C'")

    with pytest.raises(
        StoreError,
        match=r"the database latin of .* holds texts as LATIN1, .* make one by create database",
    ):
        Store(make_conninfo(system_server, dbname="latin"))


def test_a_policy_never_hides_rows_quietly(system_server, duck):
    """N2: with `row_security`, a reader whom a policy keeps from rows gets an error.

    The reader is given no smaller number.
    """
    with psycopg.connect(system_server, autocommit=True) as con:
        con.execute("drop database if exists policed")
        con.execute("create database policed template template0 encoding 'UTF8'")
        con.execute("drop role if exists policed")
        con.execute("create role policed login")
    url = make_conninfo(system_server, dbname="policed")
    made = join(duck)
    with Store(url) as store, served(store, made, duck) as plan:
        with psycopg.connect(url, autocommit=True) as con:
            for schema in ("workbench", "workbench_data"):
                con.execute(f"grant usage on schema {schema} to policed")
                con.execute(f"grant select on all tables in schema {schema} to policed")
            (rows,) = con.execute("select rows from workbench.states").fetchone()
            con.execute(f'alter table workbench_data."{rows}" enable row level security')
            con.execute(f'create policy few on workbench_data."{rows}" using ("time" > 1)')

        with (
            Store(make_conninfo(url, user="policed")) as reader,
            pytest.raises(StoreError, match="a policy hides from policed"),
        ):
            fetch(reader, plan.name, k="z", at=T + timedelta(days=2))


def test_what_the_address_asks_for_stays_beside_ours(system_server):
    """S5: the address sets options, application_name and the time to connect."""
    told = (
        "options=-c%20statement_timeout%3D54321%20--work_mem%3D7MB%20-c%20timezone%3DAsia/Tokyo"
        "&application_name=mine&connect_timeout=3"
    )
    place = psycopg.conninfo.conninfo_to_dict(system_server)
    url = f"postgresql://postgres@/postgres?host={place['host']}&port={place['port']}&{told}"
    with Store(url) as store:
        for one in (store.connection, store.held):
            with one() as con:
                got = con.execute(
                    "select pg_catalog.current_setting(n) from unnest(array['statement_timeout',"
                    " 'work_mem', 'timezone', 'application_name']) n"
                ).fetchall()
                assert [("54321ms",), ("7MB",), ("UTC",), ("mine",)] == got
        assert "connect_timeout=3" in store.access.conninfo


def test_days_are_days_of_utc(hostile_store, duck):
    """Texts of times, which JSON lists hold, are in UTC."""
    with served(hostile_store, join(duck), duck) as plan:
        got = fetch(hostile_store, plan.name, k="z", at=T + timedelta(days=2))

    assert [(T + timedelta(days=8 - i)).replace(tzinfo=UTC) for i in range(2)] == got["g_f3"]
    assert [(T + timedelta(days=8 - i)).date() for i in range(2)] == got["g_f4"]
