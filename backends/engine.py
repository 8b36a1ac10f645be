"""The interface of an engine that runs definitions, and the lookup of one for a connection."""

from __future__ import annotations

import weakref
from contextlib import contextmanager
from copy import copy
from datetime import date
from importlib import import_module
from itertools import chain, groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sqlglot import exp

from workbench.backends.asof_query import AsOf
from workbench.backends.asof_request import LacksError
from workbench.backends.engine_refusals import EngineError, reason
from workbench.backends.handouts import hand_out, plainly
from workbench.backends.stored_types import cast
from workbench.backends.time_literals import Edge, filled, marking

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from typing import Self

    from ibis.backends import BaseBackend

    from workbench.backends.lake_table import Lake
    from workbench.backends.table_recipe import Recipe

# Backends with a file of their own, by Ibis's name for them.
ENGINES = {
    "duckdb": ("workbench.backends.duckdb", "DuckDB"),
    "postgres": ("workbench.backends.postgres", "Postgres"),
    "pyspark": ("workbench.backends.spark", "Spark"),
}

# Temporary tables that nothing refers to any more, by connection; dropped before the next one is
# made.
FORGOTTEN: WeakKeyDictionary[BaseBackend, list[str]] = WeakKeyDictionary()

SKETCHES = frozenset(
    {"approx_unique_count", "approx_percentile", "approx_percentiles", "approx_histogram"}
)
# Operations by which the portable plan computes some reductions; some Ibis backends lack them.
COLLECTING_OPERATIONS: dict[str, tuple[type[ops.Node], ...]] = {
    **dict.fromkeys(
        ("first_k", "last_k", "top_k", "bottom_k", "collect", "group_concat"), (ops.ArrayCollect,)
    ),
    **dict.fromkeys(("quantile", "quantiles"), (ops.Quantile,)),
    **dict.fromkeys(("variance", "stddev"), (ops.Variance,)),
    **dict.fromkeys(("first", "argmin"), (ops.ArgMin, ops.StructColumn)),
    **dict.fromkeys(("last", "argmax"), (ops.ArgMax, ops.StructColumn)),
    "histogram": (ops.ArrayCollect, ops.Map),
    "covariance": (ops.Covariance,),
    "correlation": (ops.Correlation,),
    "bit_and": (ops.BitAnd,),
    "bit_or": (ops.BitOr,),
    "bit_xor": (ops.BitXor,),
}

Range = tuple[date, date]  # days [start, end)
# Packages whose errors are no driver's.
OWN_PACKAGES = ("builtins", "backends", "workbench", "online", "monitoring")
BATCH = 50_000  # rows held at a time where they are written through Arrow


