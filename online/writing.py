"""The updater's write: a batch of messages becomes rows, with their offsets, in one transaction (semantics rule 21)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import duckdb
import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from online import dead_letters, rows
from online.copying import copied
from online.dead_letters import Dead
from online.errors import StoreError
from online.loading import check, kept_hot, locked
from online.positions import Mark, Reached, advanced, reached

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from online.plan import GroupByPlan

STREAMED = "update workbench.states set streamed = (extract(epoch from clock_timestamp()) * 1000000)::int8 where rows = %s"
# What a row itself can be the cause of: data (22), integrity (23), a size that some limit forbids (54).
OWN_FAULTS = ("22", "23", "54")


@dataclass(frozen=True)
class Messages:
    """Messages of one topic: their columns as the source's table has them, and each one's partition and offset.

    `spans` says for a partition which offsets were read, from the first to before the second: some hold no message of
    ours. `appended` are Kafka's times in milliseconds, `payloads` what came, and `dead` what could not be read.
    """

    topic: str
    table: pa.Table
    partitions: Sequence[int]
    offsets: Sequence[int]
    spans: Mapping[int, tuple[int, int]] | None = None
    appended: Sequence[int] | None = None
    payloads: Sequence[bytes | None] | None = None
    dead: Sequence[Dead] = ()


@dataclass(frozen=True)
class Applied:
    """What a write did: messages that were new, those that were applied before, the rows that came of the new ones.

    `dead` are the new ones of which none could be made. Partitions in `fenced` are another updater's by now, those in `gaps` lack
    messages before these, from the offset told: of neither anything was written. `numbers` are those of the batch's marks.
    """

    group_by: str
    new: int
    repeated: int
    rows: int
    dead: tuple[Dead, ...] = ()
    fenced: tuple[int, ...] = ()
    gaps: Mapping[int, int] = field(default_factory=dict)
    numbers: tuple[int, ...] = ()


class Poisoned(Exception):  # noqa: N818 no error yet: whoever writes decides
    """More messages of a batch cannot be written than were allowed."""

    def __init__(self, dead: Sequence[Dead]) -> None:
        super().__init__(f"{len(dead)} messages")
        self.dead = dead


class RowLevel:
    """A group-by's row-level expression, run by DuckDB in this process over the messages of a batch."""

    def __init__(self, plan: GroupByPlan) -> None:
        if "duckdb" not in plan.rows:
            message = f"the rows of {plan.name} cannot be made by DuckDB, which the updater runs them in: write its source with operations that DuckDB has"
            raise StoreError(message)
        self.plan, self.con = plan, duckdb.connect(config={"threads": 1})

    def rows(self, messages: pa.Table) -> pa.Table:
        """The rows of the messages: keys, time, and what is stored."""
        self.con.register(self.plan.source_name, messages)
        try:
            return self.con.execute(self.plan.rows["duckdb"]).to_arrow_table()
        finally:
            self.con.unregister(self.plan.source_name)


def applied(con: psycopg.Connection[Any], row_level: RowLevel, messages: Messages, *, epochs: Mapping[int, int] | None = None, most_dead: int | None = None) -> Applied:
    """Write the messages that were not applied before, and how far their partitions are now: whole, or not at all.

    Messages of a partition are applied in the order of their offsets: those below the partition's next offset were
    applied, by whatever updater, and change nothing. Those of which no row can be made or stored are kept as dead letters.
    With `epochs`, of each partition, only what this updater still owns is written. Raises Poisoned beyond `most_dead` dead
    letters, and StoreError, of kind `away` where the same batch may be tried again.
    """
    plan = row_level.plan
    try:
        with con.transaction(), con.cursor() as cursor:
            locked(cursor, plan)
            there = reached(cursor, plan, messages.topic)
            fenced = tuple(p for p, epoch in (epochs or {}).items() if there.get(p, Reached(None, 0)).epoch != epoch)
            gaps = {p: after for p, (start, _) in (messages.spans or {}).items() if (after := _next(there, p)) is not None and start > after}
            barred = {*fenced, *gaps}
            new = [i for i in _new(messages, there) if messages.partitions[i] not in barred]
            done = _Batch(cursor, row_level, messages, most_dead)
            done.run(new, {p: _next(there, p) or 0 for p in {*messages.partitions, *(messages.spans or {})} - barred})
            cursor.execute(STREAMED, (plan.table,))
            if cursor.rowcount != 1:
                message = f"{plan.name} is not stored here any more: publish it again"
                raise StoreError(message, "unknown")
    except psycopg.Error as error:
        message = f"a batch of {messages.topic} was not written for {plan.name}, and is not lost, since its offsets were not either: {error}"
        raise StoreError(message, "away" if _passing(error) else "broken") from error
    seen = len(messages.offsets) - sum(p in barred for p in messages.partitions)
    seen = sum(p not in barred for p in messages.partitions)
    return Applied(plan.name, len(new) + done.unread, seen - len(new), done.written, tuple(done.dead), fenced, gaps, tuple(done.numbers))


def tried(cursor: psycopg.Cursor[Any], row_level: RowLevel, messages: Messages) -> list[Dead]:
    """Write the rows of messages whose offsets were passed already, in the caller's transaction; those of which none can be made."""
    locked(cursor, row_level.plan)
    done = _Batch(cursor, row_level, messages, None)
    if messages.offsets:
        done.attempt(list(range(len(messages.offsets))))
    return [*messages.dead, *done.dead]


