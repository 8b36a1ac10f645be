"""DuckDB: embedded, one process a file, transactional."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, date, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.datatypes as dt
from sqlglot import exp

from backends.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import ibis.expr.types as ir
    import pyarrow as pa

    from backends.asof import AsOf


@ibis.udf.agg.builtin
def fsum(value: float) -> float:
    """DuckDB's compensated sum: its plain sum of 1e5 times 0.1 misses rule 11's bound."""
    raise NotImplementedError  # Ibis writes the call; DuckDB runs it


CODE, ROW = "_fw_code", "_fw_row"
HELD = 100_000_000  # values of events that the kernel holds at once; it takes some 40 bytes for each

MOST_HEAPED = 1_000_000  # DuckDB refuses arg_max(..., n) from here on


@cache
def _heap(name: str, value: dt.DataType, key: dt.DataType) -> Any:
    """DuckDB's arg_max or arg_min of `n` values, typed."""
    signature = ((value, key, dt.int64), dt.Array(value))

    @ibis.udf.agg.builtin(name=name, signature=signature)
    def heap(value: Any, key: Any, n: int) -> Any:
        raise NotImplementedError  # Ibis writes the call; DuckDB runs it

    return heap


class DuckDB(Engine):
    """What differs on DuckDB."""

    name = "duckdb"
    title = "DuckDB"
    plans = ("pairs", "kernel")

    def total(self, value: ir.FloatingColumn, where: ir.BooleanValue) -> ir.FloatingScalar:
        """By Kahan summation."""
        return fsum(value, where=where)

    def listed(self, value: ir.Column, order: Sequence[ir.Column], where: ir.BooleanValue, *, descending: bool = False, k: int | None = None) -> ir.ArrayScalar:
        """By a heap of `k` where that is few, so that a long history is never sorted or held."""
        if k is None or k >= MOST_HEAPED:
            return super().listed(value, order, where, descending=descending, k=k)
        key = ibis.struct({f"o{i}": o for i, o in enumerate(order)})
        return _heap("arg_max" if descending else "arg_min", value.type(), key.type())(value, key, k, where=where)

    def as_of(self, question: AsOf) -> ir.Table:
        """By the kernel, in process: codes for keys and numbers for rows are DuckDB's, so that only numbers and inputs leave it."""
        spine = self.keep(question.spine.mutate(**{ROW: ibis.row_number()}))
        keys = self.keep(spine.select(*question.keys).distinct().mutate(**{CODE: ibis.row_number()}))
        left = spine.join(keys, question.keys).select(ROW, CODE, question.at)
        events = question.events.join(keys, question.keys).select(CODE, question.time, *question.order, *_apart(question))
        answers = self._answered(events, left, question)
        return spine.join(answers, ROW).select(*question.spine.columns, *(a.name for a in question.asks))

    def _answered(self, events: ir.Table, left: ir.Table, question: AsOf) -> ir.Table:
        """The kernel's answers in a table, part by part where there are more events than memory should hold at once."""
        name = None
        for some, rows in self._parts(events, left, question):
            answer = self.run("the window kernel", lambda s=some, r=rows: _kernel(s, r, question))
            if name is None:
                table = self.keep(answer)
                name = table.get_name()
            else:
                self.connected.insert(name, answer)
        return table

    def _parts(self, events: ir.Table, left: ir.Table, question: AsOf) -> Iterator[tuple[pa.Table, pa.Table]]:
        """Events and left rows of some keys at a time; a key is never cut."""
        ((n,),) = self.rows(events.agg(n=events.count()))
        parts = -(-n * (2 + len(question.inputs)) // HELD)
        if parts <= 1:
            yield self.connected.to_pyarrow(events), self.connected.to_pyarrow(left)
            return
        held = self.keep(events)
        for code in range(parts):
            yield tuple(self.connected.to_pyarrow(t.filter(t[CODE] % parts == code)) for t in (held, left))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One DuckDB transaction; any error rolls it back."""
        self.connected.raw_sql("BEGIN TRANSACTION")
        try:
            yield
        except BaseException:
            self.connected.raw_sql("ROLLBACK")
            raise
        self.connected.raw_sql("COMMIT")

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> None:
        """On the connection that Ibis holds, and so inside its transaction."""
        self.connected.con.execute(statement, list(parameters))

    def rename(self, table: str, name: str) -> None:
        """Within its database."""
        self.execute(f"ALTER TABLE {_quoted(table)} RENAME TO {_quoted(name)}")

    def delete_times(self, table: str, time: str, start: date, end: date) -> None:
        """By microseconds since 1970, which naive and zoned timestamps share."""
        name, column = _quoted(table), _quoted(time)
        bounds = [int(datetime(d.year, d.month, d.day, tzinfo=UTC).timestamp()) * 1_000_000 for d in (start, end)]
        self.execute(f"DELETE FROM {name} WHERE epoch_us({column}) >= ? AND epoch_us({column}) < ?", bounds)  # noqa: S608 quoted identifiers


def _quoted(name: str) -> str:
    return exp.to_identifier(name, quoted=True).sql("duckdb")


def _apart(question: AsOf) -> tuple[str, ...]:
    """The inputs that are not the time or the order, which are there already."""
    return tuple(c for c in question.inputs if c not in (question.time, *question.order))


def _kernel(events: pa.Table, left: pa.Table, question: AsOf) -> pa.Table:
    from backends.kernel import as_of  # noqa: PLC0415 numba takes a second to load, and small questions need none

    return as_of(events, left, question.asks, keys=[CODE], time=question.time, at=question.at, order=question.order).drop_columns([CODE, question.at])
