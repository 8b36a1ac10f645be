"""The Postgres engine: SQL in the database, and the kernel by COPY.

The kernel computes what SQL cannot do exactly there.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import ibis.expr.types as ir
from sqlglot import exp

from workbench.backends import kernel_runner, postgres_copy, postgres_maps, postgres_running_totals
from workbench.backends.collation import by_bytes
from workbench.backends.engine_refusals import EngineError
from workbench.backends.engine_table import ENGINES
from workbench.backends.postgres_session import PostgresSession
from workbench.backends.postgres_types import BASE_TYPES, base_type, is_text_in_arrow, rows_in_arrow
from workbench.backends.stored_types import ZONED, cast, finite_time, holds_text

if TYPE_CHECKING:
    from datetime import date

    import pyarrow as pa
    from ibis.backends import BaseBackend

    from workbench.backends.asof_query import AsOf


# Where rows of this process are, by connection and for as long as an expression names them.
TABLES_SENT: WeakKeyDictionary[BaseBackend, WeakKeyDictionary[ops.InMemoryTable, ir.Table]] = (
    WeakKeyDictionary()
)
FILLED = ("character(", "bpchar")  # as the catalog calls what is filled up with blanks
# rows of running totals, events and window edges, that are done before COPY and the kernel would be
MAX_ROWS_BY_TOTALS = 1_000_000


@ibis.udf.scalar.builtin
def hashtextextended(text: str, seed: int) -> int:
    """Postgres's 64-bit hash of a text; Ibis compiles no hash() for Postgres."""
    raise NotImplementedError  # Ibis writes the call; Postgres runs it


@ibis.udf.scalar.builtin(signature=((dt.Interval("us"), dt.timestamp, dt.timestamp), dt.timestamp))
def date_bin(stride: Any, time: Any, origin: Any) -> Any:
    """Postgres's start of the span of a length that a time is in."""
    raise NotImplementedError  # Ibis writes the call; Postgres runs it


def _maps(table: ir.Table) -> list[str]:
    return [c for c, dtype in table.schema().items() if dtype.is_map()]


