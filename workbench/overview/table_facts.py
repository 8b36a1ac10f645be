"""What `preview(table)` finds in a table, as a value that its text and its page are drawn from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen

if TYPE_CHECKING:
    from workbench.overview.candidates import KeyCandidate, TimeCandidate
    from workbench.overview.column_facts import ColumnFacts
    from workbench.overview.first_lines import FirstLines
    from workbench.overview.text_readings import Hint


@frozen
class TableFacts:
    """The facts of a table's columns, its first rows, and the lines to go on with."""

    title: str
    engine: str
    looked_at: int
    sampled: bool
    columns: tuple[ColumnFacts, ...]
    rows: tuple[dict[str, Any], ...]
    times: tuple[TimeCandidate, ...]
    keys: tuple[KeyCandidate, ...]
    lines: tuple[FirstLines, ...]
    lacks: tuple[str, ...] = field(default=())
    hints: tuple[Hint, ...] = field(default=())

    @property
    def code(self) -> str:
        """The first lines to go on with; empty where the table has no key."""
        return self.lines[0].code if self.lines else ""

    @property
    def size(self) -> str:
        """The number of rows and columns, and whether those are all."""
        columns = f"{len(self.columns):,} column{'' if len(self.columns) == 1 else 's'}"
        if self.sampled:
            return (
                f"a sample, the first {self.looked_at:,} rows that {self.engine} gives: there may"
                f" be more · {columns}"
            )
        return f"{self.looked_at:,} row{'' if self.looked_at == 1 else 's'} · {columns}"
