"""Matching of a topic's events with the table's: what both really carry (semantics rule 21)."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import field, frozen

from workbench.online.messages.event_precision import UNITS as PRECISIONS
from workbench.online.messages.event_precision import as_met
from workbench.previews import preview_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from workbench.online.plan import GroupByPlan

Row = dict[str, Any]

RARE = 0.001  # how likely chance may be where something is said to be systematic
FEW = 3  # values of which nothing is said in general
SECOND, MINUTE, QUARTER = 1_000_000, 60_000_000, 900_000_000  # microseconds
FARTHEST = 14 * 4 * QUARTER  # that a zone's time is from UTC
CROWDED = 0.9  # of a table's rows: less than these have a key and a time of their own
ODD = 3  # rows of one key and time that differ otherwise, before it is said
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SPANS = {86_400_000_000: "day", 3_600_000_000: "hour", 60_000_000: "minute", 1_000_000: "second"}
UNITS = (*SPANS, *(10**n for n in range(5, -1, -1)))  # microseconds
CURE = (
    "name the column that identifies an event, EventSource(..., id=...), or have both tell the same"
)


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


def _whole(unit: int) -> str:
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


def _float_alike(one: float, other: float, digits: int) -> bool:
    if not digits:
        return float(np.float32(one)) == float(np.float32(other))
    largest = max(abs(one), abs(other))
    return one == other or abs(one - other) < 10.0 ** (math.floor(math.log10(largest)) - digits + 1)


def _form(values: Sequence[str]) -> str | None:
    """Return the normal form that all texts have, if some would differ in another one."""
    return next(
        (f for f in ("NFC", "NFD") if all(unicodedata.is_normalized(f, v) for v in values)), None
    )


def _bare(text: str) -> str:
    return unicodedata.normalize("NFKC", text).strip().casefold()


INSTANT = Measure(_unit, lambda v, g: v % g == 0, lambda a, b, g: abs(a - b) < g, _whole)
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
    lambda a, b, _: _bare(a) == _bare(b),
    lambda g: f"in the Unicode form {g}",
)


def _measured(value: Any) -> tuple[Measure | None, Any]:
    """Return the measure of a value, if any, and the value as its measure takes it."""
    if isinstance(value, datetime):
        return INSTANT, (value.replace(tzinfo=value.tzinfo or UTC) - EPOCH) // timedelta(
            microseconds=1
        )
    if isinstance(value, time):
        seconds = value.hour * 3600 + value.minute * 60 + value.second
        return INSTANT, seconds * 1_000_000 + value.microsecond
    for kind, measure in ((float, FLOAT), (Decimal, DECIMAL), (str, TEXT)):
        if isinstance(value, kind):
            return measure, value
    return None, value


def _leaves(value: Any) -> Iterator[Any]:
    """Yield the single values of a value, of lists and maps too."""
    if isinstance(value, dict):
        value = [v for pair in value.items() for v in pair]
    if isinstance(value, list | tuple):
        for inner in value:
            yield from _leaves(inner)
    elif value is not None:
        yield value


@frozen
class Grain:
    """The precision of a column on one side, by `of` of its values."""

    measure: Measure
    grain: Any
    of: int


@frozen
class Doubt:
    """A column that one side carries less finely than the other, more often than by chance.

    `coarser` is `topic` or `table`.
    """

    column: str
    coarser: str
    said: str


@frozen
class Twins:
    """Messages that are in the table too, by how they match.

    `known` match, `twice` would count twice, `odd` only have a row's key and time. `shifted` are in
    it at another time, all as far from it, `by` so many microseconds. `shown` is the column of the
    first that does not match, and what it has there, by message and by table.
    """

    known: int = 0
    twice: int = 0
    odd: int = 0
    shifted: int = 0
    by: int = 0
    shown: tuple[str, Any, Any] | None = None
    columns: frozenset[str] = field(default=frozenset())


class Sides:
    """Rows of a group-by as they come by the topic, and as the table has them.

    Both are at the precision at which they are known to meet.
    """

    def __init__(self, plan: GroupByPlan, topic: Sequence[Row], table: Sequence[Row]) -> None:
        self.keys = [f"k{i}" for i in range(len(plan.keys))]
        self.names = [*self.keys, "time", *(c.name for c in plan.stored)]
        labels = {c.name: c.label or c.name for c in plan.stored}
        labels |= {f"k{i}": k.name for i, k in enumerate(plan.keys)}
        self.labels = labels | {"time": plan.needs[-1].name if plan.needs else "time"}
        self.topic, self.table = (
            [{n: _met(plan, n, r[n]) for n in self.names} for r in rows] for rows in (topic, table)
        )
        self._grains: dict[tuple[str, str], dict[int, Grain]] = {}

    def _leaves(self, row: Row, name: str) -> Iterator[tuple[Measure | None, Any]]:
        for leaf in _leaves(row[name]):
            yield (INSTANT, leaf) if name == "time" else _measured(leaf)

    def grains(self, side: str, name: str) -> dict[int, Grain]:
        """Return the grains of a side's column, by the measure's id.

        Lists may have values of several kinds.
        """
        if (side, name) not in self._grains:
            found: dict[int, tuple[Measure, list[Any]]] = {}
            for row in getattr(self, side):
                for measure, value in self._leaves(row, name):
                    if measure is not None and not (measure is TEXT and _plain(value)):
                        found.setdefault(id(measure), (measure, []))[1].append(value)
            self._grains[side, name] = {
                i: Grain(m, m.grain(v), len(v)) for i, (m, v) in found.items()
            }
        return self._grains[side, name]

    # --- by and large

    def doubts(self) -> list[Doubt]:
        """Return the columns that one side carries less finely, beyond what chance explains."""
        pairs = [
            (name, *sides)
            for name in self.names
            for sides in (("topic", "table"), ("table", "topic"))
        ]
        found = [
            doubt
            for name, one, other in pairs
            if (doubt := self._doubt(name, one, other)) is not None
        ]
        return list({d.column: d for d in reversed(found)}.values())[::-1]

    def _doubt(self, name: str, one: str, other: str) -> Doubt | None:
        for number, grain in self.grains(one, name).items():
            if grain.grain is None or grain.of < FEW:
                continue
            values = [
                v
                for row in getattr(self, other)
                for m, v in self._leaves(row, name)
                if id(m) == number and not (m is TEXT and _plain(v))
            ]
            finer = sum(not grain.measure.fits(v, grain.grain) for v in values)
            if finer and (1 - finer / len(values)) ** grain.of < RARE:
                return Doubt(self.labels[name], one, grain.measure.said(grain.grain))
        return None

    # --- one by one

    def twins(self) -> Twins:
        """Match messages with the table's rows of their key and their time.

        Times are compared at the coarser side's grain.
        """
        told = [g for side in ("topic", "table") for g in self.grains(side, "time").values()]
        unit = max((g.grain if g.of >= FEW else min(g.grain, SECOND) for g in told), default=1)
        by_key: dict[Any, list[Row]] = {}
        for row in self.table:
            by_key.setdefault(self._key(row), []).append(row)
        found, columns = {"known": 0, "twice": 0, "odd": 0}, set[str]()
        shown: tuple[str, Any, Any] | None = None
        shifts = Counter[int]()
        for row in self.topic:
            near = [
                r for r in by_key.get(self._key(row), ()) if abs(r["time"] - row["time"]) < unit
            ]
            if not near:
                shifts.update(self._shifts(row, by_key.get(self._key(row), ())))
                continue
            kind, other = self._kin(row, near)
            found[kind] += 1
            if kind != "known":
                differing = [n for n in self.names if row[n] != other[n]]
                if kind == "twice":
                    columns |= {self.labels[n] for n in differing}
                first = differing[0]
                ours, theirs = (
                    _instant(r[first]) if first == "time" else r[first] for r in (row, other)
                )
                shown = shown or (self.labels[first], ours, theirs)
        if self._crowded(by_key):
            found["odd"] = 0  # so does one row of the table to another
        ((by, shifted),) = shifts.most_common(1) or ((0, 0),)
        return Twins(
            **found,
            shifted=shifted if unit < MINUTE else 0,
            by=by,
            shown=shown,
            columns=frozenset(columns),
        )

    def _crowded(self, by_key: Mapping[Any, Sequence[Row]]) -> bool:
        """Return whether the table itself often has several rows of one key and time."""
        return sum(len({r["time"] for r in rows}) for rows in by_key.values()) < CROWDED * len(
            self.table
        )

    def _shifts(self, row: Row, rows: Sequence[Row]) -> set[int]:
        """Return by how much equal rows of the table differ in time, if zones differ by it."""
        apart = {
            row["time"] - r["time"]
            for r in rows
            if all(row[n] == r[n] for n in self.names if n not in (*self.keys, "time"))
        }
        return {d for d in apart if d % QUARTER == 0 and abs(d) <= FARTHEST}

    def _kin(self, row: Row, near: Sequence[Row]) -> tuple[str, Row]:
        """Return how the table's rows of a message's key and time match it, and the closest one."""
        for other in near:
            if all(row[n] == other[n] for n in self.names):
                return "known", other
        for other in near:
            if all(self._alike(n, row[n], other[n]) for n in self.names):
                return "twice", other
        return "odd", near[0]

    def _key(self, row: Row) -> tuple[Any, ...]:
        return tuple(_bare(row[k]) if isinstance(row[k], str) else row[k] for k in self.keys)

    def _alike(self, name: str, one: Any, other: Any) -> bool:
        """Return whether two values are one, at different precision."""
        if one == other or name == "time" or one is None or other is None:
            return one == other or name == "time"
        ours, theirs = list(_leaves(one)), list(_leaves(other))
        return len(ours) == len(theirs) and all(
            self._one(name, a, b) for a, b in zip(ours, theirs, strict=True)
        )

    def _one(self, name: str, one: Any, other: Any) -> bool:
        (measure, a), (theirs, b) = _measured(one), _measured(other)
        if measure is None or measure is not theirs or one == other:
            return bool(one == other)
        if measure is TEXT:
            return measure.alike(a, b, None)
        grains = [
            g[id(measure)].grain
            for side in ("topic", "table")
            if id(measure) in (g := self.grains(side, name))
        ]
        return any(measure.alike(a, b, g) for g in grains)


def _met(plan: GroupByPlan, name: str, value: Any) -> Any:
    """Return a value at the precision at which topic and table meet; times in microseconds."""
    precision = plan.coarse.get(name)
    met = as_met(precision, value)
    return met * PRECISIONS[precision] if name == "time" and precision in PRECISIONS else met


def _instant(us: int) -> str:
    try:
        return str(EPOCH + timedelta(microseconds=us))
    except OverflowError:
        return f"{us} us"


def _plain(text: str) -> bool:
    """Return whether a text is the same in every normal form."""
    return text.isascii() or unicodedata.normalize("NFD", text) == unicodedata.normalize(
        "NFC", text
    )


def told(plan: GroupByPlan, topic: Sequence[Row], table: Sequence[Row]) -> tuple[bool, str]:
    """Return a sentence on what would count twice, and whether it is certain.

    The sentence is empty where nothing is found.
    """
    sides = Sides(plan, topic, table)
    twins, doubts = sides.twins(), sides.doubts()
    name = plan.topic.name if plan.topic else ""
    if twins.twice:
        systematic = not twins.columns.isdisjoint(d.column for d in doubts)
        how = (
            f"{twins.twice:,} of the newest messages of {name}"
            f" {'is' if twins.twice == 1 else 'are'} in the table too, told otherwise, and would"
            " count twice (semantics rule 21)"
        )
        return systematic or twins.twice > twins.known, f"{how}: {_shown(twins)}; {CURE}"
    if twins.shifted >= FEW and twins.shifted > twins.known:
        hours = f"{abs(twins.by) / 4 / QUARTER:g} h {'later' if twins.by > 0 else 'earlier'}"
        return (
            False,
            (
                f"{twins.shifted:,} of the newest messages of {name} are rows of the table {hours},"
                " as times of another zone are, and would count twice (semantics rule 21); let"
                f" messages say their times in UTC or with their zone, or {CURE}"
            ),
        )
    if doubts:
        each = "; ".join(
            f"{name if d.coarser == 'topic' else 'the table'} tells {d.column} {d.said}, and"
            f" {'the table' if d.coarser == 'topic' else name} otherwise"
            for d in doubts
        )
        return (
            False,
            f"{each}: an event that comes by both would count twice (semantics rule 21); {CURE}",
        )
    if twins.odd >= ODD and twins.odd > twins.known:
        how = (
            f"{twins.odd:,} of the newest messages of {name} have the key and the time of a row of"
            " the table, and differ from it"
        )
        return (
            False,
            (
                f"{how}: {_shown(twins)}; if they are the same events, they would count twice"
                f" (semantics rule 21): {CURE}"
            ),
        )
    return False, ""


def _shown(twins: Twins) -> str:
    if twins.shown is None:
        return ""
    column, ours, theirs = twins.shown
    return f"such as {column} {ours!r:.80} beside the table's {theirs!r:.80}"


__all__ = ["Sides", "told"]
