"""Tests of features in a cell: what passes quietly, and how a failure reads.

A bug of the serving path is caught.
"""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from contextlib import ExitStack
from datetime import datetime
from decimal import Decimal

import ibis
import pytest
from conftest import ROOT
from ibis import _

import workbench as wb
from workbench import (
    CheckError,
    DefinitionError,
    EntitySource,
    EventSource,
    GroupBy,
    Join,
    approx_unique_count,
    check,
    days,
    each,
    hours,
    preview,
    trailing,
)
from workbench.feature_tests import feature_check, temporary_store, value_paths
from workbench.online.embedded import embedded_server
from workbench.online.fetching import fetch_values
from workbench.online.streaming import batch_values

TABLE = ibis.table(
    {
        "user": "string",
        "at": "timestamp",
        "price": "int64",
        "weight": "float64",
        "paid": "decimal(12, 2)",
        "items": "array<int64>",
        "kind": "string",
    },
    name="orders",
)
USERS = ibis.table({"user": "string", "ds": "string", "tier": "int64"}, name="users")
DUCK = ["duckdb"]
SPARK_RUNS = value_paths._spark_runs  # noqa: SLF001 before it is patched

#        t-3d             t
#     ---[a-------b-------)c----       in: a b   out: c (at the query time)
ORDERS = [
    {
        "user": "5",
        "at": "2024-01-01",
        "price": 100,
        "weight": 0.5,
        "paid": "1.50",
        "items": [1, 2],
        "kind": "x",
    },
    {"user": "5", "at": "2024-01-03T12:00:00", "price": 200, "kind": "y"},
    {"user": "5", "at": "2024-01-04", "price": 400, "kind": "x"},
]
T = "2024-01-04T00:00:00Z"


def orders(*aggregations, table=TABLE, topic="events.orders", **options):
    """Return a group-by of a user's orders; by default sums and counts over 3 days."""
    return GroupBy(
        name="orders_v1",
        source=EventSource(table, time="at", topic=topic),
        keys=["user"],
        aggregations=aggregations or [trailing(days(3), _.price.sum(), _.count())],
        **options,
    )


