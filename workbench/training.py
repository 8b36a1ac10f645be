"""`backfill`: training sets and dated tables: what is missing, in steps, each whole or not at all."""

from __future__ import annotations

import warnings
from bisect import bisect_left
from datetime import date, datetime, timedelta
from itertools import accumulate
from typing import TYPE_CHECKING

from attrs import frozen

from backends import Engine, EngineError, engine_of
from backends.ledger import Entry, Ledger
from workbench import progress
from workbench.canonical import fingerprint
from workbench.checks import check_data
from workbench.compile import training_set
from workbench.errors import DefinitionError
from workbench.normal import floor_to, micros
from workbench.rows import EVENT, EntityRows, EventRows, in_us, rebound
from workbench.sources import EntitySource
from workbench.windows import DAY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import ibis.expr.types as ir
    from ibis.backends import BaseBackend

    from workbench.joins import Join, JoinPart

EPOCH = date(1970, 1, 1)
STEP = 30  # days a transaction: few scans of the sources, and little lost if one fails
Day = date | datetime | str | None


def backfill(join: Join, start: Day = None, end: Day = None, *, into: str | None = None, on: BaseBackend | None = None, step: int = STEP) -> ir.Table:
    """Features of each left row whose time is in [start, end), UTC; both open by default.

    One row out per row in: the left's columns, then one column per feature (semantics rules 9 and 17 say when it is
    null). The left is evaluated once. Runs on the left's connection, or on `on`.

    Parameters
    ----------
    join
        What to compute.
    start, end
        Dates or ISO dates; with `into`, only days in this range are filled.
    into
        A table to fill, by days of the left's time: days already there for this definition are kept, the rest is
        computed `step` days at a time, each step in one transaction. A definition that changed rebuilds every day
        that the table has, beside it, and takes its place at the end. Days whose left or sources have gained rows
        are computed again; what was done and why is said by a warning.
    on
        An Ibis connection that has the same tables.
    step
        Days a step.

    Returns an Ibis table over the finished result: `into`, or a temporary one that lives as long as the connection.

    Raises DefinitionError where definition and data contradict each other, and EngineError where the engine fails; what
    was finished before is kept.

    """
    engine = engine_of(connection_of(join, on))
    first, last = _date(start, "start"), _date(end, "end")
    left = _left(join, engine, first, last)
    check_data(join, engine, left)
    if into is None:
        return _one_to_one(engine.keep(training_set(join, engine, left)), left, join)
    Refill(join, engine, into, left).run(_whole(step))
    table = engine.table(into)
    return table if first is None and last is None else _between(table, join.left.time, first, last)


def connections(join: Join) -> list[BaseBackend]:
    """The connections that the join's tables came from, each once."""
    found = [join.left.connection, *(p.group_by.source.connection for p in join.parts)]
    return list({id(c): c for c in found if c is not None}.values())


def connection_of(join: Join, on: BaseBackend | None) -> BaseBackend:
    """`on`, or the one connection that the join's tables came from; DefinitionError where there is none or several."""
    if on is not None:
        return on
    found = connections(join)
    if len(found) == 1:
        return found[0]
    if found:
        message = f"{join.name} reads tables of {len(found)} connections: pass on= the one that has them all"
    else:
        message = f"{join.name} is made of unbound tables: pass on=, for example on=ibis.duckdb.connect('warehouse.duckdb')"
    raise DefinitionError(message)


def _date(value: Day, what: str) -> date | None:
    if isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            message = f"{what}={value!r} is no date: write it as 2023-11-30"
            raise DefinitionError(message) from None
    return value.date() if isinstance(value, datetime) else value


def _whole(step: int) -> int:
    if step < 1:
        message = f"step={step} is no number of days: it is how many days one transaction writes, at least 1"
        raise DefinitionError(message)
    return step


def days_since_epoch(day: date) -> int:
    """The midnight, UTC, that begins a day, in days since 1970."""
    return (day - EPOCH).days


def _left(join: Join, engine: Engine, start: date | None, end: date | None) -> ir.Table:
    rows = _between(rebound(join.left.table, engine).to_expr(), join.left.time, start, end)
    return engine.keep(rows)


def _between(table: ir.Table, time: str, start: date | None, end: date | None) -> ir.Table:
    """The rows whose time is in [start, end), UTC; those without a time stay, for the checks to name."""
    at = micros(table[time])
    kept = [at.isnull() | (at >= days_since_epoch(start) * in_us(DAY))] if start else []
    kept += [at.isnull() | (at < days_since_epoch(end) * in_us(DAY))] if end else []
    return table.filter(kept) if kept else table


def _one_to_one(result: ir.Table, left: ir.Table, join: Join) -> ir.Table:
    """Rule 17, asserted: a join that loses or repeats a row must never pass for a training set."""
    got, want = result.count().to_pyarrow().as_py(), left.count().to_pyarrow().as_py()
    if got != want:
        message = f"{join.name} came out with {got} rows for {want} left rows; please report this with explain({join.name})"
        raise EngineError(message)
    return result


# --- what a dated table lacks


