"""Rows between Postgres and Arrow by COPY, without a Python object for each row.

Lists and maps that are read are the exception.
"""

from __future__ import annotations

from io import BytesIO
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv
from sqlglot import exp

from workbench.backends import postgres_maps
from workbench.backends.stored_types import UNBOUNDED, arrow_type

if TYPE_CHECKING:
    from collections.abc import Iterator

    import ibis.expr.types as ir
    from ibis.backends import BaseBackend

    from workbench.backends.engine import Engine

BATCH = 50_000  # rows of text sent at once
MAX_TEXT_BYTES_IN_MEMORY = 64_000_000  # bytes of text held in memory, before a file


def fetched(engine: Engine, expr: ir.Table) -> pa.Table:
    """Returns the rows of an expression.

    Lists, maps, bytes and numbers without a precision go by JSON.
    """
    declared, nested, schema = _schemas(expr)
    text = BytesIO()
    _copied_out(engine, postgres_maps.with_json_columns(engine.for_arrow(expr), nested), text)
    if not text.tell():
        return declared.empty_table()
    text.seek(0)
    return postgres_maps.restored(csv.read_csv(text, **_reading(schema)), declared)


def streamed(engine: Engine, expr: ir.Table) -> pa.RecordBatchReader:
    """Returns the rows as `fetched` does, in batches from a file of COPY's text."""
    declared, nested, schema = _schemas(expr)
    # read, and closed, after this function has returned
    text = SpooledTemporaryFile(MAX_TEXT_BYTES_IN_MEMORY)  # noqa: SIM115
    try:
        _copied_out(engine, postgres_maps.with_json_columns(engine.for_arrow(expr), nested), text)
    except BaseException:
        text.close()
        raise
    return pa.RecordBatchReader.from_batches(declared, _batches(text, schema, declared))


def _batches(
    text: SpooledTemporaryFile[bytes], schema: pa.Schema, declared: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """Yields the batches of COPY's text, which is closed when they are read or given up."""
    with text:
        if text.tell():
            text.seek(0)
            for part in csv.open_csv(text, **_reading(schema)):
                yield from postgres_maps.restored(pa.table(part), declared).to_batches()


def _schemas(expr: ir.Table) -> tuple[pa.Schema, list[str], pa.Schema]:
    """Returns the rows' types, the columns that go by JSON, and the types to read the text in."""
    declared = pa.schema([(name, arrow_type(dtype)) for name, dtype in expr.schema().items()])
    nested = [
        f.name
        for f in declared
        if pa.types.is_nested(f.type) or pa.types.is_binary(f.type) or f.type == UNBOUNDED
    ]
    return (
        declared,
        nested,
        pa.schema([f.with_type(pa.string()) if f.name in nested else f for f in declared]),
    )


def _copied_out(engine: Engine, expr: ir.Table, into: Any) -> None:
    with (
        engine.connected.con.cursor() as cursor,
        cursor.copy(f"COPY ({engine.query(expr)}) TO STDOUT (FORMAT csv)") as copy,
    ):
        for row in copy:
            into.write(row)


def _reading(schema: pa.Schema) -> dict[str, Any]:
    """Returns the options by which Arrow reads COPY's text.

    The null of a single column is an empty line there.
    """
    return {
        "read_options": csv.ReadOptions(column_names=schema.names),
        "parse_options": csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        "convert_options": csv.ConvertOptions(
            column_types=schema,
            null_values=[""],
            true_values=["t"],
            false_values=["f"],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    }


def append_rows(con: BaseBackend, table: str, rows: pa.Table) -> None:
    """Appends rows to a table that has their columns."""
    text = pa.table({name: _text(rows[name]) for name in rows.column_names})
    columns = ", ".join(
        exp.to_identifier(c, quoted=True).sql("postgres") for c in rows.column_names
    )
    into = exp.to_identifier(table, quoted=True).sql("postgres")
    with (
        con.con.cursor() as cursor,
        cursor.copy(f"COPY {into} ({columns}) FROM STDIN (FORMAT csv)") as copy,
    ):
        for batch in text.to_batches(BATCH):
            part = BytesIO()
            csv.write_csv(batch, part, csv.WriteOptions(include_header=False))
            copy.write(part.getbuffer())


def _text(column: pa.ChunkedArray) -> Any:
    """Returns a column in the form that CSV writes.

    Lists are Postgres's array literals, bytes hexadecimal digits, maps JSON, and everything else is
    as it is.
    """
    if pa.types.is_map(column.type):
        return pa.chunked_array([postgres_maps.json_texts(c) for c in column.chunks], pa.string())
    if pa.types.is_binary(column.type):
        return pa.chunked_array([postgres_maps.as_text(c) for c in column.chunks], pa.string())
    if not pa.types.is_list(column.type):
        return column
    return pa.chunked_array([_literals(c) for c in column.chunks], pa.string())


def _literals(lists: pa.Array) -> pa.Array:
    """Returns `{"a","b"}` for each list; null stays null."""
    values = postgres_maps.as_text(lists.flatten())
    for special in ("\\", '"'):
        values = pc.replace_substring(values, special, "\\" + special)
    quoted = pc.fill_null(pc.binary_join_element_wise('"', values, '"', ""), "NULL")
    lengths = pc.fill_null(pc.list_value_length(lists), 0)
    offsets = pa.array([0, *pc.cumulative_sum(lengths).to_pylist()], pa.int32())
    joined = pc.binary_join_element_wise(
        "{", pc.binary_join(pa.ListArray.from_arrays(offsets, quoted), ","), "}", ""
    )
    return pc.if_else(lists.is_valid(), joined, pa.nulls(len(lists), pa.string()))
