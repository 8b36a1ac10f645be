"""Maps on Postgres: objects of jsonb, whose keys are the map's keys as text.

It has them as expressions, and to and from Arrow. JSON's numbers are Postgres's `numeric` there, so
that whole numbers, decimals and doubles stay exact.
"""

from __future__ import annotations

import json
from datetime import time
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.datatypes as dt
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Sequence

    import ibis.expr.types as ir

OBJECT = dt.JSON(binary=True)
NO_DECIMALS = ("NaN", "Infinity", "-Infinity")
CONTROLS = r"[\x01-\x1f]"  # no text of JSON holds them as they are


# --- as expressions


@cache
def _gathering(value: dt.DataType, out_type: dt.DataType) -> Any:
    signature = ((dt.string, value), out_type)

    @ibis.udf.agg.builtin(name="jsonb_object_agg", signature=signature)
    def gather(key: Any, value: Any) -> Any:
        raise NotImplementedError  # Ibis writes the call; Postgres runs it

    return gather


@cache
def _typing(in_type: dt.DataType, out_type: dt.DataType) -> Any:
    @ibis.udf.scalar.builtin(name="to_jsonb", signature=((in_type,), out_type))
    def typed(value: Any) -> Any:
        raise NotImplementedError  # Ibis writes the call; Postgres runs it

    return typed


# Ibis reads the types of a map from the annotation, which is no type to mypy
@ibis.udf.scalar.builtin
def jsonb_extract_path_text(container: dt.Map(dt.string, dt.string), key: str) -> str:  # type: ignore[valid-type]
    """The text of one value of an object; null where it is null or missing."""
    raise NotImplementedError  # Ibis writes the call; Postgres runs it


@ibis.udf.scalar.builtin
def encode(value: bytes, form: str) -> str:
    """Postgres's text of bytes."""
    raise NotImplementedError  # Ibis writes the call; Postgres runs it


@ibis.udf.scalar.builtin
def decode(text: str, form: str) -> bytes:
    """Postgres's bytes of a text that `encode` gives."""
    raise NotImplementedError  # Ibis writes the call; Postgres runs it


def gathered(key: ir.Column, value: ir.Column, keep: ir.BooleanValue) -> ir.MapScalar:
    """Returns a map of the rows that pass `keep`, null over no rows."""
    text = _hex(key) if key.type().is_binary() else key.cast("string")
    return _gathering(value.type(), dt.Map(key.type(), value.type()))(text, value, where=keep)


def _hex(value: ir.BinaryValue) -> ir.StringValue:
    """Returns bytes as Postgres shows them; Ibis would cast them to letters and octal numbers."""
    return ibis.literal("\\x") + encode(value, "hex")


def typed(column: ir.Value, dtype: dt.DataType = OBJECT) -> ir.Value:
    """Returns a column of json, hstore or lists as jsonb of this type, a map or any JSON.

    Jsonb stays as it is.
    """
    return _typing(column.type(), dtype)(column)


def entries(table: ir.Table, container: ir.MapValue, key: str, element: str) -> ir.Table:
    """Returns one row for each entry of a map of plain values, with its key and value."""
    kind = container.type()
    typed_rows = table.mutate(_fw_map=typed(container, dt.Map(dt.string, dt.string)))
    entry_rows = typed_rows.mutate(**{key: typed_rows["_fw_map"].keys()}).unnest(key)
    value = jsonb_extract_path_text(entry_rows["_fw_map"], entry_rows[key])
    name = entry_rows[key]
    key_value = (
        decode(name.substr(2), "hex") if kind.key_type.is_binary() else name.cast(kind.key_type)
    )
    return entry_rows.mutate(**{key: key_value, element: value.cast(kind.value_type)})


def stored(schema: ibis.Schema) -> ibis.Schema:
    """Returns the types that columns have in a table."""
    return ibis.schema(
        {name: OBJECT if dtype.is_map() else dtype for name, dtype in schema.items()}
    )


def with_json_columns(table: ir.Table, columns: Sequence[str]) -> ir.Table:
    """Returns the table with these columns, of lists, maps or bytes, as JSON."""
    return table.mutate(*(typed(table[c]).name(c) for c in columns)) if columns else table


# --- from Arrow


