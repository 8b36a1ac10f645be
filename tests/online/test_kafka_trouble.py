"""C8, C13: Kafka's errors, a topic's own trouble, and codecs.

A final error ends an updater with a sentence, a topic's own trouble stops that topic alone, and
codecs are read.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time

import pyarrow as pa
import pytest
from conftest import ROOT
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    NewTopic,
    ResourcePattern,
    ResourceType,
)
from streamed import event, line, published, returns, sent, topic
from updater_runs import COUNT, FAST, asked, until, updated

from workbench import EventSource, GroupBy, Topic, days, trailing
from workbench.online import StoreError, process_handover
from workbench.online.storage.table_names import stored
from workbench.online.streaming import offsets
from workbench.online.streaming.topic_health import topic_health
from workbench.online.streaming.updater import Streaming, Updater

pytestmark = pytest.mark.slow

USER = {
    "security_protocol": "SASL_PLAINTEXT",
    "sasl_mechanism": "PLAIN",
    "sasl_plain_username": "reader",
    "sasl_plain_password": "secret",
    "bootstrap_timeout_ms": 3000,
}
FINAL = {
    "a wrong password": (
        {"sasl_plain_password": "wrong"},
        "refuses us.*: .*the user, the password or the mechanism",
    ),
    "a mechanism that the broker lacks": (
        {"sasl_mechanism": "SCRAM-SHA-256"},
        "refuses us.*: .*SCRAM-SHA-256",
    ),
    "a misspelt option": (
        {"sasl_plain_user": "reader"},
        "options for Kafka are wrong .*sasl_plain_user",
    ),
    "an unknown protocol": (
        {"security_protocol": "SASL"},
        "security_protocol is 'SASL', which is none of",
    ),
    "no password": ({"sasl_plain_password": None}, "options for Kafka are wrong|refuses us"),
    "a group that is not ours": (
        {},
        "refuses us .*GroupAuthorizationFailedError|there is no topic",
    ),
}


@pytest.mark.parametrize("case", FINAL)
def test_what_no_waiting_mends_ends_the_updater_with_a_sentence(store, kafka, duck, case):
    """C8: Kafka's final errors are never reported as a broker that is away."""
    options, words = FINAL[case]
    name = topic(kafka)
    with published(store, returns(duck, name)), pytest.raises(StoreError, match=words) as told:
        Updater(store, servers=kafka.guarded, settings=Streaming(kafka=USER | options)).run()

    assert "away" != told.value.kind


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_compressed_messages_are_read(store, kafka, duck, codec):
    """C8: batches are small, and one is larger than a megabyte."""
    name = topic(kafka)
    producer = KafkaProducer(
        bootstrap_servers=kafka.servers,
        compression_type=codec,
        linger_ms=20,
        batch_size=1 << 21,
        max_request_size=1 << 22,
    )
    with published(store, returns(duck, name, identified=False)):
        for i in range(20):
            producer.send(name, line(event(i)))
        producer.flush()
        for i in range(20):
            producer.send(name, line(event(i)).replace(b",7,", b"," + b"7" * 80_000 + b","))
        producer.close()

        updated(store, kafka)

        assert 40 == asked(store)[COUNT]


def test_a_name_without_a_topic_stops_no_other_from_the_start(store, kafka, duck):
    """C13: that holds whether the topic is missing at the start or later.

    The store says which and why.
    """
    name, missing = topic(kafka), f"missing.{time.time_ns()}"
    with (
        published(store, returns(duck, name)),
        published(store, returns(duck, missing, name="missing_v1")),
    ):
        sent(kafka, name, [line(event(1))])
        with Updater(store, servers=kafka.servers, settings=FAST) as updater:
            assert until(lambda: 1 == asked(store)[COUNT]), updater.error

        stood = {h.topic: h for h in topic_health(store)}
        assert f"there is no topic '{missing}'" in stood[missing].trouble
        assert "" == stood[name].trouble


def test_a_topic_that_this_user_may_not_read_stops_no_other(store, kafka, duck):
    """C8: a later grant mends it."""
    mine, theirs = topic(kafka), topic(kafka)
    admin = KafkaAdminClient(bootstrap_servers=kafka.servers)

    def granted(kind, name, operation):
        pattern = ResourcePattern(kind, name)
        admin.create_acls([ACL("User:reader", "*", operation, ACLPermissionType.ALLOW, pattern)])

    granted(ResourceType.GROUP, "guarded", ACLOperation.READ)
    granted(ResourceType.TOPIC, mine, ACLOperation.READ)
    granted(ResourceType.TOPIC, theirs, ACLOperation.DESCRIBE)
    with (
        published(store, returns(duck, mine)),
        published(store, returns(duck, theirs, name="theirs_v1")),
    ):
        sent(kafka, mine, [line(event(1))])
        sent(kafka, theirs, [line(event(1))])
        settings = Streaming(refresh=0.2, kafka=USER, group="guarded")
        with Updater(store, servers=kafka.guarded, settings=settings) as updater:
            assert until(lambda: theirs in updater.paused), updater.error
            sent(kafka, mine, [line(event(2))])
            assert until(lambda: 2 == asked(store)[COUNT]), updater.error
            assert "may not read it" in {h.topic: h for h in topic_health(store)}[theirs].trouble

            granted(ResourceType.TOPIC, theirs, ACLOperation.READ)
            updater.reload()
            assert until(lambda: 1 == asked(store, "theirs_v1")[COUNT]), updater.error
            assert until(lambda: "" == {h.topic: h for h in topic_health(store)}[theirs].trouble)
    admin.close()


