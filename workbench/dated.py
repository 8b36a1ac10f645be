"""Dated tables: what one lacks, what of it is stale, and the steps that fill it."""

from __future__ import annotations

from bisect import bisect_left
from datetime import date, timedelta
from functools import reduce
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.operations as ops
from attrs import frozen

from backends import Engine
from backends.ledger import BY, Entry
from workbench import progress
from workbench.canonical import fingerprint
from workbench.compile import training_set
from workbench.errors import DefinitionError, warn
from workbench.normal import floor_to, micros
from workbench.planning import Chooser
from workbench.rows import EVENT, EntityRows, EventRows, in_us, rebound
from workbench.sources import EntitySource
from workbench.versions import RULES, versions
from workbench.windows import DAY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import ibis.expr.types as ir

    from backends.dataset import Dataset
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
    """Bringing one dated table or dataset up to a definition and its data."""

    join: Join
    engine: Engine
    into: Ledger | Dataset
    left: ir.Table
    rebuild: bool = False
    plan: str | None = None

    def run(self, step: int) -> None:
        """Fill what is missing or stale, in steps, alone; a changed definition is built beside what is there and swapped in."""
        with self.into.held():
            self._run(step, fingerprint(self.join, serving=False))

    def _run(self, step: int, definition: str) -> None:
        into: Any = self.into  # what names a target, a table or a folder, is its own affair
        into.check_ours(self.join.name, rebuild=self.rebuild)
        there = into.entries(into.main)
        old = {e.day for e in there} if any(e.definition != definition for e in there) else set()
        target = into.building(definition) if old else into.main
        into.drop_unfinished(keep=target)
        done = {} if self.rebuild else {e.day: e for e in into.entries(target)}
        left = left_rows(self.join, self.engine, None, None) if old else self.left
        now = self._now(definition, left, old)
        self._check_nothing_lost(there if old else [], now)
        todo = [e for e in now if e.day not in done or _stale(done[e.day], e)]
        self._say(old, done, now, todo)
        for some in progress.track(list(_steps(todo, step)), f"backfill {self.into.name}"):
            self._step(target, left, some)
        if old:
            into.swap(target)
        into.finish()

    def _now(self, definition: str, left: ir.Table, old: set[date]) -> list[Entry]:
        """What an entry would say today, for every day that is asked for or was there under an older definition."""
        time, made = self.join.left.time, versions(self.engine)
        rows, wanted = _by_day(self.engine, left, micros(left[time]), left.columns), old | set(_by_day(self.engine, self.left, micros(self.left[time]), ()))
        seen = {p.head: Seen(p, self.engine) for p in self.join.parts}
        inputs = {day: {"left": rows.get(day, [0, 0])} | {head: s.before(day) for head, s in seen.items()} for day in wanted}
        return [Entry(day, self.join.name, definition, inputs[day], made) for day in sorted(wanted)]

    def _check_nothing_lost(self, there: Sequence[Entry], now: Sequence[Entry]) -> None:
        """Refuse to rebuild from a left that has fewer rows than the table was filled from."""
        today = {e.day: e.rows for e in now}
        lost = [e.day for e in there if today[e.day] < e.rows]
        if lost and not self.rebuild:
            message = f"the definition of {self.join.name} changed, and its left has lost rows of {_days(lost)} since {self.into.name} was filled: rebuilding would lose them too; give into= another name, or pass rebuild=True"
            raise DefinitionError(message)

    def _say(self, old: set[date], done: dict[date, Entry], now: Sequence[Entry], todo: Sequence[Entry]) -> None:
        """What is done again or left as it is, and why, in one sentence each."""
        again = [e.day for e in todo if e.day in done]
        ruled = [d for d in again if done[d].versions["rules"] != RULES]
        kept = [e.day for e in now if e.day in done and e not in todo and _changed(done[e.day].inputs, e.inputs) is LOST]
        said = []
        if old:
            said.append(f"the definition of {self.join.name} changed; {_days([e.day for e in todo])} {_are(todo)} computed anew and take the table's place at the end")
        elif again:
            why = f"the rules of what a value is changed to version {RULES}" if ruled else "their left or sources gained or changed rows"
            said.append(f"{_days(again)} {_are(again)} computed again, since {why}")
        if kept:
            said.append(f"{_days(kept)} {_are(kept)} kept, though their left or sources have lost rows since; rebuild=True computes them from what is there now")
        for sentence in said:
            warn(f"{self.into.name}: {sentence}")

    def _step(self, target: Any, left: ir.Table, entries: Sequence[Entry]) -> None:
        first, last = entries[0].day, entries[-1].day
        part = between(left, self.join.left.time, first, last + timedelta(days=1))
        rows = training_set(self.join, self.engine, part, Chooser(self.engine, self.plan))
        dated = rows.mutate(**{BY: floor_to(micros(rows[self.join.left.time]), in_us(DAY))})
        what = f"backfill of {self.into.name}, step {first} to {last} (steps before it are kept; run it again to go on),"
        into: Any = self.into
        self.engine.run(what, lambda: into.write(target, dated, self.join.left.time, entries))


def _stale(done: Entry, now: Entry) -> bool:
    """Whether a finished day is to be computed again."""
    return done.versions["rules"] != RULES or _changed(done.inputs, now.inputs) is GAINED


SAME, GAINED, LOST = "same", "gained", "lost"


def _changed(old: dict[str, list[int]], new: dict[str, list[int]]) -> str:
    """How a day's inputs differ from when it was filled: how much there is decides, then the checksum."""
    pairs = [(old.get(k, []), v) for k, v in new.items()]
    if any(was[:-1] > now[:-1] for was, now in pairs):
        return LOST
    return SAME if all(was == now for was, now in pairs) else GAINED


def _days(days: Sequence[date]) -> str:
    return f"{days[0]}" if len(days) == 1 else f"{len(days)} days from {min(days)} to {max(days)}"


def _are(days: Sequence[object]) -> str:
    return "is" if len(days) == 1 else "are"


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


def _by_day(engine: Engine, table: ir.Table, us: ir.IntegerValue, columns: Sequence[str]) -> dict[date, list[int]]:
    """The number of rows of each day, UTC, and a checksum of their `columns` that no order of rows changes."""
    mixed = [((engine.hashed(table[c]) % PRIME + PRIME) % PRIME).fill_null(NOTHING) for c in columns]
    whole = reduce(lambda a, b: (a * MIX + b) % PRIME, mixed) if mixed else ibis.literal(0)
    days = table.select(day=floor_to(us, in_us(DAY)), mark=whole).filter(lambda t: t.day.notnull())
    counts = days.group_by("day").agg(n=days.count(), mark=days.mark.sum()).order_by("day").to_pyarrow().to_pylist()
    return {EPOCH + timedelta(microseconds=c["day"]): [c["n"], int(c["mark"])] for c in counts}


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
