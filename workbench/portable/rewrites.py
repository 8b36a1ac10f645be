"""Expressions rewritten so that every engine gives the same value (semantics rules 1 and 9)."""

from __future__ import annotations

import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops

from workbench.backends.stored_types import lengthless
from workbench.definitions.nodes import rebuild, with_argument
from workbench.portable import text_rewrites
from workbench.portable.time_rewrites import TIME_REWRITES

if TYPE_CHECKING:
    from collections.abc import Callable

    import ibis.expr.types as ir

LARGEST = sys.float_info.max
# exp() of values between these is a double that is neither 0 nor infinite
LEAST_EXPONENT, LARGEST_EXPONENT = -745.13, 709.78
EVERY_WHOLE = 2.0**52  # doubles from here on have no fraction
HALF = 0.5


def finite(value: ir.Value) -> ir.Value:
    """Return a float with NaN and infinities as null and -0.0 as 0.0; anything else as it is.

    Compared with the largest double, not isnan(): NaN is larger than all on these engines, Postgres
    has no isnan(), and DuckDB 2.0 folds it over Parquet to false.
    """
    dtype = value.type()
    if not dtype.is_floating():
        return value
    clean = (value.abs() <= LARGEST).ifelse(value + 0.0, ibis.null(dtype))
    return clean if dtype == dt.float64 else clean.cast(dtype)


def _divide(node: ops.Divide) -> ir.Value:
    """Divide as doubles, by zero null, since Postgres divides integers to whole numbers."""
    return node.left.to_expr().cast("float64") / node.right.to_expr().cast("float64").nullif(0.0)


def _nonzero(node: Any) -> ir.Value:
    divisor = node.right
    return (
        divisor.to_expr()
        if isinstance(divisor, ops.Literal) and divisor.value
        else divisor.to_expr().nullif(0)
    )


def _modulus(node: ops.Modulus) -> ir.Value:
    """Make a remainder by zero null, since it raises on some engines."""
    return ops.Modulus(node.left, _nonzero(node).op()).to_expr()


def _floor_divide(node: ops.FloorDivide) -> ir.Value:
    """Divide integers exactly: DuckDB divides as doubles, so the quotient's error is added back."""
    dividend, divisor = node.left.to_expr(), _nonzero(node)
    if not (node.left.dtype.is_integer() and node.right.dtype.is_integer()):
        return ops.FloorDivide(dividend.op(), divisor.op()).to_expr()
    dividend, divisor = dividend.cast("int64"), divisor.cast("int64")
    multiple = dividend - ((dividend % divisor) + divisor) % divisor
    near = (multiple.cast("float64") / divisor.cast("float64")).round().cast("int64")
    missed = multiple - near * divisor
    return (near + (missed.cast("float64") / divisor.cast("float64")).round().cast("int64")).cast(
        node.dtype
    )


def _arithmetic(node: Any) -> ir.Value | None:
    """Cast operands to the type of the result.

    Engines overflow in the narrower type, and Ibis types products of decimals too narrow.
    """
    left_type, right_type = node.left.dtype, node.right.dtype
    if left_type.is_decimal() or right_type.is_decimal():
        return _of_decimals(node)
    if (
        node.dtype.is_integer()
        and left_type.is_integer()
        and right_type.is_integer()
        and (left_type != node.dtype or right_type != node.dtype)
    ):
        return type(node)(
            ops.Cast(node.left, node.dtype), ops.Cast(node.right, node.dtype)
        ).to_expr()
    return None


def _of_decimals(node: Any) -> ir.Value | None:
    left_type, right_type = node.left.dtype, node.right.dtype
    if left_type.is_floating() or right_type.is_floating():
        return type(node)(
            ops.Cast(node.left, dt.float64), ops.Cast(node.right, dt.float64)
        ).to_expr()
    if any(d.is_decimal() and d.scale is None for d in (left_type, right_type)):
        return None  # Postgres's plain numeric keeps what it needs
    scales = [d.scale if d.is_decimal() else 0 for d in (left_type, right_type)]
    scale = sum(scales) if isinstance(node, ops.Multiply) else max(scales)
    return ops.Cast(node, dt.Decimal(38, min(scale, 37))).to_expr()


def cast(value: ir.Value, to: dt.DataType | str) -> ir.Value:
    """Cast as an author's cast is written, since no engine has all casts."""
    if value.type() == (dtype := dt.dtype(to)):
        return value
    return rewritten(ops.Cast(value.op(), dtype)).to_expr()


def _cast(node: Any) -> ir.Value | None:
    """Drop the fraction in casts to integers, as Python and Spark do.

    DuckDB and Postgres would round.
    """
    arg, to, value = node.arg.dtype, node.to, node.arg.to_expr()
    if to != lengthless(to):  # some engines would cut a text to its length
        return rewritten(node.copy(to=lengthless(to))).to_expr()
    if to.is_integer() and isinstance(node, ops.TryCast) and arg.is_numeric():
        value = _fitting(value, to)
    if to.is_integer() and (arg.is_floating() or (arg.is_decimal() and arg.scale != 0)):
        return ops.Cast((value < 0).ifelse(value.ceil(), value.floor()), to).to_expr()
    if to.is_integer() and arg.is_integer():
        return ops.Cast(value, to).to_expr() if isinstance(node, ops.TryCast) else None
    if arg.is_boolean() and to.is_numeric():  # Postgres casts neither way
        return ibis.cases((value, 1), (~value, 0)).cast(to)
    if arg.is_numeric() and to.is_boolean():
        return value != 0
    return text_rewrites.parsed(node) if arg.is_string() else None


