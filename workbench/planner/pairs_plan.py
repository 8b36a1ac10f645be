"""The pairs plan: one pass over pairs of left rows and events, however many features it gives."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

from attrs import frozen

from workbench.definitions.feature_expressions import finish_over, reductions
from workbench.definitions.nodes import name_values
from workbench.definitions.reduction_kinds import kind
from workbench.planner.entity_snapshots import EntityRows
from workbench.planner.pairs_cells import AggregateCell, Context
from workbench.planner.pairs_reductions import lower, prepare, tallied, tally, unfolded
from workbench.planner.source_rows import (
    BUCKET,
    END,
    EVENT,
    MEMBER,
    NEWEST,
    Inputs,
    Rows,
    beside,
    inside,
)
from workbench.portable.rewrites import finite, normal_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    import ibis.expr.operations as ops
    import ibis.expr.types as ir

    from workbench.backends import Engine
    from workbench.definitions.aggregations import Feature
    from workbench.definitions.reductions import Each
    from workbench.definitions.windows import Window


@frozen
class Evaluation:
    """The features of one group-by for one spine, whole or separated by a bucket column."""

    spine: ir.Table
    source: Rows
    engine: Engine
    bucket: str | None = None

    @property
    def states(self) -> EntityRows:
        """The source, which is an entity."""
        # the caller has checked the kind of source
        assert isinstance(self.source, EntityRows), "the source is an entity"  # noqa: S101
        return self.source

    @property
    def group(self) -> tuple[str, ...]:
        """The columns that name one row of the result."""
        return (*self.spine.columns, *([BUCKET] if self.bucket else []))

    def table(self, wanted: Sequence[Feature], *, newest: bool = False) -> ir.Table:
        """Return the group's columns and every feature, computed from its reductions."""
        return self._finished(self._cells(wanted), wanted, newest=newest)

    def maps(self, wanted: Sequence[Feature]) -> ir.Table:
        """Return the spine's columns and every feature as a map by bucket.

        Entries that nothing contributed to are left out.
        """
        cells = self._cells(wanted)
        table = self._finished(cells, wanted, contributed=True)
        conditions = {
            f.name: table[counted(i)].fill_null(False) & table[f.name].notnull()
            for i, f in enumerate(wanted)
        }
        return table.group_by(*self.spine.columns).agg(
            *name_values(
                {
                    f.name: self.engine.mapped(table[BUCKET], table[f.name], conditions[f.name])
                    for f in wanted
                }
            )
        )

    def _cells(self, wanted: Sequence[Feature]) -> dict[tuple[ops.Reduction, Window | None], str]:
        named: dict[tuple[ops.Reduction, Window | None], str] = {}
        for feature in wanted:
            for op in reductions(feature.node):
                named.setdefault((op, feature.window), f"_fw_part{len(named)}")
        return named

    def _finished(
        self,
        named: dict[Any, str],
        wanted: Sequence[Feature],
        *,
        newest: bool = False,
        contributed: bool = False,
    ) -> ir.Table:
        unfolds = dict.fromkeys(unfolded(op) for op, _ in named)
        table = self._branch(
            None,
            [c for c in named if unfolded(c[0]) is None],
            named,
            newest=newest,
            wanted=wanted if contributed else (),
        )
        for each_op in unfolds:
            if each_op is not None:
                each_cells = [c for c in named if unfolded(c[0]) == each_op]
                zeros = [
                    named[c] for c in each_cells if kind(c[0]).counts and not contained(each_op)
                ]
                table = beside(table, self._branch(each_op, each_cells, named), self.group, zeros)
        values = {}
        for feature in wanted:
            parts = {op: table[named[op, feature.window]].op() for op in reductions(feature.node)}
            values[feature.name] = finite(normal_value(finish_over(feature.node, parts)).to_expr())
        kept_columns = [
            *self.group,
            *([NEWEST] if newest else []),
            *(counted(i) for i in range(len(wanted)) if contributed),
        ]
        return table.select(*kept_columns, *name_values(values))

    def _branch(
        self,
        each_op: Each | None,
        cells: Sequence[Any],
        named: dict[Any, str],
        *,
        newest: bool = False,
        wanted: Sequence[Feature] = (),
    ) -> ir.Table:
        """Return one pass over the pairs, for the reductions that unfold the same list, or none."""
        inputs = Inputs()
        aggregate_cells = [
            AggregateCell(named[c], c[0], inputs.of(c[0]), inside(c[1])) for c in cells
        ]
        contributions = {
            f.name: [contribution(op, inputs, inside(f.window)) for op in reductions(f.node)]
            for f in wanted
        }
        windows = dict.fromkeys([w for _, w in cells] + [f.window for f in wanted])
        pairs = self.source.pairs(
            self.spine, tuple(windows), inputs, each=each_op, bucket=self.bucket, newest=newest
        )
        if self.bucket:
            pairs = pairs.filter(pairs[BUCKET].notnull())
        group = (*self.group, *([MEMBER] if each_op is not None and contained(each_op) else []))
        context = Context(self.engine, group, self.source.order(pairs))
        extra = {counted(i): _any(cs, pairs) for i, cs in enumerate(contributions.values())}
        if newest:
            extra[NEWEST] = pairs[END if END in pairs.columns else EVENT].max()
        if MEMBER not in group:
            return self._grouped(aggregate_cells, pairs, context, extra)
        by_key = each_op is not None and each_op.arg.dtype.is_map()
        saw = {
            seen_column(c.name): (c.kept(pairs) if by_key else pairs[c.inside])
            .fill_null(False)
            .any()
            for c in aggregate_cells
        }
        return self._folded(
            self._grouped(aggregate_cells, pairs, context, saw),
            [c.name for c in aggregate_cells],
            by_key=by_key,
        )

    def _grouped(
        self,
        cells: Sequence[AggregateCell],
        pairs: ir.Table,
        context: Context,
        extra: dict[str, ir.Scalar],
    ) -> ir.Table:
        flat = [c for c in cells if not tallied(c)]
        ready = prepare(flat, pairs, context)
        measures = {c.name: lower(c, ready, context) for c in flat} | extra
        table = (
            ready.group_by(*context.group).agg(**measures)
            if measures
            else pairs.select(*context.group).distinct()
        )
        for value in dict.fromkeys(c.inputs["arg"] for c in cells if tallied(c)):
            tallied_cells = [c for c in cells if tallied(c) and c.inputs["arg"] == value]
            table = beside(table, tally(tallied_cells, pairs, context), context.group)
        return table

    def _folded(self, table: ir.Table, names: Sequence[str], *, by_key: bool) -> ir.Table:
        """Combine aggregates of a map's keys, or of a list's positions, to a map or list (rule 15).

        A key is left out where no value of it counted; a position only where the window has no list
        at all.
        """
        member_rows = table.filter(table[MEMBER].notnull())
        if by_key:
            folded = {
                n: self.engine.mapped(
                    member_rows[MEMBER],
                    member_rows[n],
                    member_rows[seen_column(n)] & member_rows[n].notnull(),
                )
                for n in names
            }
        else:
            folded = {
                n: self.engine.collected(
                    member_rows[n], member_rows[MEMBER], member_rows[seen_column(n)]
                )
                for n in names
            }
        return member_rows.group_by(*self.group).agg(**folded)


def counted(number: int) -> str:
    """Return the column that says whether a feature's map has anything.

    It is named by number, since the feature's name may be as long as an engine allows.
    """
    return f"_fw_any{number}"


def seen_column(cell: str) -> str:
    """Return the column that says whether a member's cell saw anything."""
    return f"{cell}_seen"


def contribution(op: ops.Reduction, inputs: Inputs, within: str) -> AggregateCell:
    """Return what a reduction takes of an event; under `each`, the list."""
    each_op = unfolded(op)
    return AggregateCell(
        "", op, inputs.of(op) if each_op is None else {"arg": inputs.name(each_op.arg)}, within
    )


def _any(cells: Sequence[AggregateCell], pairs: ir.Table) -> ir.BooleanScalar:
    return reduce(lambda a, b: a | b, (c.kept(pairs).fill_null(False) for c in cells)).any()


def contained(each: Each) -> bool:
    """Return whether reductions of the elements give a map or a list rather than one value."""
    return each.by_position or each.arg.dtype.is_map()
