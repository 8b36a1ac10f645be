"""One reduction over one window of the pairs plan, and what reductions of one pass share."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

import ibis
import ibis.expr.operations as ops
from attrs import frozen

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from workbench.backends import Engine


@frozen
class AggregateCell:
    """One reduction over one window: a column of the aggregate.

    `inputs` maps the reduction's arguments to columns of the pairs; `inside` is the boolean column
    of its window.
    """

    name: str
    op: ops.Reduction
    inputs: dict[str, str]
    inside: str

    def column(self, pairs: ir.Table, argument: str = "arg") -> ir.Column:
        """Return an argument of the reduction, as a column of the pairs."""
        return pairs[self.inputs[argument]]

    def kept(self, pairs: ir.Table) -> ir.BooleanColumn:
        """Return which pairs count."""
        return pairs[self.inside] & self.counts(pairs)

    def counts(self, rows: ir.Table) -> ir.BooleanValue:
        """Return which rows count in any window.

        They pass `where` and have no null among the reduction's arguments (rule 9).
        """
        tests = [
            rows[name].fill_null(False) if argument == "where" else rows[name].notnull()
            for argument, name in self.inputs.items()
        ]
        return reduce(lambda a, b: a & b, tests, ibis.literal(True))


@frozen
class Context:
    """The facts that lowering needs of the pairs: engine, group columns, columns of order."""

    engine: Engine
    group: tuple[str, ...]
    order: tuple[str, ...]

    def ordered(self, pairs: ir.Table, *values: ir.Column) -> list[ir.Column]:
        """Return the sort keys of rule 10: time, the source's order, the reduction's own value."""
        return [*(pairs[o] for o in self.order), *map(self.engine.comparable, values)]
