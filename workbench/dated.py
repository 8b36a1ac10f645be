"""Dated tables: what one lacks, what of it is stale, and the steps that fill it."""

from __future__ import annotations

from bisect import bisect_left
from datetime import date, timedelta
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.operations as ops
from attrs import evolve, frozen

from backends import Engine
from backends.ledger import BY, Entry
from workbench import progress
from workbench.canonical import fingerprint
from workbench.compile import training_set
from workbench.departures import Departures
from workbench.errors import DefinitionError, warn
from workbench.normal import floor_to, micros
from workbench.planning import Chooser
from workbench.rows import EVENT, EntityRows, EventRows, in_us, rebound
from workbench.sources import EntitySource
from workbench.steps import Step, Steps, gaps, steps
from workbench.versions import RULES, versions
from workbench.windows import DAY

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    import ibis.expr.types as ir

    from backends.dataset import Dataset
    from backends.engine import Range
    from backends.ledger import Ledger
    from workbench.definitions import GroupBy
    from workbench.joins import Join, JoinPart

EPOCH = date(1970, 1, 1)
PRIME, MIX, NOTHING = 1_000_000_007, 31, 7  # checksums of rows add up within 64 bits for eight thousand million rows a day


def days_since_epoch(day: date) -> int:
    """The midnight, UTC, that begins a day, in days since 1970."""
    return (day - EPOCH).days


def left_rows(join: Join, engine: Engine, start: date | None, end: date | None) -> ir.Table:
    """The left's rows in [start, end), evaluated once."""
    rows = between(rebound(join.left.table, engine, clean=False).to_expr(), join.left.time, start, end)
    return engine.keep(rows)


def between(table: ir.Table, time: str, start: date | None, end: date | None) -> ir.Table:
    """The rows whose time is in [start, end), UTC; those without a time stay, for the checks to name."""
    at = micros(table[time])
    kept = [at.isnull() | (at >= days_since_epoch(start) * in_us(DAY))] if start else []
    kept += [at.isnull() | (at < days_since_epoch(end) * in_us(DAY))] if end else []
    return table.filter(kept) if kept else table


