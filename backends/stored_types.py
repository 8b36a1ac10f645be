"""Types that engines store in their own ways: texts under other names, infinite times."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import pyarrow as pa
from ibis.backends.sql.compilers import DuckDBCompiler, PostgresCompiler
from ibis.backends.sql.compilers.base import SQLGlotCompiler
from ibis.expr import rules as rlz
from sqlglot import exp

if TYPE_CHECKING:
    import ibis
    import ibis.expr.types as ir

ZONED = dt.Unknown("TIME WITH TIME ZONE")  # a time of day to Ibis, which drops the offset


def cast(column: ir.Value, dtype: dt.DataType) -> ir.Value:
    """Returns a cast that is written even where Ibis takes the column for that type already.

    An enum is a string to Ibis.
    """
    return ops.Cast(column.op(), lengthless(dtype)).to_expr()


def lengthless(dtype: dt.DataType) -> dt.DataType:
    """Returns the type with texts of any length, since a cast to a length would truncate."""
    match dtype:
        case dt.String():
            return dt.String(nullable=dtype.nullable)
        case dt.Array():
            return dt.Array(lengthless(dtype.value_type), nullable=dtype.nullable)
        case dt.Map():
            return dt.Map(
                lengthless(dtype.key_type), lengthless(dtype.value_type), nullable=dtype.nullable
            )
        case dt.Struct():
            return dt.Struct({n: lengthless(t) for n, t in dtype.items()}, nullable=dtype.nullable)
        case _:
            return dtype


def holds_text(dtype: dt.DataType) -> bool:
    """Returns whether a value of a type is a text, or has texts in it."""
    match dtype:
        case dt.Array():
            return holds_text(dtype.value_type)
        case dt.Map():
            return holds_text(dtype.key_type) or holds_text(dtype.value_type)
        case dt.Struct():
            return any(map(holds_text, dtype.types))
        case _:
            return bool(dtype.is_string())


class FiniteTime(ops.Value):
    """A timestamp or a date, null where it is infinite; on Spark none is."""

    arg: ops.Value
    dtype = rlz.dtype_like("arg")
    shape = rlz.shape_like("arg")


def finite_time(value: ir.Value) -> ir.Value:
    """Returns a timestamp or a date, null where it is infinite; anything else as it is."""
    dtype = value.type()
    if isinstance(value.op(), FiniteTime) or not (dtype.is_timestamp() or dtype.is_date()):
        return value
    _write()
    return FiniteTime(value.op()).to_expr()


@cache
def _write() -> None:
    """Registers the SQL of `FiniteTime` with Ibis's compilers."""
    name = f"visit_{FiniteTime.__name__}"
    setattr(SQLGlotCompiler, name, lambda _, __, *, arg: arg)
    for compiler in (PostgresCompiler, DuckDBCompiler):
        setattr(compiler, name, _if_finite)


def _if_finite(_: Any, __: ops.Node, *, arg: exp.Expression) -> exp.Expression:
    return exp.Case().when(exp.Anonymous(this="isfinite", expressions=[arg.copy()]), arg.copy())


UNBOUNDED = pa.decimal256(76, 38)  # what numeric without precision is in Arrow, which asks for one


def arrow_type(dtype: ibis.DataType, unit: str | None = None) -> pa.DataType:
    """Returns the Arrow type of an Ibis type, also for numbers that have no precision.

    Times are in the given unit, or in that of the type.
    """
    if unit is not None and dtype.is_timestamp():
        return pa.timestamp(unit, dtype.timezone)
    if dtype.is_decimal() and dtype.scale is None:
        return UNBOUNDED
    if dtype.is_map():
        return pa.map_(arrow_type(dtype.key_type, unit), arrow_type(dtype.value_type, unit))
    return pa.list_(arrow_type(dtype.value_type, unit)) if dtype.is_array() else dtype.to_pyarrow()
