"""Returns on a topic: their definitions, messages, and a producer.

What the streaming tests and the chaos share.
"""

from __future__ import annotations

import random
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pyarrow as pa
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic

from workbench import EventSource, GroupBy, Join, JoinPart, Topic, days, last_k, trailing
from workbench.online.storage import registry
from workbench.online.streaming.topic_queries import topic_ends
from workbench.serving.online_plans import plan_of

FIELDS = ["ts", "return_id", "user_id", "product_id", "refund_amt"]
SCHEMA = pa.schema(
    [
        ("ts", pa.timestamp("us")),
        ("return_id", pa.string()),
        ("user_id", pa.string()),
        ("product_id", pa.string()),
        ("refund_amt", pa.int64()),
    ]
)
T = datetime(2023, 11, 1)  # noqa: DTZ001 the tables' timestamps are naive UTC


def event(number, *, at=T, user="5", amount=100):
    """Return a return of goods as the warehouse has it."""
    return {
        "ts": at,
        "return_id": f"r{number}",
        "user_id": user,
        "product_id": "7",
        "refund_amt": amount,
    }


def line(row):
    """Return a return of goods as a message: CSV, its time in milliseconds."""
    since = row["ts"].replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (
        f"{since // timedelta(milliseconds=1)},{row['return_id']},{row['user_id']},"
        f"{row['product_id']},{row['refund_amt']}"
    ).encode()


def table(con, name, rows):
    """Make a table of the warehouse that has these returns."""
    return con.create_table(name, pa.Table.from_pylist(rows, SCHEMA), overwrite=True)


def returns(con, topic, *, name="returns_v1", rows=(), identified=True):
    """Return a group-by of returns, in the table `name` and on the topic."""
    found = table(con, name, list(rows))
    source = EventSource(
        found,
        time=found.ts,
        topic=Topic(topic, format="csv", fields=FIELDS),
        id=found.return_id if identified else None,
    )
    amount = found.refund_amt
    return GroupBy(
        name=name,
        source=source,
        keys=[found.user_id],
        aggregations=[
            trailing(days(3, 30), amount.sum(), amount.count(), amount.mean(), amount.max()),
            last_k(amount, 3),
        ],
    )


def join(con, name, *group_bys):
    """Return a join of such group-bys, by user."""
    left = con.create_table(
        f"{name}_left",
        pa.table({"user_id": ["5"], "ts": pa.array([T], pa.timestamp("us"))}),
        overwrite=True,
    )
    return Join(
        name=name, left=EventSource(left, time=left.ts), parts=[JoinPart(g) for g in group_bys]
    )


@contextmanager
def published(store, definition):
    """Serve a definition of which nothing was uploaded, and unpublish it afterwards."""
    plan = plan_of(definition)
    registry.prepare(store, plan)
    registry.register(store, plan)
    try:
        yield plan
    finally:
        registry.unpublish(store, plan.name)


def topic(broker, partitions=1, name=None):
    """Make a new topic, and return its name."""
    name = name or f"events.returns.{random.getrandbits(40):x}"
    client = KafkaAdminClient(bootstrap_servers=broker.servers)
    try:
        client.create_topics([NewTopic(name, partitions, 1)])
    finally:
        client.close()
    until = time.monotonic() + 60
    while len(topic_ends({"bootstrap_servers": [broker.servers]}, [name])) < partitions:
        assert time.monotonic() < until
        time.sleep(0.05)
    return name


def sent(broker, name, messages, partition=None):
    """Produce messages, in order; return the (partition, offset) of each."""
    client = KafkaProducer(bootstrap_servers=broker.servers, linger_ms=5)
    try:
        told = [
            client.send(name, m, key=b"k" if m is None else None, partition=partition)
            for m in messages
        ]
        client.flush()
        return [(t.get(30).partition, t.get(30).offset) for t in told]
    finally:
        client.close()
