"""Dated tables: which days one lacks, which are stale, and the steps that fill them."""

from __future__ import annotations

from bisect import bisect_left
from datetime import date, timedelta
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.operations as ops
from attrs import evolve, frozen

from workbench.backends import Engine
from workbench.backends.table_results import BY, Entry
from workbench.backends.time_literals import Extremes
from workbench.definitions.canonical import fingerprint
from workbench.definitions.sources import EntitySource
from workbench.definitions.windows import DAY
from workbench.errors import DefinitionError, warn
from workbench.planner import time_bounds
from workbench.planner.entity_snapshots import EntityRows
from workbench.planner.plan_choice import Chooser, check_partition
from workbench.planner.source_rows import EVENT, EventRows, in_us, rebound
from workbench.planner.training_set import training_set
from workbench.portable.rewrites import floor_to, micros
from workbench.training import progress
from workbench.training.backfill_steps import Step, Steps, gaps, steps
from workbench.training.left_departures import Departures, Filled
from workbench.training.provenance import RULES, versions
from workbench.training.staleness import Work, lost_sources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import ibis.expr.types as ir

    from workbench.backends.engine import Range
    from workbench.backends.lake_table import Lake
    from workbench.backends.parquet_results import Dataset
    from workbench.backends.table_results import Ledger
    from workbench.definitions.group_by import GroupBy
    from workbench.definitions.join import Join, JoinPart

EPOCH = date(1970, 1, 1)
# checksums of rows add up within 64 bits for eight thousand million rows a day
PRIME, MIX, NOTHING = 1_000_000_007, 31, 7


def days_since_epoch(day: date) -> int:
    """Return the midnight, UTC, that begins a day, in days since 1970."""
    return (day - EPOCH).days


def left_rows(join: Join, engine: Engine, start: date | None, end: date | None) -> ir.Table:
    """Return the left's rows in [start, end), evaluated once."""
    rows = between(
        rebound(join.left.table, engine, clean=False).to_expr(), join.left.time, start, end
    )
    return engine.keep(rows)


def between(table: ir.Table, time: str, start: date | None, end: date | None) -> ir.Table:
    """Return the rows whose time is in [start, end), UTC.

    Rows without a time stay, so that the checks name them.
    """
    at = micros(table[time])
    kept = [at.isnull() | (at >= days_since_epoch(start) * in_us(DAY))] if start else []
    kept += [at.isnull() | (at < days_since_epoch(end) * in_us(DAY))] if end else []
    return (
        table.filter([*time_bounds.between(table[time], extremes_of(start, end)), *kept])
        if kept
        else table
    )


def extremes_of(start: date | None, end: date | None) -> Extremes:
    """Return the first instants of two days."""
    return Extremes(
        *(None if day is None else days_since_epoch(day) * in_us(DAY) for day in (start, end))
    )


