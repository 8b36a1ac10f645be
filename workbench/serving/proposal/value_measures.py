"""How finely values are told: the grain of times, floats, decimals and texts."""

from __future__ import annotations

import math
import unicodedata
from datetime import datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen

from workbench.online.time_units import DAY_US, HOUR_US, MINUTE_US, SECOND_US, us_since_epoch
from workbench.previews import preview_words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


SPANS = {DAY_US: "day", HOUR_US: "hour", MINUTE_US: "minute", SECOND_US: "second"}
UNITS = (*SPANS, *(10**n for n in range(5, -1, -1)))  # microseconds


@frozen
class Measure:
    """The precision of one kind of values.

    It has the grain that some values fit, whether one value fits it, and whether two are equal at
    it.
    """

    grain: Callable[[Sequence[Any]], Any]
    fits: Callable[[Any, Any], bool]
    alike: Callable[[Any, Any, Any], bool]
    said: Callable[[Any], str]


def _unit(values: Sequence[int]) -> int:
    return next(u for u in UNITS if all(v % u == 0 for v in values))


def _unit_phrase(unit: int) -> str:
    return (
        f"in whole {SPANS[unit]}s"
        if unit in SPANS
        else f"with {6 - int(math.log10(unit))} digits of a second"
    )


def _digits(value: float | Decimal) -> int:
    """Count the significant digits of the shortest text that is the value."""
    return len(Decimal(str(value)).normalize().as_tuple().digits)


def _places(value: Decimal) -> int:
    """Count the digits behind the point."""
    exponent = value.normalize().as_tuple().exponent
    return max(-exponent, 0) if isinstance(exponent, int) else 0


def _short(value: float) -> bool:
    with np.errstate(over="ignore"):
        return float(np.float32(value)) == value


def _narrow(values: Sequence[float]) -> int:
    """Return the digits of all values; 0 says that each is a float of 32 bits.

    Such a float has more digits than nine when it is written as a double.
    """
    most = max(map(_digits, values))
    # a float of 32 bits has at most 9 digits
    return 0 if most > 9 and all(map(_short, values)) else most  # noqa: PLR2004


def _float_alike(first: float, second: float, digits: int) -> bool:
    if not digits:
        return float(np.float32(first)) == float(np.float32(second))
    largest = max(abs(first), abs(second))
    return first == second or abs(first - second) < 10.0 ** (
        math.floor(math.log10(largest)) - digits + 1
    )


def _form(values: Sequence[str]) -> str | None:
    """Return the normal form that all texts have, if some would differ in another one."""
    return next(
        (f for f in ("NFC", "NFD") if all(unicodedata.is_normalized(f, v) for v in values)), None
    )


def bare_text(text: str) -> str:
    """Return a text without what Unicode forms, case and blanks at its ends tell apart."""
    return unicodedata.normalize("NFKC", text).strip().casefold()


INSTANT = Measure(_unit, lambda v, g: v % g == 0, lambda a, b, g: abs(a - b) < g, _unit_phrase)
FLOAT = Measure(
    _narrow,
    lambda v, g: _digits(v) <= g if g else _short(v),
    _float_alike,
    lambda g: f"with at most {preview_words.plural(g, 'digit')}" if g else "as a float of 32 bits",
)
DECIMAL = Measure(
    lambda values: max(map(_places, values)),
    lambda v, g: _places(v) <= g,
    lambda a, b, g: abs(a - b) < Decimal(1).scaleb(-g),
    lambda g: f"with {preview_words.plural(g, 'digit')} behind the point",
)
TEXT = Measure(
    _form,
    lambda v, g: g is None or unicodedata.is_normalized(g, v),
    lambda a, b, _: bare_text(a) == bare_text(b),
    lambda g: f"in the Unicode form {g}",
)


def measure_of(value: Any) -> tuple[Measure | None, Any]:
    """Return the measure of a value, if any, and the value as its measure takes it."""
    if isinstance(value, datetime):
        return INSTANT, us_since_epoch(value)
    if isinstance(value, time):
        seconds = value.hour * 3600 + value.minute * 60 + value.second
        return INSTANT, seconds * 1_000_000 + value.microsecond
    for kind, measure in ((float, FLOAT), (Decimal, DECIMAL), (str, TEXT)):
        if isinstance(value, kind):
            return measure, value
    return None, value