@frozen
class Refill:
    """Bringing one dated table or dataset up to a definition and its data, for the days [first, last)."""

    join: Join
    engine: Engine
    into: Ledger | Dataset
    left: ir.Table
    days: tuple[date | None, date | None] = (None, None)
    rebuild: bool = False
    plan: str | None = None

    def run(self, step: int) -> None:
        """Fill what is missing or stale, in steps, alone; a changed definition is built beside what is there and swapped in."""
        with self.engine.refusing(f"backfill of {self.into.name}"), self.into.held():
            self._run(step, fingerprint(self.join, serving=False))

    def _run(self, step: int, definition: str) -> None:
        into: Any = self.into  # what names a target, a table or a folder, is its own affair
        into.check_ours(self.join.name, rebuild=self.rebuild)
        there = into.entries(into.main)
        old = {e.day for e in there} if any(e.definition != definition for e in there) else set()
        target = into.building(definition) if old else into.main
        into.drop_unfinished(keep=target)
        finished = {e.day: e for e in into.entries(target)}
        left = left_rows(self.join, self.engine, None, None) if old else self.left
        now = self._now(definition, left, old)
        gone = self._departures(there, left, now)
        if old:
            self._check_nothing_lost(gone)
        corrected = {e.day for e in now} if old else set(gone.corrected)  # a new definition is made of what the left has
        work = Work.of(now, {} if self.rebuild else finished, corrected)
        self._say(work, gone, old)
        if not old and not self.rebuild:
            self._take_out_moved(target, gone, finished)
        into.remove(target, self.join.left.time, self._emptied(finished, now, gone, whole=bool(old)))
        made = Steps(self.engine, left, self.join.left.time, self._features)
        for some in progress.track(work.steps(finished, step), f"backfill {self.into.name}"):
            self._step(target, made, some)
        if old:
            into.swap(target)
        into.finish()

    def _now(self, definition: str, left: ir.Table, old: set[date]) -> list[Entry]:
        """What an entry would say today, for every day with rows that is asked for or was there under an older definition."""
        time, made = self.join.left.time, versions(self.engine)
        rows = _by_day(self.engine, left, micros(left[time]), left.columns)
        seen = {p.head: Seen(p, self.engine) for p in self.join.parts}
        wanted = [day for day in sorted(rows) if day in old or self._asked(day)]
        return [Entry(day, self.join.name, definition, {"left": rows[day]} | {head: s.before(day) for head, s in seen.items()}, made) for day in wanted]

    def _asked(self, day: date) -> bool:
        first, last = self.days
        return (first is None or day >= first) and (last is None or day < last)

    # --- rows that the left has no more

    def _departures(self, there: Sequence[Entry], left: ir.Table, now: Sequence[Entry]) -> Departures:
        """What became of rows that the result was filled from, on whatever day; the left is asked beyond the range where the result has days there."""
        into: Any = self.into
        filled, entries = {e.day: e.rows for e in there}, {e.day: e for e in there}
        today = {e.day: e.rows for e in now}
        came = {e.day for e in now if e.day not in entries or entries[e.day].inputs["left"] != e.inputs["left"]}
        if self.days != (None, None) and there:
            left = rebound(self.join.left.table, self.engine, clean=False).to_expr()
            beyond = {day: n for day, (n, _) in _by_day(self.engine, left, micros(left[self.join.left.time]), ()).items() if not self._asked(day)}
            today, came = beyond | today, came | {day for day, n in beyond.items() if n > filled.get(day, 0)}
        return Departures(self.engine, lambda: into.rows, left, self.join.left.time, filled, today, came)

    def _check_nothing_lost(self, gone: Departures) -> None:
        """Refuse to rebuild from a left that has forgotten rows that the table was filled from."""
        if gone.forgotten and not self.rebuild:
            message = f"the definition of {self.join.name} changed, and its left has lost rows of {_days(gone.forgotten)} since {self.into.name} was filled: rebuilding would lose them too; give into= another name, or pass rebuild=True"
            raise DefinitionError(message)

    def _emptied(self, finished: dict[date, Entry], now: Sequence[Entry], gone: Departures, *, whole: bool) -> list[Range]:
        """The ranges of days that are to have no rows."""
        days = {e.day for e in now}
        if self.rebuild and not whole:
            return list(gaps(sorted(days), *self.days))
        empty = set(finished) if whole else {d for d in gone.corrected if self._asked(d)}
        return [(day, day + timedelta(days=1)) for day in sorted(empty - days)]

    def _take_out_moved(self, target: Any, gone: Departures, finished: dict[date, Entry]) -> None:
        """Of a day that the left forgets, keep what did not move."""
        into: Any = self.into
        for day in [d for d in gone.forgotten if gone.moved.get(d) and self._asked(d)]:
            rows = gone.kept(day)
            us = micros(rows[self.join.left.time])
            left = _by_day(self.engine, rows, us, [c for c in self.join.left.table.schema if c in rows.columns])[day]
            entry = evolve(finished[day], inputs=finished[day].inputs | {"left": left})
            into.write(target, rows.mutate(**{BY: floor_to(us, in_us(DAY))}), self.join.left.time, [entry], [(day, day + timedelta(days=1))])

    # --- what is done

    def _say(self, work: Work, gone: Departures, old: set[date]) -> None:
        """What is done again or left as it is, and why, in one sentence each."""
        again, said = work.again, []
        if old:
            days = [e.day for e in work.todo]
            said.append(f"the definition of {self.join.name} changed; {_days(days)} {_are(days)} computed anew and take the table's place at the end")
        elif again:
            why = f"the rules of what a value is changed to version {RULES}" if work.ruled else "their left or sources gained or changed rows"
            said.append(f"{_days(again)} {_are(again)} computed again, since {why}")
        if not old:
            said += [*([] if self.rebuild else self._departed(work, gone)), *self._beyond(gone)]
        for sentence in said:
            warn(f"{self.into.name}: {sentence}")

    def _departed(self, work: Work, gone: Departures) -> Iterable[str]:
        """What becomes of rows that the left has no more."""
        day_by_day = {e.day for e in work.now}
        empty = [d for d in gone.corrected if self._asked(d) and d not in day_by_day]
        if empty:
            yield f"{_days(empty)} {_are(empty)} taken out, since the left has no rows there any more"
        if moved := [d for d in gone.forgotten if gone.moved.get(d) and self._asked(d)]:
            yield f"rows of {_days(moved)} that stand at other times in the left now are taken out"
        if kept := sorted({*work.kept, *(d for d in gone.forgotten if self._asked(d))}):
            yield f"{_days(kept)} {_are(kept)} kept, though their left or sources have lost rows since; rebuild=True computes them from what is there now"

    def _beyond(self, gone: Departures) -> Iterable[str]:
        """Rows that the left has no more on days that are not asked for."""
        if beyond := [d for d in gone.lost if not self._asked(d) and (d in gone.corrected or gone.moved.get(d))]:
            yield f"{_days(beyond)} outside the range {'has' if len(beyond) == 1 else 'have'} rows that the left no longer has at these times, so that some may stand twice: backfill without start and end brings them in line"

    def _features(self, left: ir.Table) -> ir.Table:
        return training_set(self.join, self.engine, left, Chooser(self.engine, self.plan))

    def _step(self, target: Any, made: Steps, step: Step) -> None:
        what = f"backfill of {self.into.name}, step {step.entries[0].day} to {step.entries[-1].day} (steps before it are kept; run it again to go on),"
        into: Any = self.into
        self.engine.run(what, lambda: into.write(target, made.rows(step), self.join.left.time, step.entries, [step.range]))


