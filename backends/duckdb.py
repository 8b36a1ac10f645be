"""The DuckDB engine: embedded, one process a file, transactional."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from datetime import UTC, date, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir
from duckdb import ConnectionException
from duckdb import Error as DuckDBError

from workbench.backends import kernel_runner
from workbench.backends.collation import by_bytes
from workbench.backends.engine import Engine
from workbench.backends.engine_table import ENGINES
from workbench.backends.stored_types import ZONED, cast, finite_time, holds_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa

    from workbench.backends.asof_query import AsOf


@ibis.udf.agg.builtin
def fsum(value: float) -> float:
    """DuckDB's compensated sum: its plain sum of 1e5 times 0.1 misses rule 11's bound."""
    raise NotImplementedError  # Ibis writes the call; DuckDB runs it


@ibis.udf.agg.builtin
def histogram(value: float, bounds: list[float]) -> dict[float, int]:
    """DuckDB's counts by bound: each counts the values above the bound before and up to its own."""
    raise NotImplementedError  # Ibis writes the call; DuckDB runs it


log = logging.getLogger(__name__)
ARRIVING = "_fw_arriving"
TEMPORARY = "select table_name from duckdb_tables() where temporary and not table_name like 'ibis%'"
# What values depend on in a session.
SETTINGS = {
    "TimeZone": "UTC",
    "default_order": "ASCENDING",
    "default_null_order": "NULLS_LAST",
    "integer_division": "false",
    "ieee_floating_point_ops": "true",
}
# In JupyterLab DuckDB draws a black bar over whatever runs for two seconds, beside the views' own
# progress, and leaves it there.
QUIET = "SET enable_progress_bar_print = false"
# Whole numbers of more than 64 bits that Ibis does not know, and the type that they are read as.
WIDE_INTEGERS, WIDE = ("UINT128", "BIGNUM"), dt.Decimal(38, 0)
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
MOST_HEAPED = 1_000_000  # DuckDB refuses arg_max(..., n) from here on


@cache
def _heap(name: str, value: dt.DataType, key: dt.DataType) -> Any:
    """Returns DuckDB's arg_max or arg_min of `n` values, typed."""
    signature = ((value, key, dt.int64), dt.Array(value))

    @ibis.udf.agg.builtin(name=name, signature=signature)
    def heap(value: Any, key: Any, n: int) -> Any:
        raise NotImplementedError  # Ibis writes the call; DuckDB runs it

    return heap


