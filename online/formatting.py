"""Durations, sizes and figures in the words that every page, message and command writes."""

from __future__ import annotations

from datetime import timedelta

from workbench.online.time_units import DAY_US, HOUR_US, MILLISECOND_US, MINUTE_US, SECOND_US

UNKNOWN = "–"  # stands where a figure is not known
# A duration is in days from two days on: 26 hours are read faster than 1.08 days.
DURATION_UNITS = ((172_800, 86_400, "d"), (3_600, 3_600, "h"), (60, 60, "min"), (1, 1, "s"))
EXACT_UNITS_US = (
    (DAY_US, "d"),
    (HOUR_US, "h"),
    (MINUTE_US, "min"),
    (SECOND_US, "s"),
    (MILLISECOND_US, "ms"),
)
BYTE_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def format_duration(duration: float | timedelta | None, *, digits: int = 3) -> str:
    """Write seconds, or a timedelta, in its largest unit, with three digits; None is unknown.

    A duration that stands beside another one, which it is not to be rounded to, has more `digits`.

    >>> [format_duration(s) for s in (473_400, 93_600, 45_936, 2.6, 0.25, 0, None)]
    ['5.48 d', '26 h', '12.8 h', '2.6 s', '250 ms', '0 s', '–']
    >>> format_duration(timedelta(days=1096)), format_duration(timedelta(hours=-30))
    ('1,096 d', '-30 h')
    """
    if duration is None:
        return UNKNOWN
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
    for least, unit, name in DURATION_UNITS:
        if abs(seconds) >= least:
            return f"{_in_digits(seconds / unit, digits)} {name}"
    return f"{_in_digits(seconds * 1_000, digits)} ms" if seconds else "0 s"


def format_duration_us(us: int, *, digits: int = 3) -> str:
    """Write microseconds as `format_duration` writes seconds."""
    return format_duration(us / SECOND_US, digits=digits)


def format_exact_duration(us: int) -> str:
    """Write a window's length, in microseconds, in the largest unit that divides it.

    >>> format_exact_duration(14 * DAY_US), format_exact_duration(90 * MINUTE_US)
    ('14 d', '90 min')
    """
    unit, name = next(((u, n) for u, n in EXACT_UNITS_US if us % u == 0), (1, "us"))
    return f"{us // unit:,} {name}"


def format_bytes(size: float | None) -> str:
    """Write a number of bytes; None is unknown.

    >>> format_bytes(2_340_000_000), format_bytes(148_000), format_bytes(12)
    ('2.34 GB', '148 kB', '12 B')
    """
    if size is None:
        return UNKNOWN
    for unit, name in BYTE_UNITS:
        if abs(size) >= unit:
            return f"{_in_digits(size / unit, 3)} {name}"
    return f"{size:,.0f} B"


def format_figure(value: float, unit: str) -> str:
    """Write a figure by its unit: `%` of a share, `s` of seconds, `x` of a ratio, or a plain one.

    >>> format_figure(0.041, "%"), format_figure(93600, "s"), format_figure(2.25, "x")
    ('4.1 %', '26 h', '2.2 times')
    """
    if unit == "%":
        return f"{value * 100:.3g} %"
    if unit == "x":
        return f"{value:,.1f} times"
    if unit != "s":
        return f"{value:,.0f}" if value == int(value) else f"{value:.3g}"
    return format_duration(value)


def _in_digits(value: float, digits: int) -> str:
    """Write so many digits of a number, or all of its whole ones, without trailing zeros."""
    places = max(digits - len(str(int(abs(value)))), 0)
    text = f"{value:,.{places}f}"
    return text.rstrip("0").rstrip(".") if places else text
