"""Dated tables of Delta and Iceberg, and the ledger of their days.

A lake replaces rows of one table in one commit, and the ledger is a second table,
`<table>__ledger`. So a step first notes in the ledger that its days are not finished, then replaces
them, then notes that they are: a run that dies between any two leaves days that are not counted,
each whole in the table, and the next run makes them or removes them.

The definition of the table's rows is a property of the table itself, set in the commit that makes
or replaces it: a changed definition, built beside it, takes its place and its ledger in that one
commit.

Nobody holds a lock. Every change of the ledger names the one that it was made upon, and fails where
another came between: of two runs the later goes on, and the earlier stops at its next step. The
table's history shows what that one may have committed by then: every commit since the ledger's last
entry must have the mark of the run that the ledger names.
"""

from __future__ import annotations

from collections import Counter
from contextlib import AbstractContextManager
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.operations as ops
from attrs import field, frozen

from workbench.backends.day_ranges import is_within, ranges_of
from workbench.backends.engine_refusals import EngineError
from workbench.backends.lake_formats import DEFINITION, within
from workbench.backends.lake_ledger import Notes, properties
from workbench.backends.spark_catalogs import check_columns
from workbench.backends.table_results import DAY_COLUMN, LedgerEntry, check_one_to_one, document
from workbench.backends.time_literals import EPOCH_DAY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import ibis.expr.types as ir

    from workbench.backends.day_ranges import Range
    from workbench.backends.lake_formats import Commit, Format, TablePlace
    from workbench.backends.spark import Spark


