"""Dated tables and the ledger of their days, for engines with transactions: a day is there whole, or not at all."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import TYPE_CHECKING

from attrs import frozen

from backends.engine import Engine, EngineError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import ibis.expr.types as ir

LEDGER = "workbench_backfills"
SCHEMA = {"table_name": "string", "day": "date", "name": "string", "definition": "string", "inputs": "string"}


@frozen
class Entry:
    """One finished day: by which definition (its name and hash), and what was there of the left and of each source.

    An input is a list of whole numbers: how much there was, then a checksum of it.
    """

    day: date
    name: str
    definition: str
    inputs: dict[str, list[int]]


@frozen
class Ledger:
    """The finished days of one dated table, and of the table being built to take its place."""

    engine: Engine
    table: str

    def entries(self, table: str) -> list[Entry]:
        """Every finished day of `table` (this one, or one being built for it), by day."""
        con = self.engine.connected
        if LEDGER not in con.list_tables():
            with self.engine.transaction():
                con.create_table(LEDGER, schema=SCHEMA)
        if table not in con.list_tables():
            self.forget(table)  # someone dropped it: nothing of it is finished
        ledger = con.table(LEDGER)
        rows = ledger.filter(ledger.table_name == table).order_by("day").to_pyarrow().to_pylist()
        return [Entry(r["day"], r["name"], r["definition"], json.loads(r["inputs"])) for r in rows]

    def forget(self, table: str) -> None:
        """Take every day of a table out of the ledger."""
        self.engine.execute(f"DELETE FROM {LEDGER} WHERE table_name = ?", (table,))  # noqa: S608 a constant

    def check_ours(self, name: str, *, rebuild: bool) -> None:
        """Refuse a table that is there and was not written by a backfill of the definition `name`."""
        entries = self.entries(self.table)
        if entries and not rebuild:
            self._check_rows(sum(e.inputs["left"][0] for e in entries))
        if entries and entries[0].name != name:
            message = f"table {self.table!r} on {self.engine.title} holds {entries[0].name}, not {name}: give into= another name, or drop it first"
            raise EngineError(message)
        if not entries and self.table in self.engine.connected.list_tables():
            message = f"{self.engine.title} has a table {self.table!r} that no backfill wrote: give into= another name, or drop it first"
            raise EngineError(message)

    def _check_rows(self, expected: int) -> None:
        """Refuse a table that has other rows than the ledger says: someone else wrote it since."""
        found = self.engine.connected.table(self.table).count().to_pyarrow().as_py()
        if found != expected:
            message = f"table {self.table!r} on {self.engine.title} has {found} rows where its finished days had {expected}: something else wrote it; drop it, or pass rebuild=True"
            raise EngineError(message)

    def building(self, definition: str) -> str:
        """The name of the table that is built beside this one for a definition."""
        return f"{self.table}__{definition[:8]}"

    def write(self, target: str, rows: ir.Table, time: str, entries: Sequence[Entry]) -> None:
        """Replace the entries' days in `target` by `rows`, and note them, in one transaction."""
        con = self.engine.connected
        days = [e.day for e in entries]
        with self.engine.transaction():
            if target not in con.list_tables():
                con.create_table(target, schema=rows.schema())
            self.engine.delete_times(target, time, min(days), max(days) + timedelta(days=1))
            con.insert(target, rows.select(*con.table(target).columns))  # insert goes by position
            for entry in entries:
                self._note(target, entry)

    def _note(self, target: str, entry: Entry) -> None:
        self.engine.execute(f"DELETE FROM {LEDGER} WHERE table_name = ? AND day = ?", (target, entry.day))  # noqa: S608 a constant
        values = (target, entry.day, entry.name, entry.definition, json.dumps(entry.inputs))
        self.engine.execute(f"INSERT INTO {LEDGER} VALUES (?, ?, ?, ?, ?)", values)  # noqa: S608 a constant

    def swap(self, built: str) -> None:
        """Put the built table and its days in this one's place, in one transaction."""
        with self.engine.transaction():
            self.engine.connected.drop_table(self.table, force=True)
            self.engine.rename(built, self.table)
            self.forget(self.table)
            self.engine.execute(f"UPDATE {LEDGER} SET table_name = ? WHERE table_name = ?", (self.table, built))  # noqa: S608 a constant

    def drop_unfinished(self, keep: str) -> None:
        """Drop what was being built for this table under definitions that nobody asks for now."""
        con = self.engine.connected
        rows = con.table(LEDGER).select("table_name", "definition").distinct().to_pyarrow().to_pylist()
        for name in {r["table_name"] for r in rows if r["table_name"] == self.building(r["definition"])} - {keep}:
            if name in con.list_tables():
                with self.engine.transaction():
                    con.drop_table(name, force=True)
                    self.forget(name)
