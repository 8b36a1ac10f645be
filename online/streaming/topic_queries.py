"""Questions to Kafka about topics, outside of any group: their ends and their newest messages."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from kafka import TopicPartition
from kafka.errors import KafkaError

from workbench.online.streaming.brokers import away
from workbench.online.streaming.kafka_client import kafka_client
from workbench.online.streaming.kafka_consumer import Place

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def topic_ends(config: Mapping[str, Any], topics: Iterable[str]) -> dict[Place, int]:
    """The offset after the last message of every partition of these topics.

    StoreError where Kafka is away.
    """
    client = kafka_client(config)
    try:
        places = [
            TopicPartition(t, p) for t in topics for p in client.partitions_for_topic(t) or ()
        ]
        return {(p.topic, p.partition): end for p, end in client.end_offsets(places).items()}
    except KafkaError as error:
        raise away(error, config) from error
    finally:
        client.close()


def newest_messages(config: Mapping[str, Any], topic: str, most: int, seconds: float) -> list[Any]:
    """The newest messages of a topic, at most `most`, as the client's records.

    They are those that could be read within so many seconds. StoreError where Kafka is away.
    """
    client = kafka_client(config)
    try:
        places = [TopicPartition(topic, p) for p in client.partitions_for_topic(topic) or ()]
        if not places:
            return []
        ends, begins = client.end_offsets(places), client.beginning_offsets(places)
        client.assign(places)
        for place in places:
            client.seek(place, max(begins[place], ends[place] - most))
        messages: list[Any] = []
        until = time.monotonic() + seconds
        while time.monotonic() < until and any(client.position(p) < ends[p] for p in places):
            messages += [r for records in client.poll(timeout_ms=200).values() for r in records]
        return sorted(messages, key=lambda r: r.timestamp)[-most:]
    except KafkaError as error:
        raise away(error, config) from error
    finally:
        client.close(autocommit=False)
