"""Answers as Arrow tables and DataFrames, with the definition's types whatever the values are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pandas as pd
import pyarrow as pa

from workbench.online.fetching.parameters import absent
from workbench.online.fetching.value_readers import arguments
from workbench.online.messages.message_types import LEAVES

if TYPE_CHECKING:
    from collections.abc import Sequence

PANDAS = {
    pa.int8(): pd.Int8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
    pa.uint16(): pd.UInt16Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
    pa.string(): pd.StringDtype(na_value=math.nan),  # pandas's own, `str`
}
# Types that pandas would hold as objects; an empty column of objects does not say its type.
ARROWS = (pa.types.is_decimal, pa.types.is_date, pa.types.is_time, pa.types.is_binary)


def arrow_type(type_: str) -> pa.DataType | None:
    """The Arrow type for the text of an Ibis type: times in microseconds, UTC.

    None for a type without one.

    A decimal without a scale, as Postgres has it, has 38 digits after the point.

    >>> arrow_type("map<string, array<decimal(12, 2)>>")
    MapType(map<string, list<item: decimal128(12, 2)>>)
    """
    type_ = type_.strip().lstrip("!")
    if type_.startswith("timestamp"):
        return pa.timestamp("us", "UTC" if "'" in type_ else None)
    if type_.startswith("decimal"):
        return _decimal(type_)
    if type_.startswith("string"):
        return pa.string()
    if type_.startswith(("array<", "map<")):
        element_types = [arrow_type(t) for t in arguments(type_)]
        container = pa.list_ if type_.startswith("array<") else pa.map_
        return None if None in element_types else container(*element_types)
    return LEAVES.get(type_)


def _decimal(type_: str) -> pa.DataType:
    digits = [int(n) for n in type_[len("decimal(") : -1].split(",") if n.strip().isdigit()]
    if len(digits) != len(("precision", "scale")):
        return pa.decimal256(76, 38)
    # PLR2004: 38 digits are the most that Arrow's 128 bits hold
    return pa.decimal128(*digits) if digits[0] <= 38 else pa.decimal256(*digits)  # noqa: PLR2004


def arrow_table(columns: Mapping[str, Sequence[Any]], types: Mapping[str, str]) -> pa.Table:
    """Columns of Python values as an Arrow table, in the Ibis types that `types` has by name.

    A decimal with more digits after the point than its type keeps them: its column is then wider.
    """
    return pa.table({n: _array([_plain(v) for v in c], types[n]) for n, c in columns.items()})


def _array(values: list[Any], type_: str) -> pa.Array:
    try:
        return pa.array(values, arrow_type(type_))
    except pa.ArrowInvalid:
        return pa.array(values)


def _plain(value: Any) -> Any:
    """A value as Arrow takes it: maps as pairs, UUIDs as texts, pandas's missing values as None."""
    if isinstance(value, Mapping):
        return [(_plain(k), _plain(v)) for k, v in value.items()]
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, UUID):
        return str(value)
    return None if value is not None and absent(value) else value


def frame(table: pa.Table) -> pd.DataFrame:
    """An Arrow table as a DataFrame.

    What is null stays null, and no column's type depends on its values.

    Whole numbers and booleans are pandas's nullable types, doubles, texts and times its usual ones;
    decimals, dates, clock times and bytes are Arrow's in pandas; lists and maps are Python's.
    """
    columns = zip(table.column_names, table.columns, strict=True)
    return pd.DataFrame({name: _series(column) for name, column in columns})


def _series(column: pa.ChunkedArray) -> pd.Series:
    if pa.types.is_nested(column.type):
        return pd.Series(column.to_pylist(maps_as_pydicts="strict"), dtype=object)
    return column.to_pandas(types_mapper=_pandas_type)


def _pandas_type(dtype: pa.DataType) -> Any:
    """The pandas type for an Arrow type; None where pandas's default is right."""
    if any(test(dtype) for test in ARROWS):
        return pd.ArrowDtype(dtype)
    return PANDAS.get(dtype)
