"""Trailing windows: how far back of the query time an aggregation looks."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from attrs import field, frozen

from workbench.errors import DefinitionError
from workbench.online.time_units import DAY, HOUR, MINUTE

if TYPE_CHECKING:
    from collections.abc import Sequence

UNITS = {"d": DAY, "h": HOUR, "m": MINUTE}
WORDS = {"d": "days", "h": "hours", "m": "minutes"}

# Chronon's hops: a sawtooth window's tail is rounded down to one of these (semantics rule 3).
HOPS = ((timedelta(days=12), DAY), (timedelta(hours=12), HOUR))
SHORTEST_HOP = timedelta(minutes=5)


def _positive(self: Window, _: object, length: timedelta) -> None:
    if length <= timedelta(0):
        message = (
            f"a window of {length} looks at nothing: give a positive length, such as days(7); for"
            " all time leave windows out"
        )
        raise DefinitionError(message)
    if length % UNITS[self.unit]:
        message = (
            f"a window of {length} is no whole number of {WORDS[self.unit]}: use a finer unit, such"
            f" as minutes({length // MINUTE})"
        )
        raise DefinitionError(message)


@frozen(repr=False, order=True)
class Window:
    """The half-open span [t - length, t) before a query time t.

    Windows of one length are equal, whatever their unit; the unit only names the feature.

    >>> Window(timedelta(days=1), "d") == Window(timedelta(hours=24), "h")
    True
    """

    length: timedelta = field(validator=_positive)
    unit: str = field(default="m", eq=False, order=False)

    def __repr__(self) -> str:
        return f"{self.length // UNITS[self.unit]}{self.unit}"

    @property
    def words(self) -> str:
        """The length for a reader, as in `14 d`."""
        return f"{self.length // UNITS[self.unit]} {self.unit.replace('m', 'min')}"

    @property
    def hop(self) -> timedelta:
        """The unit that a sawtooth window's start is rounded down to (semantics rule 3)."""
        return next((hop for least, hop in HOPS if self.length >= least), SHORTEST_HOP)


def _windows(unit: str, lengths: tuple[int, ...]) -> tuple[Window, ...]:
    for n in lengths:
        if isinstance(n, bool) or not isinstance(n, int):
            message = (
                f"{WORDS[unit]}({n!r}) is no window: lengths are whole numbers; for parts of a"
                f" {WORDS[unit][:-1]} use a finer unit"
            )
            raise DefinitionError(message)
    return tuple(Window(n * UNITS[unit], unit) for n in lengths)


def days(*lengths: int) -> tuple[Window, ...]:
    """Return windows of whole days, each [t - n d, t).

    >>> days(3, 14)
    (3d, 14d)
    """
    return _windows("d", lengths)


def hours(*lengths: int) -> tuple[Window, ...]:
    """Return windows of whole hours, each [t - n h, t).

    >>> hours(1, 24)
    (1h, 24h)
    """
    return _windows("h", lengths)


def minutes(*lengths: int) -> tuple[Window, ...]:
    """Return windows of whole minutes, each [t - n min, t).

    >>> minutes(5) + hours(1)
    (5m, 1h)
    """
    return _windows("m", lengths)


def windows(value: Window | timedelta | Sequence[Window | timedelta]) -> tuple[Window, ...]:
    """Return whatever an author may write for windows, as a tuple of windows."""
    if isinstance(value, Window | timedelta):
        value = (value,)
    if not isinstance(value, tuple | list):
        message = f"{_value_text(value)} is no window: write days(7), hours(24) or minutes(30)"
        raise DefinitionError(message)
    return tuple(w if isinstance(w, Window) else _named(w) for w in value)


def _value_text(value: object) -> str:
    """Show a number or text as it is, and of anything else its type.

    An expression would print as a page.
    """
    return repr(value) if isinstance(value, int | float | str) else f"a {type(value).__name__}"


def _named(length: object) -> Window:
    """Return a window of a plain `timedelta`, in the coarsest unit that divides it."""
    if not isinstance(length, timedelta):
        message = f"{_value_text(length)} is no window: write days(7), hours(24) or minutes(30)"
        raise DefinitionError(message)
    unit = next((u for u, unit_length in UNITS.items() if not length % unit_length), None)
    if unit is None:
        message = (
            f"a window of {length} is no whole number of minutes: windows are named in d, h or m"
        )
        raise DefinitionError(message)
    return Window(length, unit)
