"""The updater against a real broker and a real Postgres (semantics rule 21).

Every event counts once, whatever happens between.
"""

from __future__ import annotations

import subprocess
import time
from datetime import UTC, timedelta

import pytest
import services
from conftest import ROOT
from kafka import KafkaConsumer
from streamed import T, event, join, line, published, returns, sent, topic
from updater_runs import COUNT, FAST, SUM, asked, updated

from workbench import backfill
from workbench.online import StoreError, fetch
from workbench.online.streaming import consumer_session, dead_letters, offsets
from workbench.online.streaming.canary import Canary
from workbench.online.streaming.dead_letter_replay import replayed
from workbench.online.streaming.updater import Streaming, Updater
from workbench.serving.publication import publish

pytestmark = pytest.mark.slow


def test_the_event_of_the_readme_is_in_the_feature_a_moment_later(store, kafka, duck):
    name = topic(kafka)
    with (
        published(store, returns(duck, name)),
        Updater(store, "returns_v1", servers=kafka.servers, settings=FAST) as updater,
    ):
        before = asked(store, user="91")

        sent(kafka, name, [b"1698796800000,F8E3E287-1B44-4D5B-9F0B-3D1A5E0A7C11,91,81,356"])
        updater.caught_up()

        assert (0, 1) == (before[COUNT], asked(store, user="91")[COUNT])
        assert 356 == asked(store, user="91")[SUM]


def test_an_updater_goes_on_where_the_last_one_was(store, kafka, duck):
    name = topic(kafka, 3)
    with published(store, returns(duck, name)):
        sent(kafka, name, [line(event(i)) for i in range(50)])
        updated(store, kafka)
        sent(kafka, name, [line(event(i)) for i in range(50, 80)])

        updated(store, kafka)
        updated(store, kafka)

        assert 80 == asked(store)[COUNT]


def test_group_bys_of_one_topic_read_it_once_and_each_from_where_it_is(store, kafka, duck):
    name = topic(kafka)
    first, second = (
        returns(duck, name),
        returns(duck, name, name="all_returns_v1", identified=False),
    )
    messages = [line(event(i % 40)) for i in range(60)]  # some twice
    with published(store, first):
        sent(kafka, name, messages[:30])
        updated(store, kafka)
        with published(store, second):
            sent(kafka, name, messages[30:])

            updated(store, kafka)

            assert 40 == asked(store)[COUNT]
            assert 60 == asked(store, "all_returns_v1")[COUNT]


def test_an_updater_that_lost_its_partition_writes_nothing(store, kafka, duck):
    name = topic(kafka)
    alone = Streaming(refresh=0.2, partitions={name: [0]})
    with published(store, returns(duck, name, identified=False)) as plan:
        with Updater(store, servers=kafka.servers, settings=alone) as zombie:
            sent(kafka, name, [line(event(1))])
            zombie.caught_up()
            with store.connection() as con:
                offsets.claimed(con, plan.group_bys, name, 0, "another")
            sent(kafka, name, [line(event(2))])
            with pytest.raises(StoreError, match="not caught up"):
                zombie.caught_up(2)

            assert 1 == asked(store)[COUNT]

        updated(store, kafka, settings=alone)

        assert 2 == asked(store)[COUNT]


def test_what_an_updater_left_behind_is_taken_over(store, kafka, duck, monkeypatch):
    monkeypatch.setattr(consumer_session, "ABSENT", 1)
    name = topic(kafka)
    with (
        published(store, returns(duck, name, identified=False)) as plan,
        Updater(store, servers=kafka.servers, settings=FAST) as updater,
    ):
        sent(kafka, name, [line(event(1))])
        updater.caught_up()
        with store.connection() as con:
            offsets.claimed(con, plan.group_bys, name, 0, "one that dies")
        sent(kafka, name, [line(event(2))])

        updater.caught_up(20)

        assert 2 == asked(store)[COUNT]


def test_two_processes_share_the_partitions_and_each_event_counts_once(store, kafka, duck):
    name = topic(kafka, 4)
    with published(store, returns(duck, name, identified=False)):
        with (
            Updater(store, servers=kafka.servers, settings=FAST) as one,
            Updater(store, servers=kafka.servers, settings=FAST),
        ):
            for start in range(0, 200, 20):
                sent(kafka, name, [line(event(i)) for i in range(start, start + 20)])
            one.caught_up()
        sent(kafka, name, [line(event(i)) for i in range(200, 220)])
        updated(store, kafka)

        assert 220 == asked(store)[COUNT]


