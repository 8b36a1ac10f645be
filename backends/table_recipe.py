"""Recipes of tables: what an engine kept on the way, to be made again over other rows.

No plan is written again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Callable


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
