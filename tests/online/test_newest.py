"""N3: a proposal that reaches a broker reads its topics' newest messages as the updater will."""

from __future__ import annotations

import json
import unicodedata
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from streamed import sent, topic

from workbench import EventSource, GroupBy, Topic, days, publish, trailing
from workbench.backends import engine_of
from workbench.online.streaming.topic_queries import newest_messages
from workbench.serving.online_plans import plan_of
from workbench.serving.proposal.newest_messages import _table_rows, judge_messages

NOW = datetime(2026, 11, 30, tzinfo=UTC)
US = int(NOW.timestamp()) * 1_000_000
SCHEMA = pa.schema({"user_id": pa.string(), "ts": pa.timestamp("us"), "amt": pa.int64()})


def definition(con, name="t"):
    table = con.create_table(
        "newest",
        pa.Table.from_pylist([{"user_id": "1", "ts": NOW.replace(tzinfo=None), "amt": 1}], SCHEMA),
        overwrite=True,
    )
    return GroupBy(
        name="newest_v1",
        source=EventSource(table, time="ts", topic=name),
        keys=["user_id"],
        aggregations=trailing(days(3), table.amt.sum()),
        accuracy="temporal",
    )


def message(age=timedelta(0), **more):
    at = int((NOW - age).timestamp() * 1000)
    return json.dumps({"user_id": "1", "ts": at, "amt": 2} | more).encode()


