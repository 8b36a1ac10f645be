"""N12: what a proposal saw is checked again in the transaction that writes.

Who comes second is told, and changes nothing.
"""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta

import ibis
import pyarrow as pa
import pytest
from ibis import _

from workbench import (
    DataCheck,
    EventSource,
    GroupBy,
    Join,
    days,
    history,
    publish,
    rollback,
    trailing,
    unpublish,
    upload,
)
from workbench.online import Store, StoreError, fetch
from workbench.online.storage import group_by_lock, registry

pytestmark = pytest.mark.slow

DAY = datetime(2024, 3, 10)  # noqa: DTZ001 the tables' timestamps are naive UTC


def warehouse():
    made = ibis.duckdb.connect()
    made.create_table(
        "paid",
        pa.table(
            {
                "user": ["a"] * 20,
                "ts": pa.array(
                    [DAY - timedelta(hours=h + 1) for h in range(20)], pa.timestamp("us")
                ),
                "amt": range(20),
            }
        ),
    )
    made.create_table("lefts", pa.table({"user": ["a"], "t": pa.array([DAY], pa.timestamp("us"))}))
    return made


@pytest.fixture
def con():
    return warehouse()


@pytest.fixture(autouse=True)
def clean(store):
    yield
    for name in store.names():
        unpublish(name, store)


def spend(con, reduction=None, name="raced_v1", **more):
    reduction = _.amt.sum() if reduction is None else reduction
    return GroupBy(
        name=name,
        source=EventSource(con.table("paid"), time="ts", topic="paid", **more),
        keys=["user"],
        aggregations=trailing(days(7), reduction),
    )


def joined(con, group_by, name="pair_v1"):
    return Join(name=name, left=EventSource(con.table("lefts"), time="t"), parts=[group_by])


def tables(store):
    with store.connection() as c:
        return {
            name
            for (name,) in c.execute(
                "select tablename from pg_tables where schemaname = 'workbench_data'"
            ).fetchall()
        }


def told(store, name="raced_v1"):
    return dict(fetch(store, name, user="a", at=DAY))


def test_of_two_proposals_of_one_name_the_second_is_refused_and_says_who_was_first(store, con):
    first, second = (publish(spend(con, r), store, end=DAY) for r in (_.amt.sum(), _.amt.max()))
    first.confirm()
    before = tables(store)

    with pytest.raises(
        StoreError,
        match=(
            r"^raced_v1 is served with amt_sum_7d and without amt_max_7d since this was looked at:"
            r" raced_v1 was published by \w+ on 20\d\d-\d\d-\d\d at \d\d:\d\d:\d\d UTC; nothing is"
            r" changed: look again, and confirm what you see then$"
        ),
    ):
        second.confirm()

    assert {"amt_sum_7d": 190} == told(store)
    assert before == tables(store)


def test_to_confirm_twice_changes_nothing(store, con):
    proposal = publish(spend(con), store, end=DAY)

    done = [proposal.confirm().version, proposal.confirm().version]

    assert done[0] == done[1]
    assert 1 == sum(v.served for v in history("raced_v1", store))


def test_what_no_hash_tells_is_not_replaced_unseen_either(store, con):
    """Checks, retention and owner change no definition's meaning, and count all the same."""
    plain, checked = (
        publish(spend(con), store, end=DAY),
        publish(spend(con, checks=[DataCheck(_.amt >= 0)]), store, end=DAY),
    )
    checked.confirm()

    with pytest.raises(
        StoreError,
        match="raced_v1 is served with other checks, retention, owner or description since",
    ):
        plain.confirm()

    assert 1 == len(registry.current(store, "raced_v1").plan.group_bys[0].checks)


def test_a_name_that_was_unpublished_in_between_is_not_brought_back_unseen(store, con):
    publish(spend(con), store, confirm=True, end=DAY - timedelta(hours=9))
    proposal = publish(spend(con), store, end=DAY)
    unpublish("raced_v1", store)

    with pytest.raises(
        StoreError,
        match=(
            "raced_v1 is not served any more since this was looked at: raced_v1 was unpublished by"
        ),
    ):
        proposal.confirm()

    assert [] == store.names()
    assert not any(t.startswith("raced_v1") for t in tables(store))