@frozen
class Refill:
    """A run that brings the days [first, last) of a dated table up to its definition and its data.

    A dataset of files is refilled alike.
    """

    join: Join
    engine: Engine
    into: Ledger | Dataset | Lake
    left: ir.Table
    days: tuple[date | None, date | None] = (None, None)
    rebuild: bool = False
    plan: str | None = None

    def run(self, step: int) -> None:
        """Fill what is missing or stale, in steps, with no other process beside.

        A changed definition is built beside what is there and swapped in.
        """
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
        work = (
            Work.anew(now, finished if old else {})
            if old or self.rebuild
            else Work.of(now, {d: e for d, e in finished.items() if self._asked(d)}, gone)
        )
        self._say(work, gone, old)
        into.remove(target, self.join.left.time, self._emptied(work, whole=bool(old)))
        for rows, some in progress.track(
            self._steps(work, gone, left, finished, step), f"backfill {self.into.name}"
        ):
            self._write(target, rows, some)
        if old:
            into.swap(target)
        into.finish()

    def _now(self, definition: str, left: ir.Table, old: set[date]) -> list[Entry]:
        """Return what an entry would say today, for every day with rows.

        Days are those that are requested, and those in `old`, filled under an older definition.
        """
        time, made = self.join.left.time, versions(self.engine)
        rows = _by_day(self.engine, left, micros(left[time]), left.columns)
        wanted = [day for day in sorted(rows) if day in old or self._asked(day)]
        seen = {p.head: Seen(p, self.engine, wanted) for p in self.join.parts}
        return [
            Entry(
                day,
                self.join.name,
                definition,
                {"left": rows[day]} | {head: s.before(day) for head, s in seen.items()},
                made,
            )
            for day in wanted
        ]

    def _asked(self, day: date) -> bool:
        first, last = self.days
        return (first is None or day >= first) and (last is None or day < last)

    # --- rows that the left has no more

    def _departures(
        self, there: Sequence[Entry], left: ir.Table, now: Sequence[Entry]
    ) -> Departures:
        """Return what became of rows that the result was filled from, on whatever day.

        The left is read beyond the range where the result has days there.
        """
        into: Any = self.into
        has, entries = {e.day: e for e in now}, {e.day: e for e in there}
        today, whole = {e.day: e.rows for e in now}, left
        if self.days != (None, None) and there:
            whole = rebound(self.join.left.table, self.engine, clean=False).to_expr()
            today = {
                day: n
                for day, (n, _) in self._left_by_day(whole, ()).items()
                if not self._asked(day)
            } | today

        def came() -> set[date]:
            found = (
                self._left_by_day(whole, whole.columns)
                if whole is not left
                else {day: e.inputs["left"] for day, e in has.items()}
            )
            return {
                day
                for day, rows in found.items()
                if day not in entries or entries[day].inputs["left"] != rows
            }

        filled = {day: _filled(e, has.get(day), today.get(day, 0)) for day, e in entries.items()}
        return Departures(
            self.engine, lambda: into.rows, whole, self.join.left.time, filled, today, came
        )

    def _left_by_day(self, left: ir.Table, columns: Sequence[str]) -> dict[date, list[int]]:
        return _by_day(self.engine, left, micros(left[self.join.left.time]), columns)

    def _check_nothing_lost(self, gone: Departures) -> None:
        """Refuse to rebuild from a left that has forgotten rows that the table was filled from."""
        if gone.kept and not self.rebuild:
            message = (
                f"the definition of {self.join.name} changed, and its left has lost rows of"
                f" {_days(list(gone.kept))} since {self.into.name} was filled: rebuilding would"
                " lose them too; give into= another name, or pass rebuild=True"
            )
            raise DefinitionError(message)

    def _emptied(self, work: Work, *, whole: bool) -> list[Range]:
        """Return the ranges of days that are to have no rows."""
        if self.rebuild and not whole:
            return list(gaps(sorted(e.day for e in work.now), *self.days))
        return [(day, day + timedelta(days=1)) for day in work.emptied]

    # --- what is done

    def _say(self, work: Work, gone: Departures, old: set[date]) -> None:
        """Say what is computed again or left as it is, and why, in one sentence each."""
        again, said = work.again, []
        if old:
            days = [e.day for e in work.made]
            said.append(
                f"the definition of {self.join.name} changed; {_days(days)} {_are(days)} computed"
                " anew and take the table's place at the end"
            )
        elif again:
            why = (
                f"the rules of what a value is changed to version {RULES}"
                if work.ruled
                else "their left or sources gained or changed rows"
            )
            said.append(f"{_days(again)} {_are(again)} computed again, since {why}")
        if not old:
            said += [*([] if self.rebuild else _departed(work, gone)), *self._beyond(gone)]
        for sentence in said:
            warn(f"{self.into.name}: {sentence}")

    def _beyond(self, gone: Departures) -> Iterable[str]:
        """Describe rows that the left has no more on days that are not requested."""
        if beyond := [d for d in sorted({*gone.corrected, *gone.moved}) if not self._asked(d)]:
            yield (
                f"{_days(beyond)} outside the range {'has' if len(beyond) == 1 else 'have'} rows"
                " that the left no longer has at these times, so that some may stand twice:"
                " backfill without start and end brings them in line"
            )

    def _features(self, left: ir.Table) -> ir.Table:
        return training_set(self.join, self.engine, left, Chooser(self.engine, self.plan))

    def _steps(
        self, work: Work, gone: Departures, left: ir.Table, finished: Iterable[date], length: int
    ) -> list[tuple[Callable[[Step], ir.Table], Step]]:
        """Return each step to write, with the function that makes its rows.

        Days that lose rows come first, so that no row is there twice.
        """
        time, days = self.join.left.time, {e.day for e in work.now} | set(finished)
        beside = [e.day for e in work.made if e.kept] + [
            e.day for e in (*work.trimmed, *work.mended)
        ]
        staying = gone.staying(beside) if beside else None
        made = Beside(
            Steps(self.engine, left, time, self._features).rows, staying, frozenset(beside)
        )
        new = (
            Beside(
                Steps(
                    self.engine, gone.new([e.day for e in work.mended]), time, self._features
                ).rows,
                staying,
                frozenset(beside),
            )
            if work.mended
            else made
        )
        first, rest = (
            [
                [e for e in side if (e.day in work.losing) is losing]
                for side in (work.mended, work.made)
            ]
            for losing in (True, False)
        )
        sides = [
            (Beside(None, staying, frozenset(beside)), work.trimmed),
            *zip((new, made) * 2, (*first, *rest), strict=True),
        ]
        return [
            (how.rows, s)
            for how, side in sides
            for s in steps(side, days - {e.day for e in side}, length)
        ]

    def _write(self, target: Any, rows: Callable[[Step], ir.Table], step: Step) -> None:
        what = (
            f"backfill of {self.into.name}, step {step.entries[0].day} to {step.entries[-1].day}"
            " (steps before it are kept; run it again to go on),"
        )
        into: Any = self.into
        self.engine.run(
            what,
            lambda: into.write(target, rows(step), self.join.left.time, step.entries, [step.range]),
        )


