"""A page of left rows with their features, and the reason for each null."""

from __future__ import annotations

from functools import partial, reduce
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.operations as ops
from attrs import evolve, frozen

from workbench.backends import EngineError
from workbench.definitions.group_by import Aggregation
from workbench.definitions.sources import EntitySource
from workbench.planner.entity_snapshots import EntityRows
from workbench.planner.plan_choice import briefly, estimate_in
from workbench.planner.row_numbers import ROW
from workbench.planner.source_rows import AT, EVENT, NEWEST, EventRows, in_us
from workbench.planner.training_set import TIME, features, instant, spine_of, training_set
from workbench.portable.arrow_types import fetched
from workbench.portable.rewrites import micros
from workbench.previews.left_rows import Wanted
from workbench.previews.local_copy import columns
from workbench.training.source_checks import ask, left_checks

if TYPE_CHECKING:
    from collections.abc import Callable

    import ibis.expr.types as ir
    import pyarrow as pa

    from workbench.backends import Engine
    from workbench.definitions.group_by import Feature, GroupBy
    from workbench.definitions.join import Join, JoinPart
    from workbench.planner.plan_choice import Planner
    from workbench.previews.local_copy import Nearby

KNOWN, AGE = "_fw_known", "_fw_age"
# the name of a definition's only feature, which may not be one of the plan's own names
SEEN = "fw_seen"
LEFT, ALL = "_fw_left", Wanted()
SAMPLE = 200  # rows that a distribution is of
NULL_WORDS = {
    "empty": "no event in the window",
    "no key": "the key is never in the source",
    "not yet": "no snapshot with the key had ended by then",
    "gone": "the newest snapshot that had ended by then lacks the key",
    "null key": "a key of the left row is null",
    "input null": "events are there, but nothing to make a value of",
    "undefined": "the expression has no value here, as in a division by zero",
    "expired": "the key's newest data is older than max_age",
}


@frozen
class Page:
    """A page of left rows in order of time, with their features and the kind of each null."""

    near: Nearby
    brought: bool  # whether the rows of its keys are beside it, or are asked where they are
    wanted: Wanted
    block: pa.Table
    first: int
    total: int
    rows: tuple[dict[str, Any], ...]
    nulls: tuple[dict[str, str], ...]

    def at_hand(self) -> None:
        """Copy the rows of the page's keys again, if those of another page replaced them.

        EngineError where that fails.
        """
        if self.brought and self.near.bring(self.block) is not self.near.engine:
            message = (
                f"the rows of this page's keys could not be read again from {self.title}: turn to"
                " the page again"
            )
            raise EngineError(message)

    @property
    def engine(self) -> Engine:
        """The engine that is queried for the page's keys."""
        return self.near.engine if self.brought else self.near.origin

    @property
    def join(self) -> Join:
        """The join that is previewed."""
        return self.near.join

    @property
    def title(self) -> str:
        """The name of the engine that has the tables."""
        return self.near.origin.title

    @property
    def outputs(self) -> tuple[Feature, ...]:
        """The join's features, in column order."""
        return self.join.outputs


def page(near: Nearby, number: int, size: int, wanted: Wanted = ALL) -> Page:
    """Return the `number`-th page (from 1) of `size` left rows; DefinitionError past the last."""
    join, total = near.join, near.left.count(wanted)
    rows, block = near.left.rows(wanted, number, size, near.pages(size))
    first = (number - 1) * size
    if not len(rows):
        return Page(near, False, wanted, block, first, total, (), ())
    engine = near.bring(block, partial(_write, near, rows))
    if engine is not near.engine and len(block) > len(rows):
        engine, block = near.bring(rows), rows
    kept = near.lefts(LEFT, rows, engine)
    ask(left_checks(join, kept), engine)
    found = grid(near, engine, kept).to_pylist(maps_as_pydicts="strict")
    facts = [_facts(part, near, engine, kept) for part in join.parts]
    return Page(
        near,
        engine is near.engine,
        wanted,
        block,
        first,
        total,
        tuple(found),
        tuple(_nulls(join, row, facts) for row in found),
    )


