"""Postgres: SQL that stays in the database; what SQL cannot do exactly there goes through the kernel by COPY."""

from __future__ import annotations

import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import ibis
import pyarrow as pa

from backends import copying, inprocess, running
from backends.asking import LacksError
from backends.engine import FORGOTTEN, Engine, EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date

    import ibis.expr.types as ir

    from backends.asof import AsOf


FEW = 1_000_000  # rows of running totals, events and window edges, that are done before COPY and the kernel would be


@ibis.udf.scalar.builtin
def hashtextextended(text: str, seed: int) -> int:
    """Postgres's 64-bit hash of a text; Ibis compiles no hash() for Postgres."""
    raise NotImplementedError  # Ibis writes the call; Postgres runs it


class Postgres(Engine):
    """What differs on Postgres."""

    name = "postgres"
    title = "Postgres"
    plans = ("pairs", "running", "kernel")

    def own(self, question: AsOf) -> str:
        """Running totals where they are exact and few, else the kernel."""
        return "running" if running.runs(question) and running.rows(self, question) <= FEW else "kernel"

    def as_of(self, question: AsOf) -> ir.Table:
        """By running totals in the database, or by the kernel."""
        plan = question.plan or self.own(question)
        if plan == "running" and not running.runs(question):
            message = "plan='running' takes counts, and sums and means of whole numbers and decimals, on Postgres: leave the plan to the engine, or force 'kernel'"
            raise EngineError(message)
        return (running if plan == "running" else inprocess).answer(self, question)

    def fetch(self, expr: ir.Table) -> pa.Table:
        """By COPY."""
        return self.run("a fetch", lambda: copying.fetched(self.connected, expr), expr)

    def batches(self, expr: ir.Table) -> Iterator[pa.RecordBatch]:
        """By COPY, through a file where they are many; of what COPY's text cannot tell, as Ibis gives them."""
        try:
            yield from self.run("a fetch", lambda: copying.streamed(self.connected, expr), expr)
        except LacksError:
            yield from super().batches(expr)

    def append(self, table: str, rows: pa.Table) -> None:
        """By COPY."""
        self.run("an insert", lambda: copying.sent(self.connected, table, rows))

    def keep(self, expr: ir.Table | pa.Table) -> ir.Table:
        """As any engine, rows of Arrow by COPY; analyzed, since the planner knows nothing of a new table."""
        if isinstance(expr, pa.Table):
            name = ibis.util.gen_name("fw")
            copying.created(self.connected, name, expr.schema)
            self.append(name, expr)
            table = self.connected.table(name)
            weakref.finalize(table.op(), FORGOTTEN.setdefault(self.connected, []).append, name)
        else:
            table = super().keep(expr)
        self.connected.raw_sql(f'ANALYZE "{table.op().name}"').close()
        return table
    placeholder = "%s"

    def hashed(self, value: ir.Value) -> ir.IntegerValue:
        """Of its text, which tells any two values of a type apart; times with a zone are written in UTC, the session's."""
        return hashtextextended(value.cast("string"), 0)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One transaction of the connection that Ibis holds; what Ibis runs in it are savepoints."""
        con = self.connected.con
        # psycopg makes a savepoint of a block inside another transaction, and nothing would be committed at its end
        if con.info.transaction_status.name != "IDLE":
            message = "this Postgres connection is inside a transaction, which backfill(into=...) must not end: commit or roll it back first, or connect with autocommit"
            raise EngineError(message)
        with con.transaction():
            yield

    @contextmanager
    def held(self, table: str) -> Iterator[None]:
        """By an advisory lock of the session, which Postgres gives up when the session ends, however it ends."""
        name = f"workbench_backfills.{table}"
        ((free,),) = self.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (name,))
        if not free:
            message = f"another session is filling {table!r} on Postgres: wait for it, or end it and run this again"
            raise EngineError(message)
        try:
            yield
        finally:
            self.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (name,))

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """On the connection that Ibis holds, and so inside its transaction."""
        con = self.connected.con
        with con.cursor() as cursor, con.transaction():
            cursor.execute(statement, parameters or None)
            return list(cursor.fetchall()) if cursor.description else []

    def within(self, time: str, start: date, end: date) -> str:
        """By timestamps: the session's time zone, in which naive and zoned ones meet, is UTC."""
        return f"{self.quoted(time)} >= timestamp '{start}' AND {self.quoted(time)} < timestamp '{end}'"
