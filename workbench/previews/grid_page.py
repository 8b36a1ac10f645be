"""A page of left rows with their features, and the reason for each null."""

from __future__ import annotations

from functools import partial, reduce
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.operations as ops
from attrs import evolve

from workbench.definitions.aggregations import Aggregation
from workbench.definitions.sources import EntitySource
from workbench.online.time_units import in_us
from workbench.planner.entity_snapshots import EntityRows
from workbench.planner.plan_choice import briefly, estimate_in
from workbench.planner.row_numbers import ROW
from workbench.planner.source_rows import AT, EVENT, NEWEST, EventRows
from workbench.planner.training_set import TIME, features, instant, spine_of, training_set
from workbench.portable.arrow_types import fetched
from workbench.portable.time_rewrites import micros
from workbench.previews.left_rows import Wanted
from workbench.previews.local_copy import columns
from workbench.previews.preview_page_values import Page
from workbench.training.source_checks import ask, left_checks

if TYPE_CHECKING:
    from collections.abc import Callable

    import ibis.expr.types as ir
    import pyarrow as pa

    from workbench.backends import Engine
    from workbench.definitions.aggregations import Feature
    from workbench.definitions.group_by import GroupBy
    from workbench.definitions.join import Join, JoinPart
    from workbench.planner.plan_choice import Planner
    from workbench.previews.local_copy import Nearby

KEY_KNOWN, AGE = "_fw_known", "_fw_age"
# the name of a definition's only feature, which may not be one of the plan's own names
EVENT_COUNT = "fw_seen"
LEFT, ALL_ROWS = "_fw_left", Wanted()
SAMPLE = 200  # rows that a distribution is of


def page(near: Nearby, number: int, size: int, wanted: Wanted = ALL_ROWS) -> Page:
    """Return the `number`-th page (from 1) of `size` left rows; DefinitionError past the last."""
    join, total = near.join, near.left.count(wanted)
    rows, block = near.left.rows(wanted, number, size, near.pages(size))
    first = (number - 1) * size
    if not len(rows):
        return Page(near, False, wanted, block, first, total, (), ())
    engine = near.bring(block, partial(_write, near, rows))
    if engine is not near.engine and len(block) > len(rows):
        engine, block = near.bring(rows), rows
    left_table = near.lefts(LEFT, rows, engine)
    ask(left_checks(join, left_table), engine)
    feature_rows = grid(near, engine, left_table).to_pylist(maps_as_pydicts="strict")
    facts = [_facts(part, near, engine, left_table) for part in join.parts]
    return Page(
        near,
        engine is near.engine,
        wanted,
        block,
        first,
        total,
        tuple(feature_rows),
        tuple(_nulls(join, row, facts) for row in feature_rows),
    )


