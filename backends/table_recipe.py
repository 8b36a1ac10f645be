"""How a table was made: what its engine kept on the way, in order, to be made again over other
rows, no plan being written again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import ibis.expr.types as ir
    import pyarrow as pa

    from workbench.backends.engine import Engine


@frozen(eq=False)
class Recipe:
    """Actions that fill temporary tables; each reads what the ones before it filled."""

    actions: list[Callable[[], None]] = field(factory=list)

    def add(self, action: Callable[[], None]) -> None:
        """What was just done, to be done again."""
        self.actions.append(action)

    def repeat(self) -> None:
        """Do all of it again, in order."""
        for action in self.actions:
            action()


def gathered(engine: Engine, parts: Callable[[], Iterator[pa.Table]]) -> ir.Table:
    """Rows of Arrow that are made some at a time, at least once, kept as one table.

    In a recipe, made again.
    """
    table: ir.Table | None = None
    with engine.noting(None):
        for rows in parts():
            if table is None:
                table = engine.keep(rows)
            else:
                engine.append(table.op().name, rows)
    assert table is not None, "there is at least one part"  # noqa: S101 what the caller promises
    name = table.op().name

    def again() -> None:
        for number, rows in enumerate(parts()):
            (engine.append if number else engine.refill)(name, rows)

    engine.note(again)
    return table
