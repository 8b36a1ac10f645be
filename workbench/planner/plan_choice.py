"""The choice of the plan for each part of a join.

Pairs of left rows and events where they are few, else the engine's own as-of plan.
"""

from __future__ import annotations

from datetime import timedelta
from functools import cache, partial
from typing import TYPE_CHECKING, Protocol

from attrs import evolve, field, frozen

from workbench.backends.asof_query import AsOf
from workbench.backends.asof_request import LacksError
from workbench.backends.time_literals import Extremes
from workbench.definitions.binding import title
from workbench.definitions.feature_expressions import reductions
from workbench.definitions.sketch_reductions import Estimate, refuse
from workbench.errors import DefinitionError
from workbench.online.time_units import DAY, EPOCH, in_us
from workbench.planner.entity_snapshots import EntityRows
from workbench.planner.kernel_plan import Sweep
from workbench.planner.kernel_requests import asked, reach_of, span
from workbench.planner.pairs_cells import AggregateCell
from workbench.planner.pairs_plan import Evaluation
from workbench.planner.pairs_reductions import unfolded
from workbench.planner.source_rows import AT, EVENT, EventRows, Inputs, Rows

if TYPE_CHECKING:
    from collections.abc import Callable

    import ibis.expr.types as ir

    from workbench.backends import Engine
    from workbench.definitions.group_by import GroupBy

PAIRS = "pairs"
# A range join has done so many pairs before the kernel has started, and a scan counts so many
# events cheaply.
MAX_PAIRS = 1_000_000


class Planner(Protocol):
    """A choice of how the features of one group-by are computed for a spine."""

    def __call__(
        self, spine: ir.Table, source: Rows, name: str
    ) -> tuple[ir.Table, Callable[..., Evaluation]]:
        """Return the spine, kept where it is read more than once, and the evaluation."""
        ...


# the signature is that of Planner
def lazily(spine: ir.Table, source: Rows, name: str) -> tuple[ir.Table, Callable[..., Evaluation]]:  # noqa: ARG001
    """Choose pairs always: one expression, of which nothing runs."""
    return spine, Evaluation


def estimate_in(group_by: GroupBy) -> Estimate | None:
    """Return the first sketch that a group-by has."""
    operations = (op for f in group_by.computed for op in reductions(f.node))
    return next((op for op in operations if isinstance(op, Estimate)), None)


def briefly(spine: ir.Table, source: Rows, name: str) -> tuple[ir.Table, Callable[..., Evaluation]]:
    """Choose pairs, but for what they cannot give: a few rows are soon joined."""
    return (
        lazily(spine, source, name)
        if estimate_in(source.group_by) is None
        else Chooser(source.engine)(spine, source, name)
    )


def seeing(engine: Engine, source: Rows, spine: ir.Table) -> Rows:
    """Return a source that knows the instants of its left rows; in a recipe, those of each step.

    Runs a query.
    """
    if isinstance(source, EntityRows):
        return _seeing_states(engine, source, spine)
    if not isinstance(source, EventRows):
        return source
    instants, longest = (
        Extremes(),
        max((in_us(w.length + w.hop) for w in source.group_by.windows if w), default=0),
    )
    bounded_rows = evolve(source, instants=instants)

    def usable() -> bool:
        instants.look(engine, spine, AT)
        near = instants.near(longest + in_us((source.group_by.events.slack or DAY) + DAY))
        if near:
            check_partition(bounded_rows, longest)
        return near

    was_usable = usable()

    def recheck() -> None:
        if usable() != was_usable:
            raise OtherPlanError(source.group_by.name)

    engine.note(recheck)
    return evolve(bounded_rows, pruned=True) if was_usable else source


def _seeing_states(engine: Engine, source: EntityRows, spine: ir.Table) -> Rows:
    if source.group_by.entity.snapshot is None:
        return source
    instants, (bounded_rows, look) = Extremes(), source.seen()

    def usable() -> bool:
        instants.look(engine, spine, AT)
        return look(instants.least, instants.largest)

    was_usable = usable()

    def recheck() -> None:
        if usable() != was_usable:
            raise OtherPlanError(source.group_by.name)

    engine.note(recheck)
    return bounded_rows if was_usable else source


def check_partition(source: EventRows, reach: int) -> None:
    """Refuse a declared partition column where visible events lie outside their partition's day.

    Visible are those up to `reach` microseconds before the instants. It runs a query; a dated
    backfill does so once for all of its steps. Raises DefinitionError, with one of the rows.
    """
    if source.partition is None or not reach or _looked_through(source, reach):
        return
    astray, events = source.astray(reach), source.group_by.events
    for day, us in source.engine.rows(astray.limit(1)):
        ((n,),) = source.engine.rows(astray.agg(n=astray.count()))
        slack = "" if events.slack is None else f" by more than slack={events.slack}"
        at = EPOCH + timedelta(microseconds=us)
        message = (
            f"{n:,} rows of {title(events.table)} lie outside of their partition's day{slack}, such"
            f" as {events.partition}={day} with {events.time} {at:%Y-%m-%d %H:%M:%S}: raise slack=,"
            " mend the table, or leave partition= out"
        )
        raise DefinitionError(message)


def _looked_through(source: EventRows, reach: int) -> bool:
    """Return whether the engine has already checked such a stretch of the source, and record it.

    An engine that keeps no record, because it is not queried again, gives False.
    """
    stretches, at = source.engine.stretches, source.instants
    if stretches is None or at is None or at.least is None or at.largest is None:
        return False
    of = (source.group_by.events.table, source.group_by.events.time, source.partition)
    first, last = stretches.get(of, (at.largest, at.least))
    if first <= at.least - reach and at.largest <= last:
        return True
    stretches[of] = (at.least - reach, at.largest)
    return False


