"""Expressions rewritten so that every engine gives the same value (semantics rules 1 and 9)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops

if TYPE_CHECKING:
    from collections.abc import Callable

    import ibis.expr.types as ir

LARGEST = sys.float_info.max
MICROSECOND_SCALE = 6
UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1, "m": 60_000_000, "h": 3_600_000_000, "D": 86_400_000_000, "W": 604_800_000_000}
PARTS = {"second": "s", "millisecond": "ms", "microsecond": "us", "minute": "m", "hour": "h", "day": "D", "week": "W"}


def micros(time: ir.TimestampValue) -> ir.IntegerValue:
    """Microseconds since 1970-01-01 UTC, floored: the one form of time that all engines compare alike."""
    zone = time.type().timezone
    epoch = ibis.literal("1970-01-01 00:00:00", dt.Timestamp(timezone="UTC" if zone else None))
    elapsed = time.delta(epoch, unit="microsecond")
    if (time.type().scale or 0) <= MICROSECOND_SCALE:
        return elapsed
    # DuckDB drops a nanosecond's fraction toward 1970, which is up for times before it
    below = time.delta(epoch, unit="nanosecond") % 1_000 < 0
    return elapsed - below.ifelse(1, 0)


def floor_to(value: ir.IntegerValue, unit: int) -> ir.IntegerValue:
    """`value` rounded down to a multiple of `unit`; by remainders, since `//` is a division of doubles on DuckDB."""
    return value - ((value % unit) + unit) % unit


def finite(value: ir.Value) -> ir.Value:
    """A float with NaN and infinities as null and -0.0 as 0.0; anything else as it is.

    Compared with the largest double, not isnan(): NaN is larger than all on these engines, Postgres has no isnan(), and
    DuckDB 2.0 folds it over Parquet to false.
    """
    dtype = value.type()
    if not dtype.is_floating():
        return value
    clean = (value.abs() <= LARGEST).ifelse(value + 0.0, ibis.null(dtype))
    return clean if dtype == dt.float64 else clean.cast(dtype)


def _divide(node: ops.Divide) -> ir.Value:
    """Postgres divides integers by whole numbers; and a division by zero is null."""
    return node.left.to_expr().cast("float64") / node.right.to_expr().cast("float64").nullif(0.0)


def _by_zero(node: Any) -> ir.Value | None:
    """`//` and `%` by zero raise on some engines."""
    right = node.right
    if isinstance(right, ops.Literal) and right.value:
        return None
    return type(node)(node.left, ops.NullIf(right, ops.Literal(0, right.dtype))).to_expr()


def _cast(node: ops.Cast) -> ir.Value | None:
    """Casts of fractions to integers drop the fraction, as in Python and Spark; DuckDB and Postgres would round."""
    arg = node.arg.dtype
    if not (node.to.is_integer() and (arg.is_floating() or arg.is_decimal())):
        return None
    value = node.arg.to_expr()
    return ops.Cast((value < 0).ifelse(value.ceil(), value.floor()).op(), node.to).to_expr()


def _above(least: float, *, inclusive: bool) -> Callable[[Any], ir.Value]:
    """A function that raises outside its domain on some engines is null there."""

    def rewrite(node: Any) -> ir.Value:
        value = node.arg.to_expr()
        inside = value >= least if inclusive else value > least
        guarded = inside.ifelse(value, ibis.null(value.type()))
        return node.__recreate__({**dict(zip(node.__argnames__, node.__args__, strict=True)), "arg": guarded.op()}).to_expr()

    return rewrite


def _epoch(node: ops.ExtractEpochSeconds) -> ir.Value | None:
    """A fraction on DuckDB and Postgres, a whole number on Spark: whole, floored."""
    value = node.arg.to_expr()
    if not value.type().is_timestamp():
        return None
    return _count_of(floor_to(micros(value), UNITS["s"]), UNITS["s"])


def _count_of(multiple: ir.IntegerValue, unit: int) -> ir.IntegerValue:
    """A multiple of `unit`, divided by it: exact in doubles below 2^53 microseconds, the year 2255."""
    return (multiple.cast("float64") / unit).cast("int64")


def _delta(node: ops.TimestampDelta) -> ir.Value | None:
    """Engines count boundaries, round or floor: whole elapsed units, the fraction dropped."""
    part = node.part.value if isinstance(node.part, ops.Literal) else node.part
    unit = UNITS.get(PARTS.get(str(part), str(part)))
    if unit in (None, UNITS["us"]):
        return None
    elapsed = node.left.to_expr().delta(node.right.to_expr(), unit="microsecond")
    return _count_of(elapsed - elapsed % unit, unit)  # a remainder has the sign of its dividend on all three


REWRITES: dict[type[ops.Node], Callable[[Any], ir.Value | None]] = {
    ops.Divide: _divide,
    ops.FloorDivide: _by_zero,
    ops.Modulus: _by_zero,
    ops.Cast: _cast,
    ops.Ln: _above(0, inclusive=False),
    ops.Log2: _above(0, inclusive=False),
    ops.Log10: _above(0, inclusive=False),
    ops.Log: _above(0, inclusive=False),
    ops.Sqrt: _above(0, inclusive=True),
    ops.ExtractEpochSeconds: _epoch,
    ops.TimestampDelta: _delta,
}


def normal(node: ops.Node) -> ops.Node:
    """The same expression with every operation that engines disagree on written so that they agree."""

    def step(inner: ops.Node, kwargs: dict[str, Any] | None) -> ops.Node:
        new = inner.__recreate__(kwargs) if kwargs else inner
        rewrite = REWRITES.get(type(new))
        made = rewrite(new) if rewrite else None
        return new if made is None else made.op()

    return node.replace(step)