@frozen
class Lake:
    """The finished days of one table of a lake, and of the table that is built to replace it."""

    engine: Spark
    main: TablePlace
    form: Format
    notes: Notes = field(init=False)

    @notes.default
    def _ledger(self) -> Notes:
        return Notes(self.engine.session, self.main.beside("__ledger"), self.form)

    @property
    def name(self) -> str:
        """The name that its author gave it."""
        return self.main.sql.replace("`", "")

    def held(self) -> AbstractContextManager[None]:
        """While the block runs, days are days of UTC.

        Nobody is kept out; the ledger shows who else writes.
        """
        return self.engine.setting()

    # --- what is there

    def definition(self, table: TablePlace) -> str | None:
        """Returns the hash of the definition that the table's rows are of.

        It is None where there is no table, or no backfill made it.
        """
        return (properties(self.engine.session, table) or {}).get(DEFINITION)

    def entries(self, table: TablePlace) -> list[LedgerEntry]:
        """Returns every finished day of `table` (this one, or one being built for it), by day."""
        return self.notes.entries(self.definition(table))

    @property
    def rows(self) -> ir.Table:
        """The rows of the finished days, as they stand now whatever is written later.

        Spark computes what it caches of them again when their table changes.
        """
        session, place = self.engine.session, self.main
        # the names are quoted
        frame = session.sql(f"SELECT * FROM {place.sql} VERSION AS OF {self._version(place)}")  # noqa: S608
        note = self.notes.of(self.definition(place))
        if note["unfinished"]:
            frame = frame.filter(
                ~within(
                    session,
                    place,
                    note["time"],
                    ranges_of(map(date.fromisoformat, note["unfinished"])),
                )
            )
        return self.engine.viewed(frame)

    def table(self) -> ir.Table:
        """Returns the table as readers have it, by its full name, which no temporary view hides."""
        from ibis.backends.pyspark.datatypes import PySparkType  # noqa: PLC0415 Spark is an extra

        schema = ibis.Schema(PySparkType.to_ibis(self.engine.session.table(self.main.sql).schema))
        space = ops.Namespace(catalog=self.main.catalog, database=self.main.schema)
        return ops.DatabaseTable(self.main.table, schema, self.engine.connected, space).to_expr()

    def check(self, name: str, schema: ibis.Schema) -> None:
        """Refuses what can be refused before anything is computed.

        That is columns that the table cannot hold, and a table that is not ours.
        """
        check_columns(name, schema, self.form)
        self._check_written(name)

    def check_ours(self, name: str, *, rebuild: bool) -> None:
        """Refuses an existing table that a backfill of the definition `name` did not write last."""
        self._check_written(name)
        if self.definition(self.main) is None:
            return
        if rebuild:
            self._vouch(self.main, self._version(self.main))
        else:
            self._check_untouched()

    def _check_written(self, name: str) -> None:
        table_properties = properties(self.engine.session, self.main)
        if table_properties is None:
            return
        if table_properties.get(DEFINITION) not in self.notes.held["made"]:
            message = (
                f"Spark has a table {self.name!r} that no backfill wrote, or whose ledger"
                f" {self.notes.place.sql} is gone: give into= another name, or drop it first"
            )
            raise EngineError(message)
        holds = self.notes.of(table_properties[DEFINITION])["join"]
        if holds not in (name, None):
            message = (
                f"table {self.name!r} on Spark holds {holds}, not {name}: give into= another name,"
                " or drop it first"
            )
            raise EngineError(message)

    def _check_untouched(self) -> None:
        """Refuses a table that something else wrote since the ledger's last entry."""
        history = self.form.history(self.engine.session, self.main)
        foreign = self._foreign(self.main, history)
        entries, rows = self.notes.entries(self.definition(self.main)), self.rows
        ((row_count,),) = self.engine.rows(rows.agg(n=rows.count()))
        expected = sum(e.rows for e in entries)
        if foreign or row_count != expected:
            how = (
                f"has {row_count} rows where its finished days had {expected}"
                if row_count != expected
                else "was changed since its days were finished"
            )
            message = (
                f"table {self.name!r} on Spark {how}: something else wrote it; drop it, or pass"
                " rebuild=True"
            )
            raise EngineError(message)
        self._vouch(self.main, history[0].version)

    def _vouch(self, table: TablePlace, version: int) -> None:
        """Vouches for a table up to a version, so that later commits must be this run's.

        What the run before left is known, or was looked at.
        """
        self.notes.held["at"][table.table] = version
        self.notes.vouched.add(table)

    def _foreign(self, table: TablePlace, history: Sequence[Commit]) -> bool:
        """Returns whether something else wrote rows since the ledger's last entry.

        A commit must be of the run that the ledger names. Nothing is known of commits that have
        expired.
        """
        since, run = self.notes.held["at"].get(table.table), self.notes.held["run"]
        return any(c.changing and c.token != run for c in _since(history, since))

    def _version(self, table: TablePlace) -> int:
        return self.form.history(self.engine.session, table)[0].version

    # --- what is written

    def building(self, definition: str) -> TablePlace:
        """Returns the place of the table that is built beside this one for a definition."""
        return self.main.beside(f"__{definition[:8]}")

    def write(
        self,
        target: TablePlace,
        rows: ir.Table,
        time: str,
        entries: Sequence[LedgerEntry],
        ranges: Sequence[Range],
    ) -> None:
        """Replaces the rows of these ranges of days in `target` in one commit.

        A note in the ledger goes before it, and another after it.
        """
        kept_rows = self.engine.keep(rows)  # counted before anyone sees it
        days = Counter(
            {
                EPOCH_DAY + timedelta(microseconds=us): n
                for us, n in self.engine.rows(
                    kept_rows.group_by(DAY_COLUMN).agg(n=kept_rows.count())
                )
            }
        )
        for entry in entries:
            check_one_to_one(self.name, [entry], days[entry.day])
        check_one_to_one(self.name, entries, days.total())
        definition, held_definition = entries[0].definition, self.definition(target)
        # a table of another definition has no finished day, or this one would be built beside it
        if held_definition != definition:
            self.notes.held["made"].pop(definition, None)
        if held_definition is None:
            self.notes.held["at"].pop(target.table, None)
            self.notes.vouched.add(target)
        before = self._begin(target, time, ranges, [e.day for e in entries], definition)
        frame = self.form.by_day(self.engine.frame(kept_rows), DAY_COLUMN).drop(DAY_COLUMN)
        with self.form.writing(self.engine.session, self.notes.token):
            writer = self.form.writer(frame, target, self.notes.token)
            if held_definition == definition:
                writer.overwrite(within(self.engine.session, target, time, ranges))
            else:
                new = self.form.new(writer, frame, time).tableProperty(DEFINITION, definition)
                new.create() if held_definition is None else new.createOrReplace()
        self._end(target, definition, time, [*before, *entries], ranges)

    def remove(self, target: TablePlace, time: str, ranges: Sequence[Range]) -> None:
        """Deletes these ranges of days in one commit, between two notes in the ledger.

        It does nothing where the table is missing.
        """
        definition = self.definition(target) if ranges else None
        if definition is None:
            return
        before = self._begin(target, time, ranges, [], definition)
        session = self.engine.session
        none = session.createDataFrame([], session.table(target.sql).schema)
        with self.form.writing(session, self.notes.token):
            self.form.writer(none, target, self.notes.token).overwrite(
                within(session, target, time, ranges)
            )
        self._end(target, definition, time, before, ranges)

    def _begin(
        self,
        target: TablePlace,
        time: str,
        ranges: Sequence[Range],
        days: Iterable[date],
        definition: str,
    ) -> list[LedgerEntry]:
        """Notes that these days are not finished; returns the entries of all others."""
        self._take_over(target)
        entries = self.notes.entries(definition)
        rest = [e for e in entries if not is_within(e.day, ranges)]
        begun = (
            {e.day for e in entries if is_within(e.day, ranges)}
            | self.notes.unfinished(definition)
            | set(days)
        )
        self.notes.put(definition, rest, begun, time)
        self.notes.save()
        return rest

    def _take_over(self, table: TablePlace) -> None:
        """Vouches for a table that the run before left, but for its unfinished days.

        Raises EngineError where something else wrote it.
        """
        if table in self.notes.vouched:
            return
        history = self.form.history(self.engine.session, table)
        if self._foreign(table, history):
            message = (
                f"table {table.sql} on Spark was written by something else than the backfill of"
                f" {self.name!r}: drop it, and run this again"
            )
            raise EngineError(message)
        self._vouch(table, history[0].version)

    def _end(
        self,
        target: TablePlace,
        definition: str,
        time: str,
        entries: Sequence[LedgerEntry],
        ranges: Sequence[Range],
    ) -> None:
        """Notes that these days are finished, unless something else wrote the table meanwhile."""
        history = self.form.history(self.engine.session, target)
        if self._foreign(target, history):
            message = (
                f"table {self.name!r} on Spark was written by something else during a step, whose"
                " days do not count as finished: end that, and run this again with rebuild=True"
            )
            raise EngineError(message)
        self.notes.put(
            definition,
            entries,
            {d for d in self.notes.unfinished(definition) if not is_within(d, ranges)},
            time,
        )
        self.notes.held["at"][target.table] = history[0].version
        self.notes.save()

    def finish(self) -> None:
        """Removes what is left of days that were begun and not made again."""
        self._clear(self.main)

    def _clear(self, table: TablePlace) -> None:
        note = self.notes.of(self.definition(table))
        if note["unfinished"]:
            self.remove(table, note["time"], ranges_of(map(date.fromisoformat, note["unfinished"])))

    def swap(self, built: TablePlace) -> None:
        """Replaces this table's rows, columns and days by the built table's, in one commit."""
        session, definition = self.engine.session, str(self.definition(built))
        self._clear(built)
        self._take_over(self.main)
        self.notes.save()  # so that the commit bears the token that the ledger names
        frame, time = session.table(built.sql), self.notes.of(definition)["time"]
        with self.form.writing(session, self.notes.token):
            writer = self.form.writer(frame, self.main, self.notes.token)
            self.form.new(writer, frame, time).tableProperty(
                DEFINITION, definition
            ).createOrReplace()
        self.notes.held["at"][self.main.table] = self._version(self.main)
        self.notes.save()
        self.drop_unfinished(keep=self.main)

    def drop_unfinished(self, keep: TablePlace) -> None:
        """Drops the tables that were being built under definitions no longer asked for.

        The ledger forgets their days.
        """
        current, held_notes = self.definition(self.main), self.notes.held
        over = [d for d in held_notes["made"] if d != current and self.building(d) != keep]
        if current is None:
            return
        for definition in {*over, current}:
            if self.definition(self.building(definition)) == definition:
                self.engine.session.sql(
                    f"DROP TABLE {self.building(definition).sql}{self.form.purge}"
                )
            held_notes["at"].pop(self.building(definition).table, None)
        if over:
            for definition in over:
                del held_notes["made"][definition]
            self.notes.save()

    def manifest(self) -> dict[str, Any]:
        """Returns the manifest of the table; EngineError where no backfill wrote it."""
        entries = self.entries(self.main)
        if not entries:
            message = (
                f"Spark has no table {self.name!r} that a backfill wrote: backfill(join,"
                f" into={self.name!r}) fills one"
            )
            raise EngineError(message)
        return document(entries, {c: str(t) for c, t in self.table().schema().items()})


def _since(history: Sequence[Commit], version: int | None) -> list[Commit]:
    """Returns the commits after a version, newest first; empty where those between have expired."""
    commits: list[Commit] = []
    for commit in history:
        if commit.version == version:
            return commits
        commits.append(commit)
    return commits if not history or history[-1].parent in (None, -1) else []