class _Batch:
    """One transaction's work on one group-by: rows by partition, what is at fault aside, then the offsets."""

    def __init__(self, cursor: psycopg.Cursor[Any], row_level: RowLevel, messages: Messages, most_dead: int | None) -> None:
        self.cursor, self.row_level, self.messages, self.most_dead = cursor, row_level, messages, most_dead
        self.written, self.unread, self.dead, self.numbers = 0, 0, list[Dead](), list[int]()
        self.times: dict[int, tuple[int, int]] = {}

    def run(self, new: list[int], starts: Mapping[int, int]) -> None:
        """Write these messages, the dead letters, and how far each partition is that was at `starts`."""
        told, plan = self.messages, self.row_level.plan
        self.dead += [d for d in told.dead if d.partition in starts and d.offset >= starts[d.partition]]
        self.unread = len(self.dead)
        marks = {p: Mark(max(start, starts[p]), after) for p, (start, after) in (told.spans or {}).items() if p in starts and after > starts[p]}
        if new:
            self.attempt(new)
        for i in new:
            partition, offset = told.partitions[i], told.offsets[i]
            mark = marks.setdefault(partition, Mark(offset, offset + 1))
            mark.next, mark.messages = max(mark.next, offset + 1), mark.messages + 1
            if told.appended is not None:
                mark.appended = max(mark.appended or 0, told.appended[i] * 1000)
        for partition, times in self.times.items():
            marks[partition].seen(*times)
        dead_letters.written(self.cursor, plan, told.topic, self.dead)
        self.numbers += advanced(self.cursor, plan, told.topic, marks)

    def attempt(self, places: list[int]) -> None:
        """Rows of these messages; where some are at fault, each half by itself, until those are found."""
        try:
            with self.cursor.connection.transaction():  # a savepoint
                count, times = self._stored(places)
        except (duckdb.Error, pa.ArrowException, StoreError, psycopg.Error) as error:
            if not _own(error):
                raise
            if len(places) > 1:
                middle = len(places) // 2
                self.attempt(places[:middle])
                self.attempt(places[middle:])
            else:
                self._bury(places[0], error)
            return
        self.written += count
        for partition, (oldest, newest) in times.items():
            before = self.times.get(partition, (oldest, newest))
            self.times[partition] = (min(oldest, before[0]), max(newest, before[1]))

    def _bury(self, place: int, error: Exception) -> None:
        told, reason = self.messages, " ".join(str(error).split())
        payload = None if told.payloads is None else told.payloads[place]
        appended = None if told.appended is None else told.appended[place]
        self.dead.append(Dead(told.partitions[place], told.offsets[place], payload, reason, appended))
        if self.most_dead is not None and len(self.dead) > self.most_dead:
            raise Poisoned(self.dead)

    def _stored(self, places: list[int]) -> tuple[int, dict[int, tuple[int, int]]]:
        """Compute and write the rows of these messages: how many, and the oldest and newest event of each partition."""
        cursor, plan = self.cursor, self.row_level.plan
        by_partition: dict[int, list[int]] = {}
        for place in places:
            by_partition.setdefault(self.messages.partitions[place], []).append(place)
        parts, times = [], {}
        for partition, mine in by_partition.items():
            part = self.row_level.rows(self.messages.table.take(pa.array(mine, pa.int64())))
            if part.num_rows:
                span = pc.min_max(part["time"])
                times[partition] = (span["min"].as_py(), span["max"].as_py())
            parts.append(part)
        cursor.execute(rows.staging(plan))
        written = copied(cursor, "staged", rows.columns(plan), pa.concat_tables(parts).to_batches())
        if written:
            check(cursor, plan)
            for statement in (rows.touching(plan), rows.arriving(plan)):
                cursor.execute(statement)
            some = cursor.execute(rows.SOME).fetchone() == (True,)
            for statement in rows.applied(plan, some=some):
                cursor.execute(statement)
            kept_hot(cursor, plan, "touched")
            cursor.execute("drop table touched, arriving")
        cursor.execute("drop table staged")
        return written, times


def _own(error: Exception) -> bool:
    """Whether a row may be the cause, and not the store."""
    if isinstance(error, psycopg.Error):
        return (error.sqlstate or "").startswith(OWN_FAULTS)
    if isinstance(error, duckdb.Error):
        return isinstance(error, (duckdb.DataError, duckdb.InvalidInputException))
    return not isinstance(error, StoreError) or error.kind == "asked"


def _passing(error: psycopg.Error) -> bool:
    """Whether the same may work a moment later: a lost connection, a server that stops or lacks room, a deadlock."""
    return error.sqlstate is None or error.sqlstate.startswith(("08", "40", "53", "55", "57", "58"))


def _next(there: Mapping[int, Reached], partition: int) -> int | None:
    return there[partition].next if partition in there else None


def _new(messages: Messages, there: Mapping[int, Reached]) -> list[int]:
    """The places of the messages that lie at or beyond their partition's next offset, each once."""
    first: dict[tuple[int, int], int] = {}
    for place, at in enumerate(zip(messages.partitions, messages.offsets, strict=True)):
        if at[1] >= (_next(there, at[0]) or 0):
            first.setdefault(at, place)
    return list(first.values())


__all__ = ["Applied", "Messages", "Poisoned", "RowLevel", "applied", "tried"]
