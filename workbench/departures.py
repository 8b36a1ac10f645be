"""Left rows that a dated result has and the left no longer has: forgotten by it, or corrected in it (moved to another time, deleted).

Lefts forget from their beginning, as tables do that keep thirty days: rows before the left's earliest time may be forgotten,
and are kept. A row at or after it that is not there was corrected. So was one before it that now stands at another time:
the same in every other column, where these tell the left's rows apart; where they do not, if all that is missing came at
other times among the days that were filled.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from attrs import frozen

from backends import engine_of
from workbench.normal import floor_to, micros
from workbench.rows import in_us
from workbench.windows import DAY

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    import ibis.expr.types as ir

    from backends import Engine

EPOCH = date(1970, 1, 1)
AT, ON = "_fw_departed_at", "_fw_departed_on"
NULL = 7  # what stands for the hash of a null


def day_of(us: int) -> date:
    """The day, UTC, that a time in microseconds since 1970 is on."""
    return EPOCH + timedelta(days=us // in_us(DAY))


def us_of(day: date) -> int:
    """The midnight, UTC, that begins a day."""
    return (day - EPOCH) // timedelta(microseconds=1)


@frozen(slots=False)
class Departures:
    """What became of the rows that some days of a result have and the left lacks.

    `read` gives the result; it and `left` are whole. `filled` says how many left rows each finished day was filled from, `today` how
    many the left has of each day now, and `came` which days have rows that the result lacks.
    """

    engine: Engine
    read: Callable[[], ir.Table]
    left: ir.Table
    time: str
    filled: Mapping[date, int]
    today: Mapping[date, int]
    came: Collection[date]

    @cached_property
    def result(self) -> ir.Table:
        """All rows of the result."""
        return self.read()

    @cached_property
    def lost(self) -> list[date]:
        """The finished days that the left has fewer rows of."""
        return sorted(d for d, n in self.filled.items() if self.today.get(d, 0) < n)

    @cached_property
    def moved(self) -> Mapping[date, int]:
        """Of days whose missing rows may be forgotten: how many of them now stand at other times."""
        return self._moved() if self.forgettable else {}

    @cached_property
    def forgettable(self) -> list[date]:
        """Of the days that lost rows, those of which all that is missing is from before the left's earliest row."""
        if not self.lost or self.time not in self.result.columns:
            return []
        return [d for d in self.lost if d < day_of(self._first) or (d == day_of(self._first) and self._missing_before(d))]

    @cached_property
    def corrected(self) -> list[date]:
        """Days of which the left lacks rows by no forgetting; what they have is to be made of what the left has."""
        return [d for d in self.lost if d not in self.forgettable or self.moved.get(d, 0) >= self.filled[d] - self.today.get(d, 0)]

    @cached_property
    def forgotten(self) -> list[date]:
        """Days whose missing rows are kept, all or but for those that moved."""
        return [d for d in self.lost if d not in self.corrected]

    def kept(self, day: date) -> ir.Table:
        """The result's rows of a day but those that moved, held by the left's engine."""
        rows = self._dated(self.result).filter(lambda t: t[ON] == us_of(day))
        rest = rows.mutate(**self._marks(rows)).anti_join(self._arrived, self._names).select(*self.result.columns)
        return self.engine.keep(rest if self._reader is self.engine else self._reader.fetch(rest))

    # --- questions

    @cached_property
    def _first(self) -> int:
        """The time of the left's earliest row; of none, after all."""
        ((first,),) = self.engine.rows(self.left.agg(first=micros(self.left[self.time]).min()))
        return us_of(date.max) if first is None else int(first)

    def _missing_before(self, day: date) -> bool:
        rows = self._before()
        rows = rows.filter(rows[ON] == us_of(day))
        ((before,),) = self._reader.rows(rows.agg(n=rows.count()))
        return self.today.get(day, 0) + int(before) == self.filled[day]

    def _before(self) -> ir.Table:
        return self._dated(self.result).filter(lambda t: t[AT] < self._first)

    @cached_property
    def _reader(self) -> Engine:
        """The engine that reads the result: another one for files, where the left's reads none."""
        con = self.result.get_backend()
        return self.engine if con is self.engine.connected else engine_of(con)

    @cached_property
    def _columns(self) -> list[str]:
        return [c for c in self.left.columns if c != self.time and c in self.result.columns]

    @property
    def _names(self) -> list[str]:
        return [f"_fw_mark{i}" for i in range(len(self._columns))]

    def _marks(self, table: ir.Table) -> dict[str, ir.Value]:
        """Hashes of all columns but the time, by which rows are told apart."""
        return {n: self._reader.hashed(table[c]).fill_null(NULL) for n, c in zip(self._names, self._columns, strict=True)}

    def _dated(self, table: ir.Table) -> ir.Table:
        at = micros(table[self.time])
        return table.mutate(**{AT: at, ON: floor_to(at, in_us(DAY))})

    @cached_property
    def _arrived(self) -> ir.Table:
        """Marks and day of the left's rows that the result has not got at their time."""
        rows = self._dated(self.left)
        there = self._reader.keep(self._held(rows.filter(rows[ON].isin([us_of(d) for d in self.came]))))
        marked = there.select(AT, ON, **self._marks(there))
        before = self._dated(self.result)
        before = before.filter(before[ON].isin([us_of(d) for d in self.came if d in self.filled]))
        known = before.select(AT, **self._marks(before))
        return self._reader.keep(marked.anti_join(known, [AT, *self._names]))

    def _held(self, rows: ir.Table) -> Any:
        return rows if self._reader is self.engine else self.engine.fetch(rows)

    def _moved(self) -> dict[date, int]:
        if not self.came or not self._columns:
            return {}
        rows = self._before()
        lost = self._reader.keep(rows.select(ON, **self._marks(rows)))
        met = lost.semi_join(self._arrived, self._names)
        found = {day_of(us): int(n) for us, n in self._reader.rows(met.group_by(ON).agg(n=met.count()))}
        if not found or self._identified():
            return {d: n for d, n in found.items() if d in self.forgettable}
        return {d: self.filled[d] - self.today.get(d, 0) for d in self.forgettable} if self._all_came(lost) else {}

    def _identified(self) -> bool:
        """Whether no two of the left's rows, nor of the result's, are the same but for their time."""
        left = self._reader.keep(self._held(self.left.select(*self._columns)))
        tables = (left.select(**self._marks(left)), self.result.select(**self._marks(self.result)))
        counts = [t.group_by(self._names).agg(n=t.count()).agg(most=lambda c: c.n.max()) for t in tables]
        return all((most or 0) <= 1 for c in counts for ((most,),) in [self._reader.rows(c)])

    def _all_came(self, lost: ir.Table) -> bool:
        """Whether as many rows as are lost, and the same but for their time, came on days up to the last that was filled."""
        late = self._arrived.filter(self._arrived[ON] <= us_of(max(self.filled)))
        wanted = lost.group_by(self._names).agg(n=lost.count())
        got = late.group_by(self._names).agg(m=late.count())
        short = wanted.left_join(got, self._names).agg(short=lambda t: (t.n > t.m.fill_null(0)).any())
        ((some,),) = self._reader.rows(short)
        return not some
