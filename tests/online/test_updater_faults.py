"""What goes wrong around an updater.

That is other updaters, lost messages, transactions, odd times, missing topics, and a broker that is
away.
"""

from __future__ import annotations

import gc
import time
from threading import Thread

import broker
import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.admin import NewTopic
from streamed import event, line, published, returns, sent, topic
from updater_runs import COUNT, FAST, asked, until, updated

from workbench.online import StoreError
from workbench.online.storage.group_by_lock import locked
from workbench.online.streaming import consumer_session, dead_letters, kafka_consumer, offsets
from workbench.online.streaming.kafka_consumer import Polled
from workbench.online.streaming.topic_batch import BadMessageLimit, TopicReaders
from workbench.online.streaming.updater import Streaming, Updater

pytestmark = pytest.mark.slow


def stands(store, name):
    """Return how the partitions of a topic stand, by group-by."""
    return {p.group_by: p for p in offsets.progress(store) if p.topic == name}


def test_one_group_by_that_another_updater_took_and_left_is_taken_over(
    store, kafka, duck, monkeypatch
):
    monkeypatch.setattr(consumer_session, "ABSENT", 1)
    name = topic(kafka)
    first, second = (
        returns(duck, name, identified=False),
        returns(duck, name, name="others_v1", identified=False),
    )
    with (
        published(store, first) as plan,
        published(store, second),
        Updater(store, servers=kafka.servers, settings=FAST) as updater,
    ):
        sent(kafka, name, [line(event(1))])
        updater.caught_up()
        with store.connection() as con:
            offsets.claimed(con, plan.group_bys, name, 0, "one that dies")
        sent(kafka, name, [line(event(2))])

        updater.caught_up(20)

        assert (2, 2) == (asked(store)[COUNT], asked(store, "others_v1")[COUNT])


def test_skipping_what_one_group_by_lost_repeats_nothing_of_another(store, kafka, duck):
    name = topic(kafka)
    first, second = (
        returns(duck, name, identified=False),
        returns(duck, name, name="others_v1", identified=False),
    )
    with published(store, first), published(store, second) as behind:
        sent(kafka, name, [line(event(i)) for i in range(10)])
        updated(store, kafka)
        with store.connection() as con:
            con.execute(
                "update workbench.offsets set next = 2 where topic = %s and rows = %s",
                (name, behind.group_bys[0].table),
            )
        admin = KafkaAdminClient(bootstrap_servers=kafka.servers)
        admin.delete_records({TopicPartition(name, 0): 5})
        admin.close()

        updated(store, kafka, settings=Streaming(refresh=0.2, lost="skip"))

        assert 10 == asked(store)[COUNT]
        assert 15 == asked(store, "others_v1")[COUNT]  # as if the five had not been applied


def test_transactions_are_read_whole_and_aborted_ones_not_at_all(store, kafka, duck):
    name = topic(kafka)
    producer = KafkaProducer(bootstrap_servers=kafka.servers, transactional_id=name)
    producer.init_transactions()
    with published(store, returns(duck, name)):
        for number in range(6):
            producer.begin_transaction()
            producer.send(name, line(event(number)))
            producer.flush()
            if number % 2:
                producer.abort_transaction()
            else:
                producer.commit_transaction()
        producer.close()

        updated(store, kafka)

        assert 3 == asked(store)[COUNT]
        assert 12 == stands(store, name)["returns_v1"].next  # a message and a marker each


def test_times_that_kafka_cannot_have_are_unknown(store, kafka, duck):
    name = topic(kafka)
    producer = KafkaProducer(bootstrap_servers=kafka.servers)
    with published(store, returns(duck, name)):
        for time_ in (-1, 0):
            producer.send(name, line(event(time_)), timestamp_ms=time_)
        producer.send(name, b"bad", timestamp_ms=-1)
        producer.close()

        updated(store, kafka)

        assert 2 == asked(store)[COUNT]
        assert 0 == stands(store, name)["returns_v1"].appended
        assert 1 == len([d for d in dead_letters.listed(store) if d.topic == name])


def test_a_topic_that_is_missing_stops_no_other(store, kafka, duck):
    name, later = topic(kafka), f"later.{time.time_ns()}"
    with (
        published(store, returns(duck, name)),
        Updater(store, servers=kafka.servers, settings=FAST) as updater,
    ):
        sent(kafka, name, [line(event(1))])
        updater.caught_up()
        with published(store, returns(duck, later, name="others_v1")):
            assert until(lambda: later in updater.paused), updater.error
            sent(kafka, name, [line(event(2))])
            assert until(lambda: 2 == asked(store)[COUNT])

            topic(kafka, name=later)
            sent(kafka, later, [line(event(3))])
            updater.caught_up()

            assert 1 == asked(store, "others_v1")[COUNT]