class Engine:
    """Any Ibis backend, as the portable plan sees it; the known ones override what differs.

    `con` is None where SQL is only to be shown for an engine that is not connected.
    """

    name = "portable"
    title = "Ibis"
    # the plans by which it answers AsOf queries, of which pairs are workbench's own
    plans: tuple[str, ...] = ("pairs",)
    lacks = SKETCHES  # reductions that no plan of it gives, by their names in queries
    placeholder = "?"
    folds = False  # whether columns whose names differ by case alone are one to it
    longest: int | None = None  # bytes of a name; longer ones are cut
    most_looked_at = 200_000  # rows of a table that a first look takes
    # whether a dated table may be in another schema or catalog than the connection's current one
    qualified = False
    # whether it answers about few rows at once, so that a refusal may count what it is about
    prompt = True
    recipe: Recipe | None = None  # to which what is kept is added, while one is made
    # an engine that repeats queries remembers, by expression, their SQL, the numbers of events,
    # and the spans of time in which a source was looked through
    statements: dict[ops.Node, str] | None = None
    numbers: dict[ops.Node, int] | None = None
    stretches: dict[Any, tuple[int, int]] | None = None

    def __init__(self, con: BaseBackend | None = None, *, alone: bool = False) -> None:
        # alone: the connection is nobody else's, so that it may be closed, and what runs on it
        # cancelled
        self.con, self.alone = con, alone

    def lacking(self, reduction: str) -> bool:
        """Returns whether no plan of this engine gives a reduction.

        For a backend without a file here, Ibis knows what it can compile.
        """
        unsaid = (
            self.con is not None
            and "kernel" not in self.plans
            and not all(map(self.con.has_operation, COLLECTING_OPERATIONS.get(reduction, ())))
        )
        return reduction in self.lacks or unsaid

    # engines that cannot hold some override it
    def holds(self, dtype: ibis.DataType) -> bool:  # noqa: ARG002
        """Returns whether a column of the engine's own can be of a type."""
        return True

    # --- expressions that differ

    def total(self, value: ir.FloatingColumn, where: ir.BooleanValue) -> ir.FloatingScalar:
        """Returns the sum of doubles, null over no rows; within rule 11's bound."""
        return value.sum(where=where)

    def gap(self, high: ir.DecimalValue, low: ir.DecimalValue) -> ir.FloatingValue:
        """Returns the difference of two decimals of one sign and type, as a double.

        All of their digits count.
        """
        return cast(high - low, dt.float64)

    def extremum(self, value: ir.Column, where: ir.BooleanValue, *, largest: bool) -> ir.Scalar:
        """Returns the smallest or the largest value, null over no rows."""
        return value.max(where=where) if largest else value.min(where=where)

    def bits(self, name: str, value: ir.IntegerColumn, where: ir.BooleanValue) -> ir.IntegerScalar:
        """Returns all values joined bit by bit, by Ibis's name of the reduction.

        It is null over no rows.
        """
        joined: ir.IntegerScalar = getattr(value, name)(where=where)
        return joined

    def listed(
        self,
        value: ir.Column,
        order: Sequence[ir.Column],
        where: ir.BooleanValue,
        *,
        descending: bool = False,
        k: int | None = None,
    ) -> ir.ArrayScalar:
        """Returns the values that pass `where`, ordered by `order`, the first `k` or all.

        It is null or empty over no rows.
        """
        keys = [ibis.desc(o) if descending else ibis.asc(o) for o in order]
        values = value.collect(where=where, order_by=keys)
        return values if k is None else values[:k]

    def comparable(self, value: ir.Column) -> ir.Column:
        """Returns an expression that compares in the place of a value."""
        return value

    def chosen(
        self, value: ir.Column, key: ir.StructColumn, where: ir.BooleanValue, *, last: bool
    ) -> ir.Scalar:
        """Returns the value of the first or the last row by `key`."""
        return value.argmax(key, where=where) if last else value.argmin(key, where=where)

    def collected(
        self, value: ir.Column, order: ir.Column, where: ir.BooleanValue
    ) -> ir.ArrayScalar:
        """Returns the values that pass `where` in order, nulls too; null over no rows."""
        return value.collect(order_by=order, include_null=True, where=where)

    def mapped(self, key: ir.Column, value: ir.Column, keep: ir.BooleanValue) -> ir.MapScalar:
        """Returns a map of the rows that pass `keep`, null over no rows."""
        keys, values = (self.listed(column, [key], keep) for column in (key, value))
        map_value = ibis.map(keys, values)
        return (keys.length() > 0).ifelse(map_value, ibis.null(map_value.type()))

    def entries(self, table: ir.Table, container: ir.MapValue, key: str, element: str) -> ir.Table:
        """Returns one row for each entry of a map, its key and value in columns of these names."""
        entry_rows = table.mutate(_fw_map=container).mutate(**{key: container.keys()}).unnest(key)
        return entry_rows.mutate(**{element: entry_rows["_fw_map"][entry_rows[key]]})

    # engines that count by cuts override it
    def tallied(self, value: ir.FloatingValue, cuts: Sequence[float]) -> ir.MapValue | None:  # noqa: ARG002
        """Returns a reduction that counts the values from each cut up to the next.

        It is a map by the cut times -1, with those before the first cut under infinity, or None
        where grouping is quicker.
        """
        return None

    # engines that group by times quickly override it
    def stretch(self, time: ir.TimestampValue, length: int) -> ir.TimestampValue | None:  # noqa: ARG002
        """Returns the start of the span of so many microseconds that a time is in, as a timestamp.

        The start is a multiple of the length since 1970. The result is None where counting
        microseconds is as quick.
        """
        return None

    def types(self, table: ir.Table) -> dict[str, dt.DataType]:
        """Returns the type of each column of a stored table, even where Ibis does not know it."""
        return dict(table.schema().items())

    def stored_types(self, table: ir.Table) -> dict[str, str]:
        """Returns the engine's own name for the type of each column of an expression.

        Engines without a file here have Ibis's name.
        """
        return {name: str(dtype) for name, dtype in table.schema().items()}

    def plain(self, column: ir.Column, dtype: dt.DataType) -> ir.Column:
        """Returns a stored column as the plain value of its type, whatever the engine calls it.

        Plain values are, for example, a text that compares by bytes, or a decimal.
        """
        return column if dtype.is_unknown() or column.type() == dtype else cast(column, dtype)

    # engines that fill texts up override it
    def padded(
        self,
        name: str,  # noqa: ARG002
        catalog: str | None = None,  # noqa: ARG002
        database: str | None = None,  # noqa: ARG002
    ) -> frozenset[str]:
        """Returns the columns of a named table or view whose texts end in padding, as of char(n).

        The padding is blanks that are no part of the text.
        """
        return frozenset()

    def bounded(self, value: ir.Column) -> ir.Column:
        """Returns the value, null for an infinity or no number in a type that is no float."""
        return value

    def for_arrow(self, expr: ir.Table) -> ir.Table:
        """Returns the rows of an expression without the values that Arrow lacks.

        They are infinite times, and decimals that are no number.
        """
        bounded = [
            v.name(c) for c in expr.columns if not (v := self.bounded(expr[c])).equals(expr[c])
        ]
        return expr.mutate(*bounded) if bounded else expr

    # engines that store some types as others override it
    def typed(self, column: ir.Column, dtype: ibis.DataType) -> ir.Column | None:  # noqa: ARG002
        """Returns a stored column as the type that a definition declares.

        It is None where the column holds no such values.
        """
        return None

    def local(self, rows: pa.Table) -> ir.Table:
        """Returns rows of this process as a table that expressions may use."""
        return ibis.memtable(rows)

    def given(self, table: ir.Table) -> ir.Table:
        """Returns a finished table to hand out, in types that Ibis has for this engine.

        Its rows are read by `fetch`.
        """
        return hand_out(self, table)

    def hashed(self, value: ir.Value) -> ir.IntegerValue:
        """Returns a 64-bit hash of a column of any type, equal in every session.

        It may be null where the value is.
        """
        return value.hash()

    def settle(self) -> None:
        """Sets what values depend on in the session: zone, forms of dates and numbers, encoding.

        It runs each time, since users set these too.
        """

    # --- threads: an Ibis connection is for one of them

    # engines that know of sessions override it
    def apart(self, names: Collection[str] = ()) -> Engine:  # noqa: ARG002
        """Returns an engine with a connection of its own to these tables, for another thread.

        It returns itself where there is no way to make one. `names` are the tables that will be
        read: it returns itself, too, where another session would not have one of them. With no
        names, anything that only this session has counts.
        """
        return self

    def leave(self) -> None:
        """Closes what `apart` opened; nothing of a connection that was given."""

    def interrupt(self, *, ours: bool = False) -> None:
        """Cancels what the connection runs, from another thread; it fails there.

        It does nothing where nothing runs, or nothing can be cancelled. A connection that cells use
        too is left alone, unless what runs on it is `ours`.
        """

    # --- tables

    def table(self, name: str, catalog: str | None = None, database: str | None = None) -> ir.Table:
        """Returns a table or view by name; raises EngineError where it is missing.

        The error lists the tables that there are.
        """
        place = (catalog, database) if catalog and database else database
        try:
            return self.connected.table(name, database=place)
        except Exception as error:
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

    def keep(self, expr: ir.Table | pa.Table) -> ir.Table:
        """Runs an expression once, or takes rows as they are, into a temporary table.

        The table is kept for as long as an expression refers to it.
        """
        con = self.connected
        forgotten = FORGOTTEN.setdefault(con, [])
        while forgotten:
            self.run("the query", lambda: con.drop_table(forgotten.pop(), force=True))
        name = ibis.util.gen_name("fw")
        table = self.run(
            "the query",
            lambda: self.held_as(name, expr),
            expr if isinstance(expr, ir.Table) else None,
        )
        # not dropped at once: the collector may run while another query of this connection is being
        # read
        weakref.finalize(table.op(), forgotten.append, name)
        self.note(lambda: self.refill(name, expr))
        return table

    def refill(self, name: str, rows: ir.Table | pa.Table) -> None:
        """Replaces the rows of a table that `keep` made.

        The new rows are those of its expression as they are now, or those of Arrow.
        """
        self.connected.drop_table(name, force=True)
        self.run("the query", lambda: self.held_as(name, rows))

    def repeating(self) -> Self:
        """Returns a copy of this engine that writes the SQL of each expression only once."""
        engine = copy(self)
        engine.statements, engine.numbers, engine.stretches = {}, {}, {}
        return engine

    @contextmanager
    def noting(self, recipe: Recipe | None) -> Iterator[None]:
        """While the block runs, adds what is kept to this recipe, or to none."""
        before, self.recipe = self.recipe, recipe
        try:
            yield
        finally:
            self.recipe = before

    def note(self, action: Callable[[], None]) -> None:
        """Adds an action that was just done to the recipe that is being made, if there is one."""
        if self.recipe is not None:
            self.recipe.add(action)

    def held_as(self, name: str, rows: ir.Table | pa.Table) -> ir.Table:
        """Creates a temporary table of this name."""
        return self.connected.create_table(name, rows, temp=True)

    def own(self, question: AsOf) -> str:  # noqa: ARG002 engines with several override it
        """Returns the cheaper of its own plans other than pairs."""
        return self.plans[-1]

    def as_of(self, question: AsOf) -> ir.Table:
        """Returns the spine's columns and one column for each ask, for each row of the spine.

        It runs, and keeps the answer.
        """
        message = (
            f"{self.title} has no plan of its own for {len(question.asks)} reductions as of an"
            " instant: pairs serve it"
        )
        raise EngineError(message)

    def sizes(self, question: AsOf) -> tuple[int, int]:
        """Returns the numbers of left rows and of events.

        Events that are equal for all instants are counted once for a whole run.
        """
        ((left_rows,),) = self.rows(question.spine.agg(n=question.spine.count()))
        events = question.events.op()
        counts = {} if self.numbers is None or events.find(Edge) else self.numbers
        if events not in counts:
            ((counts[events],),) = self.rows(question.events.agg(n=question.events.count()))
        return left_rows, counts[events]

    def pairs(self, question: AsOf) -> int:
        """Returns how many pairs of a left row and an event have equal keys, from two group-bys."""
        keys = list(question.keys)
        left = question.spine.group_by(keys).agg(q=lambda t: t.count())
        met = left.join(question.events.group_by(keys).agg(n=lambda t: t.count()), keys)
        ((pairs,),) = self.rows(met.agg(pairs=(met.n.cast("float64") * met.q).sum()))
        return int(pairs or 0)

    @property
    def room(self) -> int:
        """The number of event values that the kernel may hold at once, by the engine's settings."""
        return 2**62

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

    def create(self, table: str, schema: ibis.Schema) -> None:
        """Creates an empty table."""
        self.connected.create_table(table, schema=schema)

    def insert(self, table: str, rows: ir.Table) -> None:
        """Inserts rows of an expression into a table that has its columns, in this order."""
        self.connected.insert(table, rows)

    def append(self, table: str, rows: pa.Table) -> None:
        """Appends rows to a table that `keep` made of such rows."""
        self.run("an insert", lambda: self.connected.insert(table, rows))

    def run(self, what: str, action: Any, expr: ir.Table | None = None) -> Any:
        """Returns the result of `action`, and turns what the driver raises into an EngineError.

        The error names the step. LacksError passes through.
        """
        try:
            return action()
        except (EngineError, LacksError):
            raise
        except Exception as error:
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
        except Exception as error:
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

    # --- writing, day by day; tables need transactions, folders of Parquet files do not

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commits all of the block's writes, or none."""
        self._refuse_writing()
        yield

    # engines with several writers override it
    @contextmanager
    def held(self, table: str) -> Iterator[None]:  # noqa: ARG002
        """While the block runs, no other session fills `table`; EngineError if one does."""
        yield

    # engines that write override it
    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:  # noqa: ARG002
        """Runs one statement with parameters bound at `placeholder`, and returns its rows."""
        self._refuse_writing()
        return []

    # engines that write override it
    def within(self, time: str, start: date, end: date) -> str:  # noqa: ARG002
        """Returns the SQL condition that the column `time` is in [start, end), UTC."""
        self._refuse_writing()
        return ""

    def quoted(self, name: str) -> str:
        """Returns a name as this engine's SQL writes it."""
        return exp.to_identifier(name, quoted=True).sql(self.name)

    def rename(self, table: str, name: str) -> None:
        """Renames a table within its database."""
        self.execute(f"ALTER TABLE {self.quoted(table)} RENAME TO {self.quoted(name)}")

    def delete_times(self, table: str, time: str, ranges: Sequence[Range]) -> None:
        """Deletes the rows whose `time` is in one of these ranges, UTC."""
        # the identifiers are quoted
        self.execute(f"DELETE FROM {self.quoted(table)} WHERE {self._within_any(time, ranges)}")  # noqa: S608

    def count_times(self, table: str, time: str, ranges: Sequence[Range]) -> int:
        """Returns the number of rows whose `time` is in one of these ranges, UTC."""
        # the identifiers are quoted
        ((rows,),) = self.execute(
            f"SELECT count(*) FROM {self.quoted(table)} WHERE {self._within_any(time, ranges)}"  # noqa: S608
        )
        return int(rows)

    def _within_any(self, time: str, ranges: Sequence[Range]) -> str:
        return " OR ".join(f"({self.within(time, start, end)})" for start, end in ranges)

    # engines with catalogs override it
    def lake(self, parts: Sequence[str]) -> Lake | None:  # noqa: ARG002
        """Returns the dated table of this name in a catalog whose tables have commits of their own.

        It is None where the engine has no such catalog.
        """
        return None

    # engines without transactions override it
    def folder(self, table: str) -> Path | None:  # noqa: ARG002
        """Returns the folder of a dated table's files, on an engine without transactions."""
        return None

    # engines without transactions override it
    def show(self, view: str, files: Sequence[Path]) -> None:  # noqa: ARG002
        """Makes `view` the rows of these files, in one step of the catalog."""
        self._refuse_writing()

    def write_files(self, rows: ir.Table, by: str, folder: Path) -> None:
        """Writes `rows` as Parquet files without the column `by`, one folder `{by}={value}` each.

        It goes by Arrow batches, in bounded memory.
        """
        batches = self.batches(rows.order_by(by))
        for value, tables in groupby(
            chain.from_iterable(_runs(b, by) for b in batches), key=lambda run: run[0]
        ):
            place = folder / f"{by}={value}" / "0.parquet"
            place.parent.mkdir(parents=True)
            with pq.ParquetWriter(
                place, pa.schema([f for f in batches.schema if f.name != by])
            ) as writer:
                for _, table in tables:
                    writer.write_batch(table)

    def read_files(self, files: Sequence[Path]) -> ir.Table:
        """Returns the rows of Parquet files; an embedded DuckDB reads them if the engine cannot."""
        return ibis.duckdb.connect().read_parquet([str(f) for f in files], hive_partitioning=False)

    def _refuse_writing(self) -> None:
        message = (
            f"backfill(into=table) is not available on {self.title}: into='folder/' writes Parquet"
            " files from any engine, and backfill(join) gives a temporary table"
        )
        raise EngineError(message)


def _runs(batch: pa.RecordBatch, by: str) -> Iterator[tuple[Any, pa.RecordBatch]]:
    """Cuts a batch that is sorted by `by` where its value changes, without that column."""
    values, rest = batch[by].to_numpy(), batch.drop_columns([by])
    edges = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    for first, last in pairwise(edges):
        yield values[first], rest.slice(first, last - first)


def engine_of(con: BaseBackend | None, name: str | None = None) -> Engine:
    """Returns the engine of an Ibis connection, with its session's settings made right.

    Without a connection it is the engine of a backend's name, for its SQL alone. Raises EngineError
    where the session cannot be set.
    """
    class_place = ENGINES.get(name or (con.name if con is not None else ""))
    if not class_place:
        return Engine(con)
    engine: Engine = getattr(import_module(class_place[0]), class_place[1])(con)
    if con is not None:
        with engine.refusing("a look at the session"):
            engine.settle()
    return engine