CASES = {
    "all is well": (
        [message(), message(timedelta(hours=2))],
        "pass",
        "2 of the newest 2 messages of t make events of newest_v1, the newest 0",
    ),
    "seconds on a millisecond topic": (
        [message(ts=int(NOW.timestamp()))],
        "warning",
        "1 of a time before 1990",
    ),
    "a renamed value": ([message(amt=None, amount=1)] * 3, "warning", "amt is null in all of them"),
    "an envelope": (
        [json.dumps({"payload": {"after": {}, "op": "c"}}).encode()] * 3,
        "fail",
        "None of the newest 3 messages",
    ),
    "some are none": ([message(), b"{}", b"x"], "warning", "2 make none"),
    "tombstones alone": ([None, None], "skipped", "but 2 tombstones"),
    "nothing": ([], "skipped", "t has no messages to look at"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_newest_messages_come_to_is_said_and_never_taken_for_good(duck, case):
    payloads, status, words = CASES[case]
    newest = [SimpleNamespace(value=p, key=None, headers=()) for p in payloads]

    found = judge_messages(plan_of(definition(duck)).group_bys[0], newest, US)

    assert status == found.status
    assert words in found.sentence


TWINS = pa.schema(
    {
        "user_id": pa.string(),
        "ts": pa.timestamp("us"),
        "amt": pa.float64(),
        "price": pa.decimal128(12, 4),
        "kind": pa.string(),
        "seen": pa.timestamp("us", "UTC"),
        "tags": pa.list_(pa.float64()),
    }
)


def facts(number=40):
    """Return facts as a table has them.

    They have microseconds, doubles of all digits, decimals of four, and texts of which every other
    has an accent.
    """
    made = [
        {
            "user_id": f"u{i % 3}",
            "ts": NOW.replace(tzinfo=None) + timedelta(seconds=7 * i, microseconds=1_001 + 37 * i),
            "amt": 0.1 * (i + 1) / 3,
            "price": Decimal(f"{i}.{1234 + i}"),
            "kind": "caf\u00e9" if i % 2 else "tea",
        }
        for i in range(number)
    ]
    return [f | {"seen": f["ts"].replace(tzinfo=UTC), "tags": [f["amt"] / 7]} for f in made]


def as_iso(time, digits):
    return f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond:06d}"[: 20 + digits].rstrip(".")


def told_as(fact, time=6, seen=6, price="{}", amt=repr, form="NFC", tags=repr, **more):
    text = (
        f'{{"user_id": "{fact["user_id"]}", "ts": "{as_iso(fact["ts"], time)}", "amt":'
        f' {amt(fact["amt"])}, "price": {price.format(fact["price"])}, "seen":'
        f' "{as_iso(fact["seen"], seen)}", "tags": [{tags(fact["tags"][0])}]'
    )
    return (text + f', "kind": "{unicodedata.normalize(form, fact["kind"])}"}}').encode()


def six(value):
    return f"{value:.6g}"


def cut(value):
    return repr(float(np.float32(value)))


MET = {
    "all digits": ({}, {}, "pass", ""),
    "times of milliseconds": ({"time": 3}, {}, "fail", "such as ts"),
    "times of seconds": ({"time": 0}, {}, "fail", "such as ts"),
    "a value's own times": ({"seen": 3}, {}, "fail", "such as seen"),
    "floats of six digits": ({"amt": six}, {}, "fail", "such as amt"),
    "floats of 32 bits": ({"amt": cut}, {}, "fail", "such as amt"),
    "decimals of two digits": ({"price": "{:.2f}"}, {}, "fail", "such as price"),
    "texts in another form": ({"form": "NFD"}, {}, "fail", "such as kind"),
    "floats in lists": ({"tags": six}, {}, "fail", "such as tags"),
    "nothing of it in the table, in milliseconds": (
        {"time": 3},
        {"later": timedelta(days=-40)},
        "warning",
        "tells ts with 3 digits of a second, and the table otherwise",
    ),
    "nothing of it in the table, with few digits": (
        {"amt": six, "price": "{:.2f}"},
        {"later": timedelta(days=-40)},
        "warning",
        "tells amt with at most 6 digits",
    ),
    "nothing of it in the table, and as finely": ({}, {"later": timedelta(days=-40)}, "pass", ""),
    "times of another zone": (
        {},
        {"shift": timedelta(hours=1)},
        "warning",
        (
            "40 of the newest messages of t are rows of the table 1 h later, as times of another"
            " zone are"
        ),
    ),
    "values in another unit": (
        {"price": "{:.0f}00"},
        {},
        "warning",
        "tells price with 0 digits behind the point",
    ),
    "an id": ({"time": 0, "amt": six}, {"id": "kind"}, "pass", ""),
}


@pytest.mark.parametrize("case", MET)
def test_what_topic_and_table_really_tell_is_held_side_by_side(duck, case):
    """N1, rule 21: an undeclared encoding that is coarser, or other, would count every event twice.

    The line to add is said.
    """
    how, more, status, words = MET[case]
    rows = facts()
    table = duck.create_table("twins", pa.Table.from_pylist(rows, TWINS), overwrite=True)
    source = EventSource(table, time="ts", topic=Topic("t", time="iso"), id=more.get("id"))
    shown = [table[c].last() for c in ("amt", "price", "kind", "seen", "tags")]
    group_by = GroupBy(
        name="twins_v1",
        source=source,
        keys=["user_id"],
        aggregations=[*trailing(days(3), table.count()), *shown],
        accuracy="temporal",
    )
    later = more.get("later", timedelta(0))
    came = [
        f | {"ts": f["ts"] + later + more.get("shift", timedelta(0)), "seen": f["seen"] + later}
        for f in rows
    ]
    newest = [SimpleNamespace(value=told_as(f, **how), key=None, headers=()) for f in came]

    found = judge_messages(
        plan_of(group_by).group_bys[0], newest, US, partial(_table_rows, group_by, engine_of(duck))
    )

    assert (status, True) == (found.status, words in found.sentence), found
    assert ("pass" == status) == ("id=" not in found.sentence)
    assert "rule 21" in found.sentence or "pass" == status


def test_events_that_share_a_key_and_a_day_by_nature_are_no_doubt(duck):
    """N1: a table of days has many rows of a key and a day, so no message is a changed row."""
    rows = [
        {"user_id": str(i % 2), "ts": NOW.replace(tzinfo=None) - timedelta(days=i % 3), "amt": i}
        for i in range(60)
    ]
    duck.create_table("newest", pa.Table.from_pylist(rows, SCHEMA), overwrite=True)
    table = duck.table("newest")
    group_by = GroupBy(
        name="newest_v1",
        source=EventSource(table, time="ts", topic="t"),
        keys=["user_id"],
        aggregations=trailing(days(3), table.amt.sum()),
        accuracy="temporal",
    )
    newest = [
        SimpleNamespace(
            value=message(timedelta(days=i % 3), amt=100 + i, user_id=str(i % 2)),
            key=None,
            headers=(),
        )
        for i in range(30)
    ]

    assert (
        "pass"
        == judge_messages(
            plan_of(group_by).group_bys[0],
            newest,
            US,
            partial(_table_rows, group_by, engine_of(duck)),
        ).status
    )


def test_a_table_that_tells_less_than_its_topic_is_doubted_too(duck):
    """N1: a warehouse was loaded in whole seconds, and messages tell milliseconds."""
    rows = [
        {"user_id": "1", "ts": NOW.replace(tzinfo=None) + timedelta(seconds=i), "amt": i}
        for i in range(20)
    ]
    duck.create_table("newest", pa.Table.from_pylist(rows, SCHEMA), overwrite=True)
    table = duck.table("newest")
    group_by = GroupBy(
        name="newest_v1",
        source=EventSource(table, time="ts", topic="t"),
        keys=["user_id"],
        aggregations=trailing(days(3), table.amt.sum()),
        accuracy="temporal",
    )
    newest = [
        SimpleNamespace(
            value=message(-timedelta(seconds=r["amt"], milliseconds=123 + r["amt"]), amt=r["amt"]),
            key=None,
            headers=(),
        )
        for r in rows
    ]

    found = judge_messages(
        plan_of(group_by).group_bys[0], newest, US, partial(_table_rows, group_by, engine_of(duck))
    )

    assert ("fail", True) == (
        found.status,
        "20 of the newest messages of t are in the table too" in found.sentence,
    ), found


@pytest.mark.slow
def test_a_proposal_refuses_a_real_topic_that_tells_less_than_is_declared(store, kafka, duck):
    """N1: this goes from the broker to the finding."""
    name = topic(kafka)
    rows = [
        {
            "user_id": "1",
            "ts": NOW.replace(tzinfo=None) + timedelta(seconds=i, microseconds=1_001 * i),
            "amt": i,
        }
        for i in range(1, 20)
    ]
    duck.create_table("newest", pa.Table.from_pylist(rows, SCHEMA), overwrite=True)
    table = duck.table("newest")
    group_by = GroupBy(
        name="newest_v1",
        source=EventSource(table, time="ts", topic=Topic(name, time="iso")),
        keys=["user_id"],
        aggregations=trailing(days(3), table.amt.sum()),
        accuracy="temporal",
    )
    sent(
        kafka,
        name,
        [
            json.dumps({"user_id": "1", "ts": as_iso(r["ts"], 3), "amt": r["amt"]}).encode()
            for r in rows
        ],
    )

    findings = publish(group_by, store, end="2026-12-01", kafka=kafka.servers).check()

    found = {f.name: f for f in findings}["messages"]
    assert ("fail", True) == (
        found.status,
        "would count twice (semantics rule 21)" in found.sentence,
    ), found
    assert not findings


@pytest.mark.slow
def test_a_proposal_looks_at_the_newest_messages_of_a_real_topic(store, kafka, duck, monkeypatch):
    monkeypatch.delenv("WORKBENCH_KAFKA", raising=False)
    name = topic(kafka, 2)
    sent(kafka, name, [message()] * 150)

    alone = {f.name: f for f in publish(definition(duck, name), store, end="2026-12-01").check()}[
        "messages"
    ]
    found = {
        f.name: f
        for f in publish(
            definition(duck, name), store, end="2026-12-01", kafka=kafka.servers
        ).check()
    }["messages"]

    assert 100 == len(newest_messages({"bootstrap_servers": [kafka.servers]}, name, 100, 10))
    assert ("skipped", True) == (alone.status, "not looked at" in alone.sentence)
    assert "100 of the newest 100 messages" in found.sentence