def test_a_topic_that_is_mended_is_paused_nowhere(store, kafka, duck):
    name = topic(kafka, 2)
    with published(store, returns(duck, name)):
        sent(kafka, name, [b"{}"] * 200, partition=0)
        with Updater(store, servers=kafka.servers, settings=FAST) as updater:
            assert until(lambda: updater.paused)
            updater.settings = Streaming(refresh=0.2, poison=1.0)

            updater.reload()
            updater.caught_up()

            assert until(
                lambda: "" == "".join(p.trouble for p in offsets.progress(store) if p.topic == name)
            )
            assert (
                b'workbench_stream_paused{topic="' + name.encode() + b'"} 0.0'
                in updater.measures.page()
            )


def test_finding_bad_messages_takes_few_locks_of_the_server(store, duck):
    definition = returns(duck, "none", identified=False)
    with published(store, definition) as plan, store.connection() as con:
        reads = TopicReaders("none", plan.group_bys, BadMessageLimit(1.0, 100))
        epochs = {
            t: {("none", 0): r.epoch}
            for t, r in offsets.claimed(con, plan.group_bys, "none", 0).items()
        }
        messages = [line(event(i, user="5" if i % 10 else "\x00")) for i in range(400)]
        polled = Polled("none", 0, 0, 400, range(400), messages, [1] * 400)
        locks = "select count(*) from pg_locks where pid = pg_backend_pid()"

        with con.transaction():
            done = reads.write(con, [polled], epochs)
            ((held,),) = con.execute(locks).fetchall()

        assert (40, 360) == (len(done.dead), asked(store)[COUNT])
        assert held < 100


def test_an_updater_stops_while_an_upload_has_its_table(store, kafka, duck):
    name = topic(kafka)
    with published(store, returns(duck, name)) as plan:
        with Updater(store, servers=kafka.servers, settings=FAST) as updater:
            updater.caught_up()
            with store.connection() as con, con.transaction(), con.cursor() as cursor:
                locked(cursor, plan.group_bys[0])
                sent(kafka, name, [line(event(1))])
                waits = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
                assert until(lambda: (1,) == cursor.execute(waits).fetchone())

                ending = Thread(target=updater.__exit__)
                ending.start()
                ending.join(15)

                assert not ending.is_alive()

        updated(store, kafka)

        assert 1 == asked(store)[COUNT]


# kafka-python leaves sockets that did not connect to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_broker_that_is_away_is_said_and_waited_for(store, duck, caplog, monkeypatch):
    monkeypatch.setattr(kafka_consumer, "ANSWER", 500)
    with broker.kafka() as own:
        name = topic(own)
        with (
            published(store, returns(duck, name)),
            Updater(store, servers=own.servers, settings=FAST) as updater,
        ):
            sent(own, name, [line(event(1))])
            updater.caught_up()
            own.stop()

            assert until(lambda: "Kafka cannot be reached" in caplog.text)

            own.start()
            sent(own, name, [line(event(2))])
            updater.caught_up()
            assert 2 == asked(store)[COUNT]
    gc.collect()


def test_what_cannot_be_uncompressed_is_no_broker_that_is_away(store, kafka, duck, monkeypatch):
    """C8: a codec that this Python lacks ends an updater that has no other topic."""
    monkeypatch.setattr("kafka.codec.zstd", None)
    name = f"zipped.{time.time_ns()}"
    admin = KafkaAdminClient(bootstrap_servers=kafka.servers)
    admin.create_topics([NewTopic(name, 1, 1, topic_configs={"compression.type": "zstd"})])
    admin.close()
    with published(store, returns(duck, name)):
        sent(kafka, name, [line(event(1))])

        with pytest.raises(StoreError, match=r"zstd.*pip install"):
            updated(store, kafka)


def test_a_topic_that_is_deleted_is_an_error_and_not_made_anew(store, kafka, duck):
    name = topic(kafka)
    with (
        published(store, returns(duck, name)),
        Updater(store, servers=kafka.servers, settings=FAST) as updater,
    ):
        updater.caught_up()
        admin = KafkaAdminClient(bootstrap_servers=kafka.servers)

        admin.delete_topics([name])

        assert until(lambda: updater.error)
        assert f"there is no topic '{name}'" in str(updater.error)
        assert name not in admin.list_topics()
        admin.close()


def test_a_topic_made_anew_under_its_name_is_an_error_even_where_it_has_grown_past_us(
    store, kafka, duck
):
    name = topic(kafka)
    with published(store, returns(duck, name, identified=False)):
        sent(kafka, name, [line(event(i)) for i in range(3)])
        updated(store, kafka)
        admin = KafkaAdminClient(bootstrap_servers=kafka.servers)
        admin.delete_topics([name])
        assert until(lambda: name not in admin.list_topics())
        admin.create_topics([NewTopic(name, 1, 1)])
        admin.close()
        sent(kafka, name, [line(event(i)) for i in range(10, 17)])

        with pytest.raises(
            StoreError,
            match=(
                r"was made anew since returns_v1 applied offset 2 of its partition 0.*--skip-lost"
            ),
        ):
            Updater(store, servers=kafka.servers, settings=FAST).run()

        updated(store, kafka, settings=Streaming(refresh=0.2, lost="skip"))
        assert 10 == asked(store)[COUNT]