class Postgres(PostgresSession):
    """The differences of Postgres."""

    row = ENGINES["postgres"]

    def own(self, question: AsOf) -> str:
        """Returns running totals where they are exact and few, else the kernel."""
        return (
            "running"
            if postgres_running_totals.runs(question)
            and postgres_running_totals.rows(self, question) <= MAX_ROWS_BY_TOTALS
            else "kernel"
        )

    def as_of(self, question: AsOf) -> ir.Table:
        """Answers by running totals in the database, or by the kernel."""
        plan = question.plan or self.own(question)
        if plan == "running" and not postgres_running_totals.runs(question):
            message = (
                "plan='running' takes counts, and sums and means of whole numbers and decimals, on"
                " Postgres: leave the plan to the engine, or force 'kernel'"
            )
            raise EngineError(message)
        return (postgres_running_totals if plan == "running" else kernel_runner).answer(
            self, question
        )

    def stretch(self, time: ir.TimestampValue, length: int) -> ir.TimestampValue:
        """Returns the start by date_bin.

        An epoch is a decimal, which costs more than all else that is counted of a row.
        """
        zone = time.type().timezone
        origin = ibis.literal("1970-01-01 00:00:00", dt.Timestamp(timezone="UTC" if zone else None))
        stretch_start: ir.TimestampValue = date_bin(
            ibis.interval(microseconds=length), time, origin
        )
        return stretch_start.cast(dt.Timestamp(timezone="UTC")) if zone else stretch_start

    def holds(self, dtype: ibis.DataType) -> bool:
        """Returns whether a type fits.

        Postgres's lists of lists are rectangles, and its lists of maps have no type in Ibis.
        """
        if dtype.is_map():
            return self.holds(dtype.value_type)
        return not dtype.is_array() or not dtype.value_type.is_nested()

    def chosen(
        self, value: ir.Column, key: ir.StructColumn, where: ir.BooleanValue, *, last: bool
    ) -> ir.Scalar:
        """Returns the first of a list in that order.

        Postgres takes a row with a null in it for no row, and Ibis would leave it out. Lists are
        texts meanwhile, since they would have to be rectangles.
        """
        plain = value.cast("string") if value.type().is_array() else value
        order = [field.to_expr() for field in key.op().values]
        chosen_value = self.listed(plain, order, where, descending=last)[0]
        return chosen_value.cast(value.type()) if value.type().is_array() else chosen_value

    def extremum(self, value: ir.Column, where: ir.BooleanValue, *, largest: bool) -> ir.Scalar:
        """Compares UUIDs and bytes by texts of equal order.

        Postgres has no extremum of UUIDs, and of bytes only from version 18 on.
        """
        if value.type().is_uuid():
            text = super().extremum(by_bytes(value.cast("string")), where, largest=largest)
            return text.cast("uuid")
        if value.type().is_binary():
            text = super().extremum(
                by_bytes(postgres_maps.encode(value, "hex")), where, largest=largest
            )
            return postgres_maps.decode(text, "hex")
        return super().extremum(value, where, largest=largest)

    def mapped(self, key: ir.Column, value: ir.Column, keep: ir.BooleanValue) -> ir.MapScalar:
        """Returns an object of jsonb, whatever the type of the keys."""
        return postgres_maps.gathered(key, value, keep)

    def entries(self, table: ir.Table, container: ir.MapValue, key: str, element: str) -> ir.Table:
        """Returns the entries of an object of jsonb."""
        if container.type().value_type.is_nested():
            message = (
                f"each() of {container.type()} is not available on Postgres, where a map is jsonb"
                " and its lists are JSON: compute it on DuckDB or Spark, or unfold the map in a"
                " table of its own"
            )
            raise EngineError(message)
        return postgres_maps.entries(table, container, key, element)

    def types(self, table: ir.Table) -> dict[str, dt.DataType]:
        """Returns the types of columns: base types for domains, and texts for enums and the like.

        The catalog is queried where Ibis does not know a type, or drops an offset.
        """
        dtypes = dict(table.schema().items())
        if self.con is None or not any(t.is_unknown() or t.is_time() for t in dtypes.values()):
            return dtypes
        base_types = self._base_types(table)
        based = {
            name: base_type(text, kind, listed=listed) for name, text, kind, listed in base_types
        }
        zoned = {
            name: ZONED
            for name, text, *_ in base_types
            if text.startswith("time")
            and text.endswith("with time zone")
            and name in dtypes
            and dtypes[name].is_time()
        }
        return {c: based.get(c) or t if t.is_unknown() else t for c, t in dtypes.items()} | zoned

    def _base_types(self, table: ir.Table) -> list[tuple[str, str, str, bool]]:
        """Returns each column's name, base type, the kind of that, and whether it is a list of it.

        The base type is the one under its domains.
        """
        node = table.op()
        place = ".".join(self.quoted(n) for n in (node.namespace.database, node.name) if n)
        query = BASE_TYPES.format(exp.Literal.string(place).sql("postgres"))
        base_types: list[tuple[str, str, str, bool]] = self.run(
            "a question of types", lambda: self.connected.raw_sql(query).fetchall()
        )
        return base_types

    def stored_types(self, table: ir.Table) -> dict[str, str]:
        """Returns the types of a query's columns as `format_type` names them, with their lengths.

        A domain has its base type.
        """
        node = table.op()
        # of a stored table by its name, since Ibis calls PostGIS where a column is a shape
        place = (
            ".".join(self.quoted(n) for n in (node.namespace.database, node.name) if n)
            if isinstance(node, ops.DatabaseTable)
            else f"({self.query(table)}) as looked"
        )
        # the identifiers are quoted
        query = f"select {', '.join(map(self.quoted, table.columns))} from {place} limit 0"  # noqa: S608
        with closing(
            self.run("a question of types", lambda: self.connected.raw_sql(query))
        ) as cursor:
            description, columns = cursor.pgresult, range(cursor.pgresult.nfields)
            kinds = [f"({i}, {description.ftype(i)}::oid, {description.fmod(i)})" for i in columns]
        if not kinds:
            return {}
        # the values are numbers
        named = (
            f"select format_type(o, m) from (values {', '.join(kinds)}) as v(i, o, m) order by i"  # noqa: S608
        )
        with closing(
            self.run("a question of types", lambda: self.connected.raw_sql(named))
        ) as cursor:
            return dict(zip(table.columns, (text for (text,) in cursor.fetchall()), strict=True))

    def padded(
        self, name: str, catalog: str | None = None, database: str | None = None
    ) -> frozenset[str]:
        """Returns the columns of char(n), of domains over it, and of lists of it."""
        base_types = self._base_types(self.table(name, catalog, database))
        return frozenset(column for column, text, *_ in base_types if text.startswith(FILLED))

    def plain(self, column: ir.Column, dtype: dt.DataType) -> ir.Column:
        """Casts enums, char(n), citext and name to texts that compare by bytes, money to a decimal.

        An object of jsonb is left.
        """
        if dtype.is_map():
            return column
        if holds_text(dtype):
            return by_bytes(cast(column, dtype))
        return (
            cast(column, dtype)
            if dtype.is_decimal() and dtype.scale is not None
            else super().plain(column, dtype)
        )

    def bounded(self, value: ir.Column) -> ir.Column:
        """Returns the value, null where a time is infinite, or a decimal infinite or no number."""
        if not value.type().is_decimal():
            return finite_time(value)
        return (value - value == 0).ifelse(value, ibis.null(value.type()))

    def typed(self, column: ir.Column, dtype: ibis.DataType) -> ir.Column | None:
        """Returns a map that is stored as jsonb, json or hstore."""
        return (
            postgres_maps.typed(column, dtype)
            if dtype.is_map() and (column.type().is_json() or column.type().is_map())
            else None
        )

    def query(self, expr: ir.Table) -> str:
        """Returns the SQL, with tables of this process sent by COPY before Ibis would send them."""
        return super().query(self._sent(expr))

    def _sent(self, expr: ir.Table) -> ir.Table:
        """Returns the expression over what COPY brought of its in-memory tables.

        Ibis sends no maps, and puts columns' names into the driver's placeholders, where `)` and
        `%` break them.
        """
        sent_tables = TABLES_SENT.setdefault(self.connected, WeakKeyDictionary())
        memory_tables = expr.op().find(ops.InMemoryTable)
        for table in memory_tables:
            if table not in sent_tables:
                texts = {c: t for c, t in table.schema.items() if is_text_in_arrow(t)}
                kept_table = self.keep(rows_in_arrow(table, list(texts)))
                sent_tables[table] = kept_table.cast(texts) if texts else kept_table
        return (
            expr.op().replace({t: sent_tables[t].op() for t in memory_tables}).to_expr()
            if memory_tables
            else expr
        )

    def given(self, table: ir.Table) -> ir.Table:
        """Returns the table with maps as JSON, of which Ibis takes values by key here."""
        return super().given(postgres_maps.with_json_columns(table, _maps(table)))

    def fetch(self, expr: ir.Table) -> pa.Table:
        """Fetches by COPY."""
        return self.run("a fetch", lambda: postgres_copy.fetched(self, expr), expr)

    def batches(self, expr: ir.Table) -> pa.RecordBatchReader:
        """Reads by COPY, through a file where there are many rows."""
        return self.run("a fetch", lambda: postgres_copy.streamed(self, expr), expr)

    def create(self, table: str, schema: ibis.Schema) -> None:
        """Creates the table with jsonb for maps."""
        super().create(table, postgres_maps.stored(schema))

    def insert(self, table: str, rows: ir.Table) -> None:
        """Inserts objects of jsonb as such: Ibis would pass them as text."""
        into = ", ".join(map(self.quoted, rows.columns))
        cast = ", ".join(
            f"{self.quoted(c)}{'::jsonb' if dtype.is_map() or dtype.is_json() else ''}"
            for c, dtype in rows.schema().items()
        )
        # the identifiers are quoted
        self.execute(
            f"INSERT INTO {self.quoted(table)} ({into}) SELECT {cast} FROM ({self.query(rows)}) AS"  # noqa: S608
            " rows"
        )

    def append(self, table: str, rows: pa.Table) -> None:
        """Appends by COPY."""
        self.run("an insert", lambda: postgres_copy.append_rows(self.connected, table, rows))

    def keep(self, expr: ir.Table | pa.Table) -> ir.Table:
        """Keeps as any engine does, and analyzes: the planner knows nothing of a new table."""
        table = super().keep(expr)
        self.run(
            "the query", lambda: self.connected.raw_sql(f'ANALYZE "{table.op().name}"').close()
        )
        return table

    def held_as(self, name: str, rows: ir.Table | pa.Table) -> ir.Table:
        """Sends rows of Arrow by COPY, with maps as jsonb, in their types for Ibis."""
        schema = (
            rows.schema() if isinstance(rows, ir.Table) else ibis.Schema.from_pyarrow(rows.schema)
        )
        if isinstance(rows, ir.Table) and not any(t.is_map() or t.is_json() for t in schema.types):
            return super().held_as(name, self._sent(rows))
        self.connected.create_table(name, schema=postgres_maps.stored(schema), temp=True)
        (self.insert if isinstance(rows, ir.Table) else self.append)(name, rows)
        return ops.DatabaseTable(
            name, schema=schema, source=self.connected, namespace=ops.Namespace()
        ).to_expr()

    def refill(self, name: str, rows: ir.Table | pa.Table) -> None:
        """Refills the table in place, and analyzes it anew."""
        self.execute(f"TRUNCATE {self.quoted(name)}")
        (self.insert if isinstance(rows, ir.Table) else self.append)(name, rows)
        self.execute(f"ANALYZE {self.quoted(name)}")

    def hashed(self, value: ir.Value) -> ir.IntegerValue:
        """Hashes the value's text, which differs for any two values of a type.

        Times with a zone are written in UTC, the session's.
        """
        return hashtextextended(value.cast("string"), 0)

    def within(self, time: str, start: date, end: date) -> str:
        """Compares timestamps: the session's zone, in which naive and zoned ones meet, is UTC."""
        return (
            f"{self.quoted(time)} >= timestamp '{start}' AND {self.quoted(time)} < timestamp"
            f" '{end}'"
        )
