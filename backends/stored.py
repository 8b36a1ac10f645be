"""What engines store otherwise than the rules have it: texts under other names, times without an end."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops

if TYPE_CHECKING:
    import ibis.expr.types as ir


def cast(column: ir.Value, dtype: dt.DataType) -> ir.Value:
    """A cast that is written even where Ibis takes the column for one of that type already: an enum is a string to it."""
    return ops.Cast(column.op(), lengthless(dtype)).to_expr()


def lengthless(dtype: dt.DataType) -> dt.DataType:
    """The type with texts of any length: a length is no type, and a cast to it would truncate."""
    match dtype:
        case dt.String():
            return dt.String(nullable=dtype.nullable)
        case dt.Array():
            return dt.Array(lengthless(dtype.value_type), nullable=dtype.nullable)
        case dt.Map():
            return dt.Map(lengthless(dtype.key_type), lengthless(dtype.value_type), nullable=dtype.nullable)
        case dt.Struct():
            return dt.Struct({n: lengthless(t) for n, t in dtype.items()}, nullable=dtype.nullable)
        case _:
            return dtype


def holds_text(dtype: dt.DataType) -> bool:
    """Whether a value is a text, or has texts in it."""
    match dtype:
        case dt.Array():
            return holds_text(dtype.value_type)
        case dt.Map():
            return holds_text(dtype.key_type) or holds_text(dtype.value_type)
        case dt.Struct():
            return any(map(holds_text, dtype.types))
        case _:
            return bool(dtype.is_string())


def finite_time(value: ir.Value) -> ir.Value:
    """A timestamp or a date, null where it is infinite; anything else as it is."""
    dtype = value.type()
    return _isfinite(dtype)(value).ifelse(value, ibis.null(dtype)) if dtype.is_timestamp() or dtype.is_date() else value


@cache
def _isfinite(dtype: dt.DataType) -> Any:
    @ibis.udf.scalar.builtin(name="isfinite", signature=((dtype,), dt.boolean))
    def isfinite(value: Any) -> Any:
        raise NotImplementedError  # Ibis writes the call; DuckDB and Postgres run it

    return isfinite
