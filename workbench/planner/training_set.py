"""The portable plan of a training set: a range join of left rows and events, on any engine.

It takes definitions and returns Ibis tables. Without a planner it is lazy: nothing here runs a
query. For each part of a join:

    spine   the left's distinct (keys, instant), null keys left out
    events  the source's rows with keys, time and the reductions' inputs as columns
    pairs   spine left-joined with the events before the instant; a boolean column for each window
    table   pairs grouped by spine row: each reduction over each window, then each feature
"""

from __future__ import annotations

from functools import partial, reduce
from typing import TYPE_CHECKING, Any, Protocol

import ibis.expr.operations as ops

from workbench.definitions.nodes import name_values
from workbench.definitions.sources import EntitySource
from workbench.online.time_units import DAY_US, in_us
from workbench.planner.bound_tables import cleaned, rebound
from workbench.planner.entity_snapshots import EntityRows
from workbench.planner.plan_choice import Planner, lazily
from workbench.planner.source_rows import AT, NEWEST, EventRows, Rows, beside
from workbench.portable.rewrites import finite, normal
from workbench.portable.time_rewrites import floor_to, micros

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import ibis.expr.types as ir

    from workbench.backends import Engine
    from workbench.definitions.group_by import GroupBy
    from workbench.definitions.join import Join, JoinPart
    from workbench.planner.pairs_plan import Evaluation

TIME = "_fw_t"


class Parts(Protocol):
    """A function that gives the features of one part of a join for its spine."""

    def __call__(
        self, spine: ir.Table, *, join: Join, part: JoinPart, engine: Engine, planner: Planner
    ) -> ir.Table:
        """Return the spine's columns, and every feature of the part's group-by."""
        ...


def training_set(
    join: Join,
    engine: Engine,
    left: ir.Table | None = None,
    planner: Planner = lazily,
    parts: Parts | None = None,
    beside: Sequence[str] = (),
) -> ir.Table:
    """Return the left's rows, one to one, and one column for each feature (semantics rule 17).

    It is lazy, unless the planner runs something. `left` replaces the join's left where that was
    already evaluated, with the same columns. `parts` gives the features of a part for its spine,
    where several joins may share them; `beside` names columns of the left that a spine has besides
    keys and instant.
    """
    rows = rebound(join.left.table, engine, clean=False).to_expr() if left is None else left
    columns = rows.columns
    base = rows.mutate(**{TIME: micros(rows[join.left.time])})
    for number, part in enumerate(join.parts):
        base = _with_part(
            base,
            part,
            number,
            engine,
            partial(parts or _part_features, join=join, part=part, engine=engine, planner=planner),
            beside,
        )
    derived_values = {f.name: _over(base, f.node) for f in join.derivations}
    return base.mutate(*name_values(derived_values)).select(
        *columns, *(f.name for f in join.outputs)
    )


def _part_features(
    spine: ir.Table,
    *,
    join: Join,  # noqa: ARG001 as Parts have it
    part: JoinPart,
    engine: Engine,
    planner: Planner,
) -> ir.Table:
    return features(spine, part.group_by, engine, newest=part.max_age is not None, planner=planner)


def _with_part(
    base: ir.Table,
    part: JoinPart,
    number: int,
    engine: Engine,
    computed: Callable[[ir.Table], ir.Table],
    beside: Sequence[str],
) -> ir.Table:
    """Return `base` with one part's features (rule 17).

    They are null where a key is null or its newest data are too old.
    """
    group_by, at = part.group_by, f"{AT}_{number}"
    base = base.mutate(**{at: instant(base[TIME], group_by)})
    key = _keys(base, part, engine)
    spine = _spine(base, key, base[at], beside)
    table = computed(spine)
    part_rows = table.rename(
        **{f"{c}_{number}": c for c in spine.columns},
        **{f"{part.head}_{f.name}": f.name for f in group_by.outputs},
    )
    matched = [value == part_rows[f"{name}_{number}"] for name, value in key.items()]
    matched += [base[c] == part_rows[f"{c}_{number}"] for c in beside]
    joined = base.left_join(part_rows, [*matched, base[at] == part_rows[f"{AT}_{number}"]])
    names = [f"{part.head}_{f.name}" for f in group_by.outputs]
    values = {n: joined[n] for n in names}
    if part.max_age is not None:
        fresh = joined[NEWEST].isnull() | (joined[TIME] - joined[NEWEST] <= in_us(part.max_age))
        values = {n: fresh.ifelse(v, None) for n, v in values.items()}
    return joined.select(*base.columns, *name_values(values))


