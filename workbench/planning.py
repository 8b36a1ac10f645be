"""Which plan computes a part: pairs of left rows and events where they are few, the engine's own as-of plan else."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

from attrs import field, frozen

from backends.asof import AsOf
from workbench.errors import DefinitionError
from workbench.evaluation import Evaluation
from workbench.rows import AT, EVENT, EventRows, Inputs, Rows
from workbench.sweep import Sweep

if TYPE_CHECKING:
    from collections.abc import Callable

    import ibis.expr.types as ir

    from backends import Engine

PAIRS = "pairs"
FEW = 1_000_000  # pairs that a range join is done with before the kernel has started; and events that a scan counts cheaply


class Planner(Protocol):
    """What decides how the features of one group-by are computed for a spine."""

    def __call__(self, spine: ir.Table, source: Rows, name: str) -> tuple[ir.Table, Callable[..., Evaluation]]:
        """The spine, kept where it is read more than once, and the evaluation."""
        ...


def lazily(spine: ir.Table, source: Rows, name: str) -> tuple[ir.Table, Callable[..., Evaluation]]:  # noqa: ARG001 a Planner
    """Pairs, always: one expression, of which nothing runs."""
    return spine, Evaluation


@frozen
class Choice:
    """The plan of one part, and why."""

    part: str
    plan: str
    why: str


@frozen
class Chooser:
    """The cheaper plan for each part, or the one that the user forces; what it chose stands in `choices`."""

    engine: Engine
    forced: str | None = None
    choices: list[Choice] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        if self.forced is not None and self.forced not in self.engine.plans:
            message = f"plan={self.forced!r} is none of {self.engine.title}'s: it has {', '.join(self.engine.plans)}"
            raise DefinitionError(message)

    def __call__(self, spine: ir.Table, source: Rows, name: str) -> tuple[ir.Table, Callable[..., Evaluation]]:
        """The spine and the evaluation of one part; counts what there is where nothing is forced."""
        if not isinstance(source, EventRows) or self.engine.plans == (PAIRS,):
            return spine, Evaluation
        spine = self.engine.keep(spine)
        choice = self.choose(spine, source, name)
        self.choices.append(choice)
        return spine, Evaluation if choice.plan == PAIRS else partial(Sweep, plan=self.forced)

    def choose(self, spine: ir.Table, source: EventRows, name: str) -> Choice:
        """Pairs while they are few: the cost of a range join grows with them, that of the kernel with the rows."""
        own = self.engine.plans[-1]
        if self.forced is not None:
            return Choice(name, self.forced, "as asked for")
        question = self._question(spine, source)
        left, events = self.engine.sizes(question)
        if left * events <= FEW:
            return Choice(name, PAIRS, f"{left:,} left rows and {events:,} events make at most {FEW:,} pairs")
        if events > FEW:
            return Choice(name, own, f"there are {events:,} events, more than {FEW:,}")
        pairs = self.engine.pairs(question)
        few = pairs <= FEW
        why = f"{left:,} left rows and {events:,} events make {pairs:,} pairs of equal keys, {'at most' if few else 'more than'} {FEW:,}"
        return Choice(name, PAIRS if few else own, why)

    def _question(self, spine: ir.Table, source: EventRows) -> AsOf:
        events = source.placed(Inputs(), None, None)
        keys = tuple(c for c in spine.columns if c != AT)
        return AsOf(events, spine, keys, EVENT, AT, (), ())
