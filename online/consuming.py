"""The topics' side of the updater: partitions of one's own, positions that the store gave, messages in batches. kafka-python behind a seam."""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kafka import ConsumerRebalanceListener, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError, OffsetOutOfRangeError

from online.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from online.dead_letters import Dead

SERVERS, CONFIG = "WORKBENCH_KAFKA", "WORKBENCH_KAFKA_CONFIG"  # a list of host:port; a JSON file of kafka-python's options, credentials among them
MOST = 10_000  # messages of one poll
# What was applied is known from the store alone; what a producer aborted is not to be read.
ALWAYS = {"enable_auto_commit": False, "auto_offset_reset": "none", "isolation_level": "read_committed", "max_poll_records": MOST, "fetch_max_wait_ms": 50, "max_partition_fetch_bytes": 4 << 20}

log = logging.getLogger("workbench.stream")

Place = tuple[str, int]  # a topic and a partition


@dataclass
class Polled:
    """Messages of one partition in the order of their offsets: all that lie from `start` to before `next`.

    `appended` are Kafka's own times in milliseconds; a message without value is None.
    """

    topic: str
    partition: int
    start: int
    next: int
    offsets: Sequence[int]
    payloads: Sequence[bytes | None]
    keys: Sequence[bytes | None]
    appended: Sequence[int]

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def bytes(self) -> int:
        """What the payloads take."""
        return sum(len(p) for p in self.payloads if p is not None)