class OtherPlanError(Exception):
    """An error: a part that was planned one way is better computed another way now."""


@frozen
class Choice:
    """The plan of one part, and why."""

    part: str
    plan: str
    why: str
    engine: str


@frozen
class Chooser:
    """A planner that takes the cheaper plan for each part, or the one that the user forces.

    What it chose stands in `choices`.
    """

    engine: Engine
    forced: str | None = None
    choices: list[Choice] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        if self.forced is not None and self.forced not in self.engine.plans:
            message = (
                f"plan={self.forced!r} is none of {self.engine.title}'s: it has"
                f" {', '.join(self.engine.plans)}"
            )
            raise DefinitionError(message)

    def __call__(
        self, spine: ir.Table, source: Rows, name: str
    ) -> tuple[ir.Table, Callable[..., Evaluation]]:
        """Return the spine and the evaluation of one part; counts rows where no plan is forced."""
        if not self.chooses(source):
            bounded_rows = (
                seeing(self.engine, source, spine) if isinstance(source, EntityRows) else source
            )
            return spine, lambda asked, _, engine, **more: Evaluation(
                asked, bounded_rows, engine, **more
            )
        spine = self.engine.keep(spine)
        source = seeing(self.engine, source, spine)
        question = cache(lambda: self._question(spine, source))
        choice = self._choice(question, source, name)
        self.choices.append(choice)
        self.engine.note(lambda: self._check_same(choice, question, source))
        way = Evaluation if choice.plan == PAIRS else partial(Sweep, plan=self._told(source))
        return spine, lambda asked, _, engine, **more: way(asked, source, engine, **more)

    def chooses(self, source: Rows) -> bool:
        """Return whether there is more than one plan for a source, or only the engine's own."""
        return estimate_in(source.group_by) is not None or (
            isinstance(source, EventRows) and self.engine.plans != (PAIRS,)
        )

    def choose(self, spine: ir.Table, source: Rows, name: str) -> Choice:
        """Choose pairs while they are few.

        The cost of a range join grows with the pairs, the kernel's with the rows.
        """
        return self._choice(lambda: self._question(spine, source), source, name)

    def _check_same(self, choice: Choice, question: Callable[[], AsOf], source: Rows) -> None:
        """Raise OtherPlanError where the present rows call for another plan."""
        if self._choice(question, source, choice.part).plan != choice.plan:
            raise OtherPlanError(choice.part)

    def _choice(self, question: Callable[[], AsOf], source: Rows, name: str) -> Choice:
        estimate = estimate_in(source.group_by)
        try:
            if estimate is not None:
                plan, why = self._making(estimate, source)
            else:
                plan, why = (
                    (self.forced, "it was asked for") if self.forced else self._cheaper(question())
                )
        except LacksError as lack:
            plan, why = PAIRS, lack.why
        return Choice(name, plan, why, self.engine.title)

    def _told(self, source: Rows) -> str | None:
        """Return the plan that is forced; plans are forced only for events."""
        return self.forced if isinstance(source, EventRows) else None

    def _making(self, estimate: Estimate, source: Rows) -> tuple[str, str]:
        """Return the plan that makes sketches, and why.

        DefinitionError where there is none, or another is forced.
        """
        if self.engine.plans == (PAIRS,):
            refuse(estimate, self.engine.connected.name, "compute it on DuckDB, Postgres or Spark")
        forced_plan = self._told(source)
        if forced_plan == PAIRS:
            refuse(estimate, f"plan={PAIRS!r}", "leave the plan to the engine")
        return forced_plan or self.engine.plans[
            -1
        ], f"{estimate.written} is a sketch, made in one pass"

    def _cheaper(self, question: AsOf) -> tuple[str, str]:
        """Return the cheaper plan and why.

        Pairs are counted, by two group-bys, only where the choice depends on them.
        """
        left_rows, events = self.engine.sizes(question)
        if left_rows * events <= MAX_PAIRS:
            return (
                PAIRS,
                f"{left_rows:,} left rows and {events:,} events make at most {MAX_PAIRS:,} pairs",
            )
        own_plan = self.engine.own(question)
        if events > MAX_PAIRS:
            return own_plan, f"there are {events:,} events, more than {MAX_PAIRS:,}"
        pairs = self.engine.pairs(question)
        few = pairs <= MAX_PAIRS
        return (
            (PAIRS if few else own_plan),
            (
                f"{left_rows:,} left rows and {events:,} events make {pairs:,} pairs of equal keys,"
                f" {'at most' if few else 'more than'} {MAX_PAIRS:,}"
            ),
        )

    def _question(self, spine: ir.Table, source: Rows) -> AsOf:
        """Return the group-by's query, its lists not unfolded: enough to count and to choose by."""
        inputs, group_by = Inputs(), source.group_by
        parts = [
            (op, f.window)
            for f in group_by.computed
            for op in reductions(f.node)
            if unfolded(op) is None
        ]
        reach = reach_of(span(f.window, group_by.resolution) for f in group_by.computed)
        source = source if reach is None else source.within(reach)
        asks = tuple(
            asked(AggregateCell("", op, inputs.of(op), ""), span(window, group_by.resolution))
            for op, window in parts
        )
        keys = tuple(c for c in spine.columns if c != AT)
        return AsOf(source.placed(inputs, None, None), spine, keys, EVENT, AT, (), asks)
