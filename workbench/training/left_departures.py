"""Left rows that a dated result has and the left no longer has: forgotten, or corrected.

A corrected row was moved to another time, or deleted.

Lefts forget from their beginning, as tables do that keep thirty days: rows before the left's
earliest time may be forgotten, and are kept. A row at or after it that the left lacks was
corrected. So was one before it that now stands at another time: the same in every other column,
where these distinguish the left's rows; where they do not, if all missing rows came at other times
among the days that were filled. Where the sources lost rows too, a day cannot be computed again:
its rows are kept, except for those that stand at another time now.
"""

from __future__ import annotations

from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING

import ibis
from attrs import frozen

from workbench.backends import engine_of
from workbench.backends.table_results import DAY_COLUMN
from workbench.online.time_units import DAY_US, us_since_epoch, utc_day
from workbench.portable.time_rewrites import floor_to, micros

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    import ibis.expr.types as ir

    from workbench.backends import Engine

AT, NTH = "_fw_departed_at", "_fw_departed_nth"
NULL = 7  # what stands for the hash of a null


@frozen
class Filled:
    """A finished day compared with the left.

    It has the number of rows that the day was filled from, of those kept besides, and whether the
    left has others now.
    """

    rows: int
    kept: int
    changed: bool
    sourceless: bool  # whether the sources lost rows, so that its values cannot be computed again


