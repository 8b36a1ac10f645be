"""What an engine must offer to run a definition, and how one is found for a connection."""

from __future__ import annotations

import weakref
from contextlib import contextmanager
from datetime import date
from importlib import import_module
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import ibis
import ibis.expr.types as ir

from backends.asking import LacksError
from backends.asof import AsOf

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa
    from ibis.backends import BaseBackend

# Backends with a file of their own, by Ibis's name for them.
KNOWN = {"duckdb": ("backends.duckdb", "DuckDB"), "postgres": ("backends.postgres", "Postgres"), "pyspark": ("backends.spark", "Spark")}

# Temporary tables that nothing refers to any more, by connection; dropped before the next one is made.
FORGOTTEN: WeakKeyDictionary[BaseBackend, list[str]] = WeakKeyDictionary()


class EngineError(RuntimeError):
    """An engine could not run a definition."""


class Engine:
    """Any Ibis backend, as the portable plan sees it; the known ones override what differs.

    `con` is None where SQL is only to be shown for an engine that is not connected.
    """

    name = "portable"
    title = "Ibis"
    plans: tuple[str, ...] = ("pairs",)  # the ways it has of answering AsOf questions, pairs being workbench's own

    def __init__(self, con: BaseBackend | None = None) -> None:
        self.con = con

    # --- expressions that differ

    def total(self, value: ir.FloatingColumn, where: ir.BooleanValue) -> ir.FloatingScalar:
        """The sum of doubles, null over none; within rule 11's bound."""
        return value.sum(where=where)

    def listed(self, value: ir.Column, order: Sequence[ir.Column], where: ir.BooleanValue, *, descending: bool = False, k: int | None = None) -> ir.ArrayScalar:
        """The values that pass `where`, ordered by `order`, the first `k` or all; null or empty over none."""
        keys = [ibis.desc(o) if descending else ibis.asc(o) for o in order]
        values = value.collect(where=where, order_by=keys)
        return values if k is None else values[:k]

    # --- tables

    def table(self, name: str, catalog: str | None = None, database: str | None = None) -> ir.Table:
        """A table or view by name; EngineError that lists what is there, if it is not."""
        place = (catalog, database) if catalog and database else database
        try:
            return self.connected.table(name, database=place)
        except Exception as error:
            there = ", ".join(sorted(t for t in self.connected.list_tables() if not t.startswith("ibis_"))[:12]) or "no tables"
            message = f"{self.title} has no table {name!r}: it has {there}; load it, or connect with on= to where it is"
            raise EngineError(message) from error

    @property
    def connected(self) -> BaseBackend:
        """The connection; EngineError where there is none."""
        if self.con is None:
            message = f"no {self.title} connection: pass on=, for example on=ibis.duckdb.connect('warehouse.duckdb')"
            raise EngineError(message)
        return self.con

    def keep(self, expr: ir.Table | pa.Table) -> ir.Table:
        """Run an expression once, or take rows as they are, and hold them in a temporary table for as long as an expression refers to it."""
        con = self.connected
        forgotten = FORGOTTEN.setdefault(con, [])
        while forgotten:
            con.drop_table(forgotten.pop(), force=True)
        name = ibis.util.gen_name("fw")
        table = self.run("the query", lambda: con.create_table(name, expr, temp=True), expr if isinstance(expr, ir.Table) else None)
        # not dropped at once: the collector may run while another query of this connection is being read
        weakref.finalize(table.op(), forgotten.append, name)
        return table

    def own(self, question: AsOf) -> str:  # noqa: ARG002 engines with several override it
        """Which of its own plans, other than pairs, is the cheaper one."""
        return self.plans[-1]

    def as_of(self, question: AsOf) -> ir.Table:
        """The spine's columns and one column an ask, for each row of the spine; runs, and keeps the answer."""
        message = f"{self.title} has no plan of its own for {len(question.asks)} reductions as of an instant: pairs serve it"
        raise EngineError(message)

    def sizes(self, question: AsOf) -> tuple[int, int]:
        """How many left rows and events there are."""
        ((left,),), ((events,),) = (self.rows(t.agg(n=t.count())) for t in (question.spine, question.events))
        return left, events

    def pairs(self, question: AsOf) -> int:
        """How many pairs of a left row and an event have equal keys, from two group-bys."""
        keys = list(question.keys)
        left = question.spine.group_by(keys).agg(q=lambda t: t.count())
        met = left.join(question.events.group_by(keys).agg(n=lambda t: t.count()), keys)
        ((pairs,),) = self.rows(met.agg(pairs=(met.n.cast("float64") * met.q).sum()))
        return int(pairs or 0)

    def rows(self, expr: ir.Table) -> list[tuple[Any, ...]]:
        """The few rows of an expression."""
        found = self.run("a question of the plan", lambda: self.connected.to_pyarrow(expr), expr)
        return list(zip(*(c.to_pylist() for c in found.columns), strict=True))

    def fetch(self, expr: ir.Table) -> pa.Table:
        """All rows of an expression, as Arrow."""
        return self.run("a fetch", lambda: self.connected.to_pyarrow(expr), expr)

    def append(self, table: str, rows: pa.Table) -> None:
        """More rows for a table that `keep` made of such rows."""
        self.run("an insert", lambda: self.connected.insert(table, rows))

    def run(self, what: str, action: Any, expr: ir.Table | None = None) -> Any:
        """What `action` gives; whatever the driver raises becomes an EngineError that says which step it was, but for LacksError."""
        try:
            return action()
        except (EngineError, LacksError):
            raise
        except Exception as error:
            sql = "" if expr is None else f"\n{self.sql(expr)}"
            message = f"{what} failed on {self.title}: {error}{sql}"
            raise EngineError(message) from error

    def sql(self, expr: ir.Table) -> str:
        """The SQL of an expression in this engine's dialect, formatted."""
        return str(ibis.to_sql(expr, dialect=self.name if self.name in KNOWN else None))

    # --- writing, day by day; for engines with transactions

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of the block's writes, or none."""
        self._refuse_writing()
        yield

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> None:  # noqa: ARG002 engines that write override it
        """Run one statement with bound parameters."""
        self._refuse_writing()

    def rename(self, table: str, name: str) -> None:  # noqa: ARG002 engines that write override it
        """Give a table another name."""
        self._refuse_writing()

    def delete_times(self, table: str, time: str, start: date, end: date) -> None:  # noqa: ARG002 engines that write override it
        """Delete the rows whose `time` is in [start, end), UTC."""
        self._refuse_writing()

    def _refuse_writing(self) -> None:
        message = f"backfill(into=...) is not available on {self.title}; backfill(join) gives the table, which to_parquet() stores"
        raise EngineError(message)


def engine_of(con: BaseBackend | None, name: str | None = None) -> Engine:
    """The engine of an Ibis connection, or of a backend's name when only its SQL is wanted."""
    known = KNOWN.get(name or (con.name if con is not None else ""))
    return getattr(import_module(known[0]), known[1])(con) if known else Engine(con)