def json_texts(values: pa.Array) -> pa.Array:
    """Returns the JSON text of each value; null for null."""
    kind = values.type
    if pa.types.is_map(kind):
        rows = values.cast(pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)])))
        keys, items = rows.flatten().flatten()
        return _joined(
            rows, pc.binary_join_element_wise(_quoted(as_text(keys)), _inner(items), ":"), "{}"
        )
    if pa.types.is_list(kind):
        return _joined(values, _inner(values.flatten()), "[]")
    if pa.types.is_floating(kind):
        return pc.if_else(pc.is_finite(values), as_text(values), _quoted(as_text(values)))
    return (
        as_text(values)
        if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)
        else _quoted(as_text(values))
    )


def _inner(values: pa.Array) -> pa.Array:
    return pc.fill_null(json_texts(values), "null")


def _joined(rows: pa.ListArray, texts: pa.Array, brackets: str) -> pa.Array:
    """Joins the elements' texts between brackets, as many as each row has."""
    offsets = pa.array(
        [0, *pc.cumulative_sum(pc.fill_null(pc.list_value_length(rows), 0)).to_pylist()], pa.int32()
    )
    lists = pc.binary_join(pa.ListArray.from_arrays(offsets, texts), ",")
    return pc.if_else(
        rows.is_valid(),
        pc.binary_join_element_wise(brackets[0], lists, brackets[1], ""),
        pa.scalar(None, pa.string()),
    )


def as_text(values: pa.Array) -> pa.Array:
    """Returns values as the texts that Postgres casts them to, or reads."""
    if pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type):
        return pa.array(
            [None if v is None else f"\\x{v.hex()}" for v in values.to_pylist()], pa.string()
        )
    text = values.cast(pa.string())
    if pa.types.is_timestamp(values.type):
        return pc.replace_substring_regex(
            pc.replace_substring_regex(text, r"Z$", "+00"), r"\.?0*(\+00)?$", r"\1"
        )
    return text


def _quoted(texts: pa.Array) -> pa.Array:
    for special in ("\\", '"'):
        texts = pc.replace_substring(texts, special, f"\\{special}")
    if pc.any(pc.match_substring_regex(texts, CONTROLS)).as_py():
        for code in range(1, 32):
            texts = pc.replace_substring(texts, chr(code), f"\\u{code:04x}")
    return pc.binary_join_element_wise('"', texts, '"', "")


# --- to Arrow


def values_of_json(texts: Sequence[str | None], kind: pa.DataType) -> pa.Array:
    """Returns the values that texts of JSON stand for.

    Raises pyarrow.ArrowInvalid where one is of another type.
    """
    return _array(
        [None if t is None else json.loads(t, parse_int=str, parse_float=str) for t in texts], kind
    )


def restored(rows: pa.Table, declared: pa.Schema) -> pa.Table:
    """Returns the rows in the declared types; reads the JSON texts of `with_json_columns`."""
    for number, field in enumerate(declared):
        if rows.field(number).type != field.type:
            rows = rows.set_column(
                number, field, values_of_json(rows.column(number).to_pylist(), field.type)
            )
    return rows


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Returns an array of what JSON reads, with its numbers still as texts."""
    if pa.types.is_map(kind):
        present_values = [v or {} for v in values]
        keys, items = (
            [x for v in present_values for x in part(v)] for part in (dict.keys, dict.values)
        )
        map_array = pa.MapArray.from_arrays(
            _offsets(present_values), _array(keys, kind.key_type), _array(items, kind.item_type)
        )
        return pc.if_else(
            pa.array([v is not None for v in values], pa.bool_()),
            map_array,
            pa.scalar(None, map_array.type),
        )
    if pa.types.is_list(kind):
        present_values = [v or [] for v in values]
        return pa.ListArray.from_arrays(
            _offsets(present_values),
            _array([x for v in present_values for x in v], kind.value_type),
            mask=pa.array([v is None for v in values], pa.bool_()),
        )
    if pa.types.is_boolean(kind):
        return pa.array([v if v is None else v in (True, "true") for v in values], kind)
    if pa.types.is_binary(kind):
        return pa.array([None if v is None else bytes.fromhex(v[2:]) for v in values], kind)
    if pa.types.is_decimal(kind):  # of Postgres's, one may be infinite or no number
        values = [None if v in NO_DECIMALS else v for v in values]
    if pa.types.is_time(kind):  # Arrow reads none from texts
        return pa.array([v if v is None else time.fromisoformat(v) for v in values], kind)
    return pa.array(values, pa.string()).cast(kind)


def _offsets(values: Sequence[Any]) -> pa.Array:
    return pa.array([0, *accumulate(map(len, values))], pa.int32())
