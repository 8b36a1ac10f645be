"""The updater's write: a batch of messages becomes rows, with their offsets, in one transaction (semantics rule 21)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb
import psycopg
import pyarrow as pa

from online import rows
from online.copying import copied
from online.errors import StoreError
from online.loading import check, kept_hot, locked

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from online.plan import GroupByPlan

NEXT = "select partition, next from workbench.offsets where rows = %s and topic = %s"
ADVANCED = """insert into workbench.offsets (rows, topic, partition, next) values (%s, %s, %s, %s)
    on conflict (rows, topic, partition) do update set next = greatest(offsets.next, excluded.next)"""
STREAMED = "update workbench.states set streamed = (extract(epoch from clock_timestamp()) * 1000000)::int8 where rows = %s"


@dataclass(frozen=True)
class Messages:
    """Messages of one topic: their columns as the source's table has them, and each one's partition and offset."""

    topic: str
    table: pa.Table
    partitions: Sequence[int]
    offsets: Sequence[int]


@dataclass(frozen=True)
class Applied:
    """What a write did: messages that were new, those that were applied before, and the rows that came of the new ones."""

    new: int
    repeated: int
    rows: int


class RowLevel:
    """A group-by's row-level expression, run by DuckDB in this process over the messages of a batch."""

    def __init__(self, plan: GroupByPlan) -> None:
        if "duckdb" not in plan.rows:
            message = f"the rows of {plan.name} cannot be made by DuckDB, which the updater runs them in: write its source with operations that DuckDB has"
            raise StoreError(message)
        self.plan, self.con = plan, duckdb.connect(config={"threads": 1})

    def rows(self, messages: pa.Table) -> Iterable[pa.RecordBatch]:
        """The rows of the messages: keys, time, and what is stored."""
        self.con.register(self.plan.source_name, messages)
        try:
            return self.con.execute(self.plan.rows["duckdb"]).to_arrow_table().to_batches()
        finally:
            self.con.unregister(self.plan.source_name)


def applied(con: psycopg.Connection[Any], row_level: RowLevel, messages: Messages) -> Applied:
    """Write the messages that were not applied before, and how far their partitions are now: whole, or not at all.

    Messages of a partition are applied in the order of their offsets: those below the partition's next offset were
    applied, by whatever updater, and change nothing. Raises StoreError.
    """
    plan = row_level.plan
    try:
        with con.transaction(), con.cursor() as cursor:
            locked(cursor, plan)
            reached = dict(cursor.execute(NEXT, (plan.table, messages.topic)).fetchall())
            new = _new(messages, reached)
            cursor.execute(rows.staging(plan))
            written = copied(cursor, "staged", rows.columns(plan), row_level.rows(messages.table.take(pa.array(new, pa.int64()))))
            if written:
                check(cursor, plan)
                cursor.execute(rows.touching(plan))
                for statement in rows.applied(plan):
                    cursor.execute(statement)
                kept_hot(cursor, plan, "touched")
            for partition in {messages.partitions[i] for i in new}:
                furthest = max(messages.offsets[i] for i in new if messages.partitions[i] == partition)
                cursor.execute(ADVANCED, (plan.table, messages.topic, partition, furthest + 1))
            cursor.execute(STREAMED, (plan.table,))
            if cursor.rowcount != 1:
                message = f"{plan.name} is not stored here any more: publish it again"
                raise StoreError(message)
    except psycopg.Error as error:
        message = f"a batch of {messages.topic} was not written for {plan.name}, and is not lost, since its offsets were not either: {error}"
        raise StoreError(message) from error
    return Applied(len(new), len(messages.offsets) - len(new), written)


def _new(messages: Messages, reached: dict[int, int]) -> list[int]:
    """The places of the messages that lie at or beyond their partition's next offset, each once."""
    first: dict[tuple[int, int], int] = {}
    for place, at in enumerate(zip(messages.partitions, messages.offsets, strict=True)):
        if at[1] >= reached.get(at[0], 0):
            first.setdefault(at, place)
    return list(first.values())


__all__ = ["Applied", "Messages", "RowLevel", "applied"]
