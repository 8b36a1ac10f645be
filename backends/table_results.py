"""Dated tables and the ledger of their days, for engines with transactions.

A day is there whole, or not at all.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from datetime import date
from itertools import chain
from typing import TYPE_CHECKING, Any

from attrs import frozen

from workbench.backends.engine import Engine
from workbench.backends.engine_refusals import EngineError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import ibis.expr.types as ir

    from workbench.backends.day_ranges import Range

LEDGER = "workbench_backfills"
# with what is to be written: the midnight that begins the row's day, in microseconds since 1970
DAY_COLUMN = "_fw_day"
NOTED = 200  # entries or ranges of days in one statement
SCHEMA = {
    "table_name": "string",
    "day": "date",
    "name": "string",
    "definition": "string",
    "inputs": "string",
    "versions": "string",
}


@frozen
class LedgerEntry:
    """One finished day: its definition (name and hash), versions, and inputs.

    An input, the left or a source, is a list of whole numbers: how much there was, then a checksum
    of it. `kept` are rows that the left lacks since.
    """

    day: date
    name: str
    definition: str
    inputs: dict[str, list[int]]
    versions: dict[str, str | int]

    @property
    def kept(self) -> int:
        """The rows that stay in the result though the left lacks them now."""
        return self.inputs.get("kept", [0])[0]

    @property
    def rows(self) -> int:
        """The rows that the left had, and so the result has (rule 17), with those that are kept."""
        return self.inputs["left"][0] + self.kept


def document(
    entries: Sequence[LedgerEntry],
    columns: Mapping[str, str],
    files: Mapping[date, Mapping[str, int]] | None = None,
) -> dict[str, Any]:
    """Returns a manifest as JSON: what a dated result holds and what it was made from.

    It has no clock in it. `files` are the rows of each file, by day, where the result is files.
    """
    version_texts = sorted({json.dumps(e.versions, sort_keys=True) for e in entries})
    days: dict[str, dict[str, Any]] = {}
    for e in sorted(entries, key=lambda e: e.day):
        days[str(e.day)] = {
            "rows": e.rows,
            "inputs": e.inputs,
            "versions": version_texts.index(json.dumps(e.versions, sort_keys=True)),
        }
        if files is not None:
            days[str(e.day)]["files"] = dict(files[e.day])
    return {
        "join": entries[0].name if entries else None,
        "definition": entries[0].definition if entries else None,
        "versions": [json.loads(m) for m in version_texts],
        "columns": dict(columns),
        "rows": {
            "left": sum(e.rows for e in entries),
            "result": (
                sum(e.rows for e in entries)
                if files is None
                else sum(sum(files[e.day].values()) for e in entries)
            ),
        },
        "days": days,
    }


def check_one_to_one(what: str, entries: Sequence[LedgerEntry], written: int) -> None:
    """Checks rule 17 on what was written.

    A join that loses or repeats a row must never pass for a training set.
    """
    wanted = sum(e.rows for e in entries)
    if written != wanted:
        message = (
            f"{what} came out with {written} rows for {wanted} left rows of {entries[0].day} to"
            f" {entries[-1].day}, and none of them was kept; please report this with"
            f" explain({entries[0].name})"
        )
        raise EngineError(message)


@frozen
class Ledger:
    """The finished days of one dated table, and of the table that is built to replace it."""

    engine: Engine
    main: str

    @property
    def name(self) -> str:
        """The name that its author gave it."""
        return self.main

    def table(self) -> ir.Table:
        """Returns the table as readers have it."""
        return self.engine.table(self.main)

    def held(self) -> AbstractContextManager[None]:
        """While the block runs, nobody else fills this table."""
        return self.engine.held(self.main)

    def entries(self, table: str) -> list[LedgerEntry]:
        """Returns every finished day of `table` (this one, or one being built for it), by day."""
        con = self.engine.connected
        if LEDGER not in con.list_tables():
            with self.engine.transaction():
                con.create_table(LEDGER, schema=SCHEMA)
        if table not in con.list_tables():
            self.forget(table)  # someone dropped it: nothing of it is finished
        ledger = con.table(LEDGER)
        rows = ledger.filter(ledger.table_name == table).order_by("day").to_pyarrow().to_pylist()
        return [
            LedgerEntry(
                r["day"],
                r["name"],
                r["definition"],
                json.loads(r["inputs"]),
                json.loads(r["versions"]),
            )
            for r in rows
        ]

    def forget(self, table: str) -> None:
        """Removes every day of a table from the ledger."""
        self._execute(f"DELETE FROM {LEDGER} WHERE table_name = ?", table)  # noqa: S608 a constant

    def _execute(self, statement: str, *parameters: Any) -> None:
        self.engine.execute(statement.replace("?", self.engine.placeholder), parameters)

    def check_ours(self, name: str, *, rebuild: bool) -> None:
        """Refuses an existing table that no backfill of the definition `name` wrote."""
        entries = self.entries(self.main)
        if entries and not rebuild:
            self._check_rows(sum(e.rows for e in entries))
        if entries and entries[0].name != name:
            message = (
                f"table {self.main!r} on {self.engine.title} holds {entries[0].name}, not {name}:"
                " give into= another name, or drop it first"
            )
            raise EngineError(message)
        if not entries and self.main in self.engine.connected.list_tables():
            message = (
                f"{self.engine.title} has a table {self.main!r} that no backfill wrote: give into="
                " another name, or drop it first"
            )
            raise EngineError(message)

    def _check_rows(self, expected: int) -> None:
        """Refuses a table whose number of rows is not the ledger's: something else wrote it."""
        row_count = self.engine.connected.table(self.main).count().to_pyarrow().as_py()
        if row_count != expected:
            message = (
                f"table {self.main!r} on {self.engine.title} has {row_count} rows where its"
                f" finished days had {expected}: something else wrote it; drop it, or pass"
                " rebuild=True"
            )
            raise EngineError(message)

    def building(self, definition: str) -> str:
        """Returns the name of the table that is built beside this one for a definition."""
        return f"{self.main}__{definition[:8]}"

    def write(
        self,
        target: str,
        rows: ir.Table,
        time: str,
        entries: Sequence[LedgerEntry],
        ranges: Sequence[Range],
    ) -> None:
        """Replaces these ranges of days in `target` by `rows`, and notes the entries.

        It is one transaction.
        """
        con, rows = self.engine.connected, rows.drop(DAY_COLUMN)
        with self.engine.transaction():
            if target not in con.list_tables():
                self.engine.create(target, rows.schema())
            self.engine.delete_times(target, time, ranges)
            # insert goes by position
            self.engine.insert(target, rows.select(*con.table(target).columns))
            check_one_to_one(self.main, entries, self.engine.count_times(target, time, ranges))
            self._note(target, entries)

    def remove(self, target: str, time: str, ranges: Sequence[Range]) -> None:
        """Deletes these ranges of days and their entries, in one transaction.

        It does nothing where the table is missing.
        """
        if not ranges or target not in self.engine.connected.list_tables():
            return
        with self.engine.transaction():
            for some in (ranges[i : i + NOTED] for i in range(0, len(ranges), NOTED)):
                self.engine.delete_times(target, time, some)
                days = " OR ".join(["(day >= ? AND day < ?)"] * len(some))
                # the name and the conditions are constants
                self._execute(
                    f"DELETE FROM {LEDGER} WHERE table_name = ? AND ({days})",  # noqa: S608
                    target,
                    *chain.from_iterable(some),
                )

    @property
    def rows(self) -> ir.Table:
        """The rows of the table."""
        return self.engine.table(self.main)

    def _note(self, target: str, entries: Sequence[LedgerEntry]) -> None:
        for some in (entries[i : i + NOTED] for i in range(0, len(entries), NOTED)):
            days = ", ".join("?" * len(some))
            # the name and the placeholders are constants
            self._execute(
                f"DELETE FROM {LEDGER} WHERE table_name = ? AND day IN ({days})",  # noqa: S608
                target,
                *(e.day for e in some),
            )
            values = [
                (target, e.day, e.name, e.definition, json.dumps(e.inputs), json.dumps(e.versions))
                for e in some
            ]
            places = ", ".join(["(?, ?, ?, ?, ?, ?)"] * len(some))
            # the names and the placeholders are constants
            self._execute(
                f"INSERT INTO {LEDGER} ({', '.join(SCHEMA)}) VALUES {places}",  # noqa: S608
                *chain.from_iterable(values),
            )

    def swap(self, built: str) -> None:
        """Replaces this table and its days by the built table's, in one transaction."""
        with self.engine.transaction():
            self.engine.connected.drop_table(self.main, force=True)
            self.engine.rename(built, self.main)
            self.forget(self.main)
            # the name is a constant
            self._execute(
                f"UPDATE {LEDGER} SET table_name = ? WHERE table_name = ?",  # noqa: S608
                self.main,
                built,
            )

    def drop_unfinished(self, keep: str) -> None:
        """Drops the tables that were being built for this one under definitions no longer used."""
        con = self.engine.connected
        rows = (
            con.table(LEDGER).select("table_name", "definition").distinct().to_pyarrow().to_pylist()
        )
        for name in {
            r["table_name"] for r in rows if r["table_name"] == self.building(r["definition"])
        } - {keep}:
            if name in con.list_tables():
                with self.engine.transaction():
                    con.drop_table(name, force=True)
                    self.forget(name)

    def finish(self) -> None:
        """Does nothing: nothing is left to do."""

    def manifest(self) -> dict[str, Any]:
        """Returns the manifest of the table; EngineError where no backfill wrote it."""
        entries = self.entries(self.main)
        if not entries:
            message = (
                f"{self.engine.title} has no table {self.main!r} that a backfill wrote:"
                f" backfill(join, into={self.main!r}) fills one"
            )
            raise EngineError(message)
        return document(
            entries, {c: str(t) for c, t in self.engine.table(self.main).schema().items()}
        )


def ledger_of(engine: Engine, parts: Sequence[str]) -> Ledger:
    """Returns the dated table of this name in the connection's current schema."""
    return Ledger(engine, parts[-1])
