"""A store that the updater's own write path filled, without a broker.

The tests of freshness and of passes share it.
"""

from __future__ import annotations

import random
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace

from streamed import event, line, published, returns

from workbench.online.streaming import offsets
from workbench.online.streaming.kafka_consumer import Polled
from workbench.online.streaming.topic_batch import BadMessageLimit, TopicReaders


def clock(store):
    """Return now by the store's own clock, which writes the marks."""
    with store.connection() as con:
        return con.execute("select clock_timestamp()").fetchone()[0]


@contextmanager
def streaming(store, duck, partitions=2):
    """A group-by that is served, and what an updater does for it.

    It owns partitions, applies messages and looks at the topic.
    """
    name = f"events.fresh.{random.getrandbits(40):x}"
    with published(store, returns(duck, name)) as plan:
        (group_by,) = plan.group_bys
        with store.connection() as con:
            epochs = {
                p: offsets.claimed(con, [group_by], name, p, "me")[group_by.table].epoch
                for p in range(partitions)
            }
        topic, ends = (
            TopicReaders(name, [group_by], BadMessageLimit(0.5, 100)),
            dict.fromkeys(range(partitions), 0),
        )

        def write(ages, partition=0, *, apply=True):
            """Write messages of events of so long ago; each takes its partition's next offset."""
            start, now = ends[partition], datetime.now(UTC)
            ends[partition] += len(ages)
            if apply:
                payloads = [
                    line(event(f"{partition}-{start + i}", at=(now - age).replace(tzinfo=None)))
                    for i, age in enumerate(ages)
                ]
                told = Polled(
                    name,
                    partition,
                    start,
                    ends[partition],
                    range(start, ends[partition]),
                    payloads,
                    [int(now.timestamp() * 1000)] * len(ages),
                )
                with store.connection() as con:
                    topic.write(
                        con, [told], {group_by.table: {(name, p): e for p, e in epochs.items()}}
                    )

        def look():
            with store.connection() as con:
                offsets.high(
                    con,
                    {(name, p): [group_by.table] for p in ends},
                    {(name, p): e for p, e in ends.items()},
                )

        yield SimpleNamespace(topic=name, plan=plan, table=group_by.table, write=write, look=look)
        with store.connection() as con:
            con.execute("delete from workbench.canaries where topic = %s", (name,))
            con.execute("delete from workbench.uploads where group_by = %s", (group_by.name,))
