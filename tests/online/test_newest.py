"""N3: a proposal with a broker at hand reads its topics' newest messages as the updater will."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pyarrow as pa
import pytest
from streamed import sent, topic

from online.consuming import newest_messages
from workbench import EventSource, GroupBy, days, publish, trailing
from workbench.plans import plan_of
from workbench.publishing.newest import told

NOW = datetime(2026, 11, 30, tzinfo=UTC)
US = int(NOW.timestamp()) * 1_000_000
SCHEMA = pa.schema({"user_id": pa.string(), "ts": pa.timestamp("us"), "amt": pa.int64()})


def definition(con, name="t"):
    table = con.create_table("newest", pa.Table.from_pylist([{"user_id": "1", "ts": NOW.replace(tzinfo=None), "amt": 1}], SCHEMA), overwrite=True)
    return GroupBy(name="newest_v1", source=EventSource(table, time="ts", topic=name), keys=["user_id"], aggregations=trailing(days(3), table.amt.sum()), accuracy="temporal")


def message(age=timedelta(0), **more):
    at = int((NOW - age).timestamp() * 1000)
    return json.dumps({"user_id": "1", "ts": at, "amt": 2} | more).encode()


CASES = {
    "all is well": ([message(), message(timedelta(hours=2))], "pass", "2 of the newest 2 messages of t make events of newest_v1, the newest 0"),
    "seconds on a millisecond topic": ([message(ts=int(NOW.timestamp()))], "warning", "1 of a time before 1990"),
    "a renamed value": ([message(amt=None, amount=1)] * 3, "warning", "amt is null in all of them"),
    "an envelope": ([json.dumps({"payload": {"after": {}, "op": "c"}}).encode()] * 3, "fail", "None of the newest 3 messages"),
    "some are none": ([message(), b"{}", b"x"], "warning", "2 make none"),
    "tombstones alone": ([None, None], "skipped", "but 2 tombstones"),
    "nothing": ([], "skipped", "t has no messages to look at"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_newest_messages_come_to_is_said_and_never_taken_for_good(duck, case):
    payloads, status, words = CASES[case]
    newest = [SimpleNamespace(value=p, key=None, headers=()) for p in payloads]

    found = told(plan_of(definition(duck)).group_bys[0], newest, US)

    assert status == found.status
    assert words in found.sentence


@pytest.mark.slow
def test_a_proposal_looks_at_the_newest_messages_of_a_real_topic(store, kafka, duck, monkeypatch):
    monkeypatch.delenv("WORKBENCH_KAFKA", raising=False)
    name = topic(kafka, 2)
    sent(kafka, name, [message()] * 150)

    alone = {f.name: f for f in publish(definition(duck, name), store, end="2026-12-01").check()}["messages"]
    found = {f.name: f for f in publish(definition(duck, name), store, end="2026-12-01", kafka=kafka.servers).check()}["messages"]

    assert 100 == len(newest_messages({"bootstrap_servers": [kafka.servers]}, name, 100, 10))
    assert ("skipped", True) == (alone.status, "not looked at" in alone.sentence)
    assert "100 of the newest 100 messages" in found.sentence
