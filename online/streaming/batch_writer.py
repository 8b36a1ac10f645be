"""The updater's write: messages become rows, with their offsets, in one transaction (rule 21)."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from workbench.online.errors import StoreError
from workbench.online.messages.message_contents import keyless_reason
from workbench.online.storage import postgres_refusals, row_changes
from workbench.online.storage import row_tables as rows
from workbench.online.storage.copy_writer import copied
from workbench.online.storage.group_by_lock import locked
from workbench.online.storage.upload_reconciliation import kept_hot
from workbench.online.storage.uploads import check
from workbench.online.streaming import dead_letters
from workbench.online.streaming.batch_values import Applied, Messages, Poisoned, RowLevel
from workbench.online.streaming.dead_letters import Dead
from workbench.online.streaming.lag_buckets import late
from workbench.online.streaming.offsets import NOW_US, BatchOffsets, Reached, advanced, reached
from workbench.online.streaming.topic_health import Counts, counted, far

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from workbench.online.plan import Need

NOTE_STREAMED = f"update workbench.states set streamed = {NOW_US} where rows = %s"
# an upload may hold the lock for long, and an updater that is to stop does not wait for it
SET_LOCK_TIMEOUT = "set local lock_timeout = '5s'"
SMALL_SHARE = 0.1  # a share of messages
# Classes of errors that a row can cause: data (22), integrity (23), exceeded limits (54).
OWN_FAULTS = ("22", "23", "54")


def applied(
    con: psycopg.Connection[Any],
    row_level: RowLevel,
    messages: Messages,
    *,
    epochs: Mapping[int, int] | None = None,
    most_dead: int | None = None,
) -> Applied:
    """Write the messages that were not applied before, and the new offsets: all or nothing.

    Messages of a partition are applied in the order of their offsets: those below the partition's
    next offset were applied before, by this or another updater, and change nothing. Those that
    cannot become rows are kept as dead letters. With `epochs`, by partition, only partitions that
    this updater still owns are written. Raises Poisoned beyond `most_dead` dead letters, and
    StoreError, of kind `away` where the batch may be tried again.
    """
    plan = row_level.plan
    try:
        with con.transaction(), con.cursor() as cursor:
            cursor.execute(SET_LOCK_TIMEOUT)
            locked(cursor, plan)
            progress = reached(cursor, plan, messages.topic)
            fenced = tuple(
                p
                for p, epoch in (epochs or {}).items()
                if progress.get(p, Reached(None, 0)).epoch != epoch
            )
            gaps = {
                p: after
                for p, (start, _) in (messages.spans or {}).items()
                if (after := _next(progress, p)) is not None and start > after
            }
            batch = _Batch(cursor, row_level, messages, most_dead)
            batch.newest = {p: r.newest for p, r in progress.items()}
            message_count, new = batch.run(
                {p: _next(progress, p) or 0 for p in batch.partitions - {*fenced, *gaps}}
            )
            cursor.execute(NOTE_STREAMED, (plan.table,))
            if cursor.rowcount != 1:
                message = f"{plan.name} is not stored here any more: publish it again"
                raise StoreError(message, "unknown")
    except psycopg.Error as error:
        message = (
            f"a batch of {messages.topic} was not written for {plan.name}, and is not lost, since"
            f" its offsets were not either: {postgres_refusals.on(con, error)}"
        )
        raise StoreError(message, "away" if _passing(error) else "broken") from error
    return Applied(
        plan.name,
        new,
        message_count - new,
        batch.written,
        tuple(batch.dead),
        fenced,
        gaps,
        tuple(batch.marks),
        batch.counts,
    )


def tried(cursor: psycopg.Cursor[Any], row_level: RowLevel, messages: Messages) -> list[Dead]:
    """Write the rows of messages whose offsets were passed already, in the caller's transaction.

    Returns the messages that could not become rows.
    """
    locked(cursor, row_level.plan)
    batch = _Batch(cursor, row_level, messages, None)
    if len(batch.offsets):
        batch.attempt(batch.keyed(np.arange(len(batch.offsets))))
        cursor.execute(NOTE_STREAMED, (row_level.plan.table,))
    return [*messages.dead, *batch.dead]


class _Batch:
    """One transaction's work on one group-by: rows by partition, then dead letters and offsets."""

    def __init__(
        self,
        cursor: psycopg.Cursor[Any],
        row_level: RowLevel,
        messages: Messages,
        most_dead: int | None,
    ) -> None:
        self.cursor, self.row_level, self.messages, self.most_dead = (
            cursor,
            row_level,
            messages,
            most_dead,
        )
        self.of, self.offsets = (
            np.asarray(messages.partitions, np.int64),
            np.asarray(messages.offsets, np.int64),
        )
        named_partitions = {
            *(d.partition for d in messages.dead),
            *(p for p, *_ in messages.passed),
        }
        self.partitions = {
            *map(int, np.unique(self.of)),
            *(messages.spans or {}),
            *named_partitions,
        }
        self.counts = {p: Counts() for p in self.partitions}
        self.written, self.dead, self.marks = 0, list[Dead](), list[tuple[int, BatchOffsets]]()
        self.newest: Mapping[int, int | None] = {}

    def run(self, starts: Mapping[int, int]) -> tuple[int, int]:
        """Write messages at or beyond these offsets, the dead letters, and the new offsets.

        Returns how many messages the partitions have here, and how many of them are new.
        """
        messages, plan = self.messages, self.row_level.plan
        self.dead += [
            d for d in messages.dead if d.partition in starts and d.offset >= starts[d.partition]
        ]
        passed = [
            (p, kind) for p, offset, kind in messages.passed if p in starts and offset >= starts[p]
        ]
        unread = len(self.dead) + len(passed)
        message_count = sum(d.partition in starts for d in messages.dead) + sum(
            p in starts for p, *_ in messages.passed
        )
        for partition, kind in passed:
            self._count(partition, "messages", kind)
        marks = {
            p: BatchOffsets(max(start, starts[p]), after)
            for p, (start, after) in (messages.spans or {}).items()
            if p in starts and after > starts[p]
        }
        places = []
        for partition, start in starts.items():
            partition_places = np.flatnonzero(self.of == partition)
            message_count += len(partition_places)
            partition_places = partition_places[self.offsets[partition_places] >= start]
            # in their order, each once
            offsets, first = np.unique(self.offsets[partition_places], return_index=True)
            if len(offsets):
                places.append(partition_places[first])
                self._marked(
                    marks.setdefault(
                        partition, BatchOffsets(int(offsets[0]), int(offsets[-1]) + 1)
                    ),
                    places[-1],
                    self.newest.get(partition),
                )
        new = np.concatenate(places) if places else np.empty(0, np.int64)
        if len(keyed := self.keyed(new)):
            self.attempt(keyed)
        dead_letters.store_dead_letters(self.cursor, plan, messages.topic, self.dead)
        self._counted(keyed)
        counted(self.cursor, plan, messages.topic, self.counts)
        self.marks += advanced(self.cursor, plan, messages.topic, marks)
        return message_count, len(new) + unread

    def keyed(self, places: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Of these messages, those with a key and a time; the others become dead letters."""
        needs = self._lacking(places)
        for number, lacking in needs.items():
            place = int(places[number])
            payload = None if self.messages.payloads is None else self.messages.payloads[place]
            self._count(int(self.of[place]), "keyless")
            self._bury(place, keyless_reason(self.row_level.plan, payload, lacking))
        return np.delete(places, list(needs))

    def _lacking(self, places: np.ndarray[Any, Any]) -> dict[int, list[Need]]:
        # the error of a bad message, which is found when it is written
        with suppress(duckdb.Error, pa.ArrowException):
            return self.row_level.keyless(self.messages.table.take(pa.array(places)))
        return {}

    def _count(self, partition: int, *names: str) -> None:
        counts = self.counts[partition]
        for name in names:
            setattr(counts, name, getattr(counts, name) + 1)

    def _counted(self, keyed: np.ndarray[Any, Any]) -> None:
        """Add the dead letters, and these messages, which became events, to the counts."""
        for d in self.dead:
            self._count(d.partition, "messages", "dead")
        buried, now_us = {(d.partition, d.offset) for d in self.dead}, time.time_ns() // 1000
        for partition in np.unique(self.of[keyed]):
            event_places = keyed[self.of[keyed] == partition]
            if buried:
                event_places = np.array(
                    [
                        i
                        for i in event_places
                        if (int(partition), int(self.offsets[i])) not in buried
                    ],
                    np.int64,
                )
            counts, table = (
                self.counts[int(partition)],
                self.messages.table.take(pa.array(event_places)),
            )
            counts.messages += len(event_places)
            counts.events += len(event_places)
            counts.nulls.update(
                {c: n for c in self.row_level.plan.reads if (n := table[c].null_count)}
            )
            if (clock := self.row_level.plan.time) is not None:
                counts.old, counts.ahead = far(
                    pc.drop_null(_instants(table[clock])).to_numpy(), now_us
                )

    def _marked(self, mark: BatchOffsets, places: np.ndarray[Any, Any], newest: int | None) -> None:
        """Fill a partition's mark with the times of these messages."""
        messages, clock = self.messages, self.row_level.plan.time
        mark.next, mark.messages = max(mark.next, int(self.offsets[places].max()) + 1), len(places)
        if messages.appended is not None:
            sent_times = [messages.appended[i] for i in places]
            known_times = [t * 1000 for t in sent_times if t is not None]
            mark.appended = max(known_times, default=None)
            mark.sent = (
                np.array(known_times, np.int64) if len(known_times) == len(sent_times) else None
            )
        # the error of a bad message, which is found when it is written
        with suppress(duckdb.Error, pa.ArrowException):
            if clock is not None:
                times = _instants(messages.table[clock].take(pa.array(places)))
            else:
                times = self.row_level.rows(messages.table.take(pa.array(places)))["time"]
            if not len(times):  # no row comes of them
                return
            if times.null_count or len(times) != len(places):  # which message is whose is not known
                mark.sent = None
            # clipped, so that their lags do not overflow
            mark.times = np.clip(pc.drop_null(times).to_numpy(), -(2**61), 2**61)
            span = pc.min_max(times)
            mark.oldest, mark.newest, mark.late = (
                span["min"].as_py(),
                span["max"].as_py(),
                late(mark.times, newest),
            )

    def attempt(self, places: np.ndarray[Any, Any]) -> None:
        """Write the rows of these messages, except those at fault.

        Most of those show when they are staged, others when each half is written.
        """
        count = 0

        def stored() -> None:
            nonlocal count
            count = self._stored(places)

        if (error := self._fault(stored)) is None:
            self.written += count
        elif len(sound := self._sound(places)) < len(places):
            if len(sound):
                self.attempt(sound)
        elif len(places) > 1:
            for half in np.array_split(places, 2):
                self.attempt(half)
        else:
            self._bury(int(places[0]), error)

    def _sound(self, places: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Of these messages, those that can be staged; the others become dead letters.

        It writes no rows.
        """

        def staged(part: np.ndarray[Any, Any]) -> None:
            self._staged(part)
            raise psycopg.Rollback

        # one table for all: each that a transaction makes takes locks until its end, and a server
        # has some thousands
        self.cursor.execute(rows.staging(self.row_level.plan))
        likely = self._likely(places)
        parts, sound = [*([p] for p in places[likely]), places[~likely]], []
        while parts:
            part = parts.pop()
            if (error := self._fault(partial(staged, part))) is None:
                sound.append(np.asarray(part))
            elif len(part) > 1:
                parts += reversed(np.array_split(np.asarray(part), 2))
            else:
                self._bury(int(part[0]), error)
        self.cursor.execute("drop table staged")
        return np.concatenate(sound) if sound else places[:0]

    def _likely(self, places: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Which messages have what often cannot be stored.

        That is a NUL in a text, or a null where nearly all have a value.
        """
        suspects = np.zeros(len(places), bool)
        for column in self.messages.table.take(pa.array(places)).columns:
            if 0 < column.null_count <= len(places) * SMALL_SHARE:
                suspects |= column.is_null().to_numpy()
            if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
                suspects |= pc.fill_null(pc.match_substring(column, "\x00"), False).to_numpy()
        return suspects if suspects.mean() <= SMALL_SHARE else np.zeros(len(places), bool)

    def _fault(self, do: Callable[[], None]) -> Exception | None:
        """Run a function in a savepoint; return its error, where a row may be the cause."""
        try:
            with self.cursor.connection.transaction():
                do()
        except (duckdb.Error, pa.ArrowException, StoreError, psycopg.Error) as error:
            if not _is_row_fault(error):
                raise
            return error
        return None

    def _bury(self, place: int, error: Exception | str) -> None:
        messages, reason = self.messages, " ".join(str(error).split())
        payload = None if messages.payloads is None else messages.payloads[place]
        appended = None if messages.appended is None else messages.appended[place]
        key = None if messages.keys is None else messages.keys[place]
        headers = () if messages.headers is None else messages.headers[place]
        self.dead.append(
            Dead(
                messages.partitions[place],
                messages.offsets[place],
                payload,
                reason,
                appended,
                key,
                headers,
            )
        )
        if self.most_dead is not None and len(self.dead) > self.most_dead:
            raise Poisoned(self.dead)

    def _stored(self, places: np.ndarray[Any, Any]) -> int:
        """Compute and write the rows of these messages; return how many."""
        cursor, plan = self.cursor, self.row_level.plan
        cursor.execute(rows.staging(plan))
        row_count = self._staged(places)
        if row_count:
            for statement in (rows.touching(plan), *row_changes.arriving(plan)):
                cursor.execute(statement)
            some = cursor.execute(row_changes.some(plan)).fetchone() == (True,)
            for statement in row_changes.applied(plan, some=some):
                cursor.execute(statement)
            kept_hot(cursor, plan, "touched")
            cursor.execute("drop table touched, arriving")
        cursor.execute("drop table staged")
        return row_count

    def _staged(self, places: np.ndarray[Any, Any]) -> int:
        """Compute and stage the rows of these messages; return how many."""
        staged_rows = self.row_level.rows(self.messages.table.take(pa.array(places)))
        count = copied(
            self.cursor, "staged", rows.columns(self.row_level.plan), staged_rows.to_batches()
        )
        if count:
            check(self.cursor, self.row_level.plan)
        return count


def _instants(times: pa.ChunkedArray) -> pa.ChunkedArray:
    """Times in microseconds since 1970."""
    return times.cast(pa.timestamp("us", times.type.tz)).cast(pa.int64())


def _is_row_fault(error: Exception) -> bool:
    """Whether a row may be the cause of an error, and not the store."""
    if isinstance(error, psycopg.Error):
        return (error.sqlstate or "").startswith(OWN_FAULTS)
    if isinstance(error, duckdb.Error):
        return isinstance(error, (duckdb.DataError, duckdb.InvalidInputException))
    return not isinstance(error, StoreError) or error.kind == "asked"


def _passing(error: psycopg.Error) -> bool:
    """Whether a retry may work: a lost connection, a server that stops or is full, a deadlock."""
    return error.sqlstate is None or error.sqlstate.startswith(("08", "40", "53", "55", "57", "58"))


def _next(progress: Mapping[int, Reached], partition: int) -> int | None:
    return progress[partition].next if partition in progress else None


__all__ = ["Applied", "Messages", "Poisoned", "RowLevel", "applied", "tried"]
