"""The updater's write: messages become rows, with their offsets, in one transaction (rule 21)."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from workbench.online.errors import StoreError
from workbench.online.messages.message_contents import keyless_reason
from workbench.online.storage import postgres_refusals
from workbench.online.storage import row_tables as rows
from workbench.online.storage.copy_writer import copied
from workbench.online.storage.uploads import check, kept_hot, locked
from workbench.online.streaming import dead_letters
from workbench.online.streaming.dead_letters import Dead
from workbench.online.streaming.lag_buckets import late
from workbench.online.streaming.offsets import NOW, Mark, Reached, advanced, reached
from workbench.online.streaming.topic_health import Counts, counted, far

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from workbench.online.plan import GroupByPlan, Need

PLACE = "_fw_place"  # of a message in its batch, in the plan's own words
STREAMED = f"update workbench.states set streamed = {NOW} where rows = %s"
# an upload may hold the lock for long, and an updater that is to stop does not wait for it
BRIEFLY = "set local lock_timeout = '5s'"
RARE = 0.1  # a share of messages
# Classes of errors that a row can cause: data (22), integrity (23), exceeded limits (54).
OWN_FAULTS = ("22", "23", "54")


@dataclass(frozen=True)
class Messages:
    """Messages of one topic, as columns of the source's table, with their partitions and offsets.

    `spans` has the offsets that were read, by partition, from the first to before the second: some
    hold no message of ours. `appended` are Kafka's times in milliseconds, `payloads` the messages
    as they came, and `dead` those that could not be read. `passed` are messages that are no events
    though nothing is wrong with them: partition, offset and a field name of `Counts`. `keys` and
    `headers` are there where columns come from them.
    """

    topic: str
    table: pa.Table
    partitions: Sequence[int]
    offsets: Sequence[int]
    spans: Mapping[int, tuple[int, int]] | None = None
    appended: Sequence[int | None] | None = None
    payloads: Sequence[bytes | None] | None = None
    dead: Sequence[Dead] = ()
    passed: Sequence[tuple[int, int, str]] = ()
    keys: Sequence[bytes | None] | None = None
    headers: Sequence[Sequence[tuple[str, bytes | None]]] | None = None


@dataclass(frozen=True)
class Applied:
    """The result of a write for one group-by: how many messages were new, how many repeated.

    `rows` is how many rows the new ones became, and `dead` has those that could not become rows.
    Another updater owns the partitions in `fenced` by now; those in `gaps` lack messages from the
    given offset on: for both nothing was written. `marks` are the batch's, with their numbers, and
    `counts` are messages by partition.
    """

    group_by: str
    new: int
    repeated: int
    rows: int
    dead: tuple[Dead, ...] = ()
    fenced: tuple[int, ...] = ()
    gaps: Mapping[int, int] = field(default_factory=dict)
    marks: tuple[tuple[int, Mark], ...] = ()
    counts: Mapping[int, Counts] = field(default_factory=dict)


class Poisoned(Exception):  # noqa: N818 no error yet: whoever writes decides
    """A batch has more messages that cannot be written than are allowed."""

    def __init__(self, dead: Sequence[Dead]) -> None:
        super().__init__(f"{len(dead)} messages")
        self.dead = dead


class RowLevel:
    """A group-by's row-level expression, which DuckDB runs in this process over messages."""

    def __init__(self, plan: GroupByPlan) -> None:
        if "duckdb" not in plan.rows:
            message = (
                f"the rows of {plan.name} cannot be made by DuckDB, which the updater runs them in:"
                " write its source with operations that DuckDB has"
            )
            raise StoreError(message)
        self.plan, self.con = plan, duckdb.connect(config={"threads": 1})

    def rows(self, messages: pa.Table) -> pa.Table:
        """Compute the rows of the messages: keys, time, and what is stored."""
        return self._run(messages, self.plan.streamed or self.plan.rows["duckdb"])

    def keyless(self, messages: pa.Table) -> dict[int, list[Need]]:
        """What each message lacks that passes all filters but has no key or time, by its place."""
        if not self.plan.keyless or not messages.num_rows:
            return {}
        places = pa.array(range(messages.num_rows), pa.int64())
        found = self._run(messages.append_column(PLACE, places), self.plan.keyless).to_pylist()
        return {
            row[PLACE]: [need for i, need in enumerate(self.plan.needs) if row[f"n{i}"]]
            for row in found
        }

    def _run(self, messages: pa.Table, question: str) -> pa.Table:
        self.con.register(self.plan.source_name, trimmed(messages, self.plan.padded))
        try:
            return self.con.execute(question).to_arrow_table()
        finally:
            self.con.unregister(self.plan.source_name)


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
            cursor.execute(BRIEFLY)
            locked(cursor, plan)
            there = reached(cursor, plan, messages.topic)
            fenced = tuple(
                p
                for p, epoch in (epochs or {}).items()
                if there.get(p, Reached(None, 0)).epoch != epoch
            )
            gaps = {
                p: after
                for p, (start, _) in (messages.spans or {}).items()
                if (after := _next(there, p)) is not None and start > after
            }
            done = _Batch(cursor, row_level, messages, most_dead)
            done.newest = {p: r.newest for p, r in there.items()}
            seen, new = done.run(
                {p: _next(there, p) or 0 for p in done.partitions - {*fenced, *gaps}}
            )
            cursor.execute(STREAMED, (plan.table,))
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
        seen - new,
        done.written,
        tuple(done.dead),
        fenced,
        gaps,
        tuple(done.marks),
        done.counts,
    )