def test_bad_messages_are_kept_with_their_reason_and_stop_nothing(store, kafka, duck):
    name = topic(kafka)
    bad = [
        b"no returns at all",
        b"1698796800000,r1,5,7,many",
        None,
        b"1698796800000,,5,7,1",
        b"1698796800000,r\x00,5,7,1",
    ]
    with published(store, returns(duck, name)):
        sent(
            kafka,
            name,
            [m for pair in zip([line(event(i)) for i in range(5)], bad, strict=True) for m in pair],
        )

        stood = updated(store, kafka)

        found = [d for d in dead_letters.listed(store, "returns_v1") if d.topic == name]
        # The null is no event, and nothing is wrong with it.
        assert [1, 3, 7, 9] == sorted(d.offset for d in found)
        assert [b for b in bad if b] == [d.payload for d in sorted(found, key=lambda d: d.offset)]
        assert all(d.reason and "\n" not in d.reason for d in found)
        assert 5 == asked(store)[COUNT]
        assert [(10, 10)] == [(p.next, p.high or p.next) for p in stood if p.topic == name]


def test_bad_messages_go_to_a_topic_too_with_where_they_come_from_and_why(store, kafka, duck):
    name, dead = topic(kafka), topic(kafka)
    with published(store, returns(duck, name)):
        sent(kafka, name, [line(event(1)), b"no return"])

        updated(store, kafka, settings=Streaming(refresh=0.2, dead_topic=dead))

        client = KafkaConsumer(
            dead,
            bootstrap_servers=kafka.servers,
            auto_offset_reset="earliest",
            consumer_timeout_ms=10_000,
        )
        got = next(client)
        client.close()
        headers = dict(got.headers)
        assert (b"no return", name.encode(), b"0", b"1") == (
            got.value,
            headers["topic"],
            headers["partition"],
            headers["offset"],
        )
        assert b"values" in headers["reason"]


def test_dead_letters_are_applied_once_when_what_was_wrong_is_mended(store, kafka, duck):
    name = topic(kafka)
    with published(store, returns(duck, name, identified=False)) as plan:
        sent(kafka, name, [b"not yet", line(event(1))])
        updated(store, kafka)
        with store.connection() as con:  # as if the message could be read by now
            con.execute(
                "update workbench.dead_letters set payload = %s where topic = %s",
                (line(event(2)), name),
            )

        told = [replayed(store, plan.group_bys[0]), replayed(store, plan.group_bys[0])]

        assert [(1, 0), (0, 0)] == told
        assert 2 == asked(store)[COUNT]


def test_a_full_buffer_loses_nothing(store, kafka, duck):
    name = topic(kafka, 3)
    with published(store, returns(duck, name, identified=False)):
        sent(kafka, name, [line(event(i)) for i in range(300)])

        updated(
            store,
            kafka,
            settings=Streaming(
                refresh=0.2,
                waiting=1,
                batch=1,
                kafka={"max_poll_records": 7, "bootstrap_servers": kafka.servers},
            ),
        )

        assert 300 == asked(store)[COUNT]


def test_a_topic_of_which_most_is_bad_pauses_and_says_so(store, kafka, duck):
    name = topic(kafka)
    with published(store, returns(duck, name)):
        sent(kafka, name, [line(event(i)) for i in range(5)])
        updated(store, kafka)
        sent(kafka, name, [b"{}"] * 200)
        with Updater(store, servers=kafka.servers, settings=FAST) as updater:
            until = time.monotonic() + 60
            while (
                not (
                    kept := [
                        p.trouble for p in offsets.progress(store) if p.topic == name and p.trouble
                    ]
                )
                and time.monotonic() < until
            ):
                time.sleep(0.05)

            assert "is paused" in updater.paused[name]  # which comes before it is kept
            assert kept
            assert (
                b'workbench_stream_paused{topic="' + name.encode() + b'"} 1.0'
                in updater.measures.page()
            )
        assert [] == [d for d in dead_letters.listed(store, "returns_v1") if d.topic == name]

        updated(store, kafka, settings=Streaming(poison=1.0))

        assert 200 == len([d for d in dead_letters.listed(store, "returns_v1") if d.topic == name])


def test_a_stream_from_its_first_message_is_what_table_and_stream_are_together(store, kafka, duck):
    name = topic(kafka, 2)
    events = [event(i, at=T + timedelta(hours=i), user=str(i % 3), amount=i) for i in range(48)]
    definition = returns(duck, name, rows=events[:30], identified=False)
    midnight = T + timedelta(days=1)
    with published(store, definition):
        sent(kafka, name, [line(e) for e in events[:20]])
        updated(store, kafka)  # and down over midnight
        publish(definition, store, confirm=True, end=midnight)
        sent(kafka, name, [line(e) for e in events[20:]])
        updated(store, kafka)
        whole = returns(duck, name, rows=events, identified=False)
        at = [T + timedelta(days=1), T + timedelta(days=2)]
        left = duck.create_table(
            "asked",
            {"user_id": [str(u) for u in range(3)] * 2, "ts": sorted(at * 3)},
            overwrite=True,
        )

        from workbench import EventSource, Join

        want = (
            backfill(Join(name="j", left=EventSource(left, time=left.ts), parts=[whole]))
            .to_pyarrow()
            .to_pylist()
        )

        for row in want:
            got = asked(store, user=row["user_id"], at=row["ts"].replace(tzinfo=UTC))
            assert {
                k.removeprefix("returns_v1_"): v
                for k, v in row.items()
                if k.startswith("returns_v1_")
            } == got


