"""Recipes of tables: what an engine kept on the way, to be made again over other rows.

No plan is written again.
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
        """Adds an action that was just done."""
        self.actions.append(action)

    def repeat(self) -> None:
        """Repeats all actions, in order."""
        for action in self.actions:
            action()


def gathered(engine: Engine, parts: Callable[[], Iterator[pa.Table]]) -> ir.Table:
    """Keeps rows of Arrow that come in parts, at least one, as one table.

    In a recipe they are made again.
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

    def regather() -> None:
        for number, rows in enumerate(parts()):
            (engine.append if number else engine.refill)(name, rows)

    engine.note(regather)
    return table
