"""Rows between Postgres and Arrow, by COPY: no row becomes a Python object, but for lists and maps that are read."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv
from sqlglot import exp

from backends import jsonb

if TYPE_CHECKING:
    import ibis.expr.types as ir
    from ibis.backends import BaseBackend

    from backends.engine import Engine

BATCH = 50_000  # rows of text sent at once


def fetched(engine: Engine, expr: ir.Table) -> pa.Table:
    """The rows of an expression; lists, maps and bytes go by JSON."""
    declared = pa.schema([(name, dtype.to_pyarrow()) for name, dtype in expr.schema().items()])
    nested = [f.name for f in declared if pa.types.is_nested(f.type) or pa.types.is_binary(f.type)]
    schema = pa.schema([f.with_type(pa.string()) if f.name in nested else f for f in declared])
    text = BytesIO()
    query = engine.query(jsonb.shown(expr, nested))
    with engine.connected.con.cursor() as cursor, cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT csv)") as copy:
        for row in copy:
            text.write(row)
    if not text.tell():
        return declared.empty_table()
    text.seek(0)
    return jsonb.restored(_parsed(text, schema), declared)


def _parsed(text: BytesIO, schema: pa.Schema) -> pa.Table:
    return csv.read_csv(
        text,
        read_options=csv.ReadOptions(column_names=schema.names),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(column_types=schema, null_values=[""], true_values=["t"], false_values=["f"], strings_can_be_null=True, quoted_strings_can_be_null=False),
    )


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
    """A column as what CSV writes: lists as Postgres's array literals, maps as JSON, everything else as it is."""
    if pa.types.is_map(column.type):
        return pa.chunked_array([jsonb.written(c) for c in column.chunks], pa.string())
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