class DuckDB(Engine):
    """The differences of DuckDB."""

    row = ENGINES["duckdb"]

    def apart(self, names: Collection[str] = ()) -> DuckDB:
        """Returns an engine on a cursor of this database, with the connection's temporary views.

        Those are views such as of files. It returns itself where one of `names` is a temporary
        table, which no cursor sees, or a view of one.
        """
        backend = self.connected
        if any(not names or name in names for (name,) in backend.con.execute(TEMPORARY).fetchall()):
            return self
        con = backend.con.cursor()
        con.execute(QUIET)
        con.execute(
            f"use {self.quoted(backend.current_catalog)}.{self.quoted(backend.current_database)}"
        )
        for name, view in self.connected.con.execute(
            "select view_name, sql from duckdb_views() where temporary and not internal"
        ).fetchall():
            try:
                con.execute(view)
            except DuckDBError:
                if name in names:
                    return self
                log.debug("%s stays with its connection", name)
        return DuckDB(ibis.duckdb.from_connection(con), alone=True)

    def settle(self) -> None:
        """Sets the session's settings that values depend on, where they differ.

        Casts between times with and without a zone read the time zone, as `ORDER BY` and `/` read
        their settings.
        """
        con = self.connected.con
        settings_sql = ", ".join(f"current_setting('{name}')" for name in SETTINGS)
        try:
            con.execute(QUIET)
            current_values = con.execute(f"SELECT {settings_sql}").fetchone()
        except ConnectionException:
            return  # it is closed: the next read raises that
        for (name, value), current_value in zip(SETTINGS.items(), current_values, strict=True):
            if str(current_value).casefold() != value.casefold():
                con.execute(f"SET {name} = '{value}'")

    def interrupt(self, *, ours: bool = False) -> None:
        """Cancels by the driver; the query raises InterruptException."""
        if self.alone or ours:
            self.connected.con.interrupt()

    @property
    def room(self) -> int:
        """The number of values that fit half of its `memory_limit`, at some 40 bytes a value."""
        with self.refusing("a look at memory_limit"):
            ((limit,),) = self.connected.raw_sql(
                "select current_setting('memory_limit')"
            ).fetchall()
        amount, unit = limit.split()
        return (
            max(int(float(amount) * UNITS[unit[0]] / 80), 1_000_000)
            if unit[0] in UNITS
            else super().room
        )

    def types(self, table: ir.Table) -> dict[str, dt.DataType]:
        """Returns the types of columns, with decimals for whole numbers of more than 64 bits.

        A time of day with an offset differs from one without.
        """
        dtypes = {
            c: WIDE if str(getattr(t, "raw_type", "")) in WIDE_INTEGERS else t
            for c, t in table.schema().items()
        }
        if self.con is None or not any(t.is_time() for t in dtypes.values()):
            return dtypes
        column_rows = self.run(
            "a question of types",
            lambda: self.connected.raw_sql(f"describe {self.sql(table)}").fetchall(),
        )
        return dtypes | {name: ZONED for name, text, *_ in column_rows if text == ZONED.raw_type}

    def stored_types(self, table: ir.Table) -> dict[str, str]:
        """Returns the types as `describe` names them."""
        column_rows = self.run(
            "a question of types",
            lambda: self.connected.raw_sql(f"describe {self.query(table)}").fetchall(),
        )
        return {name: text for name, text, *_ in column_rows}

    def plain(self, column: ir.Column, dtype: dt.DataType) -> ir.Column:
        """Casts an ENUM to text and a HUGEINT to a decimal."""
        if dtype.is_string():
            return by_bytes(cast(column, dtype))
        return (
            cast(column, dtype)
            if holds_text(dtype) or dtype == WIDE
            else super().plain(column, dtype)
        )

    def bounded(self, value: ir.Column) -> ir.Column:
        """Returns the value, null where a timestamp or date is infinite."""
        return finite_time(value)

    def total(self, value: ir.FloatingColumn, where: ir.BooleanValue) -> ir.FloatingScalar:
        """Sums by Kahan summation."""
        return fsum(value, where=where)

    def tallied(self, value: ir.FloatingValue, cuts: Sequence[float]) -> ir.MapValue:
        """Counts by binary search, within the aggregate.

        DuckDB's bins hold their upper bound, and ours the lower one, so all is negated.
        """
        bin_counts: ir.MapValue = histogram(
            -value, ibis.array([ibis.literal(repr(-c)).cast("float64") for c in reversed(cuts)])
        )
        return bin_counts

    def listed(
        self,
        value: ir.Column,
        order: Sequence[ir.Column],
        where: ir.BooleanValue,
        *,
        descending: bool = False,
        k: int | None = None,
    ) -> ir.ArrayScalar:
        """Lists by a heap of `k` where that is small, so that no long history is sorted or held."""
        if k is None or k >= MOST_HEAPED:
            return super().listed(value, order, where, descending=descending, k=k)
        key = ibis.struct({f"o{i}": o for i, o in enumerate(order)})
        return _heap("arg_max" if descending else "arg_min", value.type(), key.type())(
            value, key, k, where=where
        )

    def as_of(self, question: AsOf) -> ir.Table:
        """Answers by the kernel, in process."""
        return kernel_runner.answer(self, question)

    def fetch(self, expr: ir.Table) -> pa.Table:
        """Fetches as Ibis does, reusing SQL that was written before."""
        from ibis.backends.duckdb.converter import (  # noqa: PLC0415 where Ibis loads it
            DuckDBPyArrowData,
        )

        expr = self.for_arrow(expr)
        arrow_table = self.run(
            "a fetch", lambda: self.connected.con.sql(self.query(expr)).to_arrow_table(), expr
        )
        return expr.__pyarrow_result__(arrow_table, data_mapper=DuckDBPyArrowData)

    def insert(self, table: str, rows: ir.Table) -> None:
        """Inserts rows, reusing SQL that was written before."""
        into = ", ".join(map(self.quoted, rows.columns))
        self.execute(f"INSERT INTO {self.quoted(table)} ({into}) {self.query(rows)}")

    def refill(self, name: str, rows: ir.Table | pa.Table) -> None:
        """Replaces the table by a new one of equal columns; deleted rows would keep memory."""
        quoted_name = self.quoted(name)
        # the identifiers are quoted
        self.execute(
            f"CREATE OR REPLACE TEMP TABLE {quoted_name} AS SELECT * FROM {quoted_name} LIMIT 0"  # noqa: S608
        )
        if isinstance(rows, ir.Table):
            self.run("the query", lambda: self.insert(name, rows), rows)
        else:
            self.append(name, rows)

    def append(self, table: str, rows: pa.Table) -> None:
        """Appends by a view of the rows; Ibis inserts into no temporary tables."""
        self.connected.con.register(ARRIVING, rows)
        # the identifiers are quoted
        self.run(
            "an insert",
            lambda: self.execute(
                f"INSERT INTO {self.quoted(table)} SELECT * FROM {self.quoted(ARRIVING)}"  # noqa: S608
            ),
        )
        self.connected.con.unregister(ARRIVING)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Runs the block in one DuckDB transaction; any error rolls it back."""
        self.connected.raw_sql("BEGIN TRANSACTION")
        try:
            yield
        except BaseException:
            self.connected.raw_sql("ROLLBACK")
            raise
        self.connected.raw_sql("COMMIT")

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Executes on the connection that Ibis holds, and so inside its transaction."""
        return list(self.connected.con.execute(statement, list(parameters)).fetchall())

    def within(self, time: str, start: date, end: date) -> str:
        """Compares microseconds since 1970, which naive and zoned timestamps share."""
        first, last = (
            int(datetime(d.year, d.month, d.day, tzinfo=UTC).timestamp()) * 1_000_000
            for d in (start, end)
        )
        return (
            f"epoch_us({self.quoted(time)}) >= {first} AND epoch_us({self.quoted(time)}) < {last}"
        )

    def write_files(self, rows: ir.Table, by: str, folder: Path) -> None:
        """Writes by DuckDB's own writer, in the types that Ibis gives.

        Parquet would hold DuckDB's 128-bit sums as rounded doubles.
        """
        con = self.connected
        typed = ", ".join(
            f"CAST({self.quoted(c)} AS {con.compiler.type_mapper.to_string(t)}) AS {self.quoted(c)}"
            for c, t in rows.schema().items()
        )
        place = str(folder).replace("'", "''")
        # names and the path are quoted
        self.execute(
            f"COPY (SELECT {typed} FROM ({self.query(rows)})) TO '{place}' (FORMAT parquet,"  # noqa: S608
            f" PARTITION_BY {self.quoted(by)})"
        )

    def read_files(self, files: Sequence[Path]) -> ir.Table:
        """Reads on this connection."""
        return self.connected.read_parquet([str(f) for f in files], hive_partitioning=False)