def test_a_history_that_was_there_and_has_gone_is_not_taken_for_there(store, con):
    """A proposal that uploads nothing is refused once the table that it relies on is dropped.

    It uploads nothing since a group-by is stored for another join, and would serve an empty table.
    """
    group_by = spend(con)
    publish(joined(con, group_by, "one_v1"), store, confirm=True, end=DAY)
    proposal = publish(joined(con, group_by, "two_v1"), store, end=DAY)
    assert () == proposal.histories
    unpublish("one_v1", store)

    with pytest.raises(
        StoreError,
        match=(
            "the history of raced_v1 is there no more since this was looked at: one_v1 was"
            " unpublished by"
        ),
    ):
        proposal.confirm()

    assert [] == store.names()


def test_a_group_by_that_another_name_serves_otherwise_meanwhile(store, con):
    proposal = publish(joined(con, spend(con)), store, end=DAY)
    publish(joined(con, spend(con, _.amt.max()), "other_v1"), store, confirm=True, end=DAY)

    with pytest.raises(
        StoreError,
        match=(
            "raced_v1 is served by other_v1 with another definition since this was looked at:"
            " other_v1 was published by"
        ),
    ):
        proposal.confirm()

    assert ["other_v1"] == store.names()


def together(*acts):
    """Run acts that begin at once; return the result or error of each, in order."""
    gate, found = threading.Barrier(len(acts)), [None] * len(acts)

    def run(i, act):
        gate.wait()
        try:
            found[i] = act()
        except StoreError as error:
            found[i] = error

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(acts)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return found


def test_of_two_that_confirm_at_the_same_time_one_is_served_and_the_other_told(store):
    """Each has connections of its own, as two processes have."""
    stores = [Store(store.url) for _i in range(2)]
    served, refused = [], []
    for turn in range(3):
        proposals = [
            publish(spend(warehouse(), r, f"raced_v{turn + 1}"), s, end=DAY)
            for r, s in zip((_.amt.sum(), _.amt.max()), stores, strict=True)
        ]
        found = together(*(p.confirm for p in proposals))
        served += [i for i, f in enumerate(found) if not isinstance(f, StoreError)]
        refused += [str(f) for f in found if isinstance(f, StoreError)]
        (winner,) = (f for f in found if not isinstance(f, StoreError))
        assert list(told(store, f"raced_v{turn + 1}")) == [
            name for *_i, name in winner.plan.outputs
        ]
    for s in stores:
        s.close()

    assert (3, 3) == (len(served), len(refused))
    assert all("since this was looked at" in r for r in refused)


def test_a_rollback_that_a_publication_overtakes_is_refused_and_an_upload_beside_both_harms_none(
    store, con
):
    first = publish(spend(con), store, confirm=True, end=DAY)
    unpublish("raced_v1", store)
    publish(spend(con, _.amt.max()), store, confirm=True, end=DAY)
    other, found = Store(store.url), []
    checked = publish(spend(con, _.amt.max(), checks=[DataCheck(_.amt >= 0)]), other, end=DAY)

    def roll_back():
        try:
            found.append(rollback("raced_v1", store, version=1, end=DAY, on=warehouse()))
        except StoreError as error:
            found.append(error)

    with other.connection() as c, c.transaction():
        # The rollback waits for this lock, after it looked.
        c.execute(group_by_lock.LOCK, (f"workbench.{first.plan.group_bys[0].table}",))
        thread = threading.Thread(target=roll_back)
        thread.start()
        while not c.execute(
            "select 1 from pg_locks where locktype = 'advisory' and not granted"
        ).fetchall():
            time.sleep(0.01)
        checked.confirm()
        upload("raced_v1", other, end=DAY, on=con)
    thread.join()
    other.close()

    assert (
        "raced_v1 is served with amt_max_7d and without amt_sum_7d since this was looked at:"
        " raced_v1 was published by" in str(found[0])
    )
    assert {"amt_max_7d": 19} == told(store)
    assert not any(t.startswith(first.plan.group_bys[0].table) for t in tables(store))


def test_a_rollback_does_not_bring_back_a_group_by_that_is_served_otherwise(store, con):
    publish(joined(con, spend(con)), store, confirm=True, end=DAY)
    unpublish("pair_v1", store)
    publish(joined(con, spend(con, _.amt.max()), "other_v1"), store, confirm=True, end=DAY)

    with pytest.raises(StoreError, match="raced_v1 is served by other_v1 with another definition"):
        rollback("pair_v1", store, version=1, end=DAY, on=con)

    assert ["other_v1"] == store.names()
