"""The Spark engine: the kernel inside its executors, and dated tables without transactions.

It has no ordered aggregates, so lists are sorted as structs. Dated tables are views of files, or
tables of a lake.
"""

from __future__ import annotations

import warnings
import weakref
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import ibis.expr.types as ir
import pyarrow as pa
from ibis.config import Config
from pyarrow import ipc

from workbench.backends.asof_request import WorkersLackError
from workbench.backends.engine_refusals import EngineError
from workbench.backends.engine_table import ENGINES
from workbench.backends.kept_tables import FORGOTTEN
from workbench.backends.lake_formats import FILE_ROWS, quoted
from workbench.backends.spark_catalogs import OWN_CATALOG
from workbench.backends.spark_frames import path_pattern, retyped, with_nullable_fields
from workbench.backends.spark_jobs import SparkJobs
from workbench.backends.stored_types import cast, holds_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import DataFrame

    from workbench.backends.asof_query import AsOf


# The declared type of a column, in the metadata of Spark's schema.
PADDED = "__CHAR_VARCHAR_TYPE_STRING"


@ibis.udf.scalar.builtin
def rtrim(text: str) -> str:
    """Spark's text without the blanks at its end."""
    raise NotImplementedError  # Ibis writes the call; Spark runs it


@ibis.udf.scalar.builtin
def xxhash64(text: str) -> int:
    """Spark's 64-bit hash."""
    raise NotImplementedError  # Ibis writes the call; Spark runs it


def _bits(name: str) -> Any:
    """Returns Spark's aggregate of this name; Ibis compiles none for it."""

    @ibis.udf.agg.builtin(name=name)
    def aggregate(value: int) -> int:
        raise NotImplementedError  # Ibis writes the call; Spark runs it

    return aggregate


DIGITS = 6  # after the point that a result keeps where it has more than 38 in all
BITS = {name: _bits(name) for name in ("bit_and", "bit_or", "bit_xor")}


class Options(Config):
    """Ibis's options for Spark, at their defaults."""

    treat_nan_as_null: bool = False


