"""Uploads of several group-bys: all of them change, or none."""

from __future__ import annotations

from datetime import datetime, timedelta

import ibis
import pyarrow as pa
import pytest
from ibis import _

from workbench import (
    EntitySource,
    EventSource,
    GroupBy,
    Join,
    days,
    publish,
    trailing,
    unpublish,
    upload,
)
from workbench.backends import EngineError
from workbench.online import StoreError, fetch
from workbench.serving.history_queries import uploaded

pytestmark = pytest.mark.slow

START = datetime(2024, 1, 1)  # noqa: DTZ001 the tables' timestamps are naive UTC
END = "2024-02-01"


def sales(n):
    return pa.table(
        {
            "user": ["u"] * n,
            "ts": pa.array([START + timedelta(hours=i) for i in range(n)], pa.timestamp("us")),
            "n": range(n),
        }
    )


@pytest.fixture
def published(store):
    con = ibis.duckdb.connect()
    for name in ("bought", "returned"):
        con.create_table(name, sales(5))
    con.raw_sql("create table people as select 'u' as user, date '2024-01-01' as ds, 1 as level")
    con.create_table("lefts", pa.table({"user": ["u"], "t": pa.array([START], pa.timestamp("us"))}))
    parts = [
        GroupBy(
            name=n,
            source=EventSource(con.table(n), time="ts", topic=n),
            keys=["user"],
            aggregations=trailing(days(30), _.count()),
        )
        for n in ("bought", "returned")
    ]
    people = GroupBy(
        name="people",
        source=EntitySource(con.table("people"), snapshot="ds"),
        keys=["user"],
        features=["level"],
    )
    join = Join(name="both", left=EventSource(con.table("lefts"), time="t"), parts=[*parts, people])
    publish(join, store, confirm=True, end=END)
    yield con, join
    unpublish("both", store)


def told(store):
    return dict(fetch(store, "both", user="u", at="2024-01-20"))


def test_every_part_of_a_join_has_the_new_rows(store, published):
    con, _join = published
    for name in ("bought", "returned"):
        con.create_table(name, sales(9), overwrite=True)
    con.raw_sql("insert into people values ('u', date '2024-01-02', 2)")

    done = upload("both", store, end=END, on=con)

    # of the person, the row that held until now ends, and the next one begins
    assert [("bought", 4), ("returned", 4), ("people", 2)] == [
        (u.group_by, u.inserted) for u in done
    ]
    assert {"bought_count_30d": 9, "returned_count_30d": 9, "people_level": 2} == told(store)


def test_where_one_part_fails_no_part_has_changed(store, published):
    con, _join = published
    before = told(store)
    con.create_table("bought", sales(9), overwrite=True)
    con.raw_sql("drop table returned")

    with pytest.raises((EngineError, StoreError, Exception), match="returned"):
        upload("both", store, end=END, on=con)

    assert before == told(store)


def test_an_upload_of_nothing_is_nothing(store, published):
    assert () == uploaded([], store, 0)