@frozen
class Work:
    """What there is to do: all days as they are now, those to be computed, those that are computed again, and those that are kept though rows are lost."""

    now: Sequence[Entry]
    todo: Sequence[Entry]
    again: Sequence[date]
    kept: Sequence[date]
    ruled: bool
    first: frozenset[date]  # days that lose rows, which may be elsewhere: done first, so that a row never stands twice

    @classmethod
    def of(cls, now: Sequence[Entry], done: dict[date, Entry], corrected: Collection[date]) -> Work:
        """What of the days as they are now is missing in what is done, or stale; of corrected ones, what the left has is taken though it has less."""
        todo = [e for e in now if e.day not in done or _stale(done[e.day], e, corrected=e.day in corrected)]
        chosen = {e.day for e in todo}
        kept = [e.day for e in now if e.day in done and e.day not in chosen and LOST in _changes(done[e.day].inputs, e.inputs)]
        again = [e.day for e in todo if e.day in done]
        ruled = any(done[d].versions["rules"] != RULES for d in again)
        return cls(now, todo, again, kept, ruled, frozenset(corrected))

    def steps(self, finished: Iterable[date], length: int) -> list[Step]:
        """Days that lose rows first, each side in steps of at most so many days."""
        days = {e.day for e in self.now} | set(finished)
        sides = [[e for e in self.todo if (e.day in self.first) is first] for first in (True, False)]
        return [s for side in sides for s in steps(side, days - {e.day for e in side}, length)]


def _stale(done: Entry, now: Entry, *, corrected: bool) -> bool:
    """Whether a finished day is to be computed again; not from sources that have lost rows, nor from a left that forgot some."""
    left, sources = _changes(done.inputs, now.inputs)
    if done.versions["rules"] != RULES:
        return True
    return sources is not LOST and (corrected if left is LOST else GAINED in (left, sources))


SAME, GAINED, LOST = "same", "gained", "lost"


def _changes(old: dict[str, list[int]], new: dict[str, list[int]]) -> tuple[str, str]:
    """How a day's left, and its sources, differ from when it was filled: how much there is decides, then the checksum."""
    return _changed([(old["left"], new["left"])]), _changed([(old.get(k, []), v) for k, v in new.items() if k != "left"])


def _changed(pairs: Sequence[tuple[list[int], list[int]]]) -> str:
    if any(was[:-1] > now[:-1] for was, now in pairs):
        return LOST
    return SAME if all(was == now for was, now in pairs) else GAINED