def _fitting(value: Any, to: Any) -> ir.Value:
    """Return the value if, its fraction dropped, it fits that integer type; else null.

    Postgres has no cast that may fail.
    """
    low, high = to.bounds.lower, to.bounds.upper
    if value.type().is_floating():
        # 2^63 - 1 is no double, so the bounds are compared as doubles beside them
        inside = ((value > low - 1.0) | (value == low)) & (value < high + 1.0)
    elif value.type().is_decimal():
        inside = (value > ibis.literal(Decimal(low - 1))) & (
            value < ibis.literal(Decimal(high + 1))
        )
    else:
        inside = value.between(low, high)
    return inside.ifelse(value, ibis.null(value.type()))


# --- functions of numbers


def _double(value: Any) -> ir.Value:
    """Cast a decimal to a double, since engines give functions of decimals scales of their own."""
    return value.to_expr().cast("float64") if value.dtype.is_decimal() else value.to_expr()


def _of_double(node: Any) -> ir.Value | None:
    return with_argument(node, _double(node.arg)) if node.arg.dtype.is_decimal() else None


def _above(least: float, *, inclusive: bool) -> Callable[[Any], ir.Value]:
    """Return a rewrite of a function that is null outside its domain, where some engines raise."""

    def rewrite(node: Any) -> ir.Value:
        value = _double(node.arg)
        inside = value >= least if inclusive else value > least
        return with_argument(node, inside.ifelse(value, ibis.null(value.type())))

    return rewrite


def _exp(node: ops.Exp) -> ir.Value:
    """Keep the exponent in range, since Postgres raises where the result is no double."""
    value = _double(node.arg).cast("float64")
    inside = value.between(LEAST_EXPONENT, LARGEST_EXPONENT)
    return inside.ifelse(
        with_argument(node, inside.ifelse(value, 0.0)),
        (value < 0).ifelse(0.0, ibis.null("float64")),
    )


def _power(node: ops.Power) -> ir.Value:
    """Make a power null where it is outside its domain, and 0 where it is too small for a double.

    Engines raise an error or give NaN for a root of a negative number and for 1 / 0.
    """
    base, exponent = (side.to_expr().cast("float64") for side in (node.left, node.right))
    is_whole = (exponent.abs() < EVERY_WHOLE).ifelse(exponent, 0.0).floor() == exponent
    real = ((base > 0) | ((base == 0) & (exponent >= 0)) | ((base < 0) & is_whole)).fill_null(False)
    size = exponent * (real & (base != 0)).ifelse(base.abs(), 1.0).ln()
    inside = real & size.between(LEAST_EXPONENT, LARGEST_EXPONENT)
    power = ops.Power(inside.ifelse(base, 1.0).op(), inside.ifelse(exponent, 1.0).op()).to_expr()
    return ibis.cases((inside, power), (real & (size < 0), 0.0)).cast("float64")


def _round(node: ops.Round) -> ir.Value | None:
    """Round halves away from zero.

    Postgres rounds them to the even neighbour, and each engine scales in its own way.
    """
    if not node.arg.dtype.is_floating() or not isinstance(node.digits, ops.Literal):
        return None
    value, digits = node.arg.to_expr().cast("float64"), node.digits.value or 0
    scale = 10.0 ** abs(digits)
    scaled = value if digits == 0 else value * scale if digits > 0 else value / scale
    fractional = scaled.abs() < EVERY_WHOLE
    size = fractional.ifelse(scaled.abs(), 0.0)
    rounded = size.floor() + (size - size.floor() >= HALF).ifelse(1, 0)
    signed = (value < 0).ifelse(-rounded, rounded)
    if node.dtype.is_integer():
        return fractional.ifelse(signed, fractional.ifelse(0.0, value).cast("int64")).cast(
            node.dtype
        )
    near = signed.cast("float64")
    back = near if digits == 0 else near / scale if digits > 0 else near * scale
    return fractional.ifelse(back, value)


def _sign(node: ops.Sign) -> ir.Value | None:
    """Cast a sign to its type, since Spark gives a double."""
    if node.arg.dtype.is_floating():
        return None
    return with_argument(node, node.arg.to_expr().cast("float64")).cast(node.dtype)


# --- times


REWRITES: dict[type[ops.Node], Callable[[Any], ir.Value | None]] = {
    ops.Divide: _divide,
    ops.Add: _arithmetic,
    ops.Subtract: _arithmetic,
    ops.Multiply: _arithmetic,
    ops.FloorDivide: _floor_divide,
    ops.Modulus: _modulus,
    ops.Cast: _cast,
    ops.TryCast: _cast,
    ops.Ln: _above(0, inclusive=False),
    ops.Log2: _above(0, inclusive=False),
    ops.Log10: _above(0, inclusive=False),
    ops.Log: _above(0, inclusive=False),
    ops.Sqrt: _above(0, inclusive=True),
    **TIME_REWRITES,
    ops.Exp: _exp,
    ops.Power: _power,
    ops.Round: _round,
    ops.Sign: _sign,
    **dict.fromkeys((ops.Sin, ops.Cos, ops.Tan, ops.Atan, ops.Degrees, ops.Radians), _of_double),
    **text_rewrites.REWRITES,
}


def normal(node: ops.Node) -> ops.Node:
    """Return the expression with every operation that engines disagree on rewritten to agree."""
    return node.replace(
        lambda inner, kwargs: rewritten(inner.__recreate__(kwargs) if kwargs else inner)
    )


def normal_value(node: ops.Value) -> ops.Value:
    """Return an expression over columns that are normal already, normalised; relations stay."""
    return rebuild(node, rewritten)


def rewritten(node: ops.Node) -> Any:
    """Return the operation, its arguments being normal, as the one that engines agree on."""
    rewrite = REWRITES.get(type(node))
    replacement = rewrite(node) if rewrite else None
    return node if replacement is None else replacement.op()
