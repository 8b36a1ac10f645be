"""Several joins in one backfill: lefts and parts that they share are evaluated once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from workbench.definitions.canonical import fingerprint
from workbench.planner.training_set import features
from workbench.training.incremental import left_rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    import ibis.expr.types as ir

    from workbench.backends import Engine
    from workbench.definitions.join import Join, JoinPart
    from workbench.planner.plan_choice import Planner

Key = tuple[Any, ...]


@frozen
class Together:
    """The shared lefts and parts of the joins of one backfill.

    Lefts are shared by table and time, parts by what they are requested for.
    """

    joins: Sequence[Join]
    parts: Counter[Key] = field(init=False)
    aged: set[Key] = field(init=False)
    lefts: dict[Key, ir.Table] = field(factory=dict)
    tables: dict[Key, ir.Table] = field(factory=dict)

    @parts.default
    def _parts(self) -> Counter[Key]:
        return Counter(part_key_of(j, p) for j in self.joins for p in j.parts)

    @aged.default
    def _aged(self) -> set[Key]:
        return {part_key_of(j, p) for j in self.joins for p in j.parts if p.max_age is not None}

    def left(self, join: Join, engine: Engine, first: date | None, last: date | None) -> ir.Table:
        """Return the left's rows in the range, evaluated for the first join that has them."""
        at = (join.left.table, join.left.time)
        if at not in self.lefts:
            self.lefts[at] = left_rows(join, engine, first, last)
        return self.lefts[at]

    def features(
        self, spine: ir.Table, *, join: Join, part: JoinPart, engine: Engine, planner: Planner
    ) -> ir.Table:
        """Return the part's features for its spine, kept where another part needs them too."""
        part_key = part_key_of(join, part)
        if part_key not in self.tables:
            table = features(
                spine, part.group_by, engine, newest=part_key in self.aged, planner=planner
            )
            self.tables[part_key] = engine.keep(table) if self.parts[part_key] > 1 else table
        return self.tables[part_key]


def part_key_of(join: Join, part: JoinPart) -> Key:
    """Return what decides a part's values: the group-by's meaning, the left's keys and times."""
    return (
        fingerprint(part.group_by, serving=False),
        join.left.table,
        join.left.time,
        tuple(left_column for left_column, _ in part.keys),
    )
