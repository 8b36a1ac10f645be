"""Postgres's own types in its catalog, as Ibis and Arrow have them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import pyarrow as pa
from ibis.backends.sql.datatypes import PostgresType

if TYPE_CHECKING:
    from collections.abc import Sequence


# Each column's name, the type under its domains, whether that is an enum, and whether the column is
# a list of it.
BASE_TYPES = """
    WITH RECURSIVE named AS (
        SELECT a.attname, coalesce(e.oid, t.oid) AS oid, a.atttypmod AS modifier,
            e.oid IS NOT NULL AS listed
        FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
            LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
        WHERE a.attrelid = {}::regclass AND a.attnum > 0 AND NOT a.attisdropped
    ), based AS (
        SELECT * FROM named
        UNION ALL
        SELECT b.attname, t.typbasetype, t.typtypmod, b.listed
        FROM based b JOIN pg_type t ON t.oid = b.oid WHERE t.typtype = 'd'
    )
    SELECT b.attname, format_type(b.oid, b.modifier), t.typtype, b.listed
    FROM based b JOIN pg_type t ON t.oid = b.oid WHERE t.typtype <> 'd'
"""
TEXTS = ("bpchar", '"char"', "citext", "name", "character")  # what else has the values of a text


def is_text_in_arrow(dtype: dt.DataType) -> bool:
    """Returns whether Arrow has texts for a type that Postgres has, or lists of them."""
    if dtype.is_array():
        return is_text_in_arrow(dtype.value_type)
    return dtype.is_uuid() or dtype.is_json() or dtype.is_inet() or dtype.is_macaddr()


def rows_in_arrow(table: ops.InMemoryTable, texts: Sequence[str]) -> pa.Table:
    """Returns the rows of a table of this process.

    In a frame, Python's own objects in the columns `texts` become their texts.
    """
    try:
        return table.data.to_pyarrow(table.schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        rows = table.data.to_frame().copy()
        for column in texts:
            rows[column] = [_json_ready(value) for value in rows[column]]
        return pa.Table.from_pandas(rows, schema=table.schema.to_pyarrow(), preserve_index=False)


def _json_ready(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_json_ready(v) for v in value]
    # pandas's nulls are not equal to themselves
    return None if value is None or value != value else str(value)  # noqa: PLR0124


def base_type(text: str, kind: str, *, listed: bool) -> dt.DataType | None:
    """Returns Ibis's type for a type in the catalog; None where Ibis has none."""
    name, _, modifier = text.rsplit(".", maxsplit=1)[-1].partition("(")
    if kind == "e" or name in TEXTS:
        dtype: dt.DataType = dt.string
    elif name == "numeric" and ",-" in modifier:
        # numeric(5,-2) has up to 7 digits, all of them before the point
        digits, below = modifier.rstrip(")").split(",-")
        dtype = dt.Decimal(int(digits) + int(below), 0)
    else:
        dtype = PostgresType.from_string(text)
    return None if dtype.is_unknown() else dt.Array(dtype) if listed else dtype
