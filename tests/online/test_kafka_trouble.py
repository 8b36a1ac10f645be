"""C8, C13: Kafka's final errors end an updater with a sentence, a topic's own trouble stops that topic alone, codecs are read."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import ACL, ACLOperation, ACLPermissionType, NewTopic, ResourcePattern, ResourceType
from streamed import event, line, published, returns, sent, topic
from test_updater import COUNT, FAST, asked, updated
from test_updater_faults import until

from online import StoreError, handover
from online.topic_health import topic_health
from online.updater import Streaming, Updater

pytestmark = pytest.mark.slow

USER = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "sasl_plain_username": "reader", "sasl_plain_password": "secret", "bootstrap_timeout_ms": 3000}
FINAL = {
    "a wrong password": ({"sasl_plain_password": "wrong"}, "refuses us.*: .*the user, the password or the mechanism"),
    "a mechanism that the broker lacks": ({"sasl_mechanism": "SCRAM-SHA-256"}, "refuses us.*: .*SCRAM-SHA-256"),
    "a misspelt option": ({"sasl_plain_user": "reader"}, "options for Kafka are wrong .*sasl_plain_user"),
    "an unknown protocol": ({"security_protocol": "SASL"}, "security_protocol is 'SASL', which is none of"),
    "no password": ({"sasl_plain_password": None}, "options for Kafka are wrong|refuses us"),
    "a group that is not ours": ({}, "refuses us .*GroupAuthorizationFailedError|there is no topic"),
}


@pytest.mark.parametrize("case", FINAL)
def test_what_no_waiting_mends_ends_the_updater_with_a_sentence(store, kafka, duck, case):
    """C8: and the store says why nothing is applied."""
    options, words = FINAL[case]
    name = topic(kafka)
    with published(store, returns(duck, name)), pytest.raises(StoreError, match=words) as told:
        Updater(store, servers=kafka.guarded, settings=Streaming(kafka=USER | options)).run()

    assert "away" != told.value.kind


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_compressed_messages_are_read(store, kafka, duck, codec):
    """C8: of small batches and of one larger than a megabyte."""
    name = topic(kafka)
    producer = KafkaProducer(bootstrap_servers=kafka.servers, compression_type=codec, linger_ms=20, batch_size=1 << 21, max_request_size=1 << 22)
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
    """C13: the same whether the topic is missing at the start or later; the store says which and why."""
    name, missing = topic(kafka), f"missing.{time.time_ns()}"
    with published(store, returns(duck, name)), published(store, returns(duck, missing, name="missing_v1")):
        sent(kafka, name, [line(event(1))])
        with Updater(store, servers=kafka.servers, settings=FAST) as updater:
            assert until(lambda: 1 == asked(store)[COUNT]), updater.error

        stood = {h.topic: h for h in topic_health(store)}
        assert f"there is no topic '{missing}'" in stood[missing].trouble
        assert "" == stood[name].trouble


def test_a_topic_that_this_user_may_not_read_stops_no_other(store, kafka, duck):
    """C8: a grant later mends it."""
    mine, theirs = topic(kafka), topic(kafka)
    admin = KafkaAdminClient(bootstrap_servers=kafka.servers)

    def granted(kind, name, operation):
        pattern = ResourcePattern(kind, name)
        admin.create_acls([ACL("User:reader", "*", operation, ACLPermissionType.ALLOW, pattern)])

    granted(ResourceType.GROUP, "guarded", ACLOperation.READ)
    granted(ResourceType.TOPIC, mine, ACLOperation.READ)
    granted(ResourceType.TOPIC, theirs, ACLOperation.DESCRIBE)
    with published(store, returns(duck, mine)), published(store, returns(duck, theirs, name="theirs_v1")):
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


def test_a_codec_that_is_lacking_stops_no_other_topic(store, kafka, duck, monkeypatch):
    """C8: which topic it is, is found by reading each alone."""
    monkeypatch.setattr("kafka.codec.zstd", None)
    name, zipped = topic(kafka), f"zipped.{time.time_ns()}"
    admin = KafkaAdminClient(bootstrap_servers=kafka.servers)
    admin.create_topics([NewTopic(zipped, 1, 1, topic_configs={"compression.type": "zstd"})])
    admin.close()
    with published(store, returns(duck, name)), published(store, returns(duck, zipped, name="zipped_v1")):
        sent(kafka, zipped, [line(event(1))])
        sent(kafka, name, [line(event(i)) for i in range(3)])
        with Updater(store, servers=kafka.servers, settings=FAST) as updater:
            assert until(lambda: zipped in updater.paused), updater.error
            sent(kafka, name, [line(event(9))])
            assert until(lambda: 4 == asked(store)[COUNT]), updater.error
        assert "pip install" in {h.topic: h for h in topic_health(store)}[zipped].trouble


def offered(store, kafka, **more):
    """The pipe that tells a process of the stream what it needs, as `workbench stream` does."""
    known = {"names": [], "store": store.url, "kafka": kafka, "group": None, "partitions": None, "registry": None, "batch": 100, "poison": 0.5, "dead_topic": None, "skip_lost": False, "metrics": None, "canary": None}
    return handover.offered(json.dumps(known | more))


def test_a_hangup_before_the_updater_is_there_ends_nothing(store, kafka, duck):
    """C13: whatever the moment, SIGHUP makes it look anew or is harmless."""
    name = topic(kafka)
    with published(store, returns(duck, name)):
        ignoring = "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); os.execv(sys.executable, sys.argv[1:])"
        pipe = offered(store, kafka.servers)
        command = [sys.executable, "-c", ignoring, sys.executable, "-m", "online.streaming", str(pipe)]  # as `workbench stream` becomes it
        with subprocess.Popen(command, cwd=ROOT, pass_fds=[pipe], stderr=subprocess.PIPE, text=True) as process:
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
