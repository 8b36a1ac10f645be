"""Arrow rows sent to Postgres by COPY: texts by pyarrow, lists and maps as JSON."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import csv

from workbench.online.errors import StoreError
from workbench.online.snippets import member

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import psycopg

CHUNK = 50_000  # rows of text sent at once


def copied(
    cursor: psycopg.Cursor[Any],
    table: str,
    columns: Sequence[str],
    batches: Iterable[pa.RecordBatch],
) -> int:
    """Append rows to a table with these columns, in the batches' order; return how many there were.

    It uses bounded memory.
    """
    rows = 0
    with cursor.copy(f"copy {table} ({', '.join(columns)}) from stdin (format csv)") as copy:
        for batch in batches:
            text = pa.RecordBatch.from_arrays(
                [_text(c, n) for n, c in zip(batch.schema.names, batch.columns, strict=True)],
                names=batch.schema.names,
            )
            for start in range(0, text.num_rows, CHUNK):
                part = BytesIO()
                csv.write_csv(
                    text.slice(start, CHUNK), part, csv.WriteOptions(include_header=False)
                )
                copy.write(part.getbuffer())
            rows += batch.num_rows
    return rows


def _text(column: pa.Array, name: str) -> pa.Array:
    """A column as CSV can write it; StoreError for a text with a NUL, which Postgres lacks."""
    kind = column.type
    if pa.types.is_nested(kind):
        values = column.to_pylist(maps_as_pydicts="strict")
        documents = [None if v is None else document(v) for v in values]
        if any(d and "\\u0000" in d for d in documents):  # or a text that says so
            _refuse(name, next(filter(None, map(_nul, values)), None))
        return pa.array(documents, pa.string())
    if pa.types.is_float32(kind) or pa.types.is_float16(kind):
        return column.cast(pa.float64())  # a short number's few digits are another double's
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return pa.array(
            [None if v is None else "\\x" + v.hex() for v in column.to_pylist()], pa.string()
        )
    if (pa.types.is_string(kind) or pa.types.is_large_string(kind)) and any(
        b is not None and b"\x00" in b.to_pybytes() for b in column.buffers()[2:]
    ):
        _refuse(name, next((v for v in column.to_pylist() if v and "\x00" in v), None))
    return column


def _nul(value: Any) -> str | None:
    """The first text with a NUL in a list or map, or None."""
    if isinstance(value, str):
        return value if "\x00" in value else None
    inner = (
        [*value, *value.values()]
        if isinstance(value, dict)
        else value
        if isinstance(value, list)
        else ()
    )
    return next(filter(None, map(_nul, inner)), None)


def _refuse(name: str, nul_text: str | None) -> None:
    if nul_text:
        message = (
            f"column {name} has the text {nul_text[:40]!r}, whose NUL character Postgres cannot"
            f" hold: replace it in the source, as in {member('t', name)}.replace('\\x00', '')"
        )
        raise StoreError(message)


def document(value: Any) -> str:
    """A list or map as JSON text.

    Numbers keep all their digits, NaN and infinities become null (rule 9), and types that JSON
    lacks become text.
    """
    return json.dumps(_plain(value), ensure_ascii=False)


def _plain(value: Any) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value + 0.0 if math.isfinite(value) else None
        case Decimal():
            return str(value)
        case dict():
            return {_key(k): _plain(v) for k, v in value.items()}
        case list() | tuple():
            return [_plain(v) for v in value]
        case _:
            return _key(value)


def _key(value: Any) -> str:
    """A map's key, or a value that JSON lacks, as the text that Postgres would make of it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"\\x{value.hex()}" if isinstance(value, bytes) else str(value)
