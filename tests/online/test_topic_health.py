"""How topics stand, as freshness and monitors read it (N3, C8, C10).

That is their trouble, dead letters, and what came on them.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from streamed import published

from workbench import EventSource, GroupBy, days, trailing
from workbench.online.streaming import dead_letters
from workbench.online.streaming import offsets as positions
from workbench.online.streaming.kafka_consumer import Polled
from workbench.online.streaming.topic_batch import BadMessageLimit, TopicReaders
from workbench.online.streaming.topic_health import mended, topic_health, troubled

pytestmark = pytest.mark.slow

NOW = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("ts", pa.timestamp("us")),
        ("amt", pa.int64()),
        ("kind", pa.string()),
    ]
)
TOPIC = "events.health"


def definition(con, topic=TOPIC, source=lambda t: t, name="health_v1"):
    table = source(con.create_table(name, SCHEMA.empty_table(), overwrite=True))
    source = EventSource(table, time="ts", topic=topic)
    return GroupBy(
        name=name,
        source=source,
        keys=["user_id"],
        aggregations=trailing(days(30), table.amt.sum()),
        accuracy="temporal",
    )


def message(user="1", at=NOW, **more):
    return json.dumps(
        {"user_id": user, "ts": int(at.replace(tzinfo=UTC).timestamp() * 1000), "amt": 5, **more}
    ).encode()


def applied(store, plan, payloads, start=0, name=TOPIC):
    reads = TopicReaders(name, plan.group_bys, BadMessageLimit(1.0, 100))
    with store.connection() as con:
        claims = positions.claimed(con, plan.group_bys, name, 0)
        epochs = {t: {(name, 0): r.epoch} for t, r in claims.items()}
        offsets = range(start, start + len(payloads))
        polled = Polled(
            name, 0, start, start + len(payloads), offsets, payloads, [1] * len(payloads)
        )
        return reads.write(con, [polled], epochs)


def stands(store, name=TOPIC):
    return {h.group_by: h for h in topic_health(store) if h.topic == name}


def test_a_message_without_key_or_time_is_a_dead_letter_that_names_what_it_has(store, duck):
    """N3: no event can come of such a message, and none is taken as applied.

    It is Debezium's envelope, has upper-case names, or is an empty object.
    """
    bare = [
        b"{}",
        b'{"USER_ID": "1", "TS": 1}',
        b'{"user_id": null, "ts": 1700000000000}',
        b'{"payload": {"after": {"user_id": "1"}, "op": "c"}}',
        b'{"user_id": "1", "ts": null}',
    ]
    with published(store, definition(duck)) as plan:
        done = applied(store, plan, [message(), *bare, message()])

        found = {d.offset: d.reason for d in dead_letters.listed(store, "health_v1")}
        assert ({1, 2, 3, 4, 5}, 2) == (set(found), done.by_group_by[plan.group_bys[0].table].rows)
        assert "the message has nothing: no column user_id, ts" in found[1]
        assert "the message has USER_ID, TS: no column user_id, ts" in found[2]
        assert found[3].startswith("no event can come of the message: user_id is null")
        assert "the message has payload.after, payload.op: no column" in found[4]
        assert "ts is null, so that it has no time" in found[5]
        counts = stands(store)["health_v1"].counts
        assert (7, 2, 5, 5) == (counts.messages, counts.events, counts.dead, counts.keyless)


def test_a_message_that_the_sources_filter_leaves_out_needs_no_key(store, duck):
    """N3: a message that the author filters away is no bad message."""
    with published(
        store, definition(duck, source=lambda t: t.filter(t.kind == "sale"), name="filtered_v1")
    ) as plan:
        applied(store, plan, [b'{"kind": "login"}', message(kind="sale"), b'{"kind": "sale"}'])

        assert [2] == [d.offset for d in dead_letters.listed(store, "filtered_v1")]
        assert 2 == stands(store)["filtered_v1"].counts.events


def test_a_key_that_is_computed_is_looked_at_as_it_is_computed(store, duck):
    """N3: a key that an expression makes null is as absent as one that the message lacks."""

    def source(t):
        return t.mutate(user_id=t.user_id.nullif("nobody"))

    with published(store, definition(duck, source=source, name="computed_v1")) as plan:
        applied(store, plan, [message("nobody"), message("5")])

        assert [0] == [d.offset for d in dead_letters.listed(store, "computed_v1")]


def test_a_share_of_messages_without_a_key_pauses_the_topic(store, duck):
    """N3: other bad messages pause it too."""
    from workbench.online.streaming.batch_values import Poisoned

    with published(store, definition(duck, name="shared_v1")) as plan:
        reads = TopicReaders(TOPIC, plan.group_bys, BadMessageLimit(0.5, 100))
        with store.connection() as con:
            epochs = {
                t: {(TOPIC, 0): r.epoch}
                for t, r in positions.claimed(con, plan.group_bys, TOPIC, 0).items()
            }
            polled = Polled(TOPIC, 0, 0, 150, range(150), [b"{}"] * 150, [1] * 150)

            with pytest.raises(Poisoned):
                reads.write(con, [polled], epochs)

        assert [] == dead_letters.listed(store, "shared_v1")


def test_counts_say_what_came_tombstones_nulls_and_times_that_are_far_from_now(store, duck):
    """N3: seconds on a topic of milliseconds give times in 1970.

    A renamed value is null: both are counted, hour by hour.
    """
    seconds = json.dumps({"user_id": "1", "ts": int(NOW.timestamp()), "amt": 1}).encode()
    renamed = json.dumps({"user_id": "1", "ts": int(NOW.timestamp() * 1000), "amount": 1}).encode()
    with published(store, definition(duck, name="counts_v1")) as plan:
        applied(store, plan, [message(), None, seconds, renamed])
        applied(store, plan, [None, renamed, message(at=NOW + timedelta(days=3))], start=4)

        stood = stands(store)["counts_v1"]
        assert (7, 5, 2, 0, 1, 1) == tuple(
            getattr(stood.counts, n)
            for n in ("messages", "events", "tombstones", "dead", "old", "ahead")
        )
        assert {"amt": 2} == dict(stood.counts.nulls)
        assert ({"amt": 0.4}, 0.4, 0) == (stood.null_shares, stood.far_share, stood.dead)
        assert [7] == [p.next for p in positions.progress(store) if p.topic == TOPIC]


def test_messages_that_come_again_are_not_counted_again(store, duck):
    """Rule 21: counts are written in the transaction that moves the offset."""
    with published(store, definition(duck, name="again_v1")) as plan:
        for _ in range(2):
            applied(store, plan, [message(), None, b"{}"])

        counts = stands(store)["again_v1"].counts
        assert (3, 1, 1, 1) == (counts.messages, counts.events, counts.tombstones, counts.dead)


def test_trouble_is_kept_by_partition_and_told_before_anything_was_read(store, duck):
    """C8, C13: a missing topic has no offsets, and its trouble is reported all the same.

    It ends where something is applied.
    """
    with published(store, definition(duck, name="trouble_v1")) as plan, store.connection() as con:
        table = plan.group_bys[0].table
        troubled(con, [table], TOPIC, "there is no such topic")
        first = stands(store)["trouble_v1"]
        troubled(con, [table], TOPIC, "there is no such topic still")
        again = stands(store)["trouble_v1"]
        assert ("there is no such topic still", first.trouble_since) == (
            again.trouble,
            again.trouble_since,
        )
        troubled(con, [table], TOPIC, "one partition is bad", [1])

        applied(store, plan, [message()])

        assert "one partition is bad" == stands(store)["trouble_v1"].trouble
        assert "" == "".join(p.trouble for p in positions.progress(store) if p.topic == TOPIC)
        mended(con, [table], TOPIC, [1])
        assert ("", None) == (
            stands(store)["trouble_v1"].trouble,
            stands(store)["trouble_v1"].trouble_since,
        )


def test_dead_letters_that_were_not_replayed_are_counted_with_the_time_of_the_first(store, duck):
    """C10: a failure that is kept is monitored."""
    with published(store, definition(duck, name="dead_v1")) as plan:
        applied(store, plan, [b"{}", b"[]"])

        stood = stands(store)["dead_v1"]
        first = min(d.at for d in dead_letters.listed(store, "dead_v1"))
        assert (2, int(first.timestamp() * 1e6) // 1000) == (stood.dead, stood.dead_since // 1000)
        assert {} == {g: h for g, h in stands(store).items() if g != "dead_v1"}
