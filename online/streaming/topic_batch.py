"""A batch of a topic's messages, decoded once a format and written for all its group-bys.

That is one transaction.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import duckdb
import psycopg

from workbench.online.errors import StoreError
from workbench.online.messages.decoder import Decoder
from workbench.online.streaming.batch_values import Messages, Poisoned, RowLevel
from workbench.online.streaming.batch_writer import applied
from workbench.online.streaming.dead_letters import Dead
from workbench.online.streaming.offsets import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from workbench.online.messages.decoder import Headers
    from workbench.online.plan import GroupByPlan
    from workbench.online.streaming.batch_values import Applied
    from workbench.online.streaming.kafka_consumer import Place, Polled

WINDOW = 1_000  # messages over which bad ones are counted


class BadMessageLimit:
    """A guard that says when too many of a topic's messages are bad.

    Then the topic is wrong, or its declaration.
    """

    def __init__(self, share: float, least: int) -> None:
        self.share, self.least = share, least
        self._seen: deque[tuple[int, int]] = deque()

    def most(self, messages: int) -> int:
        """How many of so many messages may be bad."""
        return max(self.least, int(messages * self.share))

    def saw(self, messages: int, bad: int) -> bool:
        """Whether few enough messages are bad, now and shortly before; else they do not count."""
        batches = deque([*self._seen, (messages, bad)])
        while len(batches) > 1 and sum(n for n, _ in batches) - batches[0][0] >= WINDOW:
            batches.popleft()
        count, bad_count = sum(n for n, _ in batches), sum(b for _, b in batches)
        if bad_count >= self.least and bad_count > self.share * count:
            return False
        self._seen = batches
        return True


class UnreadError(StoreError):
    """A topic's messages cannot be decoded for now, such as while the schema registry is away."""


@dataclass
class WrittenBatch:
    """The result of writing polled messages, by group-by's table; `seconds` is the time by step."""

    topic: str
    messages: int
    by_group_by: dict[str, Applied] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    appended: Sequence[int | None] = ()

    @property
    def dead(self) -> dict[tuple[int, int], Dead]:
        """The messages that some group-by could not apply, by partition and offset."""
        return {(d.partition, d.offset): d for a in self.by_group_by.values() for d in a.dead}

    def amiss(self, kind: str) -> dict[str, Any]:
        """The partitions that are `fenced` or have `gaps`, by group-by's table."""
        return {
            table: partitions
            for table, a in self.by_group_by.items()
            if (partitions := getattr(a, kind))
        }


class TopicReaders:
    """The group-bys that read a topic; those with one format and source share the decoding."""

    def __init__(
        self,
        name: str,
        plans: Iterable[GroupByPlan],
        guard: BadMessageLimit,
        registry: str | None = None,
    ) -> None:
        self.name, self.guard = name, guard
        # in one order, so that an upload and a batch do not wait for each other
        self.plans = sorted(plans, key=lambda p: p.table)
        self._levels = {p.table: RowLevel(p) for p in self.plans}
        self._decoders: dict[str, Decoder] = {}
        self._read: dict[str, str] = {}
        for plan in self.plans:
            assert plan.topic is not None  # noqa: S101 it reads this one
            key = repr((plan.topic, sorted(plan.source.items()), plan.id is not None))
            if key not in self._decoders:
                self._decoders[key] = Decoder(
                    plan.topic, plan.source, registry, identified=plan.id is not None
                )
            self._read[plan.table] = key

    def write(
        self,
        con: psycopg.Connection[Any],
        polled: Sequence[Polled],
        epochs: Mapping[str, Mapping[Place, int]],
    ) -> WrittenBatch:
        """Apply polled messages to every group-by that still owns their partitions.

        Raises Poisoned where too many are bad, UnreadError, and StoreError, of kind `away` where a
        retry may work; then nothing is written.
        """
        batch = WrittenBatch(
            self.name, sum(map(len, polled)), appended=[t for p in polled for t in p.appended]
        )
        began = time.perf_counter()
        try:
            decoded = {
                key: self._messages(decoder, polled) for key, decoder in self._decoders.items()
            }
        except StoreError as error:
            raise UnreadError(str(error), error.kind) from error
        batch.seconds["decode"] = time.perf_counter() - began
        began = time.perf_counter()
        try:
            with con.transaction():
                for plan in self.plans:
                    own_epochs = {
                        place[1]: epoch
                        for place, epoch in epochs.get(plan.table, {}).items()
                        if place[0] == self.name
                    }
                    batch_epochs = {
                        p.partition: own_epochs.get(p.partition, -1) for p in polled
                    }  # -1: no one's
                    batch.by_group_by[plan.table] = applied(
                        con,
                        self._levels[plan.table],
                        decoded[self._read[plan.table]],
                        epochs=batch_epochs,
                        most_dead=self.guard.most(batch.messages),
                    )
                # only new messages count: what another updater has now is not ours to judge
                new = max((a.new for a in batch.by_group_by.values()), default=0)
                if not self.guard.saw(new, len(batch.dead)):
                    raise Poisoned(list(batch.dead.values()))
        except duckdb.Error as error:  # no row's own fault
            message = f"the rows of {self.name} cannot be made: {type(error).__name__}: {error}"
            raise StoreError(message, "broken") from error
        except psycopg.Error as error:
            message = (
                f"a batch of {self.name} was not written, and is not lost, since its offsets were"
                f" not either: {error}"
            )
            raise StoreError(message, "away") from error
        batch.seconds["write"] = time.perf_counter() - began
        visible(con, [m for a in batch.by_group_by.values() for m in a.marks])
        return batch

    def _messages(self, decoder: Decoder, polled: Sequence[Polled]) -> Messages:
        payloads = [v for p in polled for v in p.payloads]
        partitions = [p.partition for p in polled for _ in p.offsets]
        offsets = [o for p in polled for o in p.offsets]
        appended: list[int | None] = [t for p in polled for t in p.appended]
        keys: list[bytes | None] = [k for p in polled for k in p.keys or [None] * len(p)]
        headers: list[Headers] = [h for p in polled for h in p.headers or [()] * len(p)]
        decoded = decoder.decode(payloads, keys, headers)
        keeps_messages = decoder.beside is not None  # of use to whoever reads the message again
        dead = [
            Dead(
                partitions[i],
                offsets[i],
                payloads[i],
                reason,
                appended[i],
                *((keys[i], headers[i]) if keeps_messages else ()),
            )
            for i, reason in decoded.bad
        ]
        passed = [(partitions[i], offsets[i], kind) for i, kind in decoded.passed]
        if dead or passed:
            payloads = [payloads[i] for i in decoded.good]
            partitions, offsets = (
                [values[i] for i in decoded.good] for values in (partitions, offsets)
            )
            appended = [appended[i] for i in decoded.good]
            keys, headers = [keys[i] for i in decoded.good], [headers[i] for i in decoded.good]
        beside = (keys, headers) if keeps_messages else (None, None)
        return Messages(
            self.name,
            decoded.table,
            partitions,
            offsets,
            _spans(polled),
            appended,
            payloads,
            dead,
            passed,
            *beside,
        )


def _spans(polled: Iterable[Polled]) -> dict[int, tuple[int, int]]:
    """The offsets from which to which each partition was read; polls in turn are one span."""
    spans: dict[int, tuple[int, int]] = {}
    for p in polled:
        start, _ = spans.get(p.partition, (p.start, p.next))
        spans[p.partition] = (start, p.next)
    return spans
