"""Tables that are handed out to users, whose rows the engine reads rather than Ibis.

Ibis fetches from Spark by pandas, where a whole number beside a null is rounded to a double, within
lists too, and where no map becomes Arrow. Its `execute()` rounds so on every engine, and Postgres's
decimals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir
import pandas as pd
import pyarrow as pa
from ibis.formats.pandas import PandasData

from workbench.backends.stored_types import arrow_type

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ibis.backends import BaseBackend

    from workbench.backends.row_reader import RowReader

ROWS = 1_000_000  # of a batch, as Ibis has it by default
# The methods that all of Ibis's ways to read an expression call, such as head() and to_parquet().
REPLACED = ("execute", "to_pandas_batches", "to_pyarrow", "to_pyarrow_batches")


def hand_out(engine: RowReader, table: ir.Table) -> ir.Table:
    """Returns the table, and lets the engine read expressions over it from here on."""
    method_owner = getattr(engine.connected.to_pyarrow, "__self__", None)
    handouts = method_owner if isinstance(method_owner, Handouts) else Handouts(engine)
    handouts.names |= {t.name for t in table.op().find(ops.DatabaseTable)}
    return table


def plainly(con: BaseBackend, method: str) -> Any:
    """Returns a method of a connection as Ibis has it, whatever was handed out."""
    return getattr(type(con), method).__get__(con)


class Handouts:
    """The tables of a connection that were handed out; it replaces the methods that read them.

    `names` are those of the tables. Expressions without any of them are left to Ibis.
    """

    def __init__(self, engine: RowReader) -> None:
        self.engine, self.names = engine, set[str]()
        for method in REPLACED:
            setattr(engine.connected, method, getattr(self, method))

    def execute(
        self, expr: ir.Expr, /, *, params: Any = None, limit: Any = None, **more: Any
    ) -> Any:
        """Returns the rows in pandas, with its nullable whole numbers beside nulls.

        The rest is as Ibis has it.
        """
        if not self._ours(expr):
            return plainly(self.engine.connected, "execute")(
                expr, params=params, limit=limit, **more
            )
        table = _table_of(expr, params, limit)
        return expr.__pandas_result__(_frame(self._table(table), table.schema()))

    def to_pandas_batches(
        self,
        expr: ir.Expr,
        /,
        *,
        params: Any = None,
        limit: Any = None,
        chunk_size: int = ROWS,
        **more: Any,
    ) -> Iterator[Any]:
        """Yields the rows as `execute` does, in batches."""
        if not self._ours(expr):
            yield from plainly(self.engine.connected, "to_pandas_batches")(
                expr, params=params, limit=limit, chunk_size=chunk_size, **more
            )
            return
        table = _table_of(expr, params, limit)
        for batch in self._batches(table, chunk_size):
            yield expr.__pandas_result__(_frame(pa.Table.from_batches([batch]), table.schema()))

    def to_pyarrow(
        self, expr: ir.Expr, /, *, params: Any = None, limit: Any = None, **more: Any
    ) -> Any:
        """Returns the rows in Arrow, in the expression's own types."""
        if not self._ours(expr):
            return plainly(self.engine.connected, "to_pyarrow")(
                expr, params=params, limit=limit, **more
            )
        return expr.__pyarrow_result__(self._table(_table_of(expr, params, limit)))

    def to_pyarrow_batches(
        self,
        expr: ir.Expr,
        /,
        *,
        params: Any = None,
        limit: Any = None,
        chunk_size: int = ROWS,
        **more: Any,
    ) -> pa.RecordBatchReader:
        """Returns the rows as `to_pyarrow` does, in batches, in bounded memory."""
        if not self._ours(expr):
            return plainly(self.engine.connected, "to_pyarrow_batches")(
                expr, params=params, limit=limit, chunk_size=chunk_size, **more
            )
        table = _table_of(expr, params, limit)
        return pa.RecordBatchReader.from_batches(
            _arrow_schema(table), self._batches(table, chunk_size)
        )

    def _ours(self, expr: ir.Expr) -> bool:
        return any(table.name in self.names for table in expr.op().find(ops.DatabaseTable))

    def _table(self, table: ir.Table) -> pa.Table:
        # Spark leaves the column that it makes for an offset in the rows
        rows = self.engine.fetch(table).select(table.columns)
        return rows.cast(_arrow_schema(table))

    def _batches(self, table: ir.Table, rows: int) -> Iterator[pa.RecordBatch]:
        schema = _arrow_schema(table)
        for batch in self.engine.batches(table):
            for first in range(0, batch.num_rows, rows):
                yield batch.slice(first, rows).select(table.columns).cast(schema)


def _arrow_schema(table: ir.Table) -> pa.Schema:
    """Returns the Arrow types of its columns, with every digit of a number without a scale."""
    return pa.schema([(name, arrow_type(dtype)) for name, dtype in table.schema().items()])


def _table_of(expr: ir.Expr, params: Mapping[Any, Any] | None, limit: int | str | None) -> ir.Table:
    """Returns the expression as a table, with its parameters and its limit in it."""
    table: ir.Table = expr.as_table()
    if params:
        nodes = {p.op() if isinstance(p, ir.Expr) else p: value for p, value in params.items()}
        literals = {p: ibis.literal(value, type=p.dtype).op() for p, value in nodes.items()}
        table = table.op().replace(literals).to_expr()
    most = ibis.options.sql.default_limit if limit == "default" else limit
    return table if most is None else table.limit(int(most))


def _frame(rows: pa.Table, schema: ibis.Schema) -> pd.DataFrame:
    columns = {
        name: _series(column) for name, column in zip(rows.column_names, rows.columns, strict=True)
    }
    return PandasData.convert_table(pd.DataFrame(columns), schema)


def _series(column: pa.ChunkedArray) -> pd.Series:
    """Returns a column in a form that Ibis's own conversion takes without a loss."""
    if column.null_count and pa.types.is_integer(column.type):
        return column.to_pandas(types_mapper=_nullable)
    if pa.types.is_nested(column.type):
        return pd.Series(column.to_pylist(maps_as_pydicts="strict"), dtype=object)
    return column.to_pandas()


def _nullable(dtype: pa.DataType) -> Any:
    """Returns pandas's type of whole numbers that takes nulls: Int64 for int64, UInt8 for uint8."""
    return pd.api.types.pandas_dtype(str(dtype).replace("int", "Int").replace("u", "U"))
