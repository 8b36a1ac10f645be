"""Replay of answers from the events that they may have seen, by the definition's expressions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ibis
import pyarrow as pa
from attrs import evolve, field, frozen

from workbench.definitions.sources import EntitySource
from workbench.errors import DefinitionError
from workbench.monitoring.comparison.event_differences import MISSING, paired
from workbench.monitoring.comparison.event_sides import local, questions, sides, snapshots_seen
from workbench.monitoring.comparison.recompute import left_on
from workbench.monitoring.comparison.served_answers import ROW
from workbench.planner.plan_choice import Chooser, briefly
from workbench.planner.source_rows import AT, BUCKET, EVENT, MEMBER, NEWEST, EventRows
from workbench.planner.training_set import features, training_set
from workbench.portable.arrow_types import arrow, fetched
from workbench.serving.online_plans import TIME, Stored

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import ibis.expr.types as ir

    from workbench.backends import Engine
    from workbench.definitions.join import Join, JoinPart
    from workbench.definitions.reductions import Each
    from workbench.monitoring.comparison.event_sides import Side
    from workbench.monitoring.comparison.served_answers import Answered
    from workbench.online.storage.store import Store
    from workbench.planner.plan_choice import Planner
    from workbench.planner.source_rows import Inputs

NONE = -(2**62)  # before every snapshot


@frozen
class StoredRows(EventRows):
    """A group-by's events as a store keeps them, each repeated for every answer that may see it.

    The arguments of its reductions are columns already.
    """

    stored: Stored
    rows: ir.Table

    @property
    def partition(self) -> None:
        """None: a store has no partitions."""

    def selected(
        self,
        inputs: Inputs,
        each: Each | None,
        bucket: str | None,
        extra: Callable[[ir.Table], dict[str, ir.Value]],
    ) -> ir.Table:
        """Returns the rows as internal columns, with `each` unfolded where it is given."""
        del extra  # time and order are stored
        table, kept = self.rows, self.stored
        if each is not None:
            table = self._unfolded(table, each)
        columns: dict[str, ir.Value] = {
            f"_fw_key{i}": table[f"k{i}"] for i in range(len(self.group_by.keys))
        } | {ROW: table[ROW], EVENT: table[TIME]}
        for name in kept.named:
            columns |= {
                f"_fw_order{name[1:]}a": table[name].notnull().ifelse(1, 0),
                f"_fw_order{name[1:]}b": table[name],
            }
        columns |= {BUCKET: table[kept.buckets[bucket]]} if bucket else {}
        columns |= {MEMBER: table[MEMBER]} if MEMBER in table.columns else {}
        found = {
            name: (
                table["_fw_element"]
                if each is not None and node == each
                else table[self._column(node)]
            )
            for node, name in inputs.columns.items()
        }
        return table.select(**columns, **found)

    def _column(self, node: Any) -> str:
        return self.stored.inputs.columns[node].replace("_fw_in", "i")

    def _unfolded(self, table: ir.Table, each: Each) -> ir.Table:
        container = self._column(each.arg)
        if each.arg.dtype.is_map():
            return self.engine.entries(table, table[container], MEMBER, "_fw_element")
        return table.mutate(_fw_element=table[container]).unnest(
            "_fw_element", offset=MEMBER if each.by_position else None
        )


@frozen
class Variant:
    """A choice of the events that count.

    They are those of the warehouse, but as the store held them where they are of one of `kinds`;
    with `held` those that the store held, perhaps in other windows.
    """

    kinds: frozenset[str] = frozenset()
    held: bool = False
    resolution: str | None = None
    later: int = 0  # microseconds by which windows end later


VISIBLE = Variant(frozenset(MISSING))  # the warehouse's events, as far as they could be seen then
HELD = Variant(held=True)


@frozen(eq=False)
class Replay:
    """Some answers, and every value that they could have had; each variant is computed once."""

    join: Join
    told: Answered  # these answers alone
    engine: Engine
    left: ir.Table
    sides: Mapping[int, Side]
    events: Mapping[int, ir.Table]
    # of entities' parts: from all snapshots, and from those that were uploaded then
    states: Mapping[int, Mapping[bool, ir.Table]]
    kinds: Mapping[int, frozenset[str]]  # by row, those of its events
    present: Mapping[int, frozenset[str]]  # by part, those of its events
    parts: dict[tuple[int, Variant], ir.Table] = field(factory=dict)
    done: dict[Variant, dict[int, dict[str, Any]]] = field(factory=dict)

    def values(self, variant: Variant) -> dict[int, dict[str, Any]]:
        """Returns the features of every answer, by its number and their names."""
        if variant not in self.done:
            self.done[variant] = self._computed(variant)
        return self.done[variant]

    def _computed(self, variant: Variant) -> dict[int, dict[str, Any]]:
        def parts(
            spine: ir.Table, *, join: Join, part: JoinPart, engine: Engine, planner: Planner
        ) -> ir.Table:
            del engine, planner
            number = next(i for i, p in enumerate(join.parts) if p is part)
            mine = (
                self.states[number][variant.held or "stale_batch" in variant.kinds]
                if number in self.states
                else self._part(number, variant)
            )
            return spine.left_join(mine, ROW).select(
                *spine.columns, *(c for c in mine.columns if c not in spine.columns)
            )

        table = self.engine.keep(
            training_set(self.join, self.engine, self.left, parts=parts, beside=(ROW,))
        )
        names = [f.name for f in self.join.outputs]
        schema = ibis.schema({ROW: "int64"} | {f.name: f.dtype for f in self.join.outputs})
        return {
            r.pop(ROW): r
            for r in fetched(self.engine, table.select(ROW, *names), schema).to_pylist(
                maps_as_pydicts="strict"
            )
        }

    def _part(self, number: int, variant: Variant) -> ir.Table:
        """Returns the features of one part over events.

        They are reused where a variant has none of its kinds.
        """
        mine = evolve(variant, kinds=variant.kinds & self.present[number])
        if (number, mine) not in self.parts:
            part, side = self.join.parts[number], self.sides[number]
            group_by = (
                part.group_by
                if mine.resolution is None
                else evolve(part.group_by, resolution=mine.resolution)
            )
            rows = StoredRows(group_by, self.engine, side.stored, self._chosen(number, mine))
            keys = {f"_fw_key{i}": side.asked[f"k{i}"] for i in range(len(part.keys))}
            spine = side.asked.select(
                **keys, **{AT: side.asked["at"] + mine.later}, **{ROW: side.asked[ROW]}
            )
            self.parts[number, mine] = self.engine.keep(
                features(
                    spine,
                    group_by,
                    self.engine,
                    newest=part.max_age is not None,
                    planner=briefly,
                    rows=rows,
                ).drop(AT)
            )
        return self.parts[number, mine]

    def _chosen(self, number: int, variant: Variant) -> ir.Table:
        events = self.events[number]
        mine, kinds = (
            events["side"] == "store",
            (events["kind"].isin(sorted(variant.kinds)) if variant.kinds else ibis.literal(False)),
        )
        return (
            events.filter(mine | (events["kind"] == "carried"))
            if variant.held
            else events.filter((mine & kinds) | (~mine & ~kinds))
        )


def replay(store: Store, join: Join, told: Answered, engine: Engine) -> Replay:
    """Returns what these answers may have seen, from the warehouse and from the store.

    It is kept in a DuckDB of this process.
    """
    con, mine = local()
    found: dict[int, Side] = {}
    states: dict[int, dict[bool, ir.Table]] = {}
    for number, part in enumerate(join.parts):
        if isinstance(part.group_by.source, EntitySource):
            seen = snapshots_seen(store, told, number)
            states[number] = {
                then: con.create_table(
                    f"states{number}{then}",
                    _states(told, number, part, engine, seen if then else None),
                )
                for then in (False, True)
            }
        else:
            found[number] = sides(store, con, told, number, part.group_by, engine)
    events = {number: paired(side) for number, side in found.items()}
    kinds: dict[int, set[str]] = {}
    present: dict[int, set[str]] = {number: set() for number in events}
    for number, table in events.items():
        for row in table.select(ROW, "kind").distinct().to_pyarrow().to_pylist():
            kinds.setdefault(row[ROW], set()).add(row["kind"])
            present[number].add(row["kind"])
    left = left_on(join, told, told.rows, mine)
    return Replay(
        join,
        told,
        mine,
        left,
        found,
        events,
        states,
        {r: frozenset(k) for r, k in kinds.items()},
        {p: frozenset(k) for p, k in present.items()},
    )


def _states(
    told: Answered,
    number: int,
    part: JoinPart,
    engine: Engine,
    seen: Sequence[tuple[int, int]] | None,
) -> pa.Table:
    """Returns an entity's features for each answer.

    They are of all snapshots that the warehouse has, or of those that the store had by then.
    """
    asked = questions(told, number)
    at = asked["at"].to_pylist()
    if seen is not None:
        at = [
            max((end for end, written in seen if end <= t and written <= stamp), default=NONE)
            for t, stamp in zip(at, asked["stamp"].to_pylist(), strict=True)
        ]
    keys = {f"_fw_key{i}": asked[f"k{i}"] for i in range(len(part.keys))}
    spine = pa.table({**keys, AT: pa.array(at, pa.int64()), ROW: asked[ROW]})
    outputs = part.group_by.outputs
    schema = pa.schema(
        [(ROW, pa.int64()), *((f.name, arrow(f.dtype)) for f in outputs), (NEWEST, pa.int64())]
    )
    if not spine.num_rows:
        return schema.empty_table()
    kept = engine.keep(spine)
    texts = {
        k: kept[k].cast("uuid")
        for k, (_, name) in zip(keys, part.keys, strict=True)
        if part.group_by.source.table.schema[name].is_uuid()
    }
    kept = kept.mutate(**texts) if texts else kept
    found = features(_distinct(kept), part.group_by, engine, newest=True, planner=Chooser(engine))
    joined = kept.left_join(found, [*(kept[k] == found[k] for k in keys), kept[AT] == found[AT]])
    return engine.fetch(joined.select(ROW, *(f.name for f in outputs), NEWEST)).cast(schema)


def _distinct(spine: ir.Table) -> ir.Table:
    return spine.drop(ROW).distinct()


def edges(join: Join) -> Sequence[Variant]:
    """Returns the other ways in which windows could have been cut.

    They are tails at the instant or at a hop, and events at the query time counted.
    """
    found = [Variant(held=True, later=1)]
    for other in ("sawtooth", "exact"):
        try:
            for part in join.parts:
                if not isinstance(part.group_by.source, EntitySource):
                    evolve(part.group_by, resolution=other)
        except DefinitionError:
            continue
        found.append(Variant(held=True, resolution=other))
    return found