def whole(near: Nearby, wanted: Wanted = ALL, most: int = SAMPLE) -> list[dict[str, Any]]:
    """Return the features of wanted rows: all, or `most` of them evenly spread in order of time."""
    total = near.left.count(wanted)
    if total > most:
        wanted = evolve(wanted, only=tuple(i * total // most for i in range(most)))
    rows, _ = near.left.rows(wanted, 1, min(total, most))
    if not len(rows):
        return []
    engine = near.bring(rows)
    kept = near.lefts(LEFT, rows, engine)
    return grid(near, engine, kept).to_pylist(maps_as_pydicts="strict")


def grid(near: Nearby, engine: Engine, kept: ir.Table) -> pa.Table:
    """Return the features of some left rows, in their order."""
    if engine is not near.engine or _sketched(near.join):
        return fetched(engine, training_set(near.join, engine, kept, briefly).order_by(ROW))
    for number, part in enumerate(near.join.parts):
        _, schema = near.statement(*_part(part, near))
        near.hold(_table(number), near.fetch(*_part(part, near)), schema)
    return near.fetch(*_whole(near))


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
    near.statement(*_whole(near))


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

    def asked() -> ir.Table:
        spine = spine_of(part, near.join, near.engine, near.con.table(LEFT))
        return features(
            spine, part.group_by, near.engine, newest=part.max_age is not None, planner=briefly
        )

    return part.group_by, ("part", part.keys, part.max_age, _shape(near.join)), asked


def _whole(near: Nearby) -> tuple[Join, Any, Callable[[], ir.Table]]:
    """Return the query of the rows with all features, with what its cached SQL depends on.

    The parts' features are read from local tables; derivations are computed over them.
    """

    def asked() -> ir.Table:
        numbers = {part.head: number for number, part in enumerate(near.join.parts)}

        # the signature is that of Parts; the features are there already
        def there(
            spine: ir.Table,  # noqa: ARG001 as Parts have it
            *,
            join: Join,  # noqa: ARG001 as Parts have it
            part: JoinPart,
            engine: Engine,  # noqa: ARG001 as Parts have it
            planner: Planner,  # noqa: ARG001 as Parts have it
        ) -> ir.Table:
            return near.con.table(_table(numbers[part.head]))

        return training_set(
            near.join, near.engine, near.con.table(LEFT), briefly, parts=there
        ).order_by(ROW)

    return near.join, "grid", asked


# --- why a null is one


def _facts(
    part: JoinPart, near: Nearby, engine: Engine, kept: ir.Table
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
                else fetched(engine, _stated(part, near.join, engine, kept))
            ).to_pylist()
        }
    return (
        _counted_there(part, near.join, engine, kept)
        if engine is not near.engine
        else _counted(part, near)
    )


def _counted(part: JoinPart, near: Nearby) -> dict[int, dict[str, Any]]:
    """Return the facts of a part of events, from the local rows."""
    found = near.fetch(*_counts(part, near)).to_pylist()
    return {
        r[ROW]: r | {KNOWN: True} | {n: v or 0 for n, v in r.items() if n.startswith(SEEN)}
        for r in found
    }


def _states(part: JoinPart, near: Nearby) -> tuple[GroupBy, Any, Callable[[], ir.Table]]:
    """Return the query of which snapshots have a left row's key, over the local rows."""
    return (
        part.group_by,
        ("states", part.keys, _shape(near.join)),
        lambda: _stated(part, near.join, near.engine, near.con.table(LEFT)),
    )


def _stated(part: JoinPart, join: Join, engine: Engine, kept: ir.Table) -> ir.Table:
    """Return, by row number, what the key's snapshots are.

    Columns are the number of its rows, how many of them had ended by the row's instant, when the
    last of these ended, and which snapshot was in force.
    """
    rows = EntityRows(part.group_by, engine)
    mine = rows.table.select(**rows.keys(rows.table), **rows.ended(rows.table))
    left = kept.select(
        ROW,
        **{f"_fw_left{i}": kept[k] for i, (k, _) in enumerate(part.keys)},
        **{AT: instant(micros(kept[join.left.time]), part.group_by)},
    )
    both = left.inner_join(
        mine, [left[f"_fw_left{i}"] == mine[f"_fw_key{i}"] for i in range(len(part.keys))]
    )
    ended = both[EVENT] <= both[AT]
    known = both.group_by(ROW).agg(
        **{
            KNOWN: both[EVENT].count(),
            SEEN: ended.ifelse(1, 0).sum(),
            NEWEST: both[EVENT].max(where=ended),
        }
    )
    ends = rows.snapshots().distinct()
    force = (
        left.inner_join(ends, [ends[EVENT] <= left[AT]])
        .group_by(ROW)
        .agg(**{AGE: lambda t: t[EVENT].max()})
    )
    return known.left_join(force, ROW).drop(f"{ROW}_right")


def _counts(part: JoinPart, near: Nearby) -> tuple[GroupBy, Any, Callable[[], ir.Table]]:
    """Return the query of how many events of its key each left row has, over the local rows."""
    time, join = part.group_by.events.time, near.join

    def asked() -> ir.Table:
        source, left = EventRows(part.group_by, near.engine), near.con.table(LEFT)
        events = source.table
        mine = events.select(**source.keys(events), **{EVENT: micros(events[time])})
        lefts = left.select(
            **{f"_fw_left{i}": left[k] for i, (k, _) in enumerate(part.keys)},
            **{ROW: left[ROW], TIME: micros(left[join.left.time])},
        )
        lefts = lefts.mutate(**{AT: instant(lefts[TIME], part.group_by)})
        both = lefts.inner_join(
            mine, [lefts[f"_fw_left{i}"] == mine[f"_fw_key{i}"] for i in range(len(part.keys))]
        )
        before = both[EVENT] < both[AT]
        windows = {
            f"{SEEN}_{w!r}": (before & (both[EVENT] >= source.tail(both[AT], w))).sum()
            for w in part.group_by.windows
            if w
        }
        return both.group_by(ROW).agg(
            **{AGE: both[TIME].max() - both[EVENT].max(where=before), SEEN: before.sum()}, **windows
        )

    return part.group_by, ("counts", part.keys, _shape(join)), asked


def _counted_there(
    part: JoinPart, join: Join, engine: Engine, kept: ir.Table
) -> dict[int, dict[str, Any]]:
    """Return the facts of a part of events, from the engine that has the tables."""
    counted = counting(part.group_by)
    at = micros(kept[join.left.time])
    base = kept.mutate(**{AT: instant(at, part.group_by)})
    keys = {f"_fw_key{i}": base[left] for i, (left, _) in enumerate(part.keys)}
    there = reduce(lambda a, b: a & b, (k.notnull() for k in keys.values()))
    spine = base.filter(there).select(**keys, **{AT: base[AT]}).distinct()
    counts = features(spine, counted, engine, newest=True)
    known = EventRows(counted, engine)
    ever = (
        known.table.select(**known.keys(known.table))
        .distinct()
        .mutate(**{KNOWN: ibis.literal(value=True)})
    )
    joined = base.left_join(
        counts,
        [
            *(base[left] == counts[f"_fw_key{i}"] for i, (left, _) in enumerate(part.keys)),
            base[AT] == counts[AT],
        ],
    )
    joined = joined.mutate(**{AGE: micros(joined[join.left.time]) - joined[NEWEST]})
    both = joined.left_join(
        ever,
        [joined[left] == ever[f"_fw_key{i}"] for i, (left, _) in enumerate(part.keys)],
        rname="{name}_ever",
    )
    rows = engine.fetch(both.select(ROW, KNOWN, NEWEST, AGE, *(f.name for f in counted.outputs)))
    return {r[ROW]: r for r in rows.to_pylist()}


def counting(group_by: GroupBy) -> GroupBy:
    """Return the group-by with the number of events in each window as its features: n, n_3d, ..."""
    table = group_by.source.table.to_expr()
    windows = tuple(w for w in group_by.windows if w)
    counts = [
        Aggregation(table.count().name(SEEN)),
        *([Aggregation(table.count().name(SEEN), windows)] if windows else []),
    ]
    return evolve(group_by, aggregations=counts, features=(), derivations={})


def _nulls(
    join: Join, row: dict[str, Any], facts: list[dict[int, dict[str, Any]]]
) -> dict[str, str]:
    """Return, for each feature that is null in this row, which kind of null it is."""
    kinds: dict[str, str] = {}
    for part, known in zip(join.parts, facts, strict=True):
        fact = known.get(row[ROW], {})
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
    if any(row[left] is None for left, _ in part.keys):
        return "null key"
    if isinstance(part.group_by.source, EntitySource):
        if not fact.get(KNOWN):
            return "no key"
        if not fact[SEEN]:
            return "not yet"
        return "input null" if fact[AGE] is None or fact[NEWEST] == fact[AGE] else "gone"
    if not fact.get(KNOWN):
        return "no key"
    if part.max_age is not None and (fact[AGE] or 0) > in_us(part.max_age):
        return "expired"
    return "input null" if fact[_count(feature)] else "empty"


def _count(feature: Feature) -> str:
    return f"{SEEN}_{feature.window!r}" if feature.window else SEEN
