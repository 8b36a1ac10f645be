"""Dated tables: which days one lacks, which are stale, and the steps that fill them."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from attrs import frozen

from workbench.backends import Engine
from workbench.backends.table_results import DAY_COLUMN, LedgerEntry
from workbench.definitions.canonical import fingerprint
from workbench.errors import DefinitionError, warn
from workbench.online.time_units import us_since_epoch
from workbench.planner import time_bounds
from workbench.planner.bound_tables import rebound
from workbench.planner.plan_choice import Chooser
from workbench.planner.training_set import training_set
from workbench.portable.time_rewrites import micros
from workbench.training import progress
from workbench.training.backfill_steps import Step, Steps, gaps, steps
from workbench.training.left_departures import Departures, Filled
from workbench.training.provenance import RULES, versions
from workbench.training.staleness import Work, lost_sources
from workbench.training.visible_rows import VisibleSource, extremes_of, sums_by_day

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import ibis.expr.types as ir

    from workbench.backends.day_ranges import Range
    from workbench.backends.lake_table import Lake
    from workbench.backends.parquet_results import Dataset
    from workbench.backends.table_results import Ledger
    from workbench.definitions.join import Join


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
    conditions = [at.isnull() | (at >= us_since_epoch(start))] if start else []
    conditions += [at.isnull() | (at < us_since_epoch(end))] if end else []
    return (
        table.filter([*time_bounds.between(table[time], extremes_of(start, end)), *conditions])
        if conditions
        else table
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
        ledger_entries = into.entries(into.main)
        old = (
            {e.day for e in ledger_entries}
            if any(e.definition != definition for e in ledger_entries)
            else set()
        )
        target = into.building(definition) if old else into.main
        into.drop_unfinished(keep=target)
        finished = {e.day: e for e in into.entries(target)}
        left = left_rows(self.join, self.engine, None, None) if old else self.left
        current_entries = self._now(definition, left, old)
        departures = self._departures(ledger_entries, left, current_entries)
        if old:
            self._check_nothing_lost(departures)
        work = (
            Work.anew(current_entries, finished if old else {})
            if old or self.rebuild
            else Work.of(
                current_entries, {d: e for d, e in finished.items() if self._asked(d)}, departures
            )
        )
        self._say(work, departures, old)
        into.remove(target, self.join.left.time, self._emptied(work, from_scratch=bool(old)))
        for rows, some in progress.track(
            self._steps(work, departures, left, finished, step), f"backfill {self.into.name}"
        ):
            self._write(target, rows, some)
        if old:
            into.swap(target)
        into.finish()

    def _now(self, definition: str, left: ir.Table, old: set[date]) -> list[LedgerEntry]:
        """Return what an entry would say today, for every day with rows.

        Days are those that are requested, and those in `old`, filled under an older definition.
        """
        time, engine_versions = self.join.left.time, versions(self.engine)
        rows = sums_by_day(self.engine, left, micros(left[time]), left.columns)
        wanted = [day for day in sorted(rows) if day in old or self._asked(day)]
        sources = {p.head: VisibleSource(p, self.engine, wanted) for p in self.join.parts}
        return [
            LedgerEntry(
                day,
                self.join.name,
                definition,
                {"left": rows[day]} | {head: s.before(day) for head, s in sources.items()},
                engine_versions,
            )
            for day in wanted
        ]

    def _asked(self, day: date) -> bool:
        first, last = self.days
        return (first is None or day >= first) and (last is None or day < last)

    # --- rows that the left has no more

    def _departures(
        self,
        ledger_entries: Sequence[LedgerEntry],
        left: ir.Table,
        current_entries: Sequence[LedgerEntry],
    ) -> Departures:
        """Return what became of rows that the result was filled from, on whatever day.

        The left is read beyond the range where the result has days there.
        """
        into: Any = self.into
        has, entries = {e.day: e for e in current_entries}, {e.day: e for e in ledger_entries}
        today, whole_left = {e.day: e.rows for e in current_entries}, left
        if self.days != (None, None) and ledger_entries:
            whole_left = rebound(self.join.left.table, self.engine, clean=False).to_expr()
            today = {
                day: n
                for day, (n, _) in self._left_by_day(whole_left, ()).items()
                if not self._asked(day)
            } | today

        def came() -> set[date]:
            sums_of_days = (
                self._left_by_day(whole_left, whole_left.columns)
                if whole_left is not left
                else {day: e.inputs["left"] for day, e in has.items()}
            )
            return {
                day
                for day, rows in sums_of_days.items()
                if day not in entries or entries[day].inputs["left"] != rows
            }

        filled = {day: _filled(e, has.get(day), today.get(day, 0)) for day, e in entries.items()}
        return Departures(
            self.engine, lambda: into.rows, whole_left, self.join.left.time, filled, today, came
        )

    def _left_by_day(self, left: ir.Table, columns: Sequence[str]) -> dict[date, list[int]]:
        return sums_by_day(self.engine, left, micros(left[self.join.left.time]), columns)

    def _check_nothing_lost(self, departures: Departures) -> None:
        """Refuse to rebuild from a left that has forgotten rows that the table was filled from."""
        if departures.kept and not self.rebuild:
            message = (
                f"the definition of {self.join.name} changed, and its left has lost rows of"
                f" {_days(list(departures.kept))} since {self.into.name} was filled: rebuilding"
                " would lose them too; give into= another name, or pass rebuild=True"
            )
            raise DefinitionError(message)

    def _emptied(self, work: Work, *, from_scratch: bool) -> list[Range]:
        """Return the ranges of days that are to have no rows."""
        if self.rebuild and not from_scratch:
            return list(gaps(sorted(e.day for e in work.now), *self.days))
        return [(day, day + timedelta(days=1)) for day in work.emptied]

    # --- what is done

    def _say(self, work: Work, departures: Departures, old: set[date]) -> None:
        """Say what is computed again or left as it is, and why, in one sentence each."""
        recomputed_days, sentences = work.again, []
        if old:
            days = [e.day for e in work.made]
            sentences.append(
                f"the definition of {self.join.name} changed; {_days(days)} {_are(days)} computed"
                " anew and take the table's place at the end"
            )
        elif recomputed_days:
            why = (
                f"the rules of what a value is changed to version {RULES}"
                if work.ruled
                else "their left or sources gained or changed rows"
            )
            sentences.append(
                f"{_days(recomputed_days)} {_are(recomputed_days)} computed again, since {why}"
            )
        if not old:
            sentences += [
                *([] if self.rebuild else _departed(work, departures)),
                *self._beyond(departures),
            ]
        for sentence in sentences:
            warn(f"{self.into.name}: {sentence}")

    def _beyond(self, departures: Departures) -> Iterable[str]:
        """Describe rows that the left has no more on days that are not requested."""
        if beyond := [
            d for d in sorted({*departures.corrected, *departures.moved}) if not self._asked(d)
        ]:
            yield (
                f"{_days(beyond)} outside the range {'has' if len(beyond) == 1 else 'have'} rows"
                " that the left no longer has at these times, so that some may stand twice:"
                " backfill without start and end brings them in line"
            )

    def _features(self, left: ir.Table) -> ir.Table:
        return training_set(self.join, self.engine, left, Chooser(self.engine, self.plan))

    def _steps(
        self,
        work: Work,
        departures: Departures,
        left: ir.Table,
        finished: Iterable[date],
        length: int,
    ) -> list[tuple[Callable[[Step], ir.Table], Step]]:
        """Return each step to write, with the function that makes its rows.

        Days that lose rows come first, so that no row is there twice.
        """
        time, days = self.join.left.time, {e.day for e in work.now} | set(finished)
        beside = [e.day for e in work.made if e.kept] + [
            e.day for e in (*work.trimmed, *work.mended)
        ]
        staying = departures.staying(beside) if beside else None
        step_rows = StepRows(
            Steps(self.engine, left, time, self._features).rows, staying, frozenset(beside)
        )
        new = (
            StepRows(
                Steps(
                    self.engine, departures.new([e.day for e in work.mended]), time, self._features
                ).rows,
                staying,
                frozenset(beside),
            )
            if work.mended
            else step_rows
        )
        first, rest = (
            [
                [e for e in side if (e.day in work.losing) is losing]
                for side in (work.mended, work.made)
            ]
            for losing in (True, False)
        )
        sides = [
            (StepRows(None, staying, frozenset(beside)), work.trimmed),
            *zip((new, step_rows) * 2, (*first, *rest), strict=True),
        ]
        return [
            (how.rows, s)
            for how, side in sides
            for s in steps(side, days - {e.day for e in side}, length)
        ]

    def _write(self, target: Any, rows: Callable[[Step], ir.Table], step: Step) -> None:
        action = (
            f"backfill of {self.into.name}, step {step.entries[0].day} to {step.entries[-1].day}"
            " (steps before it are kept; run it again to go on),"
        )
        into: Any = self.into
        self.engine.run(
            action,
            lambda: into.write(target, rows(step), self.join.left.time, step.entries, [step.range]),
        )


@frozen
class StepRows:
    """The rows of a step: those that are computed, if any, and those that stay."""

    made: Callable[[Step], ir.Table] | None
    staying: ir.Table | None
    days: frozenset[date]

    def rows(self, step: Step) -> ir.Table:
        """Return the rows with their days, those that stay in the types of the computed ones."""
        on = [us_since_epoch(e.day) for e in step.entries if e.day in self.days]
        stay = (
            self.staying.filter(self.staying[DAY_COLUMN].isin(on))
            if self.staying is not None and on
            else None
        )
        if self.made is None or stay is None:
            return stay if self.made is None else self.made(step)
        new_rows = self.made(step)
        stay = stay.select(*new_rows.columns)
        return new_rows.union(
            stay.cast({c: t for c, t in new_rows.schema().items() if stay[c].type() != t})
        )


def _departed(work: Work, departures: Departures) -> Iterable[str]:
    """Describe what becomes of rows that the left lacks, or has where the sources forgot."""
    if work.emptied:
        yield (
            f"{_days(work.emptied)} {_are(work.emptied)} taken out, since the left has no rows"
            " there any more"
        )
    if moved := sorted(e.day for e in (*work.trimmed, *work.mended) if departures.moved.get(e.day)):
        yield f"rows of {_days(moved)} that stand at other times in the left now are taken out"
    if kept_days := [e.day for e in work.made if e.kept]:
        yield f"rows of {_days(kept_days)} that the left forgot are kept"
    if gained := [e.day for e in work.mended if departures.gained.get(e.day)]:
        yield (
            f"rows that the left gained on {_days(gained)} are computed from sources that have lost"
            " rows since"
        )
    if work.kept:
        yield (
            f"{_days(work.kept)} {_are(work.kept)} kept, though their left or sources have lost"
            " rows since; rebuild=True computes them from what is there now"
        )


def _filled(entry: LedgerEntry, current_entry: LedgerEntry | None, rows: int) -> Filled:
    """Compare a finished day with what the left has of it now.

    `now` is the day's entry where the day was requested; else only the number of rows is compared.
    """
    changed = (
        rows != entry.inputs["left"][0]
        if current_entry is None
        else current_entry.inputs["left"] != entry.inputs["left"]
    )
    return Filled(
        entry.inputs["left"][0],
        entry.kept,
        changed,
        current_entry is not None and lost_sources(entry, current_entry),
    )


def _days(days: Sequence[date]) -> str:
    return f"{days[0]}" if len(days) == 1 else f"{len(days)} days from {min(days)} to {max(days)}"


def _are(days: Sequence[object]) -> str:
    return "is" if len(days) == 1 else "are"
