"""The steps of a dated backfill, and the rows that each step writes.

One plan serves all steps: it reads their dates from a table.
"""

from __future__ import annotations

from bisect import bisect
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
from attrs import field, frozen

from workbench.backends.table_recipe import Recipe
from workbench.backends.table_results import DAY_COLUMN
from workbench.online.time_units import DAY_US, us_since_epoch
from workbench.planner.plan_choice import OtherPlanError
from workbench.portable.time_rewrites import floor_to, micros

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import ibis.expr.types as ir

    from workbench.backends import Engine
    from workbench.backends.day_ranges import Range
    from workbench.backends.table_results import LedgerEntry

FROM, UNTIL = "_fw_from", "_fw_until"


@frozen
class Step:
    """Some days to fill, each with its entry, in order.

    No other day between them has rows.
    """

    entries: Sequence[LedgerEntry]

    @property
    def range(self) -> Range:
        """The days [first, last) of the step."""
        return self.entries[0].day, self.entries[-1].day + timedelta(days=1)


def steps(todo: Sequence[LedgerEntry], others: Iterable[date], length: int) -> Iterable[Step]:
    """Group the days to fill, in order, into steps that span at most `length` days.

    Days without rows cost nothing. None of `others` lies within a step.
    """
    left_alone = sorted(others)
    group: list[LedgerEntry] = []
    for entry in todo:
        if group and (
            (entry.day - group[0].day).days >= length
            or bisect(left_alone, group[-1].day) < bisect(left_alone, entry.day)
        ):
            yield Step(group)
            group = []
        group.append(entry)
    if group:
        yield Step(group)


def gaps(days: Sequence[date], first: date | None, last: date | None) -> Iterable[Range]:
    """Yield the ranges within [first, last) that hold none of these days, which are in order."""
    edge = first or date.min
    for day in days:
        if edge < day:
            yield edge, day
        edge = day + timedelta(days=1)
    if edge < (last or date.max):
        yield edge, last or date.max


@frozen
class StepPlan:
    """The plan of any step's rows: the table of its dates, intermediate tables, the rows."""

    dates: ir.Table
    recipe: Recipe
    rows: ir.Table


@frozen
class Steps:
    """The rows to write for each step of a left.

    They are planned for the first step, and the plan runs again for the others. A step that suits
    another plan (because of more pairs, say) has that plan made once; few plans are enough for any
    number of steps. `made` gives the rows, with their features, for some of the left's.
    """

    engine: Engine
    left: ir.Table
    time: str
    made: Callable[[ir.Table], ir.Table]
    plans: list[StepPlan] = field(factory=list)

    def rows(self, step: Step) -> ir.Table:
        """Return the step's left rows with their features and the day of each.

        The next step's rows replace the table's.
        """
        dates = _dates(step.range)
        for plan in self.plans:
            self.engine.refill(plan.dates.op().name, dates)
            try:
                plan.recipe.repeat()
            except OtherPlanError:
                continue
            return plan.rows
        self.plans.append(self._plan(dates))
        return self.plans[-1].rows

    def _plan(self, dates: pa.Table) -> StepPlan:
        kept_dates, recipe = self.engine.keep(dates), Recipe()
        with self.engine.noting(recipe):
            at = micros(self.left[self.time])
            part = self.left.join(
                kept_dates, [at >= kept_dates[FROM], at < kept_dates[UNTIL]]
            ).select(*(self.left[c] for c in self.left.columns))
            rows = self.made(self.engine.keep(part))
        return StepPlan(
            kept_dates,
            recipe,
            rows.mutate(**{DAY_COLUMN: floor_to(micros(rows[self.time]), DAY_US)}),
        )


def _dates(days: Range) -> pa.Table:
    first, last = map(us_since_epoch, days)
    return pa.table({FROM: [first], UNTIL: [last]})
