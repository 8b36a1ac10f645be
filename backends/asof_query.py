"""An as-of query of an engine: events, the instants of the left rows, and the reductions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from workbench.backends.asof_request import Ask


@frozen
class AsOf:
    """Reductions of the events of each `spine` row's keys before its instant.

    Both tables have the columns `keys`, which are not null. `time` (events) and `at` (spine) are
    microseconds since 1970; `order` are columns of the events that settle ties in time. The spine's
    rows are distinct.
    """

    events: ir.Table
    spine: ir.Table
    keys: tuple[str, ...]
    time: str
    at: str
    order: tuple[str, ...]
    asks: tuple[Ask, ...]
    plan: str | None = None  # the one that is forced, of those the engine has

    @property
    def inputs(self) -> tuple[str, ...]:
        """The event columns that are reduced or that decide what counts, each once."""
        return tuple(dict.fromkeys(c for ask in self.asks for c in ask.inputs.values()))
