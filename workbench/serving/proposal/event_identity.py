"""Matching of a topic's events with the table's: what both really carry (semantics rule 21)."""

from __future__ import annotations

import unicodedata
from collections import Counter
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from workbench.online.messages.event_precision import UNITS as PRECISIONS
from workbench.online.messages.event_precision import as_met
from workbench.online.time_units import MINUTE_US, SECOND_US, utc_time
from workbench.serving.proposal.value_measures import (
    INSTANT,
    TEXT,
    Measure,
    bare_text,
    measure_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from workbench.online.plan import GroupByPlan

Row = dict[str, Any]

CHANCE_LIMIT = 0.001  # how likely chance may be where something is said to be systematic
MIN_VALUES = 3  # values of which nothing is said in general
QUARTER_HOUR_US = 15 * MINUTE_US
FARTHEST = 14 * 4 * QUARTER_HOUR_US  # that a zone's time is from UTC
MIN_DISTINCT_SHARE = 0.9  # of a table's rows: less than these have a key and a time of their own
MIN_ODD_ROWS = 3  # rows of one key and time that differ otherwise, before it is said
CURE = (
    "name the column that identifies an event, EventSource(..., id=...), or have both tell the same"
)


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
class PrecisionDoubt:
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
            yield (INSTANT, leaf) if name == "time" else measure_of(leaf)

    def grains(self, side: str, name: str) -> dict[int, Grain]:
        """Return the grains of a side's column, by the measure's id.

        Lists may have values of several kinds.
        """
        if (side, name) not in self._grains:
            by_measure: dict[int, tuple[Measure, list[Any]]] = {}
            for row in getattr(self, side):
                for measure, value in self._leaves(row, name):
                    if measure is not None and not (measure is TEXT and _plain(value)):
                        by_measure.setdefault(id(measure), (measure, []))[1].append(value)
            self._grains[side, name] = {
                i: Grain(m, m.grain(v), len(v)) for i, (m, v) in by_measure.items()
            }
        return self._grains[side, name]

    # --- by and large

    def doubts(self) -> list[PrecisionDoubt]:
        """Return the columns that one side carries less finely, beyond what chance explains."""
        pairs = [
            (name, *sides)
            for name in self.names
            for sides in (("topic", "table"), ("table", "topic"))
        ]
        column_doubts = [
            doubt
            for name, side, other_side in pairs
            if (doubt := self._doubt(name, side, other_side)) is not None
        ]
        return list({d.column: d for d in reversed(column_doubts)}.values())[::-1]

    def _doubt(self, name: str, side: str, other_side: str) -> PrecisionDoubt | None:
        for number, grain in self.grains(side, name).items():
            if grain.grain is None or grain.of < MIN_VALUES:
                continue
            values = [
                v
                for row in getattr(self, other_side)
                for m, v in self._leaves(row, name)
                if id(m) == number and not (m is TEXT and _plain(v))
            ]
            finer = sum(not grain.measure.fits(v, grain.grain) for v in values)
            if finer and (1 - finer / len(values)) ** grain.of < CHANCE_LIMIT:
                return PrecisionDoubt(self.labels[name], side, grain.measure.said(grain.grain))
        return None

    # --- one by one

    def twins(self) -> Twins:
        """Match messages with the table's rows of their key and their time.

        Times are compared at the coarser side's grain.
        """
        time_grains = [g for side in ("topic", "table") for g in self.grains(side, "time").values()]
        unit = max(
            (g.grain if g.of >= MIN_VALUES else min(g.grain, SECOND_US) for g in time_grains),
            default=1,
        )
        by_key: dict[Any, list[Row]] = {}
        for row in self.table:
            by_key.setdefault(self._key(row), []).append(row)
        counts, columns = {"known": 0, "twice": 0, "odd": 0}, set[str]()
        example: tuple[str, Any, Any] | None = None
        shifts = Counter[int]()
        for row in self.topic:
            near = [
                r for r in by_key.get(self._key(row), ()) if abs(r["time"] - row["time"]) < unit
            ]
            if not near:
                shifts.update(self._shifts(row, by_key.get(self._key(row), ())))
                continue
            kind, nearest = self._kin(row, near)
            counts[kind] += 1
            if kind != "known":
                differing = [n for n in self.names if row[n] != nearest[n]]
                if kind == "twice":
                    columns |= {self.labels[n] for n in differing}
                first = differing[0]
                message_value, table_value = (
                    _instant(r[first]) if first == "time" else r[first] for r in (row, nearest)
                )
                example = example or (self.labels[first], message_value, table_value)
        if self._crowded(by_key):
            counts["odd"] = 0  # so does one row of the table to another
        ((by, shifted),) = shifts.most_common(1) or ((0, 0),)
        return Twins(
            **counts,
            shifted=shifted if unit < MINUTE_US else 0,
            by=by,
            shown=example,
            columns=frozenset(columns),
        )

    def _crowded(self, by_key: Mapping[Any, Sequence[Row]]) -> bool:
        """Return whether the table itself often has several rows of one key and time."""
        return sum(
            len({r["time"] for r in rows}) for rows in by_key.values()
        ) < MIN_DISTINCT_SHARE * len(self.table)

    def _shifts(self, row: Row, rows: Sequence[Row]) -> set[int]:
        """Return by how much equal rows of the table differ in time, if zones differ by it."""
        apart = {
            row["time"] - r["time"]
            for r in rows
            if all(row[n] == r[n] for n in self.names if n not in (*self.keys, "time"))
        }
        return {d for d in apart if d % QUARTER_HOUR_US == 0 and abs(d) <= FARTHEST}

    def _kin(self, row: Row, near: Sequence[Row]) -> tuple[str, Row]:
        """Return how the table's rows of a message's key and time match it, and the closest one."""
        for candidate in near:
            if all(row[n] == candidate[n] for n in self.names):
                return "known", candidate
        for candidate in near:
            if all(self._alike(n, row[n], candidate[n]) for n in self.names):
                return "twice", candidate
        return "odd", near[0]

    def _key(self, row: Row) -> tuple[Any, ...]:
        return tuple(bare_text(row[k]) if isinstance(row[k], str) else row[k] for k in self.keys)

    def _alike(self, name: str, value: Any, other_value: Any) -> bool:
        """Return whether two values are one, at different precision."""
        if value == other_value or name == "time" or value is None or other_value is None:
            return value == other_value or name == "time"
        leaves, other_leaves = list(_leaves(value)), list(_leaves(other_value))
        return len(leaves) == len(other_leaves) and all(
            self._one(name, a, b) for a, b in zip(leaves, other_leaves, strict=True)
        )

    def _one(self, name: str, value: Any, other_value: Any) -> bool:
        (measure, a), (other_measure, b) = measure_of(value), measure_of(other_value)
        if measure is None or measure is not other_measure or value == other_value:
            return bool(value == other_value)
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
    at = utc_time(us)
    return f"{us} us" if at is None else str(at)


def _plain(text: str) -> bool:
    """Return whether a text is the same in every normal form."""
    return text.isascii() or unicodedata.normalize("NFD", text) == unicodedata.normalize(
        "NFC", text
    )


def double_count_sentence(
    plan: GroupByPlan, topic: Sequence[Row], table: Sequence[Row]
) -> tuple[bool, str]:
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
        return systematic or twins.twice > twins.known, f"{how}: {_example_sentence(twins)}; {CURE}"
    if twins.shifted >= MIN_VALUES and twins.shifted > twins.known:
        hours = (
            f"{abs(twins.by) / 4 / QUARTER_HOUR_US:g} h {'later' if twins.by > 0 else 'earlier'}"
        )
        return (
            False,
            (
                f"{twins.shifted:,} of the newest messages of {name} are rows of the table {hours},"
                " as times of another zone are, and would count twice (semantics rule 21); let"
                f" messages say their times in UTC or with their zone, or {CURE}"
            ),
        )
    if doubts:
        differences = "; ".join(
            f"{name if d.coarser == 'topic' else 'the table'} tells {d.column} {d.said}, and"
            f" {'the table' if d.coarser == 'topic' else name} otherwise"
            for d in doubts
        )
        return (
            False,
            (
                f"{differences}: an event that comes by both would count twice (semantics rule 21);"
                f" {CURE}"
            ),
        )
    if twins.odd >= MIN_ODD_ROWS and twins.odd > twins.known:
        how = (
            f"{twins.odd:,} of the newest messages of {name} have the key and the time of a row of"
            " the table, and differ from it"
        )
        return (
            False,
            (
                f"{how}: {_example_sentence(twins)}; if they are the same events, they would count"
                f" twice (semantics rule 21): {CURE}"
            ),
        )
    return False, ""


def _example_sentence(twins: Twins) -> str:
    if twins.shown is None:
        return ""
    column, message_value, table_value = twins.shown
    return f"such as {column} {message_value!r:.80} beside the table's {table_value!r:.80}"


__all__ = ["Sides", "double_count_sentence"]
