"""Messages of a batch, what applying them came to, and the row-level SQL that makes them rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from workbench.online.errors import StoreError
from workbench.online.streaming.dead_letters import Dead
from workbench.online.streaming.offsets import BatchOffsets
from workbench.online.streaming.topic_health import Counts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workbench.online.plan import GroupByPlan, Need


PLACE = "_fw_place"  # of a message in its batch, in the plan's own words


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
    marks: tuple[tuple[int, BatchOffsets], ...] = ()
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
        rows = self._run(messages.append_column(PLACE, places), self.plan.keyless).to_pylist()
        return {
            row[PLACE]: [need for i, need in enumerate(self.plan.needs) if row[f"n{i}"]]
            for row in rows
        }

    def _run(self, messages: pa.Table, question: str) -> pa.Table:
        self.con.register(self.plan.source_name, trimmed(messages, self.plan.padded))
        try:
            return self.con.execute(question).to_arrow_table()
        finally:
            self.con.unregister(self.plan.source_name)


def trimmed(messages: pa.Table, columns: Sequence[str]) -> pa.Table:
    """The messages without blanks at the ends of texts, and of texts in lists, in these columns.

    The table's char(n) columns are read so too.
    """
    for c in columns:
        chunks = [_trimmed(chunk) for chunk in messages[c].chunks]
        messages = messages.set_column(
            messages.schema.get_field_index(c), c, pa.chunked_array(chunks, messages[c].type)
        )
    return messages


def _trimmed(texts: pa.Array) -> pa.Array:
    if pa.types.is_list(texts.type):
        return pa.ListArray.from_arrays(texts.offsets, _trimmed(texts.values), mask=texts.is_null())
    return pc.utf8_rtrim(texts, " ") if pa.types.is_string(texts.type) else texts