def _days(days: Sequence[date]) -> str:
    return f"{days[0]}" if len(days) == 1 else f"{len(days)} days from {min(days)} to {max(days)}"


def _are(days: Sequence[object]) -> str:
    return "is" if len(days) == 1 else "are"


def _by_day(engine: Engine, table: ir.Table, us: ir.IntegerValue, columns: Sequence[str]) -> dict[date, list[int]]:
    """The number of rows of each day, UTC, and a checksum of their `columns` that no order of rows changes."""
    mixed = [((engine.hashed(table[c]) % PRIME + PRIME) % PRIME).fill_null(NOTHING) for c in columns]
    # as a sum of products, not nested by column: engines refuse expressions that are hundreds of calls deep
    weighed = [(m * pow(MIX, len(mixed) - 1 - i, PRIME)) % PRIME for i, m in enumerate(mixed)]
    row = _sum(weighed) % PRIME if mixed else ibis.literal(0)
    whole = row * row % PRIME  # or two rows that swap the values of a column would add up to the same
    days = table.select(day=floor_to(us, in_us(DAY)), mark=whole).filter(lambda t: t.day.notnull())
    counts = engine.fetch(days.group_by("day").agg(n=days.count(), mark=days.mark.sum()).order_by("day")).to_pylist()
    return {EPOCH + timedelta(microseconds=c["day"]): [c["n"], int(c["mark"])] for c in counts}


def _sum(values: Sequence[ir.IntegerValue]) -> ir.IntegerValue:
    half = len(values) // 2
    return values[0] if not half else _sum(values[:half]) + _sum(values[half:])


class Seen:
    """What of a part's source a day's values could see, to tell late and changed rows."""

    def __init__(self, part: JoinPart, engine: Engine) -> None:
        group_by = part.group_by
        self.entity = isinstance(group_by.source, EntitySource)
        found = _snapshots(group_by, engine) if self.entity else _events(group_by, engine)
        self.days, self.found = list(found), list(found.values())
        self.rows, self.marks = ([0, *accumulate(v[i] for v in self.found)] for i in (0, 1))
        lengths = [w.length + w.hop for w in group_by.windows if w]
        bounded = part.max_age is None and lengths and None not in group_by.windows
        self.lookback = max(lengths) + DAY if bounded else None

    def before(self, day: date) -> list[int]:
        """Events from the longest window's start to the end of `day`; for an entity, the snapshot in force: how much, and its checksum."""
        end = bisect_left(self.days, day + timedelta(days=1))
        if self.entity:
            return [days_since_epoch(self.days[end - 1]), *self.found[end - 1]] if end else []
        start = 0 if self.lookback is None else bisect_left(self.days, day - self.lookback)
        return [self.rows[end] - self.rows[start], self.marks[end] - self.marks[start]]


def _events(group_by: GroupBy, engine: Engine) -> dict[date, list[int]]:
    table = EventRows(group_by, engine).table
    return _by_day(engine, table, micros(table[group_by.events.time]), sorted(_used(group_by)))


def _snapshots(group_by: GroupBy, engine: Engine) -> dict[date, list[int]]:
    """Every snapshot of the base table, which decides what is in force (rule 6), with the checksum of the rows that are used."""
    rows = EntityRows(group_by, engine)
    ends, table = rows.snapshots(), rows.table
    used = _by_day(engine, table, rows.ended(table)[EVENT], sorted(_used(group_by)))
    return {day: [n, used.get(day, [0, 0])[1]] for day, (n, _) in _by_day(engine, ends, ends[EVENT], ()).items()}


def _used(group_by: GroupBy) -> set[str]:
    """The source's columns that a value depends on."""
    fields = {f.name for feature in group_by.computed for f in feature.node.find(ops.Field, filter=ops.Value)}
    order = set() if isinstance(group_by.source, EntitySource) else {group_by.events.time, *group_by.events.order}
    return fields | order | set(group_by.keys) | {f.by for f in group_by.computed if f.by is not None}
