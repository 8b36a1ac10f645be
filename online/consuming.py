"""The topics' side of the updater: partitions of one's own, positions that the store gave, messages in batches. kafka-python behind a seam."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kafka import ConsumerRebalanceListener, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError, OffsetOutOfRangeError, TopicAuthorizationFailedError, UnsupportedCodecError

from online.brokers import CODECS, CONFIG, SERVERS, LostConnections, away, configured
from online.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from online.dead_letters import Dead

MOST = 10_000  # messages of one poll
ANSWER = 5_000  # milliseconds for the ends of partitions
ALONE = 2_000  # milliseconds in which a topic that is read alone shows that it cannot be
SHOWN = 20  # topics in an error
# What was applied is known from the store alone; what a producer aborted is not to be read.
ALWAYS = {"enable_auto_commit": False, "auto_offset_reset": "none", "isolation_level": "read_committed", "max_poll_records": MOST, "fetch_max_wait_ms": 50, "max_partition_fetch_bytes": 4 << 20}

log = logging.getLogger("workbench.stream")

Place = tuple[str, int]  # a topic and a partition
LATEST = 2**53  # milliseconds that are a time: what lies outside is none, such as the -1 of an old producer


@dataclass
class Polled:
    """Messages of one partition in the order of their offsets: all that lie from `start` to before `next`.

    `appended` are the messages' own times in Kafka in milliseconds, if they have any; a message without value is None.
    `keys` and `headers` are the messages', or none where it does not say.
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
        """What the payloads take."""
        return sum(len(p) for p in self.payloads if p is not None)


