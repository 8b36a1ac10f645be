"""The window kernel's plan: one pass over events in order of key and time.

The engine runs it as its own as-of plan, instead of pairing left rows with events.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.datatypes as dt
from attrs import frozen

from workbench.backends.asof_query import AsOf
from workbench.backends.asof_request import Ask, LacksError, WindowSpan
from workbench.backends.time_literals import LARGEST, LEAST, Form, edge
from workbench.definitions.feature_expressions import reductions
from workbench.definitions.sketch_reductions import Estimate
from workbench.planner.kernel_requests import asked, reach_of, span
from workbench.planner.pairs_cells import AggregateCell
from workbench.planner.pairs_plan import Evaluation, contained, contribution, counted, seen_column
from workbench.planner.source_rows import (
    AT,
    BUCKET,
    END,
    EVENT,
    MEMBER,
    NEWEST,
    NO_DAY,
    Inputs,
    beside,
)
from workbench.portable.arrow_types import arrow

if TYPE_CHECKING:
    from collections.abc import Sequence

    import ibis.expr.types as ir

    from workbench.definitions.aggregations import Feature
    from workbench.definitions.reductions import Each
    from workbench.definitions.windows import Window

FLAG = "_fw_flag"


@frozen
class Sweep(Evaluation):
    """The features of one group-by for one spine; what the engine's plan lacks goes by pairs."""

    plan: str | None = None  # of the engine's own plans, the one that is forced

    def _branch(
        self,
        each_op: Each | None,
        cells: Sequence[Any],
        named: dict[Any, str],
        *,
        newest: bool = False,
        wanted: Sequence[Feature] = (),
    ) -> ir.Table:
        """Return one query's answer, for the reductions that unfold the same list, or none."""
        try:
            return self._asked(each_op, cells, named, newest=newest, wanted=wanted)
        except LacksError:
            only = (
                []
                if each_op is not None and contained(each_op)
                else [c for c in cells if isinstance(c[0], Estimate)]
            )
            table = super()._branch(
                each_op, [c for c in cells if c not in only], named, newest=newest, wanted=wanted
            )
            return (
                beside(
                    table, self._asked(each_op, only, named, newest=False, wanted=()), self.group
                )
                if only
                else table
            )

    def _asked(
        self,
        each_op: Each | None,
        cells: Sequence[Any],
        named: dict[Any, str],
        *,
        newest: bool,
        wanted: Sequence[Feature],
    ) -> ir.Table:
        inputs = Inputs()
        aggregate_cells = {c: AggregateCell(named[c], c[0], inputs.of(c[0]), "") for c in cells}
        question = _Question(
            self,
            inputs,
            each_op,
            [asked(cell, self._span(c[1])) for c, cell in aggregate_cells.items()],
        )
        for i, feature in enumerate(wanted):
            question.whether(
                counted(i),
                [contribution(op, inputs, "") for op in reductions(feature.node)],
                self._span(feature.window),
            )
        if newest:
            question.newest()
        if each_op is None or not contained(each_op):
            return question.answer(self.group)
        for (_, window), cell in aggregate_cells.items():
            question.whether(
                seen_column(cell.name),
                [cell] if each_op.arg.dtype.is_map() else [],
                self._span(window),
            )
        return self._folded(
            question.answer((*self.group, MEMBER)),
            [c.name for c in aggregate_cells.values()],
            by_key=each_op.arg.dtype.is_map(),
        )

    def _span(self, window: Window | None) -> WindowSpan:
        return span(window, self.source.group_by.resolution)


class _Question:
    """The query of one branch: columns of the events, and requests over them."""

    def __init__(self, sweep: Sweep, inputs: Inputs, each: Each | None, asks: list[Ask]) -> None:
        self.sweep, self.inputs, self.each, self.asks = sweep, inputs, each, asks
        self.flags: dict[str, list[AggregateCell]] = {}

    def whether(self, name: str, cells: Sequence[AggregateCell], over: WindowSpan) -> None:
        """Request whether any event of the span counts for any of these cells.

        Without cells, whether there is an event.
        """
        flag = f"{FLAG}{len(self.flags)}"
        self.flags[flag] = list(cells)
        self.asks.append(Ask(name, "any", {"arg": flag}, over, arrow(ibis.dtype("boolean"))))

    def newest(self) -> None:
        """Request the time of the key's latest event."""
        self.asks.append(
            Ask(NEWEST, "last", {"arg": EVENT}, WindowSpan(), arrow(ibis.dtype("int64")))
        )

    def answer(self, group: tuple[str, ...]) -> ir.Table:
        """Return the group's columns and one column for each request.

        The group is the spine's columns and perhaps a bucket and a member.
        """
        events = self.sweep.source.within(self.reach).placed(
            self.inputs, self.each, self.sweep.bucket
        )
        more = tuple(c for c in group if c in (BUCKET, MEMBER))
        events = events.filter(*(events[c].notnull() for c in more)) if more else events
        events = events.mutate(
            **{name: _counts(cells, events) for name, cells in self.flags.items()}
        )
        spine = self._spread(events, more)
        keys = tuple(c for c in spine.columns if c != AT)
        if not self.asks:
            return spine.select(*group)
        order = tuple(c for c in events.columns if c.startswith("_fw_order"))
        question = AsOf(
            self._pruned(events), spine, keys, EVENT, AT, order, tuple(self.asks), self.sweep.plan
        )
        answers = self.sweep.engine.as_of(question)
        return (
            answers.mutate(**{NEWEST: answers[END].nullif(NO_DAY)})
            if END in answers.columns
            else answers
        ).select(*group, *(a.name for a in self.asks))

    def _spread(self, events: ir.Table, more: tuple[str, ...]) -> ir.Table:
        """Return the spine with every requested bucket and member that its key ever has."""
        spine = self.sweep.source.dated(self.sweep.spine)
        if not more:
            return spine
        keys = [c for c in spine.columns if c != AT]
        event_keys = events.select(*keys, *more).distinct()
        return spine.join(event_keys, keys).select(*spine.columns, *more)

    @property
    def reach(self) -> int | None:
        """How many microseconds before an instant an event may count, rounded up a little.

        `None` where any event may.
        """
        return reach_of([a.span for a in self.asks])

    def _pruned(self, events: ir.Table) -> ir.Table:
        """Return the events that any instant can see."""
        instants, reach = self.sweep.source.instants, self.reach
        if instants is None:
            return events
        earlier_events = events.filter(events[EVENT] < edge(instants, LARGEST, 0, Form(), dt.int64))
        return (
            earlier_events
            if reach is None
            else earlier_events.filter(
                earlier_events[EVENT] >= edge(instants, LEAST, -reach, Form(), dt.int64)
            )
        )


def _counts(cells: Sequence[AggregateCell], events: ir.Table) -> ir.BooleanValue:
    if not cells:
        return ibis.literal(True)
    return reduce(lambda a, b: a | b, (c.counts(events).fill_null(False) for c in cells))