def test_messages_that_kafka_no_longer_has_are_an_error_and_not_a_silence(store, kafka, duck):
    name = topic(kafka)
    with published(store, returns(duck, name, identified=False)) as plan:
        sent(kafka, name, [line(event(1))])
        updated(store, kafka)
        with store.connection() as con:
            con.execute(
                "update workbench.offsets set next = 500 where rows = %s",
                (plan.group_bys[0].table,),
            )

        with pytest.raises(
            StoreError, match=r"offset 500, but Kafka has offsets 0 to 1, .*--skip-lost"
        ):
            Updater(store, servers=kafka.servers, settings=FAST).run()


def test_marks_say_when_events_happened_came_and_could_be_fetched(store, kafka, duck):
    name = topic(kafka)
    with published(store, returns(duck, name)):
        before = time.time() * 1e6
        sent(kafka, name, [line(event(i, at=T + timedelta(minutes=i))) for i in range(3)])

        updated(store, kafka)

        (stood,) = [p for p in offsets.progress(store) if p.topic == name]
        assert (T + timedelta(minutes=2)).replace(tzinfo=UTC).timestamp() * 1e6 == stood.newest
        assert before - 1000 <= stood.appended <= stood.written <= time.time() * 1e6
        assert (False, True) == (
            stood.idle(stood.written, 10),
            Streaming() and stood.lag in (0, None),
        )


def test_the_command_streams_until_it_is_asked_to_end(store, kafka, duck):
    name = topic(kafka)
    with published(store, returns(duck, name)):
        told = {
            "names": ["returns_v1"],
            "store": store.url,
            "kafka": kafka.servers,
            "group": None,
            "partitions": None,
            "registry": None,
            "batch": 100,
            "poison": 0.5,
            "dead_topic": None,
            "skip_lost": False,
            "metrics": None,
            "canary": None,
        }
        with services.process(
            "workbench.online.streaming.stream_process",
            told,
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert "streaming returns_v1\n" == process.stderr.readline()
            sent(kafka, name, [line(event(i)) for i in range(10)])
            until = time.monotonic() + 60
            while asked(store)[COUNT] < 10 and time.monotonic() < until:
                time.sleep(0.05)
            process.terminate()

            assert 0 == process.wait(60)
        assert 10 == asked(store)[COUNT]


def test_a_canary_says_how_long_an_event_takes_where_nothing_else_comes(store, kafka, duck):
    name = topic(kafka)
    with (
        published(store, returns(duck, name)),
        Updater(store, servers=kafka.servers, settings=FAST) as updater,
    ):
        canary = Canary(
            store, updater.config, name, "{ms},canary-{n},canary,0,0", updater.measures, seconds=60
        )
        until = time.monotonic() + 60
        while (
            not updater.measures.registry.get_sample_value(
                "workbench_stream_canary_seconds_count", {"topic": name}
            )
            and time.monotonic() < until
        ):
            time.sleep(0.02)
        canary.stop()

        assert 1 == updater.measures.registry.get_sample_value(
            "workbench_stream_canary_seconds_count", {"topic": name}
        )
        assert 1 == dict(fetch(store, "returns_v1", user_id="canary"))[COUNT]


def test_what_has_no_topic_cannot_be_streamed(store, kafka, duck):
    from workbench import EventSource, GroupBy

    found = returns(duck, "t").source
    plain = GroupBy(
        name="plain_v1",
        source=EventSource(duck.table("returns_v1"), time="ts"),
        keys=["user_id"],
        aggregations=[duck.table("returns_v1").refund_amt.sum()],
    )
    assert found.topic
    with (
        published(store, plain),
        pytest.raises(StoreError, match="plain_v1 has no topic to follow"),
    ):
        Updater(store, "plain_v1", servers=kafka.servers)


def test_a_joins_group_bys_are_streamed_by_its_name(store, kafka, duck):
    name = topic(kafka)
    with published(store, join(duck, "joined_v1", returns(duck, name))):
        sent(kafka, name, [line(event(1))])

        updated(store, kafka, "joined_v1")

        assert 1 == asked(store, "joined_v1")[f"returns_v1_{COUNT}"]
