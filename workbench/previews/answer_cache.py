"""The engine's answers to a live preview, and which of them are kept."""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from attrs import evolve

from workbench.definitions.join import tables
from workbench.guards import GuardFinding, guards, of_group_by
from workbench.html.markup import Markup
from workbench.live.protocol import RefusedError
from workbench.previews.distribution import Distribution, distribution
from workbench.previews.engine_check import compared
from workbench.previews.explained_value import ExplainedValue, moment
from workbench.previews.grid_page import ALL_ROWS, SAMPLE, page, wanted_features
from workbench.previews.preview_page_values import Page
from workbench.previews.served_value import ServedJoin, served

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping
    from contextlib import AbstractContextManager

    import ibis.expr.datatypes as dt

    from workbench.backends import Engine
    from workbench.online.storage.store import Store
    from workbench.previews.local_copy import Nearby
    from workbench.previews.view_state import ViewState
    from workbench.training.engine_comparison import Certificate

MAX_ANSWERS_KEPT = 64  # answers
GUARDED = {"Join": guards, "GroupBy": of_group_by}  # a reduction that has no name yet is not
VIEW = "view"  # the slot of what a person moves


class Queries:
    """A join's queries for pages and moments, with the answers that are cached."""

    def __init__(self, near: Nearby, store: Store | None = None) -> None:
        self.near, self.join = near, near.join
        self.service = None if store is None else ServedJoin(near.join, store, near.kind)
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        self._compared: tuple[Page, Certificate] | None = None
        self._offending: dict[str, tuple[int, ...]] = {}
        self._guarding = threading.Lock()  # a view asks, and so does who sees that no view is there
        # opened here, since two threads may not share a connection
        self._behind: Engine = near.origin.apart(tables(near.join))
        self.turn: AbstractContextManager[Any] = (
            threading.RLock() if self._behind is near.origin else nullcontext()
        )

    @property
    def schema(self) -> Mapping[str, dt.DataType]:
        """The left's columns, by which rows are filtered."""
        return dict(self.join.left.table.schema.items())

    @property
    def keys(self) -> dict[str, dt.DataType]:
        """The columns of the left that are matched with keys."""
        return {
            left_key: self.schema[left_key] for part in self.join.parts for left_key, _ in part.keys
        }

    @property
    def features(self) -> tuple[str, ...]:
        """The features' names, in column order."""
        return tuple(f.name for f in self.join.outputs)

    def page(self, state: ViewState) -> Page:
        """Return the page of left rows that a state is on."""
        return self._once(_of(state), lambda: page(self.near, state.page, state.size, state.wanted))

    def distribution(self, state: ViewState, name: str) -> Distribution:
        """Return the distribution of a feature over the rows of a state, or a sample of them."""
        wanted = evolve(state.wanted, at=None) if state.key is None else ALL_ROWS
        rows = self._once(("whole", wanted), lambda: wanted_features(self.near, wanted))
        return distribution(name, [r[name] for r in rows])

    def compared(self, shown: Page) -> Certificate:
        """Compute a page's values by the warehouse's own plan too, and compare."""
        self._compared = shown, compared(shown)
        return self._compared[1]

    def certificate(self, shown: Page) -> Certificate | None:
        """Return the comparison of this page, if it was compared."""
        return (
            self._compared[1] if self._compared is not None and self._compared[0] is shown else None
        )

    def sample(self, state: ViewState) -> str:
        """Say which rows a distribution is of."""
        total = self.near.left.count(state.wanted if state.key is None else ALL_ROWS)
        row_words = "left rows" if self.near.kind == "Join" else "sampled keys"
        return (
            f"{SAMPLE} of {total:,} {row_words}, evenly in order of time"
            if total > SAMPLE
            else f"all {total:,} {row_words}"
        )

    def moment(self, shown: Page, row: dict[str, Any], name: str, at: int | None) -> ExplainedValue:
        """Explain one value of a page, as of its row's time or another."""
        return self._once(("moment", repr(row), name, at), lambda: moment(shown, row, name, at))

    def know(self, state: ViewState, shown: Page, found: ExplainedValue | None) -> None:
        """Store a page and a moment in the cache."""
        self._kept[_of(state)] = shown
        if found is not None:
            self._kept["moment", repr(shown.rows[state.row]), state.feature, None] = found

    def _once(self, key: Hashable, ask: Callable[[], Any]) -> Any:
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        answer = self._kept[key] = ask()
        while len(self._kept) > MAX_ANSWERS_KEPT:
            self._kept.popitem(last=False)
        return answer

    def stop(self, slot: str) -> None:
        """Cancel what the engines run for a slot."""
        if slot != VIEW:
            self._behind.interrupt()
            return
        self.near.stops += 1
        for engine in (self.near.engine, self.near.origin):
            engine.interrupt()

    def close(self) -> None:
        """Close this view's connections to the warehouse and the local copy of its rows."""
        for engine in (self._behind, self.near.origin):
            engine.leave()
        self.near.con.disconnect()

    def published(self) -> str | None:
        """Return whether this definition is served from the store; `None` without a store."""
        return None if self.service is None else self.service.state()

    def served(self, moment: ExplainedValue, name: str) -> Markup:
        """Draw the served value beside the offline one; it is fetched anew each time."""
        return served(self.service, moment, name, self.published())

    def guards(self) -> tuple[GuardFinding, ...]:
        """Return the guards' findings, which are computed once.

        They have a connection of their own, so that they hold up nothing.
        """
        with self._guarding:
            if self.near.findings is None:
                self.near.findings = guarded(self.near, self._behind, datetime.now(UTC))
            findings = self.near.findings
        self._offending = {f.name: tuple(n - 1 for n in f.rows) for f in findings if f.rows}
        return findings

    def offending(self, guard: str) -> tuple[int, ...]:
        """Return the left rows that a guard names, counted from 0."""
        if guard not in self._offending:
            message = f"no guard {guard!r:.80} has rows to show"
            raise RefusedError(message)
        return self._offending[guard]


def guarded(near: Nearby, engine: Engine, now: datetime | None = None) -> tuple[GuardFinding, ...]:
    """Return the guards' findings in what is previewed, on an engine.

    Of a group-by, only the guards of its sources are asked.
    """
    guard_function = GUARDED.get(near.kind)
    return () if guard_function is None else tuple(guard_function(near.join, engine, now=now))


def _of(state: ViewState) -> Hashable:
    """Return the key of a page in the cache."""
    return "page", state.page, state.size, state.wanted