@pytest.fixture(scope="module")
def checks(tmp_path_factory):
    """A server for this module's checks, in a folder of its own.

    No environment variable names engines.
    """
    home = tmp_path_factory.mktemp("checks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(temporary_store, "HOME", home)
        patch.setattr(temporary_store, "OPEN_STORES", {})
        # The Spark session of other tests would cost each check some seconds.
        patch.setattr("workbench.feature_tests.value_paths._spark_runs", lambda: False)
        patch.delenv("WORKBENCH_ENGINES", raising=False)
        yield home
        for store in temporary_store.OPEN_STORES.values():
            store.close()
    embedded_server.stop(home)


# --- what passes


def test_a_check_that_holds_says_so_in_one_line():
    checked = check(
        orders(), ORDERS, at=T, expect={"price_sum_3d": 300, "count_3d": 2}, engines=DUCK
    )

    assert checked
    assert "orders_v1: 2 values x 2 paths agree (DuckDB by pairs, DuckDB by kernel)" == repr(
        checked
    )


@pytest.mark.slow
def test_a_check_runs_online_too_where_the_store_is_installed(checks):
    checked = check(orders(), ORDERS, at=T, expect={"price_sum_3d": 300})

    assert (
        "DuckDB by pairs",
        "DuckDB by kernel",
        "online (uploaded and streamed)",
        "online (after the next upload)",
    ) == checked.paths[:4]
    assert () == checked.notes


@pytest.mark.slow
def test_the_same_check_on_every_engine_that_the_environment_names(checks, spark, monkeypatch):
    monkeypatch.setenv("WORKBENCH_ENGINES", "duckdb, postgres,spark,online")
    group_by = orders(
        trailing(days(3), _.price.sum(), _.weight.mean(), _.paid.sum()), wb.last_k(_.price, 2)
    )

    # Beside a null, whole numbers that go by doubles are rounded.
    large = [
        {"user": "5", "at": "2024-01-02", "price": 2**53 + 1},
        {"user": "5", "at": "2024-01-02"},
    ]

    checked = check(
        group_by,
        [*ORDERS, *large],
        at=T,
        expect={
            "price_sum_3d": 2**53 + 301,
            "weight_average_3d": 0.5,
            "paid_sum_3d": Decimal("1.5"),
            "price_last2": [200, 2**53 + 1],
        },
    )

    assert (
        "DuckDB by pairs",
        "DuckDB by kernel",
        "Postgres by pairs",
        "Postgres by kernel",
        "Spark by pairs",
        "Spark by kernel",
        "online (uploaded and streamed)",
        "online (after the next upload)",
    ) == checked.paths
    assert SPARK_RUNS()  # and where nothing is named, an active session is used


@pytest.mark.slow
def test_exact_numbers_are_added_by_every_plan_of_postgres(checks):
    checked = check(
        orders(), ORDERS, at=T, expect={"price_sum_3d": 300, "count_3d": 2}, engines=["postgres"]
    )

    assert ("Postgres by pairs", "Postgres by running", "Postgres by kernel") == checked.paths


# A naive time is UTC.
@pytest.mark.parametrize(
    "at",
    [T, datetime(2024, 1, 4), "2024-01-04", "2024-01-04T01:00:00+01:00"],  # noqa: DTZ001
    ids=str,
)
def test_a_time_is_said_in_any_form(at):
    assert check(orders(), ORDERS, at=at, expect={"price_sum_3d": 300}, engines=DUCK)


def test_several_times_have_an_answer_each():
    # At the third time, the first order is before the window.
    times = [
        "2024-01-01",
        "2024-01-01T00:00:00.000001",
        "2024-01-04T00:00:00.000001",
        "2024-01-09",
    ]
    sums, counts = (None, 100, 600, None), (0, 1, 2, 0)

    assert check(
        orders(),
        ORDERS,
        at=times,
        expect=[{"price_sum_3d": s, "count_3d": n} for s, n in zip(sums, counts, strict=True)],
        engines=DUCK,
    )


def test_several_keys_have_an_answer_each():
    # The last event has no user.
    events = [
        *ORDERS,
        {"user": "6", "at": "2024-01-02", "price": 7},
        {"at": "2024-01-02", "price": 1_000},
    ]

    assert check(
        orders(),
        events,
        key=[{"user": "5"}, {"user": "6"}, {"user": "7"}],
        at=T,
        expect=[{"price_sum_3d": 300}, {"price_sum_3d": 7}, {"price_sum_3d": None, "count_3d": 0}],
        engines=DUCK,
    )


@pytest.mark.slow
def test_an_entity_is_checked_by_its_snapshots(checks):
    group_by = GroupBy(
        name="users_v1", source=EntitySource(USERS, snapshot="ds"), keys=["user"], features=["tier"]
    )
    snapshots = [
        {"user": "5", "ds": "2024-01-01", "tier": 1},
        {"user": "5", "ds": "2024-01-02", "tier": 2},
        {"user": "6", "ds": "2024-01-03", "tier": 9},
    ]

    checked = check(
        group_by,
        snapshots,
        key={"user": "5"},
        at=["2024-01-01T23:59:59", "2024-01-02", "2024-01-03", "2024-01-04"],
        expect=[{"tier": v} for v in (None, 1, 2, None)],
    )

    assert ("DuckDB", "online (uploaded)") == checked.paths[:2]


@pytest.mark.slow
def test_the_sources_own_expressions_are_applied_to_the_events(checks):
    raw = ibis.table(
        {"user": "string", "ms": "int64", "price": "int64", "ok": "boolean"}, name="raw"
    )
    table = raw.filter(raw.ok).mutate(at=raw.ms.as_timestamp("ms"), twice=raw.price * 2)
    events = [
        {"user": "5", "ms": 1_704_067_200_000, "price": 10, "ok": True},
        {"user": "5", "ms": 1_704_067_200_000, "price": 90, "ok": False},
    ]

    assert check(
        orders(trailing(days(3), _.twice.sum()), table=table),
        events,
        at="2024-01-02",
        expect={"twice_sum_3d": 20},
    )


@pytest.mark.slow
def test_buckets_elements_sketches_and_derivations_are_checked(checks):
    exact = orders(
        trailing(days(3), _.price.sum(), _.count(), each(_.items).sum()),
        wb.Aggregation(_.price.sum(), days(3), by="kind"),
        derivations={"mean": _.price_sum_3d / _.count_3d},
    )
    sketched = orders(trailing(days(3), approx_unique_count(_.price)))

    assert check(
        exact,
        ORDERS,
        at=T,
        expect={"price_sum_3d_by_kind": {"x": 100, "y": 200}, "items_sum_3d": 3, "mean": 150},
    )
    assert (
        "DuckDB" in check(sketched, ORDERS, at=T, expect={"price_approx_unique_count_3d": 2}).paths
    )


@pytest.mark.slow
def test_equal_events_count_as_often_as_they_are_there(checks):
    assert check(
        orders(),
        [ORDERS[0]] * 3 + [ORDERS[1]] * 2,
        at=T,
        expect={"price_sum_3d": 700, "count_3d": 5},
    )


def test_doubles_are_equal_by_the_bound_of_their_window():
    group_by = orders(trailing(days(3), _.weight.sum()))
    events = [{"user": "5", "at": "2024-01-02", "weight": w} for w in (1e6, 0.1, -1e6)]

    assert check(group_by, events, at=T, expect={"weight_sum_3d": 0.1 + 1e-7}, engines=DUCK)
    with pytest.raises(CheckError):
        check(group_by, events, at=T, expect={"weight_sum_3d": 0.1 + 1e-5}, engines=DUCK)


def test_definitions_over_rows_in_memory_are_checked_too():
    # naive UTC
    table = ibis.memtable({"user": ["1"], "at": [datetime(2024, 1, 1)], "price": [1]})  # noqa: DTZ001

    assert check(
        orders(table=table),
        [{"user": "5", "at": "2024-01-02", "price": 7}],
        at=T,
        expect={"price_sum_3d": 7},
        engines=DUCK,
    )


# --- what fails


FAILED = """\
orders_v1: 1 of 2 values is not what is expected

price_sum_3d of user='5' as of 2024-01-04 00:00:00 UTC
  expected  700
  got       300  by every path
  2 of 3 events count; the window is [t - 3 d, t): an event at t does not

  ●                                                 ●           ○
  [------------------------------------------------------------) t

                 event time (UTC)     value
  counts         2024-01-01 00:00:00    100
  counts         2024-01-03 12:00:00    200
  at or after t  2024-01-04 00:00:00    400"""


def test_a_failure_is_an_assertion_that_draws_the_events():
    with pytest.raises(AssertionError) as raised:
        check(orders(), ORDERS, at=T, expect={"price_sum_3d": 700, "count_3d": 2}, engines=DUCK)

    assert FAILED == str(raised.value)
    assert [f"CheckError: {FAILED}"] == raised.value._render_traceback_()
    assert not raised.value.checked


def test_a_failure_of_no_events_is_said_without_a_drawing():
    with pytest.raises(CheckError, match=r"expected  1\n  got       null  by every path$"):
        check(orders(), [], key={"user": "5"}, at=T, expect={"price_sum_3d": 1}, engines=DUCK)


def test_many_failures_are_counted_and_the_first_are_drawn():
    with pytest.raises(CheckError) as raised:
        check(
            orders(),
            ORDERS,
            at=["2024-01-0" + str(d) for d in range(2, 7)],
            expect=[{"price_sum_3d": 1}] * 5,
            engines=DUCK,
        )

    assert str(raised.value).startswith("orders_v1: 5 of 5 values are not what is expected")
    assert 3 == str(raised.value).count("event time (UTC)")
    assert str(raised.value).endswith(
        "price_sum_3d of case 4: expected 1\nprice_sum_3d of case 5: expected 1"
    )


def test_events_that_lack_their_time_are_no_warning_of_a_check():
    with pytest.raises(CheckError, match="expected  1\n  got       300"):
        check(
            orders(),
            [*ORDERS, {"user": "5", "price": 9}],
            at=T,
            expect={"price_sum_3d": 1},
            engines=DUCK,
        )


def test_a_failure_that_cannot_be_drawn_is_told(monkeypatch):
    monkeypatch.setattr("workbench.feature_tests.check_report._moment", lambda *_: 1 / 0)

    with pytest.raises(CheckError, match=r"expected  700\n  got       300  by every path$"):
        check(orders(), ORDERS, at=T, expect={"price_sum_3d": 700}, engines=DUCK)


def test_an_integer_is_no_float_and_null_is_no_zero():
    with pytest.raises(CheckError, match="expected  0\n  got       null"):
        check(orders(), ORDERS, at="2024-01-01", expect={"price_sum_3d": 0}, engines=DUCK)


def test_a_notebook_sees_ticks_for_each_path():
    html = check(orders(), ORDERS, at=T, expect={"price_sum_3d": 300}, engines=DUCK)._repr_html_()

    assert ["DuckDB by pairs", "DuckDB by kernel"] == re.findall(
        r'aria-label="agrees">✓</span> <span>([^<]+)</span>', html
    )


def test_a_notebook_sees_the_timeline_of_a_failure():
    with pytest.raises(CheckError) as raised:
        check(orders(), ORDERS, at=T, expect={"price_sum_3d": 700}, engines=DUCK)

    html = raised.value.checked._repr_html_()

    assert 1 == html.count(
        'role="img" aria-label="Timeline of orders_v1_price_sum_3d: 2 of 3 events count, 1 at or'
        ' after t"'
    )
    assert ["700", "300"] == re.findall(r"<td><code>(\d+)</code></td>", html)
    assert html == raised.value.checked._repr_html_()  # the same bytes each time


@pytest.mark.slow
def test_a_failure_in_a_notebook_is_drawn_and_its_traceback_is_the_message(monkeypatch, tmp_path):
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("WORKBENCH_ENGINES", "duckdb")
    source = (
        "import ibis\nfrom workbench import EntitySource, EventSource, GroupBy, check\nt ="
        " ibis.table({'user': 'string', 'at': 'timestamp', 'price': 'int64'}, name='orders')\ng ="
        " GroupBy(name='g', source=EventSource(t, time='at'), keys=['user'],"
        " aggregations=[t.price.sum()])\ncheck(g, [{'user': '5', 'at': '2024-01-01', 'price': 7}],"
        " at='2024-01-02', expect={'price_sum': 8})"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])

    NotebookClient(
        notebook,
        allow_errors=True,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()

    drawn, error = (
        o for o in notebook.cells[0].outputs if o.output_type in ("display_data", "error")
    )
    assert "Timeline of g_price_sum: 1 of 1 event count" in drawn.data["text/html"]
    assert 1 == len(error.traceback)
    assert error.traceback[0].startswith("CheckError: g: 1 of 1 value is not what is expected")


# --- bugs of the serving path


BUGS = {
    "an event at the query time counts": (
        fetch_values,
        "statement",
        lambda right: (
            lambda plan, *, many: right(plan, many=many).replace('"time" < ', '"time" <= ')
        ),
        "700",
    ),
    "an event at t - w is left out": (
        fetch_values,
        "statement",
        lambda right: (
            lambda plan, *, many: right(plan, many=many).replace('"time" >= ', '"time" > ')
        ),
        "200",
    ),
    "the last message of a batch is dropped": (
        batch_values.RowLevel,
        "rows",
        lambda right: lambda level, messages: right(level, messages)[:-1],
        "100",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_of_the_store_is_caught_and_named(checks, monkeypatch, bug):
    place, name, wrong, got = BUGS[bug]
    assert check(orders(), ORDERS, at=T, expect={"price_sum_3d": 300})
    monkeypatch.setattr(place, name, wrong(getattr(place, name)))

    with pytest.raises(CheckError) as raised:
        check(orders(), ORDERS, at=T, expect={"price_sum_3d": 300})

    assert re.search(
        rf"expected  300\n  got       {got}  by online \(uploaded and streamed\)", str(raised.value)
    )
    assert "DuckDB" not in str(raised.value)


@pytest.mark.slow
def test_an_error_of_the_store_is_what_it_gave(checks, monkeypatch):
    right = fetch_values.statement
    monkeypatch.setattr(
        fetch_values,
        "statement",
        lambda plan, **how: right(plan, **how).replace('"time" < ', '"time" / 0 < '),
    )

    with pytest.raises(CheckError, match=r"got       an error: .*division by zero"):
        check(orders(), ORDERS, at=T, expect={"price_sum_3d": 300}, engines=["online"])


@pytest.mark.slow
def test_nothing_of_a_check_stays_in_its_store_and_nothing_goes_into_another(
    checks, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    check(orders(), ORDERS, at=T, expect={"price_sum_3d": 300}, engines=["online"])

    (mine,) = temporary_store.OPEN_STORES.values()
    with mine.connection() as con:
        left = con.execute(
            "select count(*) from pg_tables where schemaname = 'workbench_data'"
        ).fetchone()

    assert [] == mine.names()
    assert (0,) == left
    assert [] == list(tmp_path.iterdir())  # the project's own store is not even made


@pytest.mark.slow
def test_a_checks_store_is_made_while_the_paths_before_it_are_computed(checks):
    """Section 4: a check's first seconds start a server, and nobody has to wait for it."""
    for store in map(temporary_store.OPEN_STORES.pop, list(temporary_store.OPEN_STORES)):
        store.close()
    given = feature_check.example(orders(), ORDERS, None, T, {"price_sum_3d": 300})

    with ExitStack() as opened:
        first = next(value_paths.paths(given, ["duckdb", "online"], opened, []))

    assert "DuckDB by pairs" == first.name
    assert [os.getpid()] == list(temporary_store.OPEN_STORES)


@pytest.mark.slow
def test_a_database_of_a_process_that_is_gone_is_dropped(checks):
    url = temporary_store.store().url
    with temporary_store.store().connection() as con:
        con.execute("create database check_999999999")

    code = (
        "from pathlib import Path; from workbench.feature_tests import temporary_store;"
        f" temporary_store.HOME = Path({str(checks)!r}); print(temporary_store.store().url)"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout

    with temporary_store.store().connection() as con:
        names = {
            n
            for (n,) in con.execute(
                "select datname from pg_database where datname like 'check%'"
            ).fetchall()
        }
    assert {n for n in names if n in url} == names  # its own went as it ended, and ours is there
    assert other.strip() != url


# --- what cannot be asked


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"events": [{"usr": "5"}]},
            "event 1 has 'usr', which is no column of orders: did you mean 'user'?",
        ),
        (
            {"expect": {"price_sum_3": 1}},
            "orders_v1 has no feature 'price_sum_3': did you mean 'price_sum_3d'?",
        ),
        ({"expect": {}}, "expects nothing"),
        (
            {"expect": {"price_sum_3d": 1.5}},
            "expect['price_sum_3d'] is 1.5, and the column is int64",
        ),
        (
            {"events": [{"user": "5", "at": "yesterday"}]},
            "'at' of event 1 is 'yesterday', and the column is timestamp",
        ),
        (
            {"events": [{"user": 5, "at": "2024-01-01"}]},
            "'user' of event 1 is 5, and the column is string",
        ),
        ({"events": ORDERS[0]}, "events of a check are a list of dicts"),
        (
            {"events": [*ORDERS, {"user": "6"}]},
            "the events are of 2 keys: say which user to ask for, key={'user': ...}",
        ),
        ({"events": []}, "no event says whose it is: say which user"),
        ({"key": {"usr": "5"}}, "is no key of orders_v1: it has user"),
        ({"at": [T, T]}, "at has 2 cases and expect is one"),
        (
            {"at": [T, T], "expect": [{"count_3d": 1}]},
            "at has 2 and expect has 1: lists of key, at and expect are of one length",
        ),
        ({"at": "soon"}, "at='soon' is no time"),
        ({"at": None}, "at=None is no time"),
        ({"engines": ["duck"]}, "there is no engine 'duck' to check on: did you mean 'duckdb'?"),
        ({"engines": []}, "a check needs an engine to run on"),
    ],
    ids=lambda g: g[:24] if isinstance(g, str) else "",
)
def test_what_is_not_there_is_refused_by_name(given, sentence):
    asked = {"events": ORDERS, "at": T, "expect": {"price_sum_3d": 300}, "engines": DUCK} | given

    with pytest.raises(DefinitionError, match=re.escape(sentence)):
        check(orders(), asked.pop("events"), **asked)


def test_a_join_is_refused():
    join = Join(name="j", left=EventSource(TABLE, time="at"), parts=[orders()])

    with pytest.raises(DefinitionError, match="check takes a GroupBy, not Join"):
        check(join, ORDERS, at=T, expect={"price_sum_3d": 300})


def test_the_environment_names_engines(monkeypatch):
    monkeypatch.setenv("WORKBENCH_ENGINES", "duckdb")

    assert ("DuckDB by pairs", "DuckDB by kernel") == check(
        orders(), ORDERS, at=T, expect={"count_3d": 2}
    ).paths


@pytest.mark.slow
def test_what_a_store_cannot_serve_is_a_note_unless_it_was_asked_for(checks):
    group_by = orders(wb.Aggregation(approx_unique_count(_.price), days(3), by="kind"))

    checked = check(
        group_by, ORDERS, at=T, expect={"price_approx_unique_count_3d_by_kind": {"x": 1, "y": 1}}
    )

    assert checked.notes[0].startswith(
        "online was not run: price_approx_unique_count_3d_by_kind of orders_v1 computes with the"
        " sketch"
    )
    with pytest.raises(DefinitionError, match="computes with the sketch"):
        check(
            group_by,
            ORDERS,
            at=T,
            expect={"price_approx_unique_count_3d_by_kind": {"x": 1, "y": 1}},
            engines=["online"],
        )


# --- a preview's value as a test


@pytest.fixture
def seen(duck):
    """A join over many orders, of two users, with a filter and a computed column."""
    rows = [
        {
            "user": f"u{i % 2}",
            # naive UTC
            "at": datetime(2024, 1, 1 + i // 8, i % 24, 0, 0, 250_000 * (i % 3)),  # noqa: DTZ001
            "price": i,
            "ok": i % 7 != 0,
            "paid": Decimal(i) / 4,
            "note": "long text",
        }
        for i in range(60)
    ]
    table = duck.create_table(
        "orders",
        ibis.memtable(
            rows,
            schema={
                "user": "string",
                "at": "timestamp",
                "price": "int64",
                "ok": "boolean",
                "paid": "decimal(12, 2)",
                "note": "string",
            },
        ),
    )
    table = table.filter(table.ok).mutate(net=table.paid - 1)
    left = duck.create_table(
        "lefts",
        ibis.memtable(
            [
                {"buyer": "u1", "t": datetime(2024, 1, 6, 20)},  # noqa: DTZ001 naive UTC
                {"buyer": None, "t": datetime(2024, 1, 7)},  # noqa: DTZ001 naive UTC
            ],
            schema={"buyer": "string", "t": "timestamp"},
        ),
    )
    group_by = orders(
        trailing(days(1, 3) + hours(1), _.price.sum(), _.net.sum()),
        wb.last_k(_.price, 3),
        table=table,
    )
    return Join(
        name="j",
        left=EventSource(left, time="t"),
        parts=[wb.JoinPart(group_by, keys={"buyer": "user"})],
        derivations={"twice": _.orders_v1_price_sum_1d * 2},
    )


@pytest.mark.parametrize(
    "feature",
    [
        "orders_v1_price_sum_1d",
        "orders_v1_net_sum_3d",
        "orders_v1_price_sum_1h",
        "orders_v1_price_last3",
        "twice",
    ],
)
def test_a_pinned_value_runs_and_passes(seen, tmp_path, feature):
    text = feature_check.pinned(preview(seen, 1, feature), name="orders")

    file = tmp_path / "pinned.py"
    file.write_text(f"checked = {text[:-1]}    engines=['duckdb'],\n)")
    checked = runpy.run_path(str(file), {"check": check, "orders": seen.parts[0].group_by})[
        "checked"
    ]

    assert checked
    assert "note" not in text  # what the group-by does not read


def test_a_pinned_value_fails_where_the_definition_changes(seen, tmp_path):
    text = feature_check.pinned(preview(seen, 1, "orders_v1_price_sum_1d"), name="orders")
    table = ibis.table(
        {
            "user": "string",
            "at": "timestamp",
            "price": "int64",
            "ok": "boolean",
            "paid": "decimal(12, 2)",
        },
        name="orders",
    )
    changed = orders(trailing(days(1), (_.price + 1).sum().name("price_sum")), table=table)

    with pytest.raises(CheckError, match="1 of 1 value is not what is expected"):
        exec(text, {"check": check, "orders": changed})  # noqa: S102 our own source


PINNED = """\
check(
    orders_v1,
    events=[
        {'user': 'u1', 'at': '2024-01-06 17:00:00.500000', 'price': 41, 'ok': True, \
'paid': '10.25'},
        {'user': 'u1', 'at': '2024-01-06 19:00:00.250000', 'price': 43, 'ok': True, \
'paid': '10.75'},
        {'user': 'u1', 'at': '2024-01-06 21:00:00', 'price': 45, 'ok': True, 'paid': '11.25'},
    ],
    key={'user': 'u1'},
    at='2024-01-06 20:00:00',
    expect={'price_sum_1h': 43},
)"""


def test_a_pinned_value_has_its_events_and_the_nearest_on_either_side(seen):
    seen_value = preview(seen, 1, "orders_v1_price_sum_1h")

    assert PINNED == feature_check.pinned(seen_value)


def test_what_has_no_events_is_not_pinned(seen):
    with pytest.raises(DefinitionError, match="has no events of a key behind it to pin"):
        feature_check.pinned(preview(seen, 2, "orders_v1_price_sum_1d"))


# --- under pytest


def test_a_test_file_of_checks_runs_under_pytest(tmp_path):
    file = tmp_path / "test_orders.py"
    file.write_text(
        "import ibis, pytest\nfrom workbench import EntitySource, GroupBy\nfrom"
        " workbench.feature_tests.feature_check import check\nt = ibis.table({'user': 'string',"
        " 'ds': 'string', 'tier': 'int64'}, name='users')\ng = GroupBy(name='g',"
        " source=EntitySource(t, snapshot='ds'), keys=['user'],"
        " features=['tier'])\n@pytest.mark.parametrize(('at', 'tier'), [('2024-01-02', 7),"
        " ('2024-01-01', None), ('2024-01-03', 8)])\ndef test_tiers(at, tier):\n    check(g,"
        " [{'user': '5', 'ds': '2024-01-01', 'tier': 7}], at=at, expect={'tier': tier},"
        " engines=['duckdb'])\n"
    )

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )

    assert "1 failed, 2 passed" in done.stdout
    assert "expected  8" in done.stdout
