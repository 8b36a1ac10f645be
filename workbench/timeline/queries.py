"""What a live preview has asked of its engine, and what it keeps of the answers."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from workbench.markup import Markup, tag
from workbench.timeline.moment import Moment, moment
from workbench.timeline.plan import Page, page

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    import ibis.expr.datatypes as dt

    from backends import Engine
    from workbench.joins import Join
    from workbench.timeline.state import State

KEPT = 64  # answers


class Queries:
    """A join on an engine, asked for pages and moments; what was asked before is at hand."""

    def __init__(self, join: Join, engine: Engine, store: Any = None) -> None:
        self.join, self.engine, self.store = join, engine, store
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()

    @property
    def schema(self) -> Mapping[str, dt.DataType]:
        """The left's columns, by which rows are filtered."""
        return dict(self.join.left.table.schema.items())

    @property
    def keys(self) -> dict[str, dt.DataType]:
        """The columns of the left that are matched with keys."""
        return {left: self.schema[left] for part in self.join.parts for left, _ in part.keys}

    @property
    def features(self) -> tuple[str, ...]:
        """Every feature by name, in column order."""
        return tuple(f.name for f in self.join.outputs)

    def page(self, state: State) -> Page:
        """The page of left rows that a state is on."""
        return self._once(("page", state.page, state.size, state.where, state.only, repr(state.key), state.at if state.key else None), lambda: page(self.join, self.engine, state.page, state.size))

    def moment(self, shown: Page, row: dict[str, Any], name: str, at: int | None) -> Moment:
        """What stands behind one value of a page, as of its row's time or another."""
        return self._once(("moment", repr(row), name, at), lambda: moment(shown, row, name))

    def _once(self, key: Hashable, ask: Callable[[], Any]) -> Any:
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        answer = self._kept[key] = ask()
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return answer

    def stop(self, slot: str) -> None:
        """Cancel what the engine runs for a slot."""

    def published(self) -> bool | None:
        """Whether this definition is published in the store; None where there is none."""
        return None

    def served(self, moment: Moment, name: str) -> Markup:
        """The served value beside the offline one."""
        return tag("p", "Not published: publish(join, store) serves it, and preview(join, store=store) then shows both here.", class_="muted")

    def guards(self) -> Markup:
        """What to be warned of."""
        return Markup("")

    def offending(self, guard: str) -> tuple[int, ...]:
        """The left rows that a guard names."""
        return ()