@frozen(slots=False)
class Departures:
    """The rows that some days of a result have and the left lacks, and what became of them.

    `read` gives the result; it and `left` have all days. `filled` compares each finished day with
    the left, `today` is how many rows the left has of each day now, and `came` gives the days on
    which it has rows that the result lacks.
    """

    engine: Engine
    read: Callable[[], ir.Table]
    left: ir.Table
    time: str
    filled: Mapping[date, Filled]
    today: Mapping[date, int]
    came: Callable[[], Collection[date]]

    @cached_property
    def result(self) -> ir.Table:
        """All rows of the result."""
        return self.read()

    @cached_property
    def first(self) -> date:
        """The day of the left's earliest row; `date.max` if it has none."""
        return utc_day(self._first)

    # --- by day

    @cached_property
    def corrected(self) -> list[date]:
        """The days of which the left lacks rows that it cannot have forgotten."""
        if not self.filled or not self._dated_alike:
            return [d for d in sorted(self.filled) if self._fewer(d)]
        return [
            d
            for d in sorted(self.filled)
            if (d > self.first and self._fewer(d)) or self._deleted.get(d)
        ]

    @cached_property
    def moved(self) -> Mapping[date, int]:
        """How many rows of each day may be kept but stand at other times in the left now."""
        return self._by_day(self._moved) if self._suspected else {}

    @cached_property
    def kept(self) -> Mapping[date, int]:
        """How many rows that the left lacks are kept of each day."""
        rest = {d: n - self.moved.get(d, 0) for d, n in self._missing_by_day.items()}
        return {d: n for d, n in sorted(rest.items()) if n}

    @cached_property
    def gained(self) -> Mapping[date, int]:
        """How many rows the left has that the result lacks, of days of which some may be kept."""
        return self._by_day(self._there.anti_join(self._had, self._keys)) if self._near else {}

    def only_forgotten(self, day: date) -> bool:
        """Return whether the left has only forgotten the beginning of the day.

        From its first row on it has the day's rows as the result has them, and no other row moved.
        """
        return (
            day == self.first
            and day in self._near
            and not (self._deleted.get(day) or self.gained.get(day) or self.moved.get(day))
        )

    # --- rows, held by the left's engine

    def staying(self, days: Collection[date]) -> ir.Table:
        """Return the result's rows of these days that are not computed again, with their day."""
        rows = self._had.filter(
            self._had[DAY_COLUMN].isin([us_since_epoch(d) for d in days]), self._keepable(self._had)
        )
        rest = rows.anti_join(self._moved, self._keys).select(*self.result.columns, DAY_COLUMN)
        return self.engine.keep(rest if self._reader is self.engine else self._reader.fetch(rest))

    def new(self, days: Collection[date]) -> ir.Table:
        """Return the left's rows of these days that the result lacks."""
        had = self._had.select(self.time, *self._columns)
        had = self._keyed(
            had if self._reader is self.engine else self.engine.keep(self._reader.fetch(had)),
            self.engine,
            days,
        )
        rows = self._keyed(self.left, self.engine, days)
        return self.engine.keep(rows.anti_join(had, self._keys).select(*self.left.columns))

    # --- questions

    @cached_property
    def _first(self) -> int:
        """The time of the left's earliest row; that of `date.max` if it has none."""
        ((first,),) = self.engine.rows(self.left.agg(first=micros(self.left[self.time]).min()))
        return us_since_epoch(date.max) if first is None else int(first)

    def _fewer(self, day: date) -> bool:
        filled = self.filled[day]
        return self.today.get(day, 0) < filled.rows or (filled.kept > 0 and not filled.sourceless)

    @property
    def _dated_alike(self) -> bool:
        return self.time in self.result.columns

    @cached_property
    def _near(self) -> list[date]:
        """The finished days that the left has rows of and some of whose rows may be kept."""
        doubtful = [
            d for d, f in self.filled.items() if (f.changed or f.kept) and self.today.get(d)
        ]
        return (
            [d for d in doubtful if d == self.first or self.filled[d].sourceless]
            if doubtful and self._dated_alike
            else []
        )

    @cached_property
    def _suspected(self) -> bool:
        """Whether any row may be missing and kept."""
        return bool(self._near) or (
            bool(self.filled) and min(self.filled) < self.first and self._dated_alike
        )

    @cached_property
    def _reader(self) -> Engine:
        """The engine that reads the result; for files it may be another than the left's."""
        con = self.result.get_backend()
        return self.engine if con is self.engine.connected else engine_of(con)

    @cached_property
    def _columns(self) -> list[str]:
        return [c for c in self.left.columns if c != self.time and c in self.result.columns]

    @property
    def _names(self) -> list[str]:
        return [f"_fw_mark{i}" for i in range(len(self._columns))]

    @property
    def _keys(self) -> list[str]:
        """The columns that identify a row: time, all other columns, and a number for equal rows."""
        return [AT, *self._names, NTH]

    def _marked(self, table: ir.Table, engine: Engine) -> ir.Table:
        """Return rows with their time, their day, and hashes of all other columns of the left."""
        at = micros(table[self.time])
        marks = {
            n: engine.hashed(table[c]).fill_null(NULL)
            for n, c in zip(self._names, self._columns, strict=True)
        }
        return table.mutate(**{AT: at, DAY_COLUMN: floor_to(at, DAY_US)}, **marks)

    def _keyed(
        self, table: ir.Table, engine: Engine, days: Collection[date], before: date = date.min
    ) -> ir.Table:
        """Return the rows of these days, and of those before one, with their keys.

        Keys distinguish rows that are equal in all columns.
        """
        rows = self._marked(table, engine)
        rows = rows.filter(
            (rows[DAY_COLUMN] < us_since_epoch(before))
            | rows[DAY_COLUMN].isin([us_since_epoch(d) for d in days])
        )
        return rows.mutate(
            **{NTH: ibis.row_number().over(group_by=[AT, *self._names], order_by=AT)}
        )

    def _of_left(self, days: Collection[date]) -> ir.Table:
        """Return the left's rows of these days, keyed, held by the result's engine."""
        at = floor_to(micros(self.left[self.time]), DAY_US)
        rows = self.left.filter(at.isin([us_since_epoch(d) for d in days]))
        held_rows = self._reader.keep(
            rows if self._reader is self.engine else self.engine.fetch(rows)
        )
        return self._reader.keep(
            self._keyed(held_rows, self._reader, days).select(*self._keys, DAY_COLUMN)
        )

    @cached_property
    def _had(self) -> ir.Table:
        """The result's rows of days of which some may be kept."""
        return self._reader.keep(self._keyed(self.result, self._reader, self._near, self.first))

    @cached_property
    def _there(self) -> ir.Table:
        """The left's rows of these days: it has none before its first."""
        return self._of_left(self._near)

    def _keepable(self, rows: ir.Table) -> ir.BooleanValue:
        return (rows[AT] < self._first) | rows[DAY_COLUMN].isin(
            [us_since_epoch(d) for d in self._near if self.filled[d].sourceless]
        )

    @cached_property
    def _lacking(self) -> ir.Table:
        return self._reader.keep(
            self._had.anti_join(self._there, self._keys).select(*self._keys, DAY_COLUMN)
        )

    @cached_property
    def _missing(self) -> ir.Table:
        """The result's rows that the left lacks and that may be kept."""
        return self._lacking.filter(self._keepable(self._lacking))

    @cached_property
    def _missing_by_day(self) -> Mapping[date, int]:
        return self._by_day(self._missing) if self._suspected else {}

    @cached_property
    def _deleted(self) -> Mapping[date, int]:
        """How many rows the left lacks that it cannot have forgotten, of its first day."""
        return (
            self._by_day(self._lacking.filter(~self._keepable(self._lacking))) if self._near else {}
        )

    def _by_day(self, rows: ir.Table) -> dict[date, int]:
        return {
            utc_day(us): int(n)
            for us, n in self._reader.rows(rows.group_by(DAY_COLUMN).agg(n=rows.count()))
        }

    @cached_property
    def _moved(self) -> ir.Table:
        """The missing rows that stand at other times in the left now."""
        none, came = (
            self._missing.limit(0),
            (sorted(self.came()) if self._missing_by_day and self._columns else []),
        )
        if not came:
            return none
        before = self._keyed(self.result, self._reader, came)
        arrived = self._reader.keep(self._of_left(came).anti_join(before, self._keys))
        met = self._reader.keep(self._missing.semi_join(arrived, self._names))
        if not self._by_day(met):
            return none
        if self._identified():
            return met
        return self._missing if self._all_came(arrived) else none

    def _identified(self) -> bool:
        """Whether no two rows of the left, nor of the result, are equal but for their time."""
        columns = [self.time, *self._columns]
        rows = self.left.select(*columns)
        left = self._reader.keep(rows if self._reader is self.engine else self.engine.fetch(rows))
        marked = [self._marked(t.select(*columns), self._reader) for t in (left, self.result)]
        times = [
            t.group_by(self._names).agg(n=t[AT].nunique()).agg(most=lambda c: c.n.max())
            for t in marked
        ]
        return all((most or 0) <= 1 for t in times for ((most,),) in [self._reader.rows(t)])

    def _all_came(self, arrived: ir.Table) -> bool:
        """Return whether each missing row came at another time, up to the last filled day."""
        late = arrived.filter(arrived[DAY_COLUMN] <= us_since_epoch(max(self.filled)))
        wanted = self._missing.group_by(self._names).agg(n=lambda t: t.count())
        got = late.group_by(self._names).agg(m=late.count())
        short = wanted.left_join(got, self._names).agg(
            short=lambda t: (t.n > t.m.fill_null(0)).any()
        )
        ((some,),) = self._reader.rows(short)
        return not some
