"""Values of a fetch: the served plan, its queries, and the errors that ask for another try."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import psycopg

from workbench.online.fetching.fetch_sql import statement
from workbench.online.fetching.value_readers import plain, reader
from workbench.online.plan import Plan
from workbench.online.storage import retained_totals

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.online.plan import PartPlan, PlanFeature


MAX_TRIES = 3  # of plans, while a name is published anew; of a statement, while the server is away
Keys = Mapping[str, Any]


@dataclass(frozen=True)
class Served:
    """A published plan with its statements, and the readers that turn a row into an answer."""

    id: int
    plan: Plan

    @cached_property
    def one(self) -> str:
        """The statement for one key."""
        return statement(self.plan, many=False)

    @cached_property
    def many(self) -> str:
        """The statement for several keys."""
        return statement(self.plan, many=True)

    @cached_property
    def outputs(self) -> list[tuple[str, Callable[[Any], Any] | None, str | None, PlanFeature]]:
        """(name, reader or None where the driver's value stands, part, feature) in column order."""
        return [
            (name, _value_reader(f), None if part is None else head_of(part), f)
            for part, f, name in self.plan.outputs
        ]

    @cached_property
    def names(self) -> list[str]:
        """The features' names."""
        return [name for name, *_ in self.outputs]

    @cached_property
    def types(self) -> dict[str, str]:
        """The features' Ibis types by name, in column order."""
        return {name: f.type for name, *_, f in self.outputs}

    @cached_property
    def key_types(self) -> dict[str, str]:
        """The keys' Ibis types by name."""
        return {k.name: k.type for k in self.plan.keys}

    @cached_property
    def spans(self) -> list[int]:
        """How far back each part looks, in microseconds."""
        return [self.plan.group_by(p.group_by).reach for p in self.plan.parts]

    @cached_property
    def entire(self) -> list[bool]:
        """Which parts have features over all time and no retention, so that they need all rows."""
        group_bys = [self.plan.group_by(p.group_by) for p in self.plan.parts]
        return [g.retain is None and retained_totals.possible(g) for g in group_bys]

    @cached_property
    def places(self) -> list[tuple[str, PartPlan, tuple[int, ...]]]:
        """Each part's head, and the positions of its keys in the request."""
        names = [k.name for k in self.plan.keys]
        return [
            (head_of(p), p, tuple(names.index(left) for left, _ in p.keys)) for p in self.plan.parts
        ]


def _value_reader(feature: PlanFeature) -> Callable[[Any], Any] | None:
    """The reader that makes an answer's value from the driver's; None where it is one already."""
    if feature.sketch is not None:
        # PLC0415: sketches are loaded only where they are served
        from workbench.online.fetching.sketch_values import estimator  # noqa: PLC0415

        return estimator(feature)
    return None if plain(feature) else reader(feature.type)


def head_of(part: PartPlan) -> str:
    """Return what a part's columns begin with: its own head, or its group-by's name."""
    return part.head or part.group_by


@dataclass(frozen=True, slots=True)
class StoreQuery:
    """A statement for the store, to be run prepared and in binary; the reply is its rows."""

    sql: str
    row: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Lookup:
    """A request for the plan that is published under a name now; the reply is a `Served`."""

    name: str


Talk = Generator[StoreQuery | Lookup, Any, Any]


# N818: it is no error that the plan at hand is not the published one
class Changed(Exception):  # noqa: N818
    """The plan published under the name is no longer the one that was used."""


CHANGED = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.InvalidSqlStatementName,
)
# of the connection or the server: a fetch changes nothing, and may be retried
LOST = (psycopg.OperationalError, psycopg.InterfaceError)