def _keys(rows: ir.Table, part: JoinPart, engine: Engine) -> dict[str, ir.Value]:
    """Return the left's keys, cleaned as a source's are: NaN and infinity are null (rules 8, 9)."""
    return {
        f"_fw_key{i}": cleaned(rows[left_column], engine)
        for i, (left_column, _) in enumerate(part.keys)
    }


def _spine(
    base: ir.Table, key: dict[str, ir.Value], at: ir.Value, beside: Sequence[str] = ()
) -> ir.Table:
    """Return the distinct (keys, instant, `beside`) of the left, which a part computes.

    A row with a null key is left out.
    """
    has_key = reduce(lambda a, b: a & b, (c.notnull() for c in key.values()))
    return (
        base.filter(has_key & at.notnull()).select(*name_values(key | {AT: at}), *beside).distinct()
    )


def spine_of(part: JoinPart, join: Join, engine: Engine, left: ir.Table | None = None) -> ir.Table:
    """Return the distinct (keys, instant) that a join needs of a part.

    `left` is as in `training_set`.
    """
    rows = rebound(join.left.table, engine, clean=False).to_expr() if left is None else left
    return _spine(
        rows, _keys(rows, part, engine), instant(micros(rows[join.left.time]), part.group_by)
    )


def instant(time: Any, group_by: GroupBy) -> Any:
    """Return what values are as of: `t`, or the midnight at or before it (rules 4 and 6).

    It takes an expression or a number of microseconds.
    """
    daily = group_by.accuracy == "snapshot" or isinstance(group_by.source, EntitySource)
    return floor_to(time, DAY_US) if daily else time


def _over(table: ir.Table, node: ops.Value) -> ir.Value:
    """Return a derivation's expression over the columns of `table`, by name."""
    fields = {f: finite(table[f.name]).op() for f in node.find(ops.Field)}
    return finite(normal(node).replace(fields).to_expr())


# --- one group-by


def features(
    spine: ir.Table,
    group_by: GroupBy,
    engine: Engine,
    *,
    newest: bool = False,
    planner: Planner = lazily,
    rows: Rows | None = None,
) -> ir.Table:
    """Return the spine with every feature of the group-by.

    `spine` has key columns `_fw_key0...` and an instant `_fw_at` in microseconds; the result has
    one row for each of its rows. With `newest` it also has the time of the key's latest fact.
    `rows` stand for those of the source.
    """
    source = rows or (
        EntityRows(group_by, engine)
        if isinstance(group_by.source, EntitySource)
        else EventRows(group_by, engine)
    )
    if group_by.taken:
        spine, evaluation = planner(spine, source, group_by.name)
        table = evaluation(spine, source, engine).states.columns_of(spine)
    else:
        table = _aggregated(group_by, *planner(spine, source, group_by.name), source, newest=newest)
    derived = {f.name: _over(table, f.node) for f in group_by.derivations}
    kept_columns = [
        *spine.columns,
        *(f.name for f in group_by.outputs),
        *([NEWEST] if newest else []),
    ]
    return table.mutate(*name_values(derived)).select(*kept_columns)


def _aggregated(
    group_by: GroupBy,
    spine: ir.Table,
    evaluation: Callable[..., Evaluation],
    source: Rows,
    *,
    newest: bool,
) -> ir.Table:
    plain_ = [f for f in group_by.computed if f.by is None]
    table = evaluation(spine, source, source.engine).table(plain_, newest=newest)
    for by in dict.fromkeys(f.by for f in group_by.computed if f.by is not None):
        mapped = [f for f in group_by.computed if f.by == by]
        table = beside(
            table, evaluation(spine, source, source.engine, bucket=by).maps(mapped), spine.columns
        )
    return table
