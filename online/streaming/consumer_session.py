"""A session of the updater with one set of plans: one thread polls, another writes.

It ends when the plans change. The store says how far both are.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from zlib import crc32

import psycopg

from workbench.online.errors import StoreError
from workbench.online.storage.maintenance import Upkeep
from workbench.online.streaming import offsets, topic_health
from workbench.online.streaming.batch_values import Poisoned
from workbench.online.streaming.dead_topic import DeadTopic
from workbench.online.streaming.kafka_consumer import Consumer
from workbench.online.streaming.message_buffer import Buffer
from workbench.online.streaming.topic_batch import BadMessageLimit, TopicReaders, UnreadError
from workbench.online.streaming.topic_pauses import (
    TOPIC_RETRY_SECONDS,
    TopicPauses,
    poisoned_sentence,
)
from workbench.online.streaming.updater_state import RETRY_PAUSES_SECONDS
from workbench.online.time_units import SECOND_US

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from workbench.online.plan import GroupByPlan
    from workbench.online.streaming.kafka_consumer import Place, Polled
    from workbench.online.streaming.topic_batch import WrittenBatch
    from workbench.online.streaming.updater_state import UpdaterState

log = logging.getLogger("workbench.stream")
ABSENT = 15  # seconds without a sign of life after which an updater is taken for gone


class Session:
    """One set of plans, followed until it changes: the caller's thread polls, another writes."""

    def __init__(self, updater: UpdaterState, config: Mapping[str, Any]) -> None:
        self.updater, self.config = updater, config
        self.settings, self.store = updater.settings, updater.store
        self.plans = updater.plans()
        by_topic: dict[str, list[GroupByPlan]] = {}
        for plan in self.plans.values():
            by_topic.setdefault(plan.topic.name if plan.topic else "", []).append(plan)
        self.by_topic, self.topics, self.unreadable = (
            by_topic,
            dict[str, TopicReaders](),
            dict[str, StoreError](),
        )
        for name, plans in by_topic.items():
            try:
                self.topics[name] = TopicReaders(
                    name,
                    plans,
                    BadMessageLimit(self.settings.poison, self.settings.poison_least),
                    self.settings.registry,
                )
            except StoreError as error:
                self.unreadable[name] = error
        if self.unreadable and not self.topics:
            raise next(iter(self.unreadable.values()))
        self.owner = f"{socket.gethostname()}:{os.getpid()}"
        self.lock = threading.Lock()  # of what client, poller and writer share
        self.epochs: dict[str, dict[Place, int]] = {}
        self.rewinds: dict[Place, int] = {}
        self.dead_topic: DeadTopic | None = None
        self.buffer = Buffer(self.settings.waiting, self.settings.size)
        self.failed: Exception | None = None
        self.worked, self._reachable = False, True
        self.pauses = TopicPauses(
            updater, {n: [p.table for p in plans] for n, plans in by_topic.items()}
        )
        self._unmended = set(self.topics)  # of which nothing was written yet

    # --- told by the client, in its own thread

    def claimed(
        self,
        places: Iterable[Place],
        topic_ids: Mapping[str, str],
        tables: Collection[str] | None = None,
    ) -> dict[Place, int | StoreError | None]:
        """Claim these partitions, for all group-bys or for these tables.

        Returns for each where to read from, None for its first message, or why it cannot be read.
        """
        positions: dict[Place, int | StoreError | None] = {}
        with self.store.connection() as con:
            for topic, partition in places:
                plans = [p for p in self.topics[topic].plans if tables is None or p.table in tables]
                try:
                    reached = offsets.claimed(
                        con,
                        plans,
                        topic,
                        partition,
                        self.owner,
                        topic_id=topic_ids.get(topic),
                        anew=self.settings.lost == "skip",
                    )
                except StoreError as error:  # made anew: that topic's own trouble
                    positions[topic, partition] = error
                    continue
                if trouble := self.updater.paused.get(topic):
                    topic_health.troubled(con, list(reached), topic, trouble, [partition])
                nexts = [r.next for r in reached.values()]
                positions[topic, partition] = (
                    None if None in nexts else min(n for n in nexts if n is not None)
                )
                with self.lock:
                    for table, r in reached.items():
                        self.epochs.setdefault(table, {})[topic, partition] = r.epoch
        log.info(
            "reading %s",
            ", ".join(
                f"{t} {p} from {'its first' if n is None else n}"
                for (t, p), n in positions.items()
                if not isinstance(n, StoreError)
            ),
        )
        return positions

    def released(self, places: Iterable[Place]) -> None:
        """Give up these partitions, and drop waiting messages of theirs, which another reads."""
        released_places = set(places)
        self.buffer.drop(released_places)
        with self.lock:
            for epochs in self.epochs.values():
                for place in released_places:
                    epochs.pop(place, None)

    def skipped(self, place: Place, first: int, last: int) -> None:
        """Move offsets outside of [first, last] to `first`, since messages between are gone."""
        with self.store.connection() as con:
            offsets.moved(
                con, [p.table for p in self.topics[place[0]].plans], *place, (first, last)
            )

    # --- the poller

    def run(self) -> None:
        """Poll until the updater is stopped, or what is published has changed."""
        if not self.plans:  # nothing has a topic yet
            self._idle()
            return
        group = (
            self.settings.group
            or f"workbench-{self._store()}-{crc32(chr(10).join(sorted(self.plans)).encode()):x}"
        )
        skipped = self.skipped if self.settings.lost == "skip" else None
        consumer = Consumer(
            self.config,
            sorted(self.topics),
            self.claimed,
            self.released,
            skipped,
            group,
            self.settings.partitions,
        )
        for topic, sentence in consumer.missing.items():
            self.pauses.pause(topic, sentence)
        for topic, error in self.unreadable.items():
            self.pauses.pause_longer(topic, f"{topic} is not read: {error}")
        if self.settings.dead_topic:
            self.dead_topic = DeadTopic(self.config, self.settings.dead_topic)
        upkeep = Upkeep(self.store, self.plans.values(), self.settings.upkeep)
        writer = threading.Thread(target=self._write, name="workbench-writer", daemon=True)
        writer.start()
        try:
            self._poll(consumer)
        finally:
            self.buffer.close()
            writer.join()
            upkeep.stop()
            with suppress(Exception):  # who leaves while Kafka is away has left
                consumer.close()
            if self.dead_topic is not None:
                self.dead_topic.close()
        if self.failed:
            raise self.failed

    def _idle(self) -> None:
        while not self.updater.interrupted and not self._changed():
            self.updater.wait(self.settings.refresh)

    def _poll(self, consumer: Consumer) -> None:
        looked = time.monotonic()
        while not self.updater.interrupted and self.failed is None:
            if self.buffer.full:
                consumer.hold(list(consumer.positions))
                # a member that does not poll is put out of the group; messages of partitions that
                # were assigned just now come all the same
                self.buffer.put(consumer.poll(0))
                self.buffer.room(0.5)
                continue
            consumer.hold(self._useless(consumer))
            self.buffer.put(consumer.poll(0.1))
            for topic in consumer.troubles.keys() - self.updater.paused.keys():
                if topic in consumer.passing:
                    self.pauses.pause(
                        topic, consumer.troubles[topic], retry_seconds=TOPIC_RETRY_SECONDS
                    )
                else:
                    self.pauses.pause_longer(topic, consumer.troubles[topic])
            self._rewind(consumer)
            if time.monotonic() - looked > self.settings.refresh:
                looked = time.monotonic()
                self._high(consumer)
                if (
                    self._changed()
                    or (self._reachable and consumer.others())
                    or self.pauses.is_retry_due()
                ):
                    return

    def _useless(self, consumer: Consumer) -> list[Place]:
        """Partitions whose messages would not be written: of paused topics, or not ours now."""
        with self.lock:
            return [
                p
                for p in list(consumer.positions)
                if p[0] in self.updater.paused or not any(p in e for e in self.epochs.values())
            ]

    def _rewind(self, consumer: Consumer) -> None:
        with self.lock:
            rewinds, self.rewinds = self.rewinds, {}
        if rewinds:
            self.buffer.drop(rewinds.keys())
            consumer.back(rewinds)

    def _high(self, consumer: Consumer) -> None:
        """Store how far the topics are, which is also our sign of life.

        Then take over partitions that the group gave us and whose owner has gone.
        """
        with self.lock:
            tables_by_place = {
                p: [table for table, places in self.epochs.items() if p in places]
                for p in list(consumer.positions)
            }
        ends = {
            place: end for place, end in self._ends(consumer).items() if tables_by_place.get(place)
        }
        self.updater.measures.ends(ends, consumer.positions)
        orphans: dict[Place, set[str]] = {}
        with suppress(StoreError, psycopg.Error), self.store.connection() as con:
            offsets.high(con, tables_by_place, ends)
            self._mended(con, tables_by_place, ends)
            self.pauses.store_troubles(con)
            orphans = {
                p: self._left(con, p, tables)
                for p, tables in tables_by_place.items()
                if p[0] not in self.updater.paused
            }
        for place, tables in orphans.items():
            at = consumer.positions.get(place)
            if not tables or isinstance(
                position := self.claimed([place], consumer.topic_ids(), tables)[place], StoreError
            ):
                continue
            if position is None or (at is not None and position < at):
                consumer.back({place: position})

    def _mended(
        self,
        con: psycopg.Connection[Any],
        tables_by_place: Mapping[Place, Sequence[str]],
        ends: Mapping[Place, int],
    ) -> None:
        """Clear the trouble of topics that are not paused and whose ends Kafka reports."""
        for (topic, partition), tables in tables_by_place.items():
            if topic not in self.updater.paused and (topic, partition) in ends:
                topic_health.mended(con, tables, topic, [partition])

    def _ends(self, consumer: Consumer) -> dict[Place, int]:
        """The ends of the topics; empty while Kafka is away, which its client does not say."""
        try:
            ends, self._reachable = consumer.ends(), True
        except StoreError as error:
            ends, self._reachable = {}, False
            log.warning("%s", error)
            self.updater.measures.retries.inc()
        return ends

    def _left(
        self, con: psycopg.Connection[Any], place: Place, own_tables: Collection[str]
    ) -> set[str]:
        """The tables for which another updater took this partition from us and then disappeared."""
        before = (time.time() - max(ABSENT, 3 * self.settings.refresh)) * SECOND_US
        other_tables = {p.table for p in self.topics[place[0]].plans} - {*own_tables}
        return {
            table
            for table in other_tables
            if (last_sign := offsets.alive(con, [table], *place)) is None or last_sign < before
        }

    def _changed(self) -> bool:
        try:
            return {t: p.topic for t, p in self.updater.plans().items()} != {
                t: p.topic for t, p in self.plans.items()
            }
        except StoreError as error:
            if error.kind == "away":
                return False
            raise

    def _store(self) -> str:
        """An id of this store, so that two stores do not share a group."""
        with self.store.connection() as con:
            return str(
                con.execute(
                    "select (select system_identifier from pg_control_system())::text || '-' ||"
                    " (select oid from pg_database where datname = current_database())::text"
                ).fetchall()[0][0]
            )

    # --- the writer

    def _write(self) -> None:
        try:
            while (polled := self.buffer.take(self.settings.batch)) is not None:
                by_topic: dict[str, list[Polled]] = {}
                for p in polled:
                    by_topic.setdefault(p.topic, []).append(p)
                for name, polls in by_topic.items():
                    self._written(self.topics[name], polls)
        except Exception as error:  # noqa: BLE001 the poller raises it
            self.failed = error

    def _written(self, topic: TopicReaders, polled: list[Polled]) -> None:
        """Write polled messages, with retries while the store is away and nobody stops us.

        Nothing that was polled is passed over.
        """
        tries = 0
        while True:
            with self.lock:
                epochs = {table: dict(portion) for table, portion in self.epochs.items()}
            portion = [
                p for p in polled if any((p.topic, p.partition) in e for e in epochs.values())
            ]
            if not portion or topic.name in self.updater.paused:
                return
            try:
                with self.store.connection() as con:
                    batch = topic.write(con, portion, epochs)
            except Poisoned as poisoned:
                partitions = self._partitions(topic.name)
                self.pauses.pause(topic.name, poisoned_sentence(topic.name, poisoned), partitions)
                return
            except UnreadError as error:
                self.pauses.pause(
                    topic.name,
                    f"{topic.name} is not read for now: {error}",
                    retry_seconds=TOPIC_RETRY_SECONDS,
                )
                return
            except StoreError as error:
                if error.kind != "away":
                    self._unwritten(topic.name, error)
                    return
                if self.updater.stopping:  # who comes next reads it again
                    raise
                log.warning("%s; trying again", error)
                self.updater.measures.retries.inc()
                time.sleep(RETRY_PAUSES_SECONDS[min(tries, len(RETRY_PAUSES_SECONDS) - 1)])
                tries += 1
                continue
            self.worked = True
            self._mend(topic.name)
            self.updater.measures.wrote(batch)
            if self.dead_topic is not None and batch.dead:
                self.dead_topic.send(topic.name, batch.dead.values())
            self._amiss(topic, batch, epochs)
            return

    def _unwritten(self, topic: str, error: StoreError) -> None:
        """Pause a topic that cannot be written; raise the error where no other topic is read."""
        if error.kind == "unknown" and self._changed():  # unpublished since
            self.updater.reload()
        elif self.topics.keys() <= {topic, *self.updater.paused}:
            raise error
        else:
            self.pauses.pause_longer(topic, f"{topic} is not read: {error}")

    def _amiss(
        self, topic: TopicReaders, batch: WrittenBatch, used: Mapping[str, Mapping[Place, int]]
    ) -> None:
        """Drop partitions that another updater owns now, unless they are ours again.

        Partitions with gaps are read again from where the gap begins.
        """
        with self.lock:
            for table, partitions in batch.amiss("fenced").items():
                table_epochs = self.epochs.get(table, {})
                for place in ((topic.name, p) for p in partitions):
                    if place in table_epochs and table_epochs[place] == used.get(table, {}).get(
                        place
                    ):
                        del table_epochs[place]
                        log.warning(
                            "another updater has partition %s of %s for %s by now",
                            place[1],
                            topic.name,
                            self.plans[table].name,
                        )
            for table, gaps in batch.amiss("gaps").items():
                for partition, after in gaps.items():
                    log.warning(
                        "partition %s of %s is read again from %s for %s",
                        partition,
                        topic.name,
                        after,
                        self.plans[table].name,
                    )
                    self.rewinds[topic.name, partition] = min(
                        after, self.rewinds.get((topic.name, partition), after)
                    )

    def _mend(self, topic: str) -> None:
        """Clear a topic's trouble once a batch of it is written, also for its empty partitions."""
        if topic not in self._unmended:
            return
        self._unmended.discard(topic)
        partitions = self._partitions(topic)
        with suppress(StoreError, psycopg.Error), self.store.connection() as con:
            topic_health.mended(con, [p.table for p in self.topics[topic].plans], topic, partitions)

    def _partitions(self, topic: str) -> set[int]:
        """The partitions of a topic that we own for some group-by."""
        with self.lock:
            return {
                partition
                for places in self.epochs.values()
                for name, partition in places
                if name == topic
            }