@dataclass
class Consumer(ConsumerRebalanceListener):
    """Partitions of topics, in a group that shares them, or those given; read from where `claimed` says.

    `claimed` is told which partitions are ours now, and the topics' ids, and gives the position of each, or none for its first message;
    `released` is told which are ours no more. The client calls both in a thread of its own, where it also says that this
    member lives: neither may take long. `skipped` is told from where a partition goes on whose next message is gone;
    without it, that is an error. A topic that is not there is one too, unless others are: then `missing` says so. `troubles`
    are topics that stopped being read while others are.
    """

    config: dict[str, Any]
    topics: Sequence[str]
    claimed: Callable[[list[Place], Mapping[str, str]], dict[Place, int | None]]
    released: Callable[[Iterable[Place]], None]
    skipped: Callable[[Place, int, int], None] | None = None
    group: str | None = None
    partitions: Mapping[str, Sequence[int]] | None = None
    positions: dict[Place, int | None] = field(default_factory=dict)
    failed: Exception | None = None
    generation: int = 0
    missing: dict[str, str] = field(default_factory=dict)
    troubles: dict[str, str] = field(default_factory=dict)
    _gaps: dict[Place, tuple[int | None, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.client = _client(self.config, group_id=self.group if self.partitions is None else None)
        try:
            self._begin()
        except BaseException as error:
            self.client.close(autocommit=False)  # its thread would go on
            if isinstance(error, KafkaError):
                raise away(error, self.config) from error
            raise

    def _begin(self) -> None:
        there = self.client.topics()
        known = [t for t in self.topics if t in there]
        shown = sorted(t for t in there if not t.startswith("__"))
        listed = ", ".join(shown[:SHOWN]) + (f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else "")
        self.missing = {t: f"there is no topic {t!r} at {', '.join(self.config['bootstrap_servers'])}: it has {listed or 'none'}; create it, or publish with the right Topic" for t in self.topics if t not in there}
        if not known:
            raise StoreError(next(iter(self.missing.values())), "unknown")
        if self.partitions is None:
            self.client.subscribe(topics=known, listener=self)
        else:
            mine = [TopicPartition(t, p) for t in known for p in self.partitions.get(t, ())]
            self.client.assign(mine)
            self.on_partitions_assigned(mine)

    def topic_ids(self) -> dict[str, str]:
        """Kafka's own ids of the topics, as far as the client was told: another topic of the name has another."""
        cluster = self.client._client.cluster  # noqa: SLF001 it asks nothing
        return {t: str(found) for t in self.topics if (found := cluster.topic_id(t)) is not None and found.int}

    def others(self) -> bool:
        """Whether a topic that was missing is there by now, or one that was there is not."""
        cluster = self.client._client.cluster  # noqa: SLF001 it asks nothing, as `partitions_for_topic` does without an end
        if not all(cluster.partitions_for_topic(t) for t in self.topics if t not in self.missing):
            return True
        return bool(self.missing) and not self.missing.keys().isdisjoint(self.client.topics())

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
            self.positions |= self.claimed([(p.topic, p.partition) for p in mine], self.topic_ids())
        except Exception as error:  # noqa: BLE001 the client would only log it
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
        except TopicAuthorizationFailedError as error:
            return self._refused(self._named(error), f"this user may not read it ({type(error).__name__}): grant it Read and Describe on the topic", error)
        except UnsupportedCodecError as error:
            return self._refused(self._unread(), f"its messages are compressed in a way that this Python cannot undo ({error}): {CODECS}", error)
        except KafkaError as error:
            raise away(error, self.config) from error
        if self.failed is not None:
            failed, self.failed = self.failed, None
            raise failed
        reached = {p: self._reached(p) for p in list(self.positions)}
        if self.generation != generation:  # the client may have moved a position of this assignment by what it had of the last
            self.back(dict(self.positions))
            return []
        return [p for at, after in reached.items() if (p := self._polled(at, found.get(TopicPartition(*at), ()), after)) is not None]

    def _named(self, error: KafkaError) -> set[str]:
        """The topics that an error tells of."""
        told = error.args[0] if error.args and isinstance(error.args[0], (set, list, tuple, frozenset)) else ()
        return {str(t) for t in told} & {*self.topics}

    def _unread(self) -> set[str]:
        """The topics whose messages the client cannot take, asked one by one; nothing that comes meanwhile is kept."""
        there, found = dict(self.positions), set()
        for topic in {t for t, _ in there}:
            self.hold([p for p in there if p[0] != topic])
            self.back({p: at for p, at in there.items() if p[0] == topic})
            try:
                self.client.poll(timeout_ms=ALONE)
            except UnsupportedCodecError:
                found.add(topic)
            except KafkaError:
                continue
        self.back(there)
        return found

    def _refused(self, topics: set[str], sentence: str, error: KafkaError) -> list[Polled]:
        """These topics are in trouble of their own: the others are read on, if there are any."""
        if not topics or topics >= {t for t in self.topics if t not in {*self.missing, *self.troubles}}:
            raise away(error, self.config) from error
        self.troubles |= {t: f"{t} is not read: {sentence}" for t in topics}
        self.hold([p for p in self.positions if p[0] in self.troubles])
        self.back(dict(self.positions))
        return []

    def _reached(self, at: Place) -> int | None:
        """Where the client reads on, if it is known: beyond its last message where a transaction's end, or one that was aborted, lies between."""
        state = self.client._subscription.assignment.get(TopicPartition(*at))  # noqa: SLF001 `position` asks the network
        position = None if state is None else state.position
        return None if position is None else int(position.offset)

    def _polled(self, at: Place, records: Sequence[Any], reached: int | None) -> Polled | None:
        """The messages of a partition that is ours; those that lie beyond where we are only if nothing lies between."""
        start = self.positions.get(at)
        after = max(reached or 0, records[-1].offset + 1 if records else 0)
        if at not in self.positions or (not records and after <= (start or 0)):
            return None
        first = records[0].offset if records else after
        if (first > start if start is not None else not records) and self._gaps.get(at) != (start, first):  # a compacted topic has gaps; they are looked at twice
            self._gaps[at] = (start, first)
            self.back({at: start})
            return None
        self._gaps.pop(at, None)
        self.positions[at] = after
        columns = [[r.offset for r in records], [r.value for r in records], [r.timestamp if 0 <= r.timestamp < LATEST else None for r in records], [r.key for r in records], [r.headers for r in records]]
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
            self.skipped((place.topic, place.partition), first, last)
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
        """The offset after the last message of each of our partitions. StoreError of kind `away` where Kafka does not answer."""
        try:
            found = self.client.end_offsets([TopicPartition(*p) for p in list(self.positions)], timeout_ms=ANSWER)
        except KafkaError as error:
            raise away(error, self.config) from error
        return {(p.topic, p.partition): end for p, end in found.items()}

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


def _client(config: Mapping[str, Any], **settings: Any) -> KafkaConsumer:
    """A client that makes no topic. StoreError where Kafka is away, or refuses us."""
    with LostConnections() as lost:
        try:
            client = KafkaConsumer(**{**ALWAYS, **config, **settings})
        except (KafkaError, OSError, ValueError, TypeError, AttributeError) as error:  # what it meets in options of wrong types too
            raise away(error, config, lost.causes) from error
    # kafka-python 3.0 does not pass the option on, and would make anew what somebody deleted
    client._client.cluster.config["allow_auto_create_topics"] = False  # noqa: SLF001
    _finish_joins(client._coordinator)  # noqa: SLF001
    return client


def _finish_joins(coordinator: Any) -> None:
    """A join that a poll began, the next one goes on with, as Kafka's own client does.

    kafka-python 3.0 asks only whether a reason to join is left. Where the reason was new partitions, the join's own
    beginning takes it away, so that the answer of one that outlasts its poll is never looked at: a member without
    partitions that reads nothing ever after, and does not know.
    """
    wanted = coordinator.need_rejoin

    def pending() -> bool:
        return wanted() or (coordinator._join_task is not None and coordinator._subscription.partitions_auto_assigned())  # noqa: SLF001

    coordinator.need_rejoin = pending


def topic_ends(config: Mapping[str, Any], topics: Iterable[str]) -> dict[Place, int]:
    """The offset after the last message of every partition of these topics. StoreError where Kafka is away."""
    client = _client(config)
    try:
        places = [TopicPartition(t, p) for t in topics for p in client.partitions_for_topic(t) or ()]
        return {(p.topic, p.partition): end for p, end in client.end_offsets(places).items()}
    except KafkaError as error:
        raise away(error, config) from error
    finally:
        client.close()


def newest_messages(config: Mapping[str, Any], topic: str, most: int, seconds: float) -> list[Any]:
    """The newest messages of a topic, as the client has them, at most so many; those that came within so many seconds. StoreError where Kafka is away."""
    client = _client(config)
    try:
        places = [TopicPartition(topic, p) for p in client.partitions_for_topic(topic) or ()]
        if not places:
            return []
        ends, begins = client.end_offsets(places), client.beginning_offsets(places)
        client.assign(places)
        for place in places:
            client.seek(place, max(begins[place], ends[place] - most))
        found: list[Any] = []
        until = time.monotonic() + seconds
        while time.monotonic() < until and any(client.position(p) < ends[p] for p in places):
            found += [r for records in client.poll(timeout_ms=200).values() for r in records]
        return sorted(found, key=lambda r: r.timestamp)[-most:]
    except KafkaError as error:
        raise away(error, config) from error
    finally:
        client.close(autocommit=False)


__all__ = ["CONFIG", "SERVERS", "Consumer", "DeadTopic", "Place", "Polled", "away", "configured", "newest_messages", "topic_ends"]