def configured(servers: str | Sequence[str] | None = None, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """kafka-python's options: those given, else of the environment. StoreError where no server is named."""
    path = os.environ.get(CONFIG)
    try:
        told = dict(given if given is not None else json.loads(Path(path).read_text()) if path else {})
    except (OSError, ValueError) as error:
        message = f'the Kafka options in {path} cannot be read ({error}): {CONFIG} names a JSON file as {{"security_protocol": "SASL_SSL", ...}}'
        raise StoreError(message) from error
    named = servers or told.get("bootstrap_servers") or os.environ.get(SERVERS)
    if not named:
        message = f'no Kafka server is named: give servers="host:9092" (--kafka in a shell), or set {SERVERS}; `make kafka` starts one for trying things out'
        raise StoreError(message)
    return told | {"bootstrap_servers": named.split(",") if isinstance(named, str) else list(named)}


def away(error: Exception, config: Mapping[str, Any]) -> StoreError:
    """What to raise where the brokers do not answer."""
    return StoreError(f"Kafka cannot be reached at {', '.join(config['bootstrap_servers'])} ({type(error).__name__}: {error}): is it running there?", "away")


@dataclass
class Consumer(ConsumerRebalanceListener):
    """Partitions of topics, in a group that shares them, or those given; read from where `claimed` says.

    `claimed` is told which partitions are ours now, and gives the position of each, or none for its first message;
    `released` is told which are ours no more. The client calls both in a thread of its own, where it also says that this
    member lives: neither may take long. `skipped` is told from where a partition goes on whose next message is gone;
    without it, that is an error.
    """

    config: dict[str, Any]
    topics: Sequence[str]
    claimed: Callable[[list[Place]], dict[Place, int | None]]
    released: Callable[[Iterable[Place]], None]
    skipped: Callable[[Place, int], None] | None = None
    group: str | None = None
    partitions: Mapping[str, Sequence[int]] | None = None
    positions: dict[Place, int | None] = field(default_factory=dict)
    failed: Exception | None = None
    generation: int = 0
    _gaps: dict[Place, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            self.client = KafkaConsumer(**(ALWAYS | self.config | {"group_id": self.group if self.partitions is None else None}))
            self._known()
            if self.partitions is None:
                self.client.subscribe(topics=list(self.topics), listener=self)
            else:
                mine = [TopicPartition(t, p) for t in self.topics for p in self.partitions.get(t, ())]
                self.client.assign(mine)
                self.on_partitions_assigned(mine)
        except KafkaError as error:
            raise away(error, self.config) from error

    def _known(self) -> None:
        there = self.client.topics()
        for topic in self.topics:
            if topic not in there:
                message = f"there is no topic {topic!r} at {', '.join(self.config['bootstrap_servers'])}: it has {', '.join(sorted(there)) or 'none'}; create it, or publish with the right Topic"
                raise StoreError(message, "unknown")

    # --- called by the client, in the middle of a poll

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Partitions go to another member of the group."""
        gone = [(p.topic, p.partition) for p in revoked]
        self.generation += 1
        self.released(gone)
        for place in gone:
            self.positions.pop(place, None)

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Partitions are ours, from where the store says that they were read to."""
        mine = list(assigned)
        self.generation += 1
        try:
            self.positions |= self.claimed([(p.topic, p.partition) for p in mine])
        except StoreError as error:  # the client would only log it
            self.failed = error
        for p in mine:
            self._seek(p, self.positions.get((p.topic, p.partition)))

    # --- the loop's

    def poll(self, seconds: float) -> list[Polled]:
        """What has come, by partition; nothing after so many seconds. StoreError of kind `away` where Kafka is."""
        generation = self.generation
        try:
            found = self.client.poll(timeout_ms=int(seconds * 1000))
        except OffsetOutOfRangeError as error:
            self._lost(error)
            return []
        except KafkaError as error:
            raise away(error, self.config) from error
        if self.failed is not None:
            failed, self.failed = self.failed, None
            raise failed
        if self.generation != generation:  # the client may have moved a position of this assignment by what it had of the last
            self.back(dict(self.positions))
            return []
        return [p for place, records in found.items() if (p := self._polled((place.topic, place.partition), records)) is not None]

    def _polled(self, at: Place, records: Sequence[Any]) -> Polled | None:
        """The messages of a partition that is ours; those that lie beyond where we are only if nothing lies between."""
        if at not in self.positions:
            return None
        start, first, after = self.positions[at], records[0].offset, records[-1].offset + 1
        if start is not None and first > start and self._gaps.get(at) != (start, first):  # a compacted topic has gaps; they are looked at twice
            self._gaps[at] = (start, first)
            self.back({at: start})
            return None
        self._gaps.pop(at, None)
        self.positions[at] = after
        columns = [[r.offset for r in records], [r.value for r in records], [r.key for r in records], [r.timestamp for r in records]]
        return Polled(*at, first if start is None else min(start, first), after, *columns)

    def _lost(self, error: OffsetOutOfRangeError) -> None:
        """Kafka has no message where we are: go on from its first if that was asked for, else raise."""
        for place, wanted in error.args[0].items():
            first, last = self.client.beginning_offsets([place])[place], self.client.end_offsets([place])[place]
            what = f"and the messages from {wanted} to {first - 1} are gone by its retention" if wanted < first else "so that the topic was made anew, or lost messages"
            message = f"partition {place.partition} of {place.topic} was applied up to offset {wanted}, but Kafka has offsets {first} to {last}, {what}: upload the group-bys from the warehouse, then go on with what there is by --skip-lost (lost='skip')"
            if self.skipped is None:
                raise StoreError(message, "broken") from error
            log.warning("%s", message)
            self.skipped((place.topic, place.partition), first)
            self.back({(place.topic, place.partition): first})

    def back(self, positions: Mapping[Place, int | None]) -> None:
        """Read these partitions from there again, or from their first message."""
        for place, position in positions.items():
            if place in self.positions:
                self.positions[place] = position
                self._seek(TopicPartition(*place), position)

    def _seek(self, place: TopicPartition, position: int | None) -> None:
        with suppress(ValueError):  # not ours any more since a moment
            if position is None:
                self.client.seek_to_beginning(place)
            else:
                self.client.seek(place, position)

    def hold(self, places: Iterable[Place]) -> None:
        """Give nothing of these partitions, and of the others what comes."""
        assigned, wanted = self.client.assignment(), {TopicPartition(*p) for p in places}
        there = self.client.paused()
        self.client.pause(*(wanted & assigned - there))
        self.client.resume(*(there & assigned - wanted))

    def ends(self) -> dict[Place, int]:
        """The offset after the last message of each of our partitions, as of the last poll that had some; nothing is asked."""
        found = {p: self.client.highwater(TopicPartition(*p)) for p in list(self.positions)}
        return {p: end for p, end in found.items() if end is not None}

    def close(self) -> None:
        """Leave the group, so that others take over at once."""
        self.client.close(autocommit=False)


class DeadTopic:
    """A topic that gets bad messages as they came, with where they come from and why in headers; some may come twice."""

    def __init__(self, config: Mapping[str, Any], name: str) -> None:
        self.name = name
        try:
            self.client = KafkaProducer(**{k: v for k, v in config.items() if k in KafkaProducer.DEFAULT_CONFIG})
        except KafkaError as error:
            raise away(error, config) from error

    def send(self, topic: str, dead: Collection[Dead]) -> None:
        """Send them; what cannot be sent is in the table all the same."""
        try:
            for d in dead:
                headers = [("topic", topic.encode()), ("partition", str(d.partition).encode()), ("offset", str(d.offset).encode()), ("reason", d.reason.encode(errors="replace"))]
                self.client.send(self.name, d.payload, headers=headers)
            self.client.flush(timeout=10)
        except KafkaError as error:
            log.warning("%s bad messages of %s did not reach the topic %s, and are in the table: %s", len(dead), topic, self.name, error)

    def close(self) -> None:
        """Send what waits, and leave."""
        self.client.close(timeout=10)


def topic_ends(config: Mapping[str, Any], topics: Iterable[str]) -> dict[Place, int]:
    """The offset after the last message of every partition of these topics. StoreError where Kafka is away."""
    try:
        client = KafkaConsumer(**config)
        try:
            places = [TopicPartition(t, p) for t in topics for p in client.partitions_for_topic(t) or ()]
            return {(p.topic, p.partition): end for p, end in client.end_offsets(places).items()}
        finally:
            client.close()
    except KafkaError as error:
        raise away(error, config) from error


__all__ = ["CONFIG", "SERVERS", "Consumer", "DeadTopic", "Place", "Polled", "configured", "topic_ends"]
