"""Queries of an engine: their SQL, their rows, and the errors of its driver."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir
import pyarrow as pa
from sqlglot import exp

from workbench.backends.asof_request import LacksError
from workbench.backends.engine_expressions import EngineExpressions
from workbench.backends.engine_refusals import EngineError, reason
from workbench.backends.engine_table import ENGINES
from workbench.backends.handouts import plainly
from workbench.backends.time_literals import filled, marking

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ibis.backends import BaseBackend

# Packages whose errors are no driver's.
OWN_PACKAGES = ("builtins", "backends", "workbench", "online", "monitoring")
BATCH = 50_000  # rows held at a time where they are written through Arrow


class EngineQueries(EngineExpressions):
    """What runs queries over a connection."""

    # an engine that repeats queries remembers their SQL, by expression
    statements: dict[ops.Node, str] | None = None

    @property
    def connected(self) -> BaseBackend:
        """The connection; EngineError where there is none."""
        if self.con is None:
            message = (
                f"no {self.title} connection: pass on=, for example"
                " on=ibis.duckdb.connect('warehouse.duckdb')"
            )
            raise EngineError(message)
        return self.con

    def table(self, name: str, catalog: str | None = None, database: str | None = None) -> ir.Table:
        """Returns a table or view by name; raises EngineError where it is missing.

        The error lists the tables that there are.
        """
        place = (catalog, database) if catalog and database else database
        try:
            return self.connected.table(name, database=place)
        except Exception as error:  # each driver raises its own kinds
            tables = self.run(
                "a look at the tables", lambda: self.connected.list_tables(database=place)
            )
            if name in tables:  # a view whose tables have changed, or what this role may not read
                why = str(error.__cause__ or error.__context__ or error).strip().partition("\n")[0]
                message = f"{self.title} has {name!r}, and cannot read it: {why}"
                raise EngineError(message) from error
            table_names = (
                ", ".join(sorted(t for t in tables if not t.startswith("ibis_"))[:12])
                or "no tables"
            )
            message = (
                f"{self.title} has no table {name!r}: it has {table_names}; load it, or connect"
                " with on= to where it is"
            )
            raise EngineError(message) from error

    def rows(self, expr: ir.Table) -> list[tuple[Any, ...]]:
        """Returns the few rows of an expression."""
        table = self.fetch(expr)
        return list(zip(*(c.to_pylist() for c in table.columns), strict=True))

    def some(self, expr: ir.Table) -> bool:
        """Returns whether an expression has a row, reading no more than it takes to find one."""
        return bool(self.rows(expr.limit(1)))

    def fetch(self, expr: ir.Table) -> pa.Table:
        """Returns all rows of an expression, as Arrow."""
        return self.run(
            "a fetch", lambda: plainly(self.connected, "to_pyarrow")(self.for_arrow(expr)), expr
        )

    def batches(self, expr: ir.Table) -> pa.RecordBatchReader:
        """Returns all rows of an expression in batches, in bounded memory."""
        reader = self.run(
            "a fetch",
            lambda: plainly(self.connected, "to_pyarrow_batches")(
                self.for_arrow(expr), chunk_size=BATCH
            ),
            expr,
        )
        return pa.RecordBatchReader.from_batches(reader.schema, self._read(reader, expr))

    def _read(self, batches: Iterator[pa.RecordBatch], expr: ir.Table) -> Iterator[pa.RecordBatch]:
        """Yields the batches of an engine that runs the query while they are read.

        So it may fail at any of them.
        """
        while (batch := self.run("a fetch", lambda: next(batches, None), expr)) is not None:
            yield batch

    def run(self, what: str, action: Any, expr: ir.Table | None = None) -> Any:
        """Returns the result of `action`, and turns what the driver raises into an EngineError.

        The error names the step. LacksError passes through.
        """
        try:
            return action()
        except (EngineError, LacksError):
            raise
        except Exception as error:  # each driver raises its own kinds
            sql = None if expr is None else self.sql(expr)
            more = "" if sql is None else "; its SQL is in the error's .sql"
            message = f"{what} failed on {self.title}: {reason(error)}{more}"
            raise EngineError(message, sql) from error

    @contextmanager
    def refusing(self, what: str) -> Iterator[None]:
        """Turns what a driver raises in the block into an EngineError that says what failed.

        Errors of ours and of Python pass through.
        """
        try:
            yield
        except Exception as error:  # each driver raises its own kinds
            if type(error).__module__.partition(".")[0] in OWN_PACKAGES:
                raise
            message = f"{what} failed on {self.title}: {reason(error)}"
            raise EngineError(message) from error

    def query(self, expr: ir.Table) -> str:
        """Returns the SQL of an expression that is to run next, with its in-memory tables ready."""
        # statements hold on to the in-memory tables that they name
        statements = {} if self.statements is None else self.statements
        if expr.op() not in statements:
            # what Ibis does before it runs one itself
            self.connected._run_pre_execute_hooks(expr)  # noqa: SLF001
            with marking():
                statements[expr.op()] = str(self.connected.compile(expr))
        return filled(statements[expr.op()])

    def sql(self, expr: ir.Table) -> str:
        """Returns the SQL of an expression in this engine's dialect, formatted."""
        return str(ibis.to_sql(expr, dialect=self.name if self.name in ENGINES else None))

    def quoted(self, name: str) -> str:
        """Returns a name as this engine's SQL writes it."""
        return exp.to_identifier(name, quoted=True).sql(self.name)
