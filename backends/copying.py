"""Rows between Postgres and Arrow, by COPY: no row becomes a Python object."""

from __future__ import annotations

from io import BytesIO
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Any

import ibis
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv
from sqlglot import exp

from backends.asking import LacksError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import ibis.expr.types as ir
    from ibis.backends import BaseBackend

BATCH = 50_000  # rows of text sent at once
HELD = 64_000_000  # bytes of text held in memory, before a file


def fetched(con: BaseBackend, expr: ir.Table) -> pa.Table:
    """The rows of an expression. Raises LacksError for types that have no plain text."""
    schema = pa.schema([(name, _plain(dtype.to_pyarrow())) for name, dtype in expr.schema().items()])
    text = BytesIO()
    with con.con.cursor() as cursor, cursor.copy(f"COPY ({con.compile(expr)}) TO STDOUT (FORMAT csv)") as copy:
        for row in copy:
            text.write(row)
    if not text.tell():
        return schema.empty_table()
    text.seek(0)
    return csv.read_csv(text, **_reading(schema))


def streamed(con: BaseBackend, expr: ir.Table) -> Iterator[pa.RecordBatch]:
    """The rows of an expression in batches, from a file of COPY's text. Raises LacksError for types that have no plain text."""
    schema = pa.schema([(name, _plain(dtype.to_pyarrow())) for name, dtype in expr.schema().items()])
    text = SpooledTemporaryFile(HELD)  # noqa: SIM115 read after this function has returned
    with con.con.cursor() as cursor, cursor.copy(f"COPY ({con.compile(expr)}) TO STDOUT (FORMAT csv)") as copy:
        for row in copy:
            text.write(row)
    if not text.tell():
        return iter(())
    text.seek(0)
    return iter(csv.open_csv(text, **_reading(schema)))


def _reading(schema: pa.Schema) -> dict[str, Any]:
    """How Arrow reads COPY's text."""
    return {
        "read_options": csv.ReadOptions(column_names=schema.names),
        "parse_options": csv.ParseOptions(newlines_in_values=True),
        "convert_options": csv.ConvertOptions(column_types=schema, null_values=[""], true_values=["t"], false_values=["f"], strings_can_be_null=True, quoted_strings_can_be_null=False),
    }


def _plain(dtype: pa.DataType) -> pa.DataType:
    if pa.types.is_nested(dtype) or pa.types.is_binary(dtype) or pa.types.is_large_binary(dtype):
        message = f"COPY has no text for {dtype} that Arrow reads"
        raise LacksError(message)
    return dtype


def sent(con: BaseBackend, table: str, rows: pa.Table) -> None:
    """Append rows to a table that has their columns."""
    text = pa.table({name: _text(rows[name]) for name in rows.column_names})
    columns = ", ".join(exp.to_identifier(c, quoted=True).sql("postgres") for c in rows.column_names)
    into = exp.to_identifier(table, quoted=True).sql("postgres")
    with con.con.cursor() as cursor, cursor.copy(f"COPY {into} ({columns}) FROM STDIN (FORMAT csv)") as copy:
        for batch in text.to_batches(BATCH):
            part = BytesIO()
            csv.write_csv(batch, part, csv.WriteOptions(include_header=False))
            copy.write(part.getbuffer())


def _text(column: pa.ChunkedArray) -> Any:
    """A column as what CSV writes: lists as Postgres's array literals, everything else as it is."""
    if not pa.types.is_list(column.type):
        return column
    return pa.chunked_array([_literals(c) for c in column.chunks], pa.string())


def _literals(lists: pa.Array) -> pa.Array:
    """`{"a","b"}` for each list; null stays null."""
    values = lists.flatten().cast(pa.string())
    for special in ("\\", '"'):
        values = pc.replace_substring(values, special, "\\" + special)
    quoted = pc.fill_null(pc.binary_join_element_wise('"', values, '"', ""), "NULL")
    lengths = pc.fill_null(pc.list_value_length(lists), 0)
    offsets = pa.array([0, *pc.cumulative_sum(lengths).to_pylist()], pa.int32())
    joined = pc.binary_join_element_wise("{", pc.binary_join(pa.ListArray.from_arrays(offsets, quoted), ","), "}", "")
    return pc.if_else(lists.is_valid(), joined, pa.nulls(len(lists), pa.string()))


def created(con: BaseBackend, name: str, schema: pa.Schema) -> None:
    """An empty temporary table with an Arrow schema's columns."""
    con.create_table(name, schema=ibis.Schema.from_pyarrow(schema), temp=True)
