"""The tests' Kafka is a real one: order, keys, headers, times, crashes, groups, offsets by time.

Two at once.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import broker
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition

from workbench.online.streaming.kafka_consumer import Consumer, configured

pytestmark = pytest.mark.slow


def made(kafka, topic, partitions=1):
    with KafkaAdminClient(bootstrap_servers=kafka.servers) as admin:
        admin.create_topics({topic: {"num_partitions": partitions, "replication_factor": 1}})
    return TopicPartition(topic, 0)


def sent(kafka, topic, messages):
    with KafkaProducer(bootstrap_servers=kafka.servers, acks="all") as producer:
        for future in [producer.send(topic, **message) for message in messages]:
            future.get(timeout=60)


def read(kafka, partition, count):
    """Return the first messages of a partition, as many as a test needs."""
    with reader(kafka, partition) as consumer:
        consumer.seek_to_beginning(partition)
        return polled(consumer, count)


def reader(kafka, partition):
    consumer = KafkaConsumer(bootstrap_servers=kafka.servers)
    consumer.assign([partition])
    return consumer


def polled(consumer, count):
    got, end = [], time.monotonic() + 60
    while len(got) < count and time.monotonic() < end:
        got += [message for messages in consumer.poll(200).values() for message in messages]
    return got


def test_a_topic_has_the_partitions_that_were_asked_for(kafka):
    made(kafka, "three", partitions=3)

    with KafkaConsumer(bootstrap_servers=kafka.servers) as consumer:
        got = consumer.partitions_for_topic("three")

    assert {0, 1, 2} == got


def test_messages_come_out_in_order_with_their_keys_headers_and_times(kafka):
    place = made(kafka, "whole")
    messages = [
        {
            "key": b"k%d" % (n % 3),
            "value": b"v%d" % n,
            "headers": [("n", b"%d" % n)],
            "timestamp_ms": 1_700_000_000_000 + n,
            "partition": 0,
        }
        for n in range(200)
    ]

    sent(kafka, "whole", messages)
    got = read(kafka, place, 200)

    assert [(m["key"], m["value"], m["headers"], m["timestamp_ms"]) for m in messages] == [
        (m.key, m.value, [tuple(h) for h in m.headers], m.timestamp) for m in got
    ]
    assert list(range(200)) == [m.offset for m in got]


def test_offsets_are_found_by_time(kafka):
    place = made(kafka, "timed")
    sent(
        kafka,
        "timed",
        [
            {"value": b"x", "timestamp_ms": 1_700_000_000_000 + 1000 * n, "partition": 0}
            for n in range(10)
        ],
    )

    with reader(kafka, place) as consumer:
        at, between, after = (
            consumer.offsets_for_times({place: 1_700_000_000_000 + ms})[place]
            for ms in (3000, 3001, 9001)
        )

    assert (3, 4, None) == (at.offset, between.offset, after)


def test_a_group_shares_its_partitions_and_one_that_is_left_has_all(kafka):
    made(kafka, "shared", partitions=4)
    options = {
        "heartbeat_interval_ms": 200,
        "session_timeout_ms": 6000,
        "metadata_max_age_ms": 1000,
    }
    # by our own client, for a bare KafkaConsumer may forget what it was assigned: test_consuming.py
    one, two = (
        Consumer(
            configured(kafka.servers, options),
            ["shared"],
            lambda places, _: dict.fromkeys(places),
            lambda _: None,
            group="g",
        )
        for _ in range(2)
    )

    def settled(consumers, counts):
        """Poll until each consumer has as many partitions as it should."""
        end = time.monotonic() + 60
        while time.monotonic() < end and counts != [len(c.positions) for c in consumers]:
            for consumer in consumers:
                consumer.poll(0.1)
        return [set(c.positions) for c in consumers]

    alone = settled([one], [4])
    first, second = settled([one, two], [2, 2])
    two.close()
    left = settled([one], [4])
    one.close()

    assert alone == left == [{("shared", n) for n in range(4)}]
    assert (2, 2, left[0]) == (len(first), len(second), first | second)


def test_two_brokers_run_side_by_side_and_know_nothing_of_each_other(kafka):
    place = made(kafka, "same")

    with broker.kafka() as other:
        made(other, "same")
        sent(kafka, "same", [{"value": b"here", "partition": 0}])
        sent(other, "same", [{"value": b"there", "partition": 0}])

        assert [[b"here"], [b"there"]] == [
            [m.value for m in read(b, place, 1)] for b in (kafka, other)
        ]


def test_messages_outlive_a_crash(kafka):
    place = made(kafka, "kept")
    values = [b"v%d" % n for n in range(100)]
    sent(kafka, "kept", [{"value": value, "partition": 0} for value in values])

    kafka.kill()
    kafka.restart()
    got = read(kafka, place, 100)

    assert values == [m.value for m in got]


def test_a_port_that_is_taken_is_refused(kafka, tmp_path):
    late = broker.Broker(tmp_path, port=int(kafka.servers.split(":")[1]))

    with pytest.raises(
        RuntimeError,
        match="something listens there already; take another port, or none for a free one",
    ):
        late.start()

    assert late.process is None


def test_a_broker_that_cannot_start_says_why_and_leaves_no_process(tmp_path):
    wrong = broker.Broker(tmp_path, **{"log.retention.hours": "soon"})

    with pytest.raises(RuntimeError, match=r"did not start: .*soon"):
        wrong.start()

    assert wrong.process is None


def test_the_command_prints_its_address_keeps_the_folder_and_stops(kafka, tmp_path):
    command = subprocess.Popen(
        [sys.executable, Path(broker.__file__), "--folder", tmp_path],
        stdout=subprocess.PIPE,
        text=True,
    )
    line = next(line for line in command.stdout if "WORKBENCH_KAFKA=" in line)

    command.terminate()
    rest, _ = command.communicate(timeout=60)

    kept = broker.Broker(tmp_path)
    assert line.strip().endswith(f"WORKBENCH_KAFKA={kept.servers}")
    assert "stopping" in rest
    assert not broker.listens(kept.servers)


def test_without_java_or_maven_the_reason_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(broker, "CACHE", tmp_path)

    monkeypatch.setenv("PATH", "")
    no_java = broker.lacks_kafka()
    monkeypatch.setattr(broker.shutil, "which", lambda name: name)
    no_maven = broker.lacks_kafka()

    assert "Kafka needs Java 17: install a JDK, or use environment.yml" == no_java
    assert (
        "Kafka's jars come by Maven, and there is no mvn: install Maven, or use environment.yml"
        == no_maven
    )
