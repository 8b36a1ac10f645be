"""Maps in JSON messages, which Arrow's reader does not support.

Python reads them message by message, as strictly as Arrow's reader reads other types.
"""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Pairs(list[tuple[str, Any]]):
    """An object's keys and values in order, with repeated keys."""

    def once(self) -> dict[str, Any]:
        """The pairs as a dict; ValueError where a key is repeated."""
        pairs = dict(self)
        if len(pairs) < len(self):
            message = "a key is given twice"
            raise ValueError(message)
        return pairs


def columns(
    payloads: Sequence[bytes], types: Mapping[str, pa.DataType]
) -> dict[str, pa.ChunkedArray]:
    """The given columns, read from whole messages.

    Raises ValueError, or Arrow's errors, where a value has another type.
    """
    try:
        rows = [dict(json.loads(p, parse_float=Decimal, object_pairs_hook=Pairs)) for p in payloads]
        return {
            c: pa.chunked_array([pa.array([_value(row.get(c), t) for row in rows], t)])
            for c, t in types.items()
        }
    except (RecursionError, OverflowError, TypeError) as error:
        raise ValueError(str(error)) from error


def _value(value: Any, type_: pa.DataType) -> Any:
    if value is None:
        return None
    if pa.types.is_map(type_) and isinstance(value, Pairs):
        return [(k, _value(v, type_.item_type)) for k, v in value.once().items()]
    if pa.types.is_struct(type_) and isinstance(value, Pairs):
        members = value.once()
        return {f.name: _value(members.get(f.name), f.type) for f in type_}
    if pa.types.is_list(type_) and isinstance(value, list) and not isinstance(value, Pairs):
        return [_value(v, type_.value_type) for v in value]
    if (
        pa.types.is_floating(type_)
        and type(value) in (int, float, Decimal)
        and (isinstance(value, float) or math.isfinite(float(value)))
    ):
        return float(value)
    if pa.types.is_decimal(type_) and type(value) in (int, str, Decimal):
        return Decimal(value)
    plain = (
        (pa.types.is_integer(type_) and type(value) is int)
        or (pa.types.is_string(type_) and isinstance(value, str))
        or (pa.types.is_boolean(type_) and isinstance(value, bool))
    )
    if not plain:
        message = f"{value!r} is no {type_}"
        raise ValueError(message)
    return value