def zipped_topic(kafka):
    name = f"zipped.{time.time_ns()}"
    admin = KafkaAdminClient(bootstrap_servers=kafka.servers)
    admin.create_topics([NewTopic(name, 1, 1, topic_configs={"compression.type": "zstd"})])
    admin.close()
    return name


def damaged(_):
    message = "not a zstd frame"
    raise ValueError(message)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"kafka.codec.zstd": None}, "pip install"),
        (
            {"kafka.record.default_records.zstd_decode": damaged},
            "partition 0 from offset 0 on are damaged .*--skip-lost",
        ),
    ],
    ids=["lacking", "damaged"],
)
def test_messages_that_cannot_be_uncompressed_stop_no_other_topic(
    store, kafka, duck, monkeypatch, broken, words
):
    """C8: the topic of such messages is known where they are found.

    That holds however short the poll is and whatever was read before.
    """
    for what, instead in broken.items():
        monkeypatch.setattr(what, instead)
    name, zipped = topic(kafka), zipped_topic(kafka)
    with (
        published(store, returns(duck, name)),
        published(store, returns(duck, zipped, name="zipped_v1")),
    ):
        sent(kafka, zipped, [line(event(1))])
        sent(kafka, name, [line(event(i)) for i in range(3)])
        with Updater(store, servers=kafka.servers, settings=FAST) as updater:
            assert until(lambda: zipped in updater.paused or updater.error), updater.error
            sent(kafka, name, [line(event(9))])
            assert until(lambda: 4 == asked(store)[COUNT]), updater.error
            assert until(lambda: re.search(words, trouble(store, zipped))), trouble(store, zipped)
        assert "" == trouble(store, name)


def trouble(store, name):
    return {h.topic: h for h in topic_health(store)}[name].trouble


def trimmed(store, kafka, name, table):
    """Send messages, and remove those that were not applied, as the topic's retention does."""
    sent(kafka, name, [line(event(i)) for i in range(8)])
    admin = KafkaAdminClient(bootstrap_servers=kafka.servers)
    admin.delete_records({TopicPartition(name, 0): 6})
    admin.close()


def rewound(store, kafka, name, table):
    with store.connection() as con:
        con.execute("update workbench.offsets set next = 500 where rows = %s", (table,))


def remade(store, kafka, name, table):
    admin = KafkaAdminClient(bootstrap_servers=kafka.servers)
    admin.delete_topics([name])
    assert until(lambda: name not in admin.list_topics())
    admin.close()
    topic(kafka, name=name)
    sent(kafka, name, [line(event(i)) for i in range(10, 17)])


LOST = {
    "by retention": (trimmed, "applied up to offset 3, but Kafka has offsets 6 to"),
    "beyond its end": (rewound, "offset 500, but Kafka has"),
    "made anew": (remade, "was made anew"),
}


@pytest.mark.parametrize("case", LOST)
def test_lost_offsets_stop_the_topic_that_lost_them_alone(store, kafka, duck, case):
    """C8: the trouble is kept while other topics are read on, and goes with --skip-lost.

    Alone, the topic ends the updater.
    """
    lose, words = LOST[case]
    name, lossy = topic(kafka), topic(kafka)
    with (
        published(store, returns(duck, name)),
        published(store, returns(duck, lossy, name="lossy_v1", identified=False)) as plan,
    ):
        sent(kafka, name, [line(event(0))])
        sent(kafka, lossy, [line(event(i)) for i in range(3)])
        updated(store, kafka)
        lose(store, kafka, lossy, plan.group_bys[0].table)

        with Updater(store, servers=kafka.servers, settings=FAST) as updater:
            assert until(lambda: lossy in updater.paused or updater.error), updater.error
            sent(kafka, name, [line(event(1))])
            assert until(lambda: 2 == asked(store)[COUNT]), updater.error
            assert words in updater.paused[lossy]
            assert until(lambda: words in trouble(store, lossy))
            time.sleep(2 * FAST.refresh)  # for whatever may take it for mended
            assert words in trouble(store, lossy)
            assert "--skip-lost" in trouble(store, lossy)
            assert not any(p.trouble for p in offsets.progress(store) if p.topic == name)
        with pytest.raises(StoreError, match=words):
            Updater(store, "lossy_v1", servers=kafka.servers, settings=FAST).run()

        with Updater(
            store, servers=kafka.servers, settings=Streaming(refresh=0.2, lost="skip")
        ) as updater:
            assert until(lambda: "" == trouble(store, lossy)), updater.error
        assert 2 == asked(store)[COUNT]


