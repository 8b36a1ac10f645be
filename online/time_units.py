"""Units of time: stores, plans and engines compare whole microseconds since 1970, UTC."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_DAY = EPOCH.date()
MICROSECOND = timedelta(microseconds=1)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
MILLISECOND_US, SECOND_US = 1_000, 1_000_000
MINUTE_US, HOUR_US, DAY_US = 60 * SECOND_US, 3_600 * SECOND_US, 86_400 * SECOND_US
# The units in which a number may say a time, as topics and columns name them.
UNITS_US = {"s": SECOND_US, "ms": MILLISECOND_US, "us": 1}


def in_us(span: timedelta) -> int:
    """Return a span as whole microseconds, the unit of every comparison of times."""
    return span // MICROSECOND


def us_since_epoch(at: datetime | date) -> int:
    """Return a time, or the midnight that begins a day, as microseconds since 1970.

    A time without a zone is read as UTC.
    """
    if not isinstance(at, datetime):
        return in_us(at - EPOCH_DAY)
    return in_us((at if at.tzinfo else at.replace(tzinfo=UTC)) - EPOCH)


def days_since_epoch(day: date) -> int:
    """Return a day as whole days since 1970."""
    return (day - EPOCH_DAY).days


def utc_time(us: int | None) -> datetime | None:
    """Return microseconds since 1970 as a time in UTC; None for None, or beyond Python's years."""
    try:
        return None if us is None else EPOCH + timedelta(microseconds=us)
    except OverflowError:
        return None


def utc_day(us: int) -> date:
    """Return the day, UTC, of microseconds since 1970."""
    return EPOCH_DAY + timedelta(days=us // DAY_US)