@frozen
class Beside:
    """The rows of a step: those that are computed, if any, and those that stay."""

    made: Callable[[Step], ir.Table] | None
    staying: ir.Table | None
    days: frozenset[date]

    def rows(self, step: Step) -> ir.Table:
        """Return the rows with their days, those that stay in the types of the computed ones."""
        on = [days_since_epoch(e.day) * in_us(DAY) for e in step.entries if e.day in self.days]
        stay = (
            self.staying.filter(self.staying[BY].isin(on))
            if self.staying is not None and on
            else None
        )
        if self.made is None or stay is None:
            return stay if self.made is None else self.made(step)
        made = self.made(step)
        stay = stay.select(*made.columns)
        return made.union(
            stay.cast({c: t for c, t in made.schema().items() if stay[c].type() != t})
        )


def _departed(work: Work, gone: Departures) -> Iterable[str]:
    """Describe what becomes of rows that the left lacks, or has where the sources forgot."""
    if work.emptied:
        yield (
            f"{_days(work.emptied)} {_are(work.emptied)} taken out, since the left has no rows"
            " there any more"
        )
    if moved := sorted(e.day for e in (*work.trimmed, *work.mended) if gone.moved.get(e.day)):
        yield f"rows of {_days(moved)} that stand at other times in the left now are taken out"
    if kept := [e.day for e in work.made if e.kept]:
        yield f"rows of {_days(kept)} that the left forgot are kept"
    if gained := [e.day for e in work.mended if gone.gained.get(e.day)]:
        yield (
            f"rows that the left gained on {_days(gained)} are computed from sources that have lost"
            " rows since"
        )
    if work.kept:
        yield (
            f"{_days(work.kept)} {_are(work.kept)} kept, though their left or sources have lost"
            " rows since; rebuild=True computes them from what is there now"
        )


def _filled(entry: Entry, now: Entry | None, rows: int) -> Filled:
    """Compare a finished day with what the left has of it now.

    `now` is the day's entry where the day was requested; else only the number of rows is compared.
    """
    changed = (
        rows != entry.inputs["left"][0]
        if now is None
        else now.inputs["left"] != entry.inputs["left"]
    )
    return Filled(
        entry.inputs["left"][0], entry.kept, changed, now is not None and lost_sources(entry, now)
    )


def _days(days: Sequence[date]) -> str:
    return f"{days[0]}" if len(days) == 1 else f"{len(days)} days from {min(days)} to {max(days)}"


def _are(days: Sequence[object]) -> str:
    return "is" if len(days) == 1 else "are"