def test_a_topic_that_is_deleted_stops_no_other(store, kafka, duck):
    """C8, C13: the topic is deleted while it is read, not at the start."""
    name, gone = topic(kafka), topic(kafka)
    with (
        published(store, returns(duck, name)),
        published(store, returns(duck, gone, name="gone_v1")),
    ):
        sent(kafka, gone, [line(event(1))])
        with Updater(store, servers=kafka.servers, settings=FAST) as updater:
            assert until(lambda: 1 == asked(store, "gone_v1")[COUNT]), updater.error
            admin = KafkaAdminClient(bootstrap_servers=kafka.servers)
            admin.delete_topics([gone])
            admin.close()

            assert until(lambda: gone in updater.paused or updater.error), updater.error
            sent(kafka, name, [line(event(1))])
            assert until(lambda: 1 == asked(store)[COUNT]), updater.error
            assert until(lambda: f"there is no topic '{gone}'" in trouble(store, gone))
            assert "" == trouble(store, name)


def test_a_registry_without_an_address_stops_no_other_topic(store, kafka, duck, monkeypatch):
    """C8: the topic of Avro messages waits alone, and the store says what it waits for.

    Without others, that is an error.
    """
    monkeypatch.delenv("WORKBENCH_SCHEMA_REGISTRY", raising=False)
    name, avro = topic(kafka), topic(kafka)
    fields = [
        {"name": c, "type": t}
        for c, t in {
            "user_id": "string",
            "ts": {"type": "long", "logicalType": "timestamp-micros"},
            "amt": "long",
        }.items()
    ]
    schema = json.dumps({"type": "record", "name": "event", "fields": fields})
    table = duck.create_table(
        "avro_v1",
        pa.schema(
            [("user_id", pa.string()), ("ts", pa.timestamp("us")), ("amt", pa.int64())]
        ).empty_table(),
        overwrite=True,
    )
    source = EventSource(
        table, time="ts", topic=Topic(avro, format="avro", schema=schema, registry=True)
    )
    definition = GroupBy(
        name="avro_v1",
        source=source,
        keys=["user_id"],
        aggregations=trailing(days(30), table.amt.sum()),
        accuracy="temporal",
    )
    with published(store, returns(duck, name)), published(store, definition):
        with Updater(store, servers=kafka.servers, settings=FAST) as updater:
            sent(kafka, name, [line(event(1))])
            assert until(lambda: 1 == asked(store)[COUNT]), updater.error
            assert until(lambda: "set WORKBENCH_SCHEMA_REGISTRY" in trouble(store, avro))
            assert "" == trouble(store, name)
        with pytest.raises(StoreError, match="set WORKBENCH_SCHEMA_REGISTRY"):
            Updater(store, "avro_v1", servers=kafka.servers, settings=FAST).run()
        assert "set WORKBENCH_SCHEMA_REGISTRY" in trouble(store, avro)


def test_rows_that_cannot_be_written_stop_no_other_topic(store, kafka, duck):
    """C8: messages that one group-by's table refuses stop no other group-by."""
    name, lacking = topic(kafka), topic(kafka)
    with (
        published(store, returns(duck, name)),
        published(store, returns(duck, lacking, name="lacking_v1")) as plan,
    ):
        with store.connection() as con:
            con.execute(f"alter table {stored(plan.group_bys[0])} rename column k0 to k9")
        with Updater(store, servers=kafka.servers, settings=FAST) as updater:
            sent(kafka, lacking, [line(event(1))])
            assert until(lambda: lacking in updater.paused or updater.error), updater.error
            sent(kafka, name, [line(event(1))])
            assert until(lambda: 1 == asked(store)[COUNT]), updater.error
            assert until(lambda: "is not read" in trouble(store, lacking))


def offered(store, kafka, **more):
    """Return the pipe by which `workbench stream` gives a process of the stream its settings."""
    known = {
        "names": [],
        "store": store.url,
        "kafka": kafka,
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
    return process_handover.offered(json.dumps(known | more))


def test_a_hangup_before_the_updater_is_there_ends_nothing(store, kafka, duck):
    """C13: at any moment, SIGHUP makes it read its topics anew or is harmless."""
    name = topic(kafka)
    with published(store, returns(duck, name)):
        ignoring = (
            "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN);"
            " os.execv(sys.executable, sys.argv[1:])"
        )
        pipe = offered(store, kafka.servers)
        # `workbench stream` becomes this process.
        command = [
            sys.executable,
            "-c",
            ignoring,
            sys.executable,
            "-m",
            "workbench.online.streaming.stream_process",
            str(pipe),
        ]
        with subprocess.Popen(
            command, cwd=ROOT, pass_fds=[pipe], stderr=subprocess.PIPE, text=True
        ) as process:
            time.sleep(0.3)  # until it is the one that ignores
            for _ in range(40):  # while it starts, and after
                process.send_signal(signal.SIGHUP)
                time.sleep(0.1)
            assert process.poll() is None
            sent(kafka, name, [line(event(1))])
            assert until(lambda: 1 == asked(store)[COUNT])
            process.terminate()

            assert 0 == process.wait(60)
        assert 1 == asked(store)[COUNT]
