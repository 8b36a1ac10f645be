"""The updater's Kafka consumer: its partitions, positions from the store, and polled batches.

It hides kafka-python from the rest.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kafka import ConsumerRebalanceListener, TopicPartition
from kafka.errors import (
    CorruptRecordError,
    KafkaError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
    UnsupportedCodecError,
)

from workbench.online.errors import StoreError
from workbench.online.streaming.brokers import CODECS, CONFIG, SERVERS, away, configured
from workbench.online.streaming.kafka_client import faults_of, kafka_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


ANSWER = 5_000  # milliseconds for the ends of partitions
MAX_TOPICS_SHOWN = 20  # topics in an error

log = logging.getLogger("workbench.stream")

Place = tuple[str, int]  # a topic and a partition
# milliseconds that are a time: what lies outside is none, such as the -1 of an old producer
LATEST = 2**53


@dataclass
class Polled:
    """Messages of one partition in the order of their offsets: all from `start` to before `next`.

    `appended` are Kafka's times of the messages in milliseconds, where they have any; a message
    without a value is None. `keys` and `headers` are the messages', or empty where not known.
    """

    topic: str
    partition: int
    start: int
    next: int
    offsets: Sequence[int]
    payloads: Sequence[bytes | None]
    appended: Sequence[int | None]
    keys: Sequence[bytes | None] = ()
    headers: Sequence[Sequence[tuple[str, bytes | None]]] = ()

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def bytes(self) -> int:
        """The bytes of the payloads."""
        return sum(len(p) for p in self.payloads if p is not None)


@dataclass
class Consumer(ConsumerRebalanceListener):
    """A consumer of topics' partitions, shared in a group or given, from positions of the store.

    `claimed` is called with partitions that are ours now, and the topics' ids. It returns the
    position of each, None for its first message, or why it cannot be read on. `released` is called
    with partitions that are ours no more. The client calls both in a thread of its own, which also
    sends this member's heartbeats: neither may take long. `skipped` is called with where a
    partition goes on whose next message is gone; without it, that is an error.

    A topic that does not exist is an error too, unless others exist: then it is in `missing`.
    `troubles` are topics that stopped being read while others are read; `passing` are those of
    them that somebody may mend while we run.
    """

    config: dict[str, Any]
    topics: Sequence[str]
    claimed: Callable[[list[Place], Mapping[str, str]], dict[Place, int | StoreError | None]]
    released: Callable[[Iterable[Place]], None]
    skipped: Callable[[Place, int, int], None] | None = None
    group: str | None = None
    partitions: Mapping[str, Sequence[int]] | None = None
    positions: dict[Place, int | None] = field(default_factory=dict)
    failed: Exception | None = None
    generation: int = 0
    missing: dict[str, str] = field(default_factory=dict)
    troubles: dict[str, str] = field(default_factory=dict)
    passing: set[str] = field(default_factory=set)
    _gaps: dict[Place, tuple[int | None, int]] = field(default_factory=dict)
    _refused: dict[Place, StoreError] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.client = kafka_client(
            self.config, group_id=self.group if self.partitions is None else None
        )
        self._faults = faults_of(self.client)
        try:
            self._begin()
        except BaseException as error:
            self.client.close(autocommit=False)  # its thread would go on
            if isinstance(error, KafkaError):
                raise away(error, self.config) from error
            raise

    def _begin(self) -> None:
        server_topics = self.client.topics()
        topics = [t for t in self.topics if t in server_topics]
        topic_names = sorted(t for t in server_topics if not t.startswith("__"))
        listed = ", ".join(topic_names[:MAX_TOPICS_SHOWN]) + (
            f" and {len(topic_names) - MAX_TOPICS_SHOWN} more"
            if len(topic_names) > MAX_TOPICS_SHOWN
            else ""
        )
        self.missing = {
            t: (
                f"there is no topic {t!r} at {', '.join(self.config['bootstrap_servers'])}: it has"
                f" {listed or 'none'}; create it, or publish with the right Topic"
            )
            for t in self.topics
            if t not in server_topics
        }
        if not topics:
            raise StoreError(next(iter(self.missing.values())), "unknown")
        if self.partitions is None:
            self.client.subscribe(topics=topics, listener=self)
        else:
            assignment = [TopicPartition(t, p) for t in topics for p in self.partitions.get(t, ())]
            self.client.assign(assignment)
            self.on_partitions_assigned(assignment)

    def topic_ids(self) -> dict[str, str]:
        """Kafka's ids of the topics, as far as the client knows them.

        A topic that is created anew under a name has another id.
        """
        cluster = self.client._client.cluster  # noqa: SLF001 it asks nothing
        return {
            t: str(topic_id)
            for t in self.topics
            if (topic_id := cluster.topic_id(t)) is not None and topic_id.int
        }

    def others(self) -> bool:
        """Whether a topic that was missing exists by now, or one that existed does not."""
        # it asks nothing, as `partitions_for_topic` does without an end
        cluster = self.client._client.cluster  # noqa: SLF001
        if not all(cluster.partitions_for_topic(t) for t in self.topics if t not in self.missing):
            return True
        return bool(self.missing) and not self.missing.keys().isdisjoint(self.client.topics())

    # --- called by the client, in the middle of a poll

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Give up partitions that go to another member of the group."""
        places = [(p.topic, p.partition) for p in revoked]
        self.generation += 1
        self.released(places)
        for place in places:
            self.positions.pop(place, None)

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Take partitions, from the positions that the store gives."""
        partitions = list(assigned)
        self.generation += 1
        try:
            positions = self.claimed([(p.topic, p.partition) for p in partitions], self.topic_ids())
            self._refused |= {p: at for p, at in positions.items() if isinstance(at, StoreError)}
            self.positions |= {
                p: at for p, at in positions.items() if not isinstance(at, StoreError)
            }
        except Exception as error:  # noqa: BLE001 the client would only log it
            self.failed = error
        for p in partitions:
            self._seek(p, self.positions.get((p.topic, p.partition)))

    # --- the loop's

    def poll(self, seconds: float) -> list[Polled]:
        """The messages that have come, by partition; empty after so many seconds.

        StoreError of kind `away` where Kafka is away.
        """
        generation = self.generation
        try:
            records = self.client.poll(timeout_ms=int(seconds * 1000))
        except KafkaError as error:
            raise away(error, self.config) from error
        if self.failed is not None:
            failed, self.failed = self.failed, None
            raise failed
        self._look_at_faults()
        reached = {p: self._reached(p) for p in list(self.positions)}
        # the client may have moved a position of this assignment by what it had of the last
        if self.generation != generation:
            self.back(dict(self.positions))
            return []
        return [
            p
            for at, after in reached.items()
            if (p := self._polled(at, records.get(TopicPartition(*at), ()), after)) is not None
        ]

    def _look_at_faults(self) -> None:
        """Handle partitions' errors as trouble of their topics, so that others are read on."""
        for place in list(self._refused):
            self._troubled(place[0], self._refused.pop(place))
        for place, error in [
            ((p.topic, p.partition), self._faults.pop(p)) for p in list(self._faults)
        ]:
            if place not in self.positions or place[0] in self.troubles:
                continue  # another's by now, or known
            if isinstance(error, OffsetOutOfRangeError):
                self._lost(place, error)
            elif isinstance(error, TopicAuthorizationFailedError):
                self.passing.add(place[0])
                self._troubled(
                    place[0],
                    away(error, self.config),
                    f"this user may not read it ({type(error).__name__}): grant it Read and"
                    " Describe on the topic",
                )
            elif isinstance(error, UnsupportedCodecError):
                self._troubled(
                    place[0],
                    away(error, self.config),
                    f"its messages are compressed in a way that this Python cannot undo ({error}):"
                    f" {CODECS}",
                )
            elif isinstance(error, KafkaError) and not isinstance(error, CorruptRecordError):
                raise away(error, self.config) from error
            else:
                where = (
                    f"the messages of its partition {place[1]} from offset"
                    f" {self.positions[place] or 0} on are damaged ({type(error).__name__}:"
                    f" {error}): delete them from the topic, then go on by --skip-lost"
                    " (lost='skip')"
                )
                self._troubled(
                    place[0], StoreError(f"{place[0]} cannot be read: {where}", "broken"), where
                )

    def _troubled(self, topic: str, error: StoreError, sentence: str = "") -> None:
        """Stop reading a topic and say why; raise the error where no other topic is read."""
        if {*self.topics} <= {topic, *self.missing, *self.troubles}:
            raise error
        self.troubles[topic] = f"{topic} is not read: {sentence or error}"
        self.client.pause(*(p for p in self.client.assignment() if p.topic == topic))

    def _reached(self, at: Place) -> int | None:
        """The offset at which the client reads on, if it is known.

        It is beyond the last message where a transaction's end, or an aborted one, lies between.
        """
        # `position` asks the network
        state = self.client._subscription.assignment.get(TopicPartition(*at))  # noqa: SLF001
        position = None if state is None else state.position
        return None if position is None else int(position.offset)

    def _polled(self, at: Place, records: Sequence[Any], reached: int | None) -> Polled | None:
        """The messages of a partition, if it is ours.

        Messages beyond our position are read again first; if nothing lies between, they are
        returned.
        """
        start = self.positions.get(at)
        after = max(reached or 0, records[-1].offset + 1 if records else 0)
        if at not in self.positions or (not records and after <= (start or 0)):
            return None
        first = records[0].offset if records else after
        # a compacted topic has gaps; they are looked at twice
        if (first > start if start is not None else not records) and self._gaps.get(at) != (
            start,
            first,
        ):
            self._gaps[at] = (start, first)
            self.back({at: start})
            return None
        self._gaps.pop(at, None)
        self.positions[at] = after
        columns = [
            [r.offset for r in records],
            [r.value for r in records],
            [r.timestamp if 0 <= r.timestamp < LATEST else None for r in records],
            [r.key for r in records],
            [r.headers for r in records],
        ]
        return Polled(*at, first if start is None else min(start, first), after, *columns)

    def _lost(self, place: Place, error: OffsetOutOfRangeError) -> None:
        """Handle a position where Kafka has no message.

        Go on from the partition's first message if that is allowed, else the topic is in trouble.
        """
        if self.positions[place] is None:  # its first went while we were on the way there
            self.back({place: None})
            return
        at = TopicPartition(*place)
        begins, ends = (
            self._offsets(offsets_of, [at])
            for offsets_of in (self.client.beginning_offsets, self.client.end_offsets)
        )
        if at not in begins or at not in ends:  # the topic was deleted, which `others` says
            return
        first, last, wanted = begins[at], ends[at], next(iter(error.args[0].values()))
        explanation = (
            f"and the messages from {wanted} to {first - 1} are gone by its retention"
            if wanted < first
            else "so that the topic was made anew, or lost messages"
        )
        message = (
            f"partition {place[1]} of {place[0]} was applied up to offset {wanted}, but Kafka has"
            f" offsets {first} to {last}, {explanation}: upload the group-bys from the warehouse,"
            " then go on with what there is by --skip-lost (lost='skip')"
        )
        if self.skipped is None:
            self._troubled(place[0], StoreError(message, "broken"))
            return
        log.warning("%s", message)
        self.skipped(place, first, last)
        self.back({place: first})

    def back(self, positions: Mapping[Place, int | None]) -> None:
        """Read these partitions again from these positions; None is a partition's first message."""
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
        """Pause these partitions, and resume the others."""
        assigned = self.client.assignment()
        wanted = {TopicPartition(*p) for p in places} | {
            p
            for p in assigned
            if (p.topic, p.partition) not in self.positions or p.topic in self.troubles
        }
        paused_partitions = self.client.paused()
        self.client.pause(*(wanted & assigned - paused_partitions))
        self.client.resume(*(paused_partitions & assigned - wanted))

    def ends(self) -> dict[Place, int]:
        """The offset after the last message of each of our partitions.

        StoreError of kind `away` where Kafka does not answer.
        """
        ends_by_partition = self._offsets(
            self.client.end_offsets, [TopicPartition(*p) for p in list(self.positions)]
        )
        return {(p.topic, p.partition): end for p, end in ends_by_partition.items()}

    def _offsets(
        self, offsets_of: Callable[..., dict[TopicPartition, int]], places: list[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """The client's answer for these partitions, without those of deleted topics.

        The client raises a KeyError for those.
        """
        while places:
            try:
                return offsets_of(places, timeout_ms=ANSWER)
            except KeyError as missing_error:
                if missing_error.args[0] not in places:
                    raise
                places = [p for p in places if p.topic != missing_error.args[0].topic]
            except KafkaError as error:
                raise away(error, self.config) from error
        return {}

    def close(self) -> None:
        """Leave the group, so that other members take over at once."""
        self.client.close(autocommit=False)


__all__ = [
    "CONFIG",
    "SERVERS",
    "Consumer",
    "Place",
    "Polled",
    "away",
    "configured",
]