def _by_day(
    engine: Engine, table: ir.Table, us: ir.IntegerValue, columns: Sequence[str]
) -> dict[date, list[int]]:
    """Return the number of rows of each day, UTC, and a checksum of their `columns`.

    The order of rows does not change the checksum.
    """
    mixed = [
        ((engine.hashed(table[c]) % PRIME + PRIME) % PRIME).fill_null(NOTHING) for c in columns
    ]
    # as a sum of products, not nested by column: engines refuse expressions that are hundreds of
    # calls deep
    weighed = [(m * pow(MIX, len(mixed) - 1 - i, PRIME)) % PRIME for i, m in enumerate(mixed)]
    row = _sum(weighed) % PRIME if mixed else ibis.literal(0)
    # squared, as two rows that swap the values of a column would else add up to the same
    whole = row * row % PRIME
    days = table.select(day=floor_to(us, in_us(DAY)), mark=whole).filter(lambda t: t.day.notnull())
    counts = engine.fetch(
        days.group_by("day").agg(n=days.count(), mark=days.mark.sum()).order_by("day")
    ).to_pylist()
    return {EPOCH + timedelta(microseconds=c["day"]): [c["n"], int(c["mark"])] for c in counts}


def _sum(values: Sequence[ir.IntegerValue]) -> ir.IntegerValue:
    half = len(values) // 2
    return values[0] if not half else _sum(values[:half]) + _sum(values[half:])


class Seen:
    """The source rows of a part that the values of some days, in order, could see.

    Late and changed rows are detected by their number and checksum.
    """

    def __init__(self, part: JoinPart, engine: Engine, days: Sequence[date]) -> None:
        group_by = part.group_by
        self.entity = isinstance(group_by.source, EntitySource)
        lengths = [w.length + w.hop for w in group_by.windows if w]
        bounded = part.max_age is None and lengths and None not in group_by.windows
        self.lookback = max(lengths) + DAY if bounded else None
        found = (
            _snapshots(EntityRows(group_by, engine), days)
            if self.entity
            else _events(EventRows(group_by, engine), days, self.lookback)
        )
        self.days, self.found = list(found), list(found.values())
        self.rows, self.marks = ([0, *accumulate(v[i] for v in self.found)] for i in (0, 1))

    def before(self, day: date) -> list[int]:
        """Return the number and checksum of events from the longest window's start to a day's end.

        For an entity, those of the snapshot in force.
        """
        end = bisect_left(self.days, day + timedelta(days=1))
        if self.entity:
            return [days_since_epoch(self.days[end - 1]), *self.found[end - 1]] if end else []
        start = 0 if self.lookback is None else bisect_left(self.days, day - self.lookback)
        return [self.rows[end] - self.rows[start], self.marks[end] - self.marks[start]]


def _events(
    source: EventRows, days: Sequence[date], lookback: timedelta | None
) -> dict[date, list[int]]:
    """Return every day of events that these days, in order, look at, and perhaps others."""
    seen = extremes_of(days[0], days[-1] + timedelta(days=1)) if days else Extremes()
    reach = None if lookback is None else in_us(lookback)
    if seen.near((reach or 0) + in_us((source.group_by.events.slack or DAY) + DAY)):
        source = evolve(source, instants=seen)
        check_partition(source, reach or 0)
    table = evolve(source, pruned=True).within(reach).table
    return _by_day(
        source.engine,
        table,
        micros(table[source.group_by.events.time]),
        sorted(_used(source.group_by)),
    )


def _snapshots(rows: EntityRows, days: Sequence[date]) -> dict[date, list[int]]:
    """Return the snapshots that these days, in order, see, with a checksum of the used rows.

    All snapshots of the base table count, since they decide what is in force (rule 6).
    """
    if days and rows.group_by.entity.snapshot is not None:
        known, look = rows.seen()
        first, last = (days_since_epoch(day) * in_us(DAY) for day in (days[0], days[-1]))
        rows = known if look(first, last) else rows
    engine, ends, table = rows.engine, rows.snapshots(), rows.table
    used = _by_day(engine, table, rows.ended(table)[EVENT], sorted(_used(rows.group_by)))
    return {
        day: [n, used.get(day, [0, 0])[1]]
        for day, (n, _) in _by_day(engine, ends, ends[EVENT], ()).items()
    }


def _used(group_by: GroupBy) -> set[str]:
    """Return the source's columns that a value depends on."""
    fields = {
        f.name
        for feature in group_by.computed
        for f in feature.node.find(ops.Field, filter=ops.Value)
    }
    order = (
        set()
        if isinstance(group_by.source, EntitySource)
        else {group_by.events.time, *group_by.events.order}
    )
    return (
        fields | order | set(group_by.keys) | {f.by for f in group_by.computed if f.by is not None}
    )