def wanted_features(
    near: Nearby, wanted: Wanted = ALL_ROWS, most: int = SAMPLE
) -> list[dict[str, Any]]:
    """Return the features of wanted rows: all, or `most` of them evenly spread in order of time."""
    total = near.left.count(wanted)
    if total > most:
        wanted = evolve(wanted, only=tuple(i * total // most for i in range(most)))
    rows, _ = near.left.rows(wanted, 1, min(total, most))
    if not len(rows):
        return []
    engine = near.bring(rows)
    left_table = near.lefts(LEFT, rows, engine)
    return grid(near, engine, left_table).to_pylist(maps_as_pydicts="strict")


def grid(near: Nearby, engine: Engine, kept: ir.Table) -> pa.Table:
    """Return the features of some left rows, in their order."""
    if engine is not near.engine or _sketched(near.join):
        return fetched(engine, training_set(near.join, engine, kept, briefly).order_by(ROW))
    for number, part in enumerate(near.join.parts):
        _, schema = near.statement(*_part(part, near))
        near.hold(_table(number), near.fetch(*_part(part, near)), schema)
    return near.fetch(*_grid_query(near))


def _write(near: Nearby, rows: pa.Table) -> None:
    """Have the SQL of a page written before the rows that it reads have arrived."""
    if _sketched(near.join):
        return
    near.hold(LEFT, rows, near.join.left.table.schema)
    for number, part in enumerate(near.join.parts):
        _, schema = near.statement(*_part(part, near))
        near.hold(_table(number), columns(schema).empty_table(), schema)
        near.statement(
            *(_states if isinstance(part.group_by.source, EntitySource) else _counts)(part, near)
        )
    near.statement(*_grid_query(near))


def _sketched(join: Join) -> bool:
    """Return whether some part goes by the kernel, whatever the number of rows."""
    return any(estimate_in(p.group_by) for p in join.parts)


def _table(number: int) -> str:
    """Name the table of a part's features."""
    return f"_fw_part_{number}"


def _shape(join: Join) -> tuple[Any, ...]:
    """Return what of the left a part depends on."""
    return join.left.time, tuple(join.left.table.schema.items())


def _part(part: JoinPart, near: Nearby) -> tuple[GroupBy, Any, Callable[[], ir.Table]]:
    """Return the query of one part's features, with what its cached SQL depends on.

    It is the query within the join, and is written anew only where the part is another.
    """

    def features_query() -> ir.Table:
        spine = spine_of(part, near.join, near.engine, near.con.table(LEFT))
        return features(
            spine, part.group_by, near.engine, newest=part.max_age is not None, planner=briefly
        )

    return part.group_by, ("part", part.keys, part.max_age, _shape(near.join)), features_query


def _grid_query(near: Nearby) -> tuple[Join, Any, Callable[[], ir.Table]]:
    """Return the query of the rows with all features, with what its cached SQL depends on.

    The parts' features are read from local tables; derivations are computed over them.
    """

    def features_query() -> ir.Table:
        numbers = {part.head: number for number, part in enumerate(near.join.parts)}

        # the signature is that of Parts; the features are there already
        def part_table(
            spine: ir.Table,  # noqa: ARG001 as Parts have it
            *,
            join: Join,  # noqa: ARG001 as Parts have it
            part: JoinPart,
            engine: Engine,  # noqa: ARG001 as Parts have it
            planner: Planner,  # noqa: ARG001 as Parts have it
        ) -> ir.Table:
            return near.con.table(_table(numbers[part.head]))

        return training_set(
            near.join, near.engine, near.con.table(LEFT), briefly, parts=part_table
        ).order_by(ROW)

    return near.join, "grid", features_query


# --- why a null is one


def _facts(
    part: JoinPart, near: Nearby, engine: Engine, left_table: ir.Table
) -> dict[int, dict[str, Any]]:
    """Return, by row number, whether the key is known, and how many events each window holds.

    Of an entity, which snapshots have the key.
    """
    if isinstance(part.group_by.source, EntitySource):
        return {
            r[ROW]: r
            for r in (
                near.fetch(*_states(part, near))
                if engine is near.engine
                else fetched(engine, _stated(part, near.join, engine, left_table))
            ).to_pylist()
        }
    return (
        _counted_there(part, near.join, engine, left_table)
        if engine is not near.engine
        else _counted(part, near)
    )


def _counted(part: JoinPart, near: Nearby) -> dict[int, dict[str, Any]]:
    """Return the facts of a part of events, from the local rows."""
    count_rows = near.fetch(*_counts(part, near)).to_pylist()
    return {
        r[ROW]: r
        | {KEY_KNOWN: True}
        | {n: v or 0 for n, v in r.items() if n.startswith(EVENT_COUNT)}
        for r in count_rows
    }


def _states(part: JoinPart, near: Nearby) -> tuple[GroupBy, Any, Callable[[], ir.Table]]:
    """Return the query of which snapshots have a left row's key, over the local rows."""
    return (
        part.group_by,
        ("states", part.keys, _shape(near.join)),
        lambda: _stated(part, near.join, near.engine, near.con.table(LEFT)),
    )


def _stated(part: JoinPart, join: Join, engine: Engine, left_table: ir.Table) -> ir.Table:
    """Return, by row number, what the key's snapshots are.

    Columns are the number of its rows, how many of them had ended by the row's instant, when the
    last of these ended, and which snapshot was in force.
    """
    rows = EntityRows(part.group_by, engine)
    snapshots = rows.table.select(**rows.keys(rows.table), **rows.ended(rows.table))
    left = left_table.select(
        ROW,
        **{f"_fw_left{i}": left_table[k] for i, (k, _) in enumerate(part.keys)},
        **{AT: instant(micros(left_table[join.left.time]), part.group_by)},
    )
    pairs = left.inner_join(
        snapshots, [left[f"_fw_left{i}"] == snapshots[f"_fw_key{i}"] for i in range(len(part.keys))]
    )
    ended = pairs[EVENT] <= pairs[AT]
    key_facts = pairs.group_by(ROW).agg(
        **{
            KEY_KNOWN: pairs[EVENT].count(),
            EVENT_COUNT: ended.ifelse(1, 0).sum(),
            NEWEST: pairs[EVENT].max(where=ended),
        }
    )
    ends = rows.snapshots().distinct()
    force = (
        left.inner_join(ends, [ends[EVENT] <= left[AT]])
        .group_by(ROW)
        .agg(**{AGE: lambda t: t[EVENT].max()})
    )
    return key_facts.left_join(force, ROW).drop(f"{ROW}_right")


def _counts(part: JoinPart, near: Nearby) -> tuple[GroupBy, Any, Callable[[], ir.Table]]:
    """Return the query of how many events of its key each left row has, over the local rows."""
    time, join = part.group_by.events.time, near.join

    def counts_query() -> ir.Table:
        source, left = EventRows(part.group_by, near.engine), near.con.table(LEFT)
        events = source.table
        key_events = events.select(**source.keys(events), **{EVENT: micros(events[time])})
        lefts = left.select(
            **{f"_fw_left{i}": left[k] for i, (k, _) in enumerate(part.keys)},
            **{ROW: left[ROW], TIME: micros(left[join.left.time])},
        )
        lefts = lefts.mutate(**{AT: instant(lefts[TIME], part.group_by)})
        pairs = lefts.inner_join(
            key_events,
            [lefts[f"_fw_left{i}"] == key_events[f"_fw_key{i}"] for i in range(len(part.keys))],
        )
        before = pairs[EVENT] < pairs[AT]
        windows = {
            f"{EVENT_COUNT}_{w!r}": (before & (pairs[EVENT] >= source.tail(pairs[AT], w))).sum()
            for w in part.group_by.windows
            if w
        }
        return pairs.group_by(ROW).agg(
            **{AGE: pairs[TIME].max() - pairs[EVENT].max(where=before), EVENT_COUNT: before.sum()},
            **windows,
        )

    return part.group_by, ("counts", part.keys, _shape(join)), counts_query


def _counted_there(
    part: JoinPart, join: Join, engine: Engine, left_table: ir.Table
) -> dict[int, dict[str, Any]]:
    """Return the facts of a part of events, from the engine that has the tables."""
    counted = counting(part.group_by)
    at = micros(left_table[join.left.time])
    base = left_table.mutate(**{AT: instant(at, part.group_by)})
    keys = {f"_fw_key{i}": base[left_key] for i, (left_key, _) in enumerate(part.keys)}
    has_keys = reduce(lambda a, b: a & b, (k.notnull() for k in keys.values()))
    spine = base.filter(has_keys).select(**keys, **{AT: base[AT]}).distinct()
    counts = features(spine, counted, engine, newest=True)
    key_rows = EventRows(counted, engine)
    ever = (
        key_rows.table.select(**key_rows.keys(key_rows.table))
        .distinct()
        .mutate(**{KEY_KNOWN: ibis.literal(value=True)})
    )
    joined = base.left_join(
        counts,
        [
            *(base[left_key] == counts[f"_fw_key{i}"] for i, (left_key, _) in enumerate(part.keys)),
            base[AT] == counts[AT],
        ],
    )
    joined = joined.mutate(**{AGE: micros(joined[join.left.time]) - joined[NEWEST]})
    row_facts = joined.left_join(
        ever,
        [joined[left_key] == ever[f"_fw_key{i}"] for i, (left_key, _) in enumerate(part.keys)],
        rname="{name}_ever",
    )
    rows = engine.fetch(
        row_facts.select(ROW, KEY_KNOWN, NEWEST, AGE, *(f.name for f in counted.outputs))
    )
    return {r[ROW]: r for r in rows.to_pylist()}


def counting(group_by: GroupBy) -> GroupBy:
    """Return the group-by with the number of events in each window as its features: n, n_3d, ..."""
    table = group_by.source.table.to_expr()
    windows = tuple(w for w in group_by.windows if w)
    counts = [
        Aggregation(table.count().name(EVENT_COUNT)),
        *([Aggregation(table.count().name(EVENT_COUNT), windows)] if windows else []),
    ]
    return evolve(group_by, aggregations=counts, features=(), derivations={})


def _nulls(
    join: Join, row: dict[str, Any], facts: list[dict[int, dict[str, Any]]]
) -> dict[str, str]:
    """Return, for each feature that is null in this row, which kind of null it is."""
    kinds: dict[str, str] = {}
    for part, part_facts in zip(join.parts, facts, strict=True):
        fact = part_facts.get(row[ROW], {})
        for feature in part.group_by.outputs:
            name = f"{part.head}_{feature.name}"
            if row[name] is None:
                derived = feature in part.group_by.derivations
                kinds[name] = (
                    _inherited(feature, kinds, f"{part.head}_")
                    if derived
                    else _kind(part, feature, row, fact)
                )
    return kinds | {f.name: _inherited(f, kinds) for f in join.derivations if row[f.name] is None}


def _inherited(derivation: Feature, kinds: dict[str, str], head: str = "") -> str:
    """Return the kind of the first null among a derivation's inputs.

    If none is null, the expression itself gives the null.
    """
    inputs = (f"{head}{f.name}" for f in derivation.node.find(ops.Field))
    return next((kinds[i] for i in inputs if i in kinds), "undefined")


def _kind(part: JoinPart, feature: Feature, row: dict[str, Any], fact: dict[str, Any]) -> str:
    if any(row[left_key] is None for left_key, _ in part.keys):
        return "null key"
    if isinstance(part.group_by.source, EntitySource):
        if not fact.get(KEY_KNOWN):
            return "no key"
        if not fact[EVENT_COUNT]:
            return "not yet"
        return "input null" if fact[AGE] is None or fact[NEWEST] == fact[AGE] else "gone"
    if not fact.get(KEY_KNOWN):
        return "no key"
    if part.max_age is not None and (fact[AGE] or 0) > in_us(part.max_age):
        return "expired"
    return "input null" if fact[_count(feature)] else "empty"


def _count(feature: Feature) -> str:
    return f"{EVENT_COUNT}_{feature.window!r}" if feature.window else EVENT_COUNT