class Spark(SparkJobs):
    """The differences of Spark."""

    row = ENGINES["pyspark"]

    def gap(self, high: ir.DecimalValue, low: ir.DecimalValue) -> ir.FloatingValue:
        """Subtracts whole parts and fractions separately.

        Spark's difference of 38 digits drops the last of more than six after the point.
        """
        scale = high.type().scale or 0
        if scale <= DIGITS:
            return super().gap(high, low)
        parts = [cast(v % 1, dt.Decimal(scale, scale)) for v in (high, low)]
        wholes = [v - part for v, part in zip((high, low), parts, strict=True)]
        return super().gap(*wholes) + super().gap(*parts)

    def bits(self, name: str, value: ir.IntegerColumn, where: ir.BooleanValue) -> ir.IntegerScalar:
        """Joins by Spark's own aggregates of 64 bits, which hold the bits of narrower numbers."""
        joined: ir.IntegerScalar = BITS[name](value.cast("int64"), where=where)
        return joined.cast(value.type())

    def plain(self, column: ir.Column, dtype: dt.DataType) -> ir.Column:
        """Returns a text without a collation, and without the padding of a char(n)."""
        if not holds_text(dtype):
            return super().plain(column, dtype)
        return (
            rtrim(cast(column, dtype))
            if dtype.is_string() and self._padded(column)
            else cast(column, dtype)
        )

    def stored_types(self, table: ir.Table) -> dict[str, str]:
        """Returns the types as a Spark frame names them."""
        column_types = self.run(
            "a question of types", lambda: self.session.sql(self.query(table)).dtypes
        )
        return dict(column_types)

    def padded(
        self, name: str, catalog: str | None = None, database: str | None = None
    ) -> frozenset[str]:
        """Returns the columns of char(n)."""
        table = self.table(name, catalog, database)
        return frozenset(c for c in table.columns if self._padded(table[c]))

    def _padded(self, column: ir.Column) -> bool:
        """Returns whether a stored column is a char(n), which only the schema's metadata shows."""
        node = column.op()
        if (
            self.con is None
            or not isinstance(node, ops.Field)
            or not isinstance(node.rel, ops.DatabaseTable)
        ):
            return False
        names = [
            self.quoted(n)
            for n in (node.rel.namespace.catalog, node.rel.namespace.database, node.rel.name)
            if n
        ]
        return str(
            self.session.table(".".join(names)).schema[node.name].metadata.get(PADDED, "")
        ).startswith("char")

    def listed(
        self,
        value: ir.Column,
        order: Sequence[ir.Column],
        where: ir.BooleanValue,
        *,
        descending: bool = False,
        k: int | None = None,
    ) -> ir.ArrayScalar:
        """Lists by sorting structs of the keys and the value.

        Ibis compiles no collect(order_by=...) for Spark.
        """
        keys = {f"o{i}": o for i, o in enumerate(order)}
        rows = ibis.struct({**keys, "v": value}).collect(where=where & value.notnull()).sort()
        if descending:
            rows = ibis.range(0, rows.length()).map(lambda i: rows[rows.length() - 1 - i])
        values = rows.map(lambda r: r["v"])
        return values if k is None else values[:k]

    def comparable(self, value: ir.Column) -> ir.Column:
        """Returns the text of a map, since Spark does not order maps."""
        return value.cast("string") if value.type().is_map() else value

    def collected(
        self, value: ir.Column, order: ir.Column, where: ir.BooleanValue
    ) -> ir.ArrayScalar:
        """Collects by sorting structs, which keep the nulls that Spark's own lists leave out."""
        rows = ibis.struct({"o": order, "v": value}).collect(where=where).sort()
        return (rows.length() > 0).ifelse(rows.map(lambda r: r["v"]), None)

    def own(self, question: AsOf) -> str:
        """Returns the kernel, where the executors can run it.

        Otherwise it warns, since pairs may take long, and raises WorkersLackError.
        """
        if lack := self._lack():
            warnings.warn(
                "Spark computes by pairs of left rows and events, which takes long where they are"
                f" many: {lack}",
                stacklevel=2,
            )
            raise WorkersLackError(lack)
        return super().own(question)

    def _lack(self) -> str | None:
        """Returns what the executors' Python lacks for the kernel."""
        from workbench.backends.spark_workers import workers_of  # noqa: PLC0415 as in `as_of`

        lack: str | None = self.run(
            "a look at the executors", lambda: workers_of(self.session).lack
        )
        return lack

    def as_of(self, question: AsOf) -> ir.Table:
        """Answers by the kernel, in the executors; it runs where the answer is read."""
        # Spark's SQL can be shown where Spark is not installed
        from workbench.backends.spark_kernel import (  # noqa: PLC0415
            Executors,
        )

        if lack := self._lack():
            message = f"the window kernel cannot run on Spark: {lack}"
            raise EngineError(message)
        name = ibis.util.gen_name("fw")

        def answer() -> None:
            self.run(
                "the window kernel",
                lambda: (
                    Executors(self.connected, question, self.query)
                    .answer()
                    .createOrReplaceTempView(name)
                ),
            )

        answer()
        self.note(answer)
        return self.connected.table(name)

    def hashed(self, value: ir.Value) -> ir.IntegerValue:
        """Hashes the value's text: Ibis's hash() for Spark has 32 bits and takes no maps."""
        return xxhash64(value.cast("string"))

    def quoted(self, name: str) -> str:
        """Returns a name in backticks."""
        return quoted(name)

    def sql(self, expr: ir.Table) -> str:
        """Returns the SQL as Ibis writes it, also where Spark is not installed.

        Ibis has not read its options for Spark then.
        """
        if ibis.options.pyspark is None:
            ibis.options.pyspark = Options()
        return super().sql(expr)

    def fetch(self, expr: ir.Table) -> pa.Table:
        """Fetches by Spark's own Arrow.

        Ibis goes by pandas, which rounds large integers beside nulls.
        """
        return self.run("a fetch", lambda: with_nullable_fields(self.frame(expr)).toArrow(), expr)

    def some(self, expr: ir.Table) -> bool:
        """Looks into one partition first and then into more; isEmpty() would begin all of them."""
        return bool(self.run("a fetch", lambda: self.frame(expr).take(1), expr))

    def batches(self, expr: ir.Table) -> pa.RecordBatchReader:
        """Reads partition by partition, computing the next one while one is read.

        Each is written as Arrow. So a classic driver holds two; a server of Connect computes all.
        """
        from workbench.backends.spark_workers import shipped  # noqa: PLC0415 as in `as_of`

        frame = self.run(
            "a fetch", lambda: self.frame(expr).mapInArrow(shipped("written"), "batch binary"), expr
        )
        # Not by the frame itself, as Connect must: Spark 4.3's scheduler keeps what its jobs gave
        # for as long as the session lives
        parts = self.run(
            "a fetch",
            lambda: (frame if self.remote else frame.rdd).toLocalIterator(prefetchPartitions=True),
        )
        batches = self._read((batch for row in parts for batch in ipc.open_stream(row.batch)), expr)
        first = next(batches, None)
        if first is None:
            return expr.schema().to_pyarrow().empty_table().to_reader()
        return pa.RecordBatchReader.from_batches(first.schema, chain([first], batches))

    def keep(self, expr: ir.Table | pa.Table) -> ir.Table:
        """Caches for as long as an expression refers to it: Spark has no temporary tables."""
        forgotten = FORGOTTEN.setdefault(self.connected, [])
        while forgotten:
            self.session.catalog.dropTempView(forgotten.pop())  # and its cache
        name = ibis.util.gen_name("fw")
        table = self.run(
            "the query",
            lambda: self.connected.table(self._held(self.frame(expr), name)),
            None if isinstance(expr, pa.Table) else expr,
        )
        weakref.finalize(table.op(), forgotten.append, name)
        self.note(lambda: self.refill(name, expr))
        return table

    def refill(self, name: str, rows: ir.Table | pa.Table) -> None:
        """Replaces the view of this name, and its cache."""
        self.session.catalog.dropTempView(name)
        self.run(
            "the query",
            lambda: self._held(self.frame(rows), name),
            rows if isinstance(rows, ir.Table) else None,
        )

    def local(self, rows: pa.Table) -> ir.Table:
        """Returns a view of the rows for as long as an expression refers to it.

        Ibis goes by pandas, which rounds large integers beside nulls.
        """
        return self.viewed(self.session.createDataFrame(rows))

    def viewed(self, frame: DataFrame) -> ir.Table:
        """Returns a Spark frame as a table, for as long as an expression refers to it."""
        name = ibis.util.gen_name("fw")
        frame.createOrReplaceTempView(name)
        table = self.connected.table(name)
        weakref.finalize(table.op(), FORGOTTEN.setdefault(self.connected, []).append, name)
        return table

    def _held(self, frame: DataFrame, name: str) -> str:
        """Makes a view of rows that are computed once and kept, and returns its name."""
        frame.cache().count()
        frame.createOrReplaceTempView(name)
        return name

    # --- writing: by the executors, and nothing through the driver

    def folder(self, table: str) -> Path:
        """Returns a folder beside the managed tables of the current database.

        Driver and executors reach it as a folder.
        """
        catalog = self.session.catalog.currentCatalog()
        if catalog != OWN_CATALOG:
            message = (
                f"Spark's current catalog is {catalog!r}, and a dated table is a view of Parquet"
                f" files, which {OWN_CATALOG} alone has:"
                f" session.catalog.setCurrentCatalog({OWN_CATALOG!r}) first, or into='folder/'"
            )
            raise EngineError(message)
        place = self.session.catalog.getDatabase(self.session.catalog.currentDatabase()).locationUri
        url = urlparse(place)
        if url.scheme not in ("", "file"):
            message = (
                f"Spark keeps the tables of this database at {place}, and a dated table needs a"
                " folder: use a database with a file: location that driver and executors share, or"
                " into='folder/'"
            )
            raise EngineError(message)
        return Path(unquote(url.path)) / table

    def show(self, view: str, files: Sequence[Path]) -> None:
        """Makes a view that names every file, so that files of an unfinished step are not seen."""
        columns = ", ".join(map(self.quoted, self.session.read.parquet(str(files[0])).columns))
        # the identifiers are quoted
        self.session.sql(
            f"CREATE OR REPLACE VIEW {self.quoted(view)} AS SELECT {columns} FROM"  # noqa: S608
            f" parquet.{self.quoted(path_pattern(files))}"
        )

    def write_files(self, rows: ir.Table, by: str, folder: Path) -> None:
        """Writes by one task for each value of `by`.

        Timestamps have no zone, as every other engine writes them.
        """
        frame = self.frame(rows)
        columns = [
            frame[quoted(f.name)].cast(retyped(f.dataType, naive=True)).alias(f.name)
            for f in frame.schema
        ]
        frame.select(columns).repartition(by).write.option(
            "maxRecordsPerFile", FILE_ROWS
        ).partitionBy(by).parquet(str(folder))

    def read_files(self, files: Sequence[Path]) -> ir.Table:
        """Reads files as a temporary view of this session."""
        name = ibis.util.gen_name("fw_files")
        self.session.read.parquet(*map(str, files)).createOrReplaceTempView(name)
        return self.connected.table(name)
