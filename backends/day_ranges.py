"""Ranges of whole days, [start, end), UTC."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Range = tuple[date, date]  # days [start, end)


def is_within(day: date, ranges: Sequence[Range]) -> bool:
    """Returns whether a day is in one of the ranges."""
    return any(first <= day < last for first, last in ranges)


def ranges_of(days: Iterable[date]) -> list[Range]:
    """Returns the ranges that cover these days and no others, with consecutive days joined."""
    ranges: list[Range] = []
    for day in sorted(days):
        end = day + timedelta(days=1)
        ranges = (
            [*ranges[:-1], (ranges[-1][0], end)]
            if ranges and ranges[-1][1] == day
            else [*ranges, (day, end)]
        )
    return ranges
