"""Values and times in a preview's form, for the page and for the terminal."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.online.legible_text import cut, visible
from workbench.online.time_units import EPOCH, us_since_epoch

if TYPE_CHECKING:
    from collections.abc import Iterable

FIRST, LAST = (
    us_since_epoch(t)
    for t in (datetime(1000, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC))
)
LISTED, LONGEST = 3, 24  # elements and characters of a cell
MAX_FULL_CHARACTERS = 400  # characters of a value that is told with every digit
HUGE = 1e15  # from here on a double's digits are no longer all known


def time(us: int, *, whole: bool = True) -> str:
    """Write an instant in UTC; fractions of a second only where there are any."""
    if not FIRST <= us <= LAST:
        return str(np.datetime64(us, "us")).replace("T", " ").removesuffix(".000000")
    at = EPOCH + timedelta(microseconds=us)
    text = f"{at:%Y-%m-%d %H:%M:%S}" if whole else f"{at:%H:%M:%S}"
    fraction = f".{at.microsecond:06d}"
    return (
        text
        if not at.microsecond
        else text + (fraction if at.microsecond % 1_000 else fraction[:4])
    )


def decimals(values: Iterable[Any]) -> int:
    """Return how many decimals a column of floats shows: 2, or more where its values are small."""
    least = min((abs(v) for v in values if isinstance(v, float) and v), default=1.0)
    places = 2
    # two digits of the smallest value show, in at most six decimals
    while least < 1 and least * 10**places < 10 and places < 6:  # noqa: PLR2004
        places += 1
    return places


def cell(value: Any, places: int = 2) -> str:
    """Write a value in a narrow cell; lists and texts are cut with an ellipsis."""
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return _double(value, places)
        case int() | Decimal():
            return f"{value:,}"
        case datetime():
            return time(us_since_epoch(value))
        case date():
            return value.isoformat()
        case list():
            return (
                f"[{', '.join(_element(v) for v in value[:LISTED])}"
                f"{', …' if len(value) > LISTED else ''}]"
            )
        case dict():
            items = list(value.items())
            return (
                f"{{{', '.join(f'{_element(k)}: {_element(v)}' for k, v in items[:LISTED])}"
                f"{', …' if len(items) > LISTED else ''}}}"
            )
        case _:
            return cut(str(value), LONGEST)


def _double(value: float, places: int) -> str:
    """Write a double with so many decimals.

    It has an exponent where these would show nothing of it, or more than is known.
    """
    if (value and abs(value) < 0.5 * 10**-places) or abs(value) >= HUGE:
        return f"{value:.3g}"
    return f"{value:,.{places}f}"


def _element(value: Any) -> str:
    """Write an element of a list, without thousands separators, as commas separate elements."""
    if value is None:
        return "null"
    return f"{value:g}" if isinstance(value, float) else cut(str(value), LONGEST)


def full(value: Any, most: int = MAX_FULL_CHARACTERS) -> str:
    """Write a value with every digit.

    A long text, list or map is cut, with its length.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return cell(value)
    return (
        f"{value:,}"
        if isinstance(value, int | float | Decimal)
        else cell(value)
        if isinstance(value, datetime | date)
        else _beginning(str(value), most)
    )


def _beginning(text: str, most: int) -> str:
    return visible(text) if len(text) <= most else f"{cut(text, most)} ({len(text):,} characters)"


def plural(n: int, word: str) -> str:
    """Write a number with its noun, `1 event`, `2 events`.

    >>> plural(1, "event"), plural(0, "event")
    ('1 event', '0 events')
    """
    return f"{n:,} {word}" + ("" if n == 1 else "s")