@frozen
class Refill:
    """Bringing one dated table up to a definition and its data."""

    join: Join
    engine: Engine
    into: str
    left: ir.Table

    def run(self, step: int) -> None:
        """Fill what is missing or stale, in steps; a changed definition is built beside the table and swapped in."""
        ledger, definition = Ledger(self.engine, self.into), fingerprint(self.join, serving=False)
        ledger.check_ours()
        there = ledger.entries(self.into)
        old = {e.day for e in there} if any(e.definition != definition for e in there) else set()
        target = ledger.building(definition) if old else self.into
        ledger.drop_unfinished(keep=target)
        done = {e.day: e for e in ledger.entries(target)}
        left = _left(self.join, self.engine, None, None) if old else self.left
        todo = [e for e in self._now(definition, left, old) if self._stale(done.get(e.day), e)]
        self._say(old, done, todo)
        for some in progress.track(list(_steps(todo, step)), f"backfill {self.into}"):
            self._step(ledger, target, left, some)
        if old:
            ledger.swap(target)

    def _now(self, definition: str, left: ir.Table, old: set[date]) -> list[Entry]:
        """What an entry would say today, for every day that is asked for or was there under an older definition."""
        rows, wanted = self._left_rows(left), old | set(self._left_rows(self.left))
        seen = {p.head: Seen(p, self.engine) for p in self.join.parts}
        return [Entry(day, definition, rows.get(day, 0), {head: s.before(day) for head, s in seen.items()}) for day in sorted(wanted)]

    def _left_rows(self, left: ir.Table) -> dict[date, int]:
        return _by_day(left, micros(left[self.join.left.time]))

    def _stale(self, done: Entry | None, now: Entry) -> bool:
        if done is None:
            return True
        if _grown([done.left_rows], [now.left_rows]) or any(_grown(done.inputs.get(k, []), v) for k, v in now.inputs.items()):
            return True
        if done != now:
            message = f"{self.into}: the left or a source of {now.day} has fewer rows than when it was filled; the day is kept as it is"
            warnings.warn(message, stacklevel=5)
        return False

    def _say(self, old: set[date], done: dict[date, Entry], todo: Sequence[Entry]) -> None:
        if old:
            warnings.warn(f"{self.into}: the definition of {self.join.name} changed; {len(todo)} days are computed anew and take the table's place at the end", stacklevel=4)
            return
        again = [e.day for e in todo if e.day in done]
        if again:
            warnings.warn(f"{self.into}: {len(again)} days from {min(again)} to {max(again)} are computed again, since their left or sources gained rows", stacklevel=4)

    def _step(self, ledger: Ledger, target: str, left: ir.Table, entries: Sequence[Entry]) -> None:
        first, last = entries[0].day, entries[-1].day
        rows = training_set(self.join, self.engine, _between(left, self.join.left.time, first, last + timedelta(days=1)))
        what = f"backfill of {self.into}, step {first} to {last} (steps before it are kept; run it again to go on),"
        self.engine.run(what, lambda: ledger.write(target, rows, self.join.left.time, entries))


def _grown(old: Sequence[int], new: Sequence[int]) -> bool:
    return list(new) > list(old)


def _steps(entries: Sequence[Entry], step: int) -> Iterable[list[Entry]]:
    """Entries whose days follow each other, at most `step` days from first to last: a step replaces a whole range."""
    group: list[Entry] = []
    for entry in entries:
        if group and ((entry.day - group[-1].day).days > 1 or (entry.day - group[0].day).days >= step):
            yield group
            group = []
        group.append(entry)
    if group:
        yield group


def _by_day(table: ir.Table, us: ir.IntegerValue) -> dict[date, int]:
    """The number of rows of each day, UTC."""
    days = table.select(day=floor_to(us, in_us(DAY))).filter(lambda t: t.day.notnull())
    counts = days.group_by("day").agg(n=days.count()).order_by("day").to_pyarrow().to_pylist()
    return {EPOCH + timedelta(microseconds=c["day"]): c["n"] for c in counts}


class Seen:
    """How much of a part's source a day's values could see, to tell late rows."""

    def __init__(self, part: JoinPart, engine: Engine) -> None:
        group_by = part.group_by
        self.entity = isinstance(group_by.source, EntitySource)
        if self.entity:
            ends = EntityRows(group_by, engine).snapshots()
            counts = _by_day(ends, ends[EVENT])
        else:
            table = EventRows(group_by, engine).table
            counts = _by_day(table, micros(table[group_by.events.time]))
        self.days, self.counts = list(counts), list(counts.values())
        self.totals = [0, *accumulate(self.counts)]
        lengths = [w.length + w.hop for w in group_by.windows if w]
        bounded = part.max_age is None and lengths and None not in group_by.windows
        self.lookback = max(lengths) + DAY if bounded else None

    def before(self, day: date) -> list[int]:
        """Events from the longest window's start to the end of `day`; for an entity, the snapshot in force and its rows."""
        if self.entity:
            at = bisect_left(self.days, day + timedelta(days=1))
            return [days_since_epoch(self.days[at - 1]), self.counts[at - 1]] if at else []
        end = bisect_left(self.days, day + timedelta(days=1))
        start = 0 if self.lookback is None else bisect_left(self.days, day - self.lookback)
        return [self.totals[end] - self.totals[start]]
