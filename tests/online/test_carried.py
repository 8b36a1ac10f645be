"""Features of all time in a store that forgets.

A state tells what lies before the horizon, whoever brings it again.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import datetime, timedelta

import ibis
import pyarrow as pa
import pytest
from ibis import _

from workbench import (
    Aggregation,
    EventSource,
    GroupBy,
    days,
    first_k,
    histogram,
    publish,
    top_k,
    trailing,
    unpublish,
    upload,
    why,
)
from workbench.backends.equality import equal
from workbench.errors import DefinitionError
from workbench.online import StoreError, fetch
from workbench.online.streaming import batch_values, batch_writer

pytestmark = pytest.mark.slow

START = datetime(2024, 1, 1)  # noqa: DTZ001 the tables' timestamps are naive UTC
SCHEMA = pa.schema(
    {
        "user": pa.string(),
        "ts": pa.timestamp("us"),
        "n": pa.int64(),
        "x": pa.float64(),
        "kind": pa.string(),
        "uid": pa.int64(),
    }
)
END = "2024-01-31"  # the horizon lies ten days before
ASKED = (
    _.count(),
    _.n.sum(),
    _.n.mean(),
    _.n.var(),
    _.x.sum(),
    _.x.std(),
    _.n.min(),
    _.kind.max(),
    _.n.first(),
    _.kind.last(),
    first_k(_.n, 2),
    top_k(_.n, 2),
    _.kind.argmax(_.n).name("best"),
)
AT = "2024-01-31T12:00"


def event(day, n=1, *, uid=None, user="u"):
    """Return one event of a day of January; equal arguments give equal events."""
    return {
        "user": user,
        "ts": START + timedelta(days=day - 1, hours=1),
        "n": n,
        "x": n / 10,
        "kind": "ab"[n % 2],
        "uid": day * 100 + n if uid is None else uid,
    }


EVENTS = [event(d, n) for d in (1, 3, 5, 9) for n in (1, 4, 2)] + [event(25, 3), event(30, 2)]


@pytest.fixture
def con():
    made = ibis.duckdb.connect()
    fill(made, EVENTS)
    return made


def fill(con, rows):
    con.create_table("events", pa.Table.from_pylist(rows, SCHEMA), overwrite=True)


def lasting(con, *asked, identified=False, topic="events"):
    source = EventSource(
        con.table("events"), time="ts", topic=topic, id="uid" if identified else None, order=["uid"]
    )
    return GroupBy(
        name="ever",
        source=source,
        keys=["user"],
        aggregations=[*(asked or ASKED), *trailing(days(7), _.n.sum())],
    )


@contextmanager
def served(store, definition, **more):
    made = publish(definition, store, confirm=True, end=END, **({"retain": days(10)} | more))
    try:
        yield made.plan.group_bys[0]
    finally:
        unpublish("ever", store)


def sent(store, plan, *events, offset=0):
    table = pa.Table.from_pylist(list(events), SCHEMA)
    with store.connection() as connection:
        batch_writer.applied(
            connection,
            batch_values.RowLevel(plan),
            batch_values.Messages(
                "events", table, [0] * len(events), list(range(offset, offset + len(events)))
            ),
        )


def told(store, at=AT):
    return dict(fetch(store, "ever", user="u", at=at))


def same(want, got):
    return want.keys() == got.keys() and all(equal(want[n], got[n], 10.0) for n in want)


def rows(store, plan, suffix=""):
    with store.connection() as connection:
        return connection.execute(
            f'select count(*) from workbench_data."{plan.table}{suffix}"'
        ).fetchone()[0]


def whole(store, definition, at=AT):
    """Return what a store that forgets nothing answers."""
    with served(store, definition, retain=None):
        return told(store, at)


@pytest.mark.parametrize("identified", [True, False])
def test_what_is_forgotten_is_told_by_a_state_and_by_the_rows_that_features_show(
    store, con, identified
):
    definition = lasting(con, identified=identified)
    want = whole(store, definition)

    with served(store, definition) as plan:
        got, kept, states = told(store), rows(store, plan), rows(store, plan, "__carried")

    assert same(want, got)
    assert (9, 1) == (kept, states)


@pytest.mark.parametrize("identified", [True, False])
def test_a_message_that_is_older_than_the_horizon_counts_once(store, con, identified):
    with served(store, lasting(con, identified=identified)) as plan:
        before = told(store)

        sent(store, plan, EVENTS[4], EVENTS[0], EVENTS[-1])
        again = told(store)
        sent(store, plan, event(4, 7), event(26, 5), offset=3)
        more = told(store)
        upload("ever", store, end=END, on=con)

        assert before == again
        assert (before["count"] + 2, before["n_sum"] + 12, 7) == (
            more["count"],
            more["n_sum"],
            more["n_top2"][0],
        )
        assert same(more, told(store))


def test_of_equal_messages_and_rows_the_larger_number_counts_however_old_they_are(store, con):
    old = event(3, 4, uid=1)
    fill(con, [*EVENTS, old, old])
    with served(store, lasting(con)) as plan:
        counts = [told(store)["count"]]

        for offset in range(4):
            sent(store, plan, old, offset=offset)
            counts.append(told(store)["count"])
        upload("ever", store, end=END, on=con)
        counts.append(told(store)["count"])
        sent(store, plan, old, offset=4)

        assert [16, 16, 16, 17, 18, 18, 19] == [*counts, told(store)["count"]]


@pytest.mark.parametrize("identified", [True, False])
def test_an_upload_that_lacks_a_forgotten_event_of_the_stream_goes_on_counting_it(
    store, con, identified
):
    with served(store, lasting(con, identified=identified)) as plan:
        sent(store, plan, *EVENTS[:6])
        upload("ever", store, end=END, on=con)
        upload("ever", store, end="2024-02-01", on=con)
        before = told(store)

        fill(con, EVENTS[3:])
        upload("ever", store, end="2024-02-01", allow_deletes=True, on=con)
        lacking = told(store)
        fill(con, [])
        upload("ever", store, end="2024-02-01", allow_deletes=True, on=con)
        sent(store, plan, EVENTS[7], EVENTS[0], offset=6)
        alone = told(store)["count"]
        fill(con, EVENTS)
        upload("ever", store, end="2024-02-01", on=con)

        assert same(before, lacking)
        assert (6 + 2 - identified) == alone  # of one id one message counts, of equal ones each
        assert len(EVENTS) + 1 - identified == told(store)["count"]


def test_a_forgotten_event_that_only_the_table_had_goes_with_it(store, con):
    with served(store, lasting(con)):
        fill(con, EVENTS[6:])
        upload("ever", store, end=END, allow_deletes=True, on=con)

        assert (8, sum(e["n"] for e in EVENTS[6:])) == (told(store)["count"], told(store)["n_sum"])


def test_a_forgotten_event_is_told_as_the_table_has_it_now(store, con):
    with served(store, lasting(con, identified=True)) as plan:
        sent(store, plan, *EVENTS)
        upload("ever", store, end=END, on=con)
        upload("ever", store, end=END, on=con)
        before = told(store)["n_sum"]

        fill(con, [EVENTS[0] | {"n": 1000}, *EVENTS[1:]])
        upload("ever", store, end=END, on=con)

        assert before + 999 == told(store)["n_sum"]


def test_a_longer_retention_has_the_rows_back(store, con):
    definition = lasting(con)
    with served(store, definition) as plan:
        few = rows(store, plan)
        publish(definition, store, confirm=True, end="2024-02-01", retain=days(40))

        assert few < len(EVENTS) == rows(store, plan)
        assert 21 == told(store, "2024-01-05T12:00")["n_sum_7d"]
        publish(definition, store, confirm=True, end="2024-02-02")
        assert (len(EVENTS), 0) == (told(store)["count"], rows(store, plan, "__carried"))


def test_a_fetch_by_a_plan_that_was_held_since_before_is_asked_anew(store, con):
    definition = lasting(con)
    with served(store, definition, retain=None) as plan:
        want = told(store)
        held = store.fetcher._served["ever"]  # noqa: SLF001 as another process holds it
        publish(definition, store, confirm=True, end="2024-02-01", retain=days(10))
        upload("ever", store, end="2024-02-02", on=con)
        store.fetcher._served["ever"] = held  # noqa: SLF001 as another process holds it

        assert rows(store, plan) < len(EVENTS)
        assert same(want, told(store))


def test_an_upload_that_ends_before_the_horizon_is_refused(store, con):
    with served(store, lasting(con)):
        with pytest.raises(
            StoreError,
            match=(
                r"ever has forgotten the events before 2024-01-21 .* give an end that is not"
                r" earlier"
            ),
        ):
            upload("ever", store, end="2024-01-10", on=con)

        assert len(EVENTS) == told(store)["count"]


def test_a_window_is_answered_as_far_back_as_it_is_kept(store, con):
    with served(store, lasting(con)):
        with pytest.raises(
            StoreError,
            match=(
                "ever keeps too little to answer as of 2024-01-27 23:59:59: it goes back to"
                " 2024-01-28"
            ),
        ):
            told(store, "2024-01-27T23:59:59")

        assert 3 == told(store, "2024-01-28")["n_sum_7d"]


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (
            _.n.nunique(),
            (
                "n_unique_count of ever looks at all time, .* since the state of a unique_count has"
                " no bound"
            ),
        ),
        (_.n.median(), "n_p50 of ever .* since the state of a quantile has no bound"),
        (
            histogram(_.kind),
            "kind_histogram of ever .* since the state of a histogram has no bound",
        ),
        (_.n.collect().name("all_n"), "all_n of ever .* since the state of a collect has no bound"),
        (
            _.n.approx_nunique(),
            (
                "n_approx_unique_count of ever .* since a sketch is made of all its values where it"
                " is fetched"
            ),
        ),
        (
            _.n.corr(_.x).name("corr"),
            "corr of ever .* since a correlation of rounded totals would not be exact",
        ),
        (
            Aggregation(_.n.sum(), by="kind"),
            "n_sum_by_kind of ever .* since its entries have no bound",
        ),
    ],
)
def test_what_cannot_be_carried_is_refused_by_name(store, con, asked, why):
    with pytest.raises(DefinitionError, match=f"{why}: give it a window, or leave retain out"):
        publish(lasting(con, asked), store, confirm=True, end=END, retain=days(10))


def test_a_key_whose_events_are_all_forgotten_is_known_with_its_newest(store, con):
    fill(con, EVENTS[:-2])
    with served(store, lasting(con)):
        answer = fetch(store, "ever", user="u", at=AT)

        assert (12, "2024-01-09") == (answer["count"], str(answer.parts["ever"].newest)[:10])
        assert "missing" != answer.parts["ever"].status


def test_why_says_that_forgotten_events_count_by_their_totals(store, con):
    with served(store, lasting(con)):
        told_ = str(why(store, "ever", "n_sum", {"user": "u"}, at=AT))
        recent = str(why(store, "ever", "n_sum_7d", {"user": "u"}, at=AT))

    assert "is 33: 9 of 9 rows in (all time, 2024-01-31 12:00:00) count" in told_
    assert "+ what was forgotten of the events before 2024-01-21 00:00:00, by their totals" in told_
    assert "forgotten" not in recent


def test_the_sql_function_tells_what_is_carried_too(store, con):
    with served(store, lasting(con)):
        with store.connection() as connection:
            (row,) = connection.execute(
                "select count, n_sum, n_min, best from features.ever(\"user\" => 'u', at =>"
                f" '{AT}')"
            ).fetchall()

        assert tuple(told(store)[n] for n in ("count", "n_sum", "n_min", "best")) == row
