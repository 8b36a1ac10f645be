"""Rewrites of operations on times, after which every engine gives the same value (rules 1, 9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops

from workbench.backends.stored_types import finite_time
from workbench.definitions.nodes import with_argument
from workbench.online.time_units import DAY_US, HOUR_US, MINUTE_US, SECOND_US

if TYPE_CHECKING:
    from collections.abc import Callable

    import ibis.expr.types as ir


MICROSECOND_SCALE = 6
UNITS = {
    "s": SECOND_US,
    "ms": 1_000,
    "us": 1,
    "m": MINUTE_US,
    "h": HOUR_US,
    "D": DAY_US,
    "W": 7 * DAY_US,
}
PARTS = {
    "second": "s",
    "millisecond": "ms",
    "microsecond": "us",
    "minute": "m",
    "hour": "h",
    "day": "D",
    "week": "W",
}


def micros(time: ir.TimestampValue) -> ir.IntegerValue:
    """Return microseconds since 1970-01-01 UTC, floored; null for an infinite time.

    This is the one form of time that all engines compare alike.
    """
    zone, time = time.type().timezone, finite_time(time)
    epoch = ibis.literal("1970-01-01 00:00:00", dt.Timestamp(timezone="UTC" if zone else None))
    elapsed = time.delta(epoch, unit="microsecond")
    if (time.type().scale or 0) <= MICROSECOND_SCALE:
        return elapsed
    # DuckDB drops a nanosecond's fraction toward 1970, which is up for times before it
    below = time.delta(epoch, unit="nanosecond") % 1_000 < 0
    return elapsed - below.ifelse(1, 0)


def floor_to(value: Any, unit: int) -> Any:
    """Round `value` down to a multiple of `unit`.

    It uses remainders, since `//` is a division of doubles on DuckDB.
    """
    return value - ((value % unit) + unit) % unit


def _epoch(node: ops.ExtractEpochSeconds) -> ir.Value | None:
    """Floor the epoch to a whole number, since DuckDB and Postgres give a fraction."""
    value = node.arg.to_expr()
    if not value.type().is_timestamp():
        return None
    return whole_count(floor_to(micros(value), UNITS["s"]), UNITS["s"])


def whole_count(multiple: ir.IntegerValue, unit: int) -> ir.IntegerValue:
    """Divide a multiple of `unit` by it: exact below 2^53 microseconds, the year 2255."""
    return (multiple.cast("float64") / unit).cast("int64")


def _delta(node: ops.TimestampDelta) -> ir.Value | None:
    """Count whole elapsed units, the fraction dropped; engines count boundaries, round or floor."""
    part = node.part.value if isinstance(node.part, ops.Literal) else node.part
    unit = UNITS.get(PARTS.get(str(part), str(part)))
    if unit in (None, UNITS["us"]):
        return None
    elapsed = node.left.to_expr().delta(node.right.to_expr(), unit="microsecond")
    # a remainder has the sign of its dividend on all three engines
    return whole_count(elapsed - elapsed % unit, unit)


def _part(node: Any) -> ir.Value | None:
    """Take a part of a zoned time from its naive UTC time, since Ibis refuses it on DuckDB."""
    return (
        with_argument(node, node.arg.to_expr().cast("timestamp"))
        if getattr(node.arg.dtype, "timezone", None)
        else None
    )


def _second(node: ops.ExtractSecond) -> ir.Value:
    """Drop the fraction of a second, which Spark keeps."""
    return ops.Cast(
        with_argument(node, node.arg.to_expr().cast("timestamp")).op(), node.dtype
    ).to_expr()


def _microsecond(node: ops.ExtractMicrosecond) -> ir.Value:
    """Compute microseconds, which Spark lacks."""
    us = micros(node.arg.to_expr())
    return (us - floor_to(us, UNITS["s"])).cast(node.dtype)


def _iso_year(node: ops.ExtractIsoYear) -> ir.Value:
    """Compute the ISO year, which Spark lacks, as the year of the week's Thursday."""
    return (node.arg.to_expr().cast("timestamp").truncate("W") + ibis.interval(days=3)).year()


def _date_truncate(node: ops.DateTruncate) -> ir.Value:
    """Cast a truncated date to a date, since Spark gives a timestamp."""
    return ops.Cast(node, node.dtype).to_expr()


def _date_delta(node: ops.DateDelta) -> ir.Value | None:
    """Count whole elapsed weeks, where engines count Mondays, or sevens of days."""
    if not (isinstance(node.part, ops.Literal) and str(node.part.value) in ("week", "W")):
        return None
    days = node.left.to_expr().delta(node.right.to_expr(), unit="day")
    return whole_count(days - days % 7, 7)


def _from_epoch(node: ops.TimestampFromUNIX) -> ir.Value | None:
    """Add whole seconds, then the rest, since Postgres adds intervals as doubles of seconds."""
    if not node.arg.dtype.is_integer():
        return None
    value, unit = node.arg.to_expr().cast("int64"), node.unit.value
    epoch = ibis.literal("1970-01-01 00:00:00", node.dtype)
    if unit == "s":
        return epoch + value.as_interval("s")
    if unit not in UNITS:
        return None
    per_second = UNITS["s"] // UNITS[unit]
    rest = value - floor_to(value, per_second)
    return (
        epoch
        + whole_count(value - rest, per_second).as_interval("s")
        + (rest * UNITS[unit]).as_interval("us")
    )


def _times(node: ops.IntervalMultiply) -> ir.Value | None:
    """Write a multiple of an interval out, since engines multiply intervals in different ways."""
    if not isinstance(node.left, ops.Literal) or not node.right.dtype.is_integer():
        return None
    return (node.right.to_expr().cast("int64") * node.left.value).as_interval(
        node.left.dtype.unit.value
    )


def _bucket(node: ops.TimestampBucket) -> ir.Value | None:
    """Compute a bucket's start, counted from 1970, by arithmetic, since Spark has no buckets."""
    if (
        node.offset is not None
        or not isinstance(node.interval, ops.Literal)
        or node.interval.dtype.unit.value not in UNITS
    ):
        return None
    us, width = (
        micros(node.arg.to_expr()),
        node.interval.value * UNITS[node.interval.dtype.unit.value],
    )
    past = us - floor_to(us, width)
    seconds = past - past % UNITS["s"]
    return (
        node.arg.to_expr()
        - whole_count(seconds, UNITS["s"]).as_interval("s")
        - (past - seconds).as_interval("us")
    )


TIME_REWRITES: dict[type[ops.Node], Callable[[Any], ir.Value | None]] = {
    ops.ExtractEpochSeconds: _epoch,
    **dict.fromkeys(
        (
            ops.ExtractYear,
            ops.ExtractQuarter,
            ops.ExtractMonth,
            ops.ExtractWeekOfYear,
            ops.ExtractDay,
            ops.ExtractDayOfYear,
        ),
        _part,
    ),
    **dict.fromkeys(
        (
            ops.ExtractHour,
            ops.ExtractMinute,
            ops.ExtractMillisecond,
            ops.DayOfWeekIndex,
            ops.DayOfWeekName,
        ),
        _part,
    ),
    ops.TimestampDelta: _delta,
    ops.DateDelta: _date_delta,
    ops.DateTruncate: _date_truncate,
    ops.ExtractSecond: _second,
    ops.ExtractMicrosecond: _microsecond,
    ops.ExtractIsoYear: _iso_year,
    ops.TimestampFromUNIX: _from_epoch,
    ops.IntervalMultiply: _times,
    ops.TimestampBucket: _bucket,
}