def tried(cursor: psycopg.Cursor[Any], row_level: RowLevel, messages: Messages) -> list[Dead]:
    """Write the rows of messages whose offsets were passed already, in the caller's transaction.

    Returns the messages that could not become rows.
    """
    locked(cursor, row_level.plan)
    done = _Batch(cursor, row_level, messages, None)
    if len(done.offsets):
        done.attempt(done.keyed(np.arange(len(done.offsets))))
        cursor.execute(STREAMED, (row_level.plan.table,))
    return [*messages.dead, *done.dead]


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
        told = {*(d.partition for d in messages.dead), *(p for p, *_ in messages.passed)}
        self.partitions = {*map(int, np.unique(self.of)), *(messages.spans or {}), *told}
        self.counts = {p: Counts() for p in self.partitions}
        self.written, self.dead, self.marks = 0, list[Dead](), list[tuple[int, Mark]]()
        self.newest: Mapping[int, int | None] = {}

    def run(self, starts: Mapping[int, int]) -> tuple[int, int]:
        """Write messages at or beyond these offsets, the dead letters, and the new offsets.

        Returns how many messages the partitions have here, and how many of them are new.
        """
        told, plan = self.messages, self.row_level.plan
        self.dead += [
            d for d in told.dead if d.partition in starts and d.offset >= starts[d.partition]
        ]
        passed = [
            (p, kind) for p, offset, kind in told.passed if p in starts and offset >= starts[p]
        ]
        unread = len(self.dead) + len(passed)
        seen = sum(d.partition in starts for d in told.dead) + sum(
            p in starts for p, *_ in told.passed
        )
        for partition, kind in passed:
            self._count(partition, "messages", kind)
        marks = {
            p: Mark(max(start, starts[p]), after)
            for p, (start, after) in (told.spans or {}).items()
            if p in starts and after > starts[p]
        }
        places = []
        for partition, start in starts.items():
            mine = np.flatnonzero(self.of == partition)
            seen += len(mine)
            mine = mine[self.offsets[mine] >= start]
            # in their order, each once
            offsets, first = np.unique(self.offsets[mine], return_index=True)
            if len(offsets):
                places.append(mine[first])
                self._marked(
                    marks.setdefault(partition, Mark(int(offsets[0]), int(offsets[-1]) + 1)),
                    places[-1],
                    self.newest.get(partition),
                )
        new = np.concatenate(places) if places else np.empty(0, np.int64)
        if len(keyed := self.keyed(new)):
            self.attempt(keyed)
        dead_letters.written(self.cursor, plan, told.topic, self.dead)
        self._counted(keyed)
        counted(self.cursor, plan, told.topic, self.counts)
        self.marks += advanced(self.cursor, plan, told.topic, marks)
        return seen, len(new) + unread

    def keyed(self, places: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Of these messages, those with a key and a time; the others become dead letters."""
        found = self._lacking(places)
        for number, lacking in found.items():
            place = int(places[number])
            payload = None if self.messages.payloads is None else self.messages.payloads[place]
            self._count(int(self.of[place]), "keyless")
            self._bury(place, keyless_reason(self.row_level.plan, payload, lacking))
        return np.delete(places, list(found))

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
        buried, now = {(d.partition, d.offset) for d in self.dead}, time.time_ns() // 1000
        for partition in np.unique(self.of[keyed]):
            mine = keyed[self.of[keyed] == partition]
            if buried:
                mine = np.array(
                    [i for i in mine if (int(partition), int(self.offsets[i])) not in buried],
                    np.int64,
                )
            counts, table = self.counts[int(partition)], self.messages.table.take(pa.array(mine))
            counts.messages += len(mine)
            counts.events += len(mine)
            counts.nulls.update(
                {c: n for c in self.row_level.plan.reads if (n := table[c].null_count)}
            )
            if (clock := self.row_level.plan.time) is not None:
                counts.old, counts.ahead = far(
                    pc.drop_null(_instants(table[clock])).to_numpy(), now
                )

    def _marked(self, mark: Mark, places: np.ndarray[Any, Any], newest: int | None) -> None:
        """Fill a partition's mark with the times of these messages."""
        told, clock = self.messages, self.row_level.plan.time
        mark.next, mark.messages = max(mark.next, int(self.offsets[places].max()) + 1), len(places)
        if told.appended is not None:
            sent = [told.appended[i] for i in places]
            known = [t * 1000 for t in sent if t is not None]
            mark.appended = max(known, default=None)
            mark.sent = np.array(known, np.int64) if len(known) == len(sent) else None
        # the error of a bad message, which is found when it is written
        with suppress(duckdb.Error, pa.ArrowException):
            if clock is not None:
                times = _instants(told.table[clock].take(pa.array(places)))
            else:
                times = self.row_level.rows(told.table.take(pa.array(places)))["time"]
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
        found = np.zeros(len(places), bool)
        for column in self.messages.table.take(pa.array(places)).columns:
            if 0 < column.null_count <= len(places) * RARE:
                found |= column.is_null().to_numpy()
            if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
                found |= pc.fill_null(pc.match_substring(column, "\x00"), False).to_numpy()
        return found if found.mean() <= RARE else np.zeros(len(places), bool)

    def _fault(self, do: Callable[[], None]) -> Exception | None:
        """Run a function in a savepoint; return its error, where a row may be the cause."""
        try:
            with self.cursor.connection.transaction():
                do()
        except (duckdb.Error, pa.ArrowException, StoreError, psycopg.Error) as error:
            if not _own(error):
                raise
            return error
        return None

    def _bury(self, place: int, error: Exception | str) -> None:
        told, reason = self.messages, " ".join(str(error).split())
        payload = None if told.payloads is None else told.payloads[place]
        appended = None if told.appended is None else told.appended[place]
        key = None if told.keys is None else told.keys[place]
        headers = () if told.headers is None else told.headers[place]
        self.dead.append(
            Dead(
                told.partitions[place], told.offsets[place], payload, reason, appended, key, headers
            )
        )
        if self.most_dead is not None and len(self.dead) > self.most_dead:
            raise Poisoned(self.dead)

    def _stored(self, places: np.ndarray[Any, Any]) -> int:
        """Compute and write the rows of these messages; return how many."""
        cursor, plan = self.cursor, self.row_level.plan
        cursor.execute(rows.staging(plan))
        written = self._staged(places)
        if written:
            for statement in (rows.touching(plan), *rows.arriving(plan)):
                cursor.execute(statement)
            some = cursor.execute(rows.some(plan)).fetchone() == (True,)
            for statement in rows.applied(plan, some=some):
                cursor.execute(statement)
            kept_hot(cursor, plan, "touched")
            cursor.execute("drop table touched, arriving")
        cursor.execute("drop table staged")
        return written

    def _staged(self, places: np.ndarray[Any, Any]) -> int:
        """Compute and stage the rows of these messages; return how many."""
        made = self.row_level.rows(self.messages.table.take(pa.array(places)))
        count = copied(self.cursor, "staged", rows.columns(self.row_level.plan), made.to_batches())
        if count:
            check(self.cursor, self.row_level.plan)
        return count


def _instants(times: pa.ChunkedArray) -> pa.ChunkedArray:
    """Times in microseconds since 1970."""
    return times.cast(pa.timestamp("us", times.type.tz)).cast(pa.int64())


def trimmed(messages: pa.Table, columns: Sequence[str]) -> pa.Table:
    """The messages without blanks at the ends of texts, and of texts in lists, in these columns.

    The table's char(n) columns are read so too.
    """
    for c in columns:
        made = [_trimmed(chunk) for chunk in messages[c].chunks]
        messages = messages.set_column(
            messages.schema.get_field_index(c), c, pa.chunked_array(made, messages[c].type)
        )
    return messages


def _trimmed(texts: pa.Array) -> pa.Array:
    if pa.types.is_list(texts.type):
        return pa.ListArray.from_arrays(texts.offsets, _trimmed(texts.values), mask=texts.is_null())
    return pc.utf8_rtrim(texts, " ") if pa.types.is_string(texts.type) else texts


def _own(error: Exception) -> bool:
    """Whether a row may be the cause of an error, and not the store."""
    if isinstance(error, psycopg.Error):
        return (error.sqlstate or "").startswith(OWN_FAULTS)
    if isinstance(error, duckdb.Error):
        return isinstance(error, (duckdb.DataError, duckdb.InvalidInputException))
    return not isinstance(error, StoreError) or error.kind == "asked"


def _passing(error: psycopg.Error) -> bool:
    """Whether a retry may work: a lost connection, a server that stops or is full, a deadlock."""
    return error.sqlstate is None or error.sqlstate.startswith(("08", "40", "53", "55", "57", "58"))


def _next(there: Mapping[int, Reached], partition: int) -> int | None:
    return there[partition].next if partition in there else None


__all__ = ["Applied", "Messages", "Poisoned", "RowLevel", "applied", "tried"]
