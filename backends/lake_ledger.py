"""The ledger of a lake table's days, and the properties of the table that it is kept beside."""

from __future__ import annotations

import base64
import json
import uuid
from datetime import date
from typing import TYPE_CHECKING, Any

from workbench.backends.engine_refusals import EngineError
from workbench.backends.table_results import LedgerEntry, document

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from workbench.backends.lake_formats import Format, TablePlace


LEDGER = "workbench.ledger"  # the property of a ledger


class Notes:
    """The ledger of a table: one row with a mark that changes with every change, and JSON.

    `run` is the token of the run that wrote last, `at` the version of each table up to which it
    vouches for the rows, and `made` has by definition what a manifest holds, the days that were
    begun and are not finished, and the left's time.
    """

    def __init__(self, session: Any, place: TablePlace, form: Format) -> None:
        self.session, self.place, self.form = session, place, form
        self.token = uuid.uuid4().hex  # of this run
        self.mark: str | None = None
        self.vouched: set[TablePlace] = set()  # tables whose history this run has looked at
        self._held: dict[str, Any] | None = None

    @property
    def held(self) -> dict[str, Any]:
        """The content of the ledger, as this run read and wrote it."""
        if self._held is None:
            self.mark, self._held = self._read()
        return self._held

    def of(self, definition: str | None) -> dict[str, Any]:
        """Returns the content for one definition."""
        note: dict[str, Any] = self.held["made"].get(
            definition, {"unfinished": []} | document([], {})
        )
        return note

    def entries(self, definition: str | None) -> list[LedgerEntry]:
        """Returns the finished days of a definition, in order."""
        note = self.of(definition)
        return [
            LedgerEntry(
                date.fromisoformat(d),
                note["join"],
                note["definition"],
                e["inputs"],
                note["versions"][e["versions"]],
            )
            for d, e in note["days"].items()
        ]

    def unfinished(self, definition: str | None) -> set[date]:
        """Returns the days of a definition that were begun and are not finished.

        The table may have rows of them, old or new.
        """
        return {date.fromisoformat(d) for d in self.of(definition)["unfinished"]}

    def put(
        self, definition: str, entries: Sequence[LedgerEntry], unfinished: Iterable[date], time: str
    ) -> None:
        """Sets the content for a definition, which `save` writes."""
        self.held["made"][definition] = document(entries, {}) | {
            "unfinished": [str(d) for d in sorted(unfinished)],
            "time": time,
        }

    def save(self) -> None:
        """Writes the ledger in one commit; EngineError where another run wrote it meanwhile."""
        held_notes, mark = self.held | {"run": self.token}, uuid.uuid4().hex
        text, before = json.dumps(held_notes), self.mark
        self.mark, self._held = mark, held_notes
        if before is None:
            self._make(mark, text)
            return
        # no session's rules of quotes and backslashes matter to base64
        coded = base64.b64encode(text.encode()).decode()
        # the texts are our own
        changed = self.session.sql(
            f"UPDATE {self.place.sql} SET mark = '{mark}', held = CAST(unbase64('{coded}') AS"  # noqa: S608
            f" STRING) WHERE mark = '{before}'"
        ).collect()
        # Delta says how many rows it changed, Iceberg nothing
        if not (changed[0][0] if changed else self._read()[0] == mark):
            message = (
                f"another run fills the same table since, by its ledger {self.place.sql}, and this"
                " one stopped: wait for that one, and run this again"
            )
            raise EngineError(message)

    def _make(self, mark: str, text: str) -> None:
        writer = (
            self.session.createDataFrame([(mark, text)], "mark string, held string")
            .coalesce(1)
            .writeTo(self.place.sql)
        )
        writer.using(self.form.name).tableProperty(LEDGER, "1").create()

    def _read(self) -> tuple[str | None, dict[str, Any]]:
        table_properties = properties(self.session, self.place)
        if table_properties is None:
            return None, {"run": None, "at": {}, "made": {}}
        rows = self.session.table(self.place.sql).collect() if LEDGER in table_properties else []
        if len(rows) != 1:
            message = (
                f"Spark has a table {self.place.sql} that is no ledger of a backfill: rename it, or"
                " give into= another name"
            )
            raise EngineError(message)
        return rows[0].mark, json.loads(rows[0].held)


def properties(session: Any, place: TablePlace) -> dict[str, str] | None:
    """Returns the properties of a table as it stands in its catalog now.

    It is None where there is no table or view of that name.
    """
    if not session.catalog.tableExists(place.sql):
        return None
    session.catalog.refreshTable(place.sql)  # Iceberg's catalogs remember tables for half a minute
    return {r.key: r.value for r in session.sql(f"SHOW TBLPROPERTIES {place.sql}").collect()}
