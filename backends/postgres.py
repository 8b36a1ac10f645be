"""Postgres: SQL that stays in the database; what SQL cannot do exactly there goes through the kernel by COPY."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import ibis
import pyarrow as pa

from backends import copying, inprocess, running
from backends.engine import FORGOTTEN, Engine, EngineError

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from backends.asof import AsOf


FEW = 1_000_000  # rows of running totals, events and window edges, that are done before COPY and the kernel would be


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
