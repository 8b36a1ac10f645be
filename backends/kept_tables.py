"""Temporary tables of an engine, kept for as long as an expression refers to them."""

from __future__ import annotations

import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import ibis
import ibis.expr.types as ir

from workbench.backends.engine_queries import EngineQueries
from workbench.backends.handouts import hand_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa
    from ibis.backends import BaseBackend

    from workbench.backends.table_recipe import Recipe

# Temporary tables that nothing refers to any more, by connection; dropped before the next one is
# made.
FORGOTTEN: WeakKeyDictionary[BaseBackend, list[str]] = WeakKeyDictionary()


class KeptTables(EngineQueries):
    """What keeps rows on an engine, and makes them again by a recipe."""

    recipe: Recipe | None = None  # to which what is kept is added, while one is made

    def keep(self, expr: ir.Table | pa.Table) -> ir.Table:
        """Runs an expression once, or takes rows as they are, into a temporary table.

        The table is kept for as long as an expression refers to it.
        """
        con = self.connected
        forgotten = FORGOTTEN.setdefault(con, [])
        while forgotten:
            self.run("the query", lambda: con.drop_table(forgotten.pop(), force=True))
        name = ibis.util.gen_name("fw")
        table = self.run(
            "the query",
            lambda: self.held_as(name, expr),
            expr if isinstance(expr, ir.Table) else None,
        )
        # not dropped at once: the collector may run while another query of this connection is being
        # read
        weakref.finalize(table.op(), forgotten.append, name)
        self.note(lambda: self.refill(name, expr))
        return table

    def refill(self, name: str, rows: ir.Table | pa.Table) -> None:
        """Replaces the rows of a table that `keep` made.

        The new rows are those of its expression as they are now, or those of Arrow.
        """
        self.connected.drop_table(name, force=True)
        self.run("the query", lambda: self.held_as(name, rows))

    def append(self, table: str, rows: pa.Table) -> None:
        """Appends rows to a table that `keep` made of such rows."""
        self.run("an insert", lambda: self.connected.insert(table, rows))

    def local(self, rows: pa.Table) -> ir.Table:
        """Returns rows of this process as a table that expressions may use."""
        return ibis.memtable(rows)

    def given(self, table: ir.Table) -> ir.Table:
        """Returns a finished table to hand out, in types that Ibis has for this engine.

        Its rows are read by `fetch`.
        """
        return hand_out(self, table)

    @contextmanager
    def noting(self, recipe: Recipe | None) -> Iterator[None]:
        """While the block runs, adds what is kept to this recipe, or to none."""
        before, self.recipe = self.recipe, recipe
        try:
            yield
        finally:
            self.recipe = before

    def note(self, action: Callable[[], None]) -> None:
        """Adds an action that was just done to the recipe that is being made, if there is one."""
        if self.recipe is not None:
            self.recipe.add(action)

    def held_as(self, name: str, rows: ir.Table | pa.Table) -> ir.Table:
        """Creates a temporary table of this name."""
        return self.connected.create_table(name, rows, temp=True)
