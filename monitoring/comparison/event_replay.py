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
from workbench.serving.stored_columns import TIME, Stored

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import ibis.expr.types as ir

    from workbench.backends import Engine
    from workbench.definitions.join import Join, JoinPart
    from workbench.definitions.reductions import Each
    from workbench.monitoring.comparison.event_sides import EventSides
    from workbench.monitoring.comparison.served_answers import ServedAnswers
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
        table, stored_columns = self.rows, self.stored
        if each is not None:
            table = self._unfolded(table, each)
        columns: dict[str, ir.Value] = {
            f"_fw_key{i}": table[f"k{i}"] for i in range(len(self.group_by.keys))
        } | {ROW: table[ROW], EVENT: table[TIME]}
        for name in stored_columns.named:
            columns |= {
                f"_fw_order{name[1:]}a": table[name].notnull().ifelse(1, 0),
                f"_fw_order{name[1:]}b": table[name],
            }
        columns |= {BUCKET: table[stored_columns.buckets[bucket]]} if bucket else {}
        columns |= {MEMBER: table[MEMBER]} if MEMBER in table.columns else {}
        input_columns = {
            name: (
                table["_fw_element"]
                if each is not None and node == each
                else table[self._column(node)]
            )
            for node, name in inputs.columns.items()
        }
        return table.select(**columns, **input_columns)

    def _column(self, node: Any) -> str:
        return self.stored.inputs.columns[node].replace("_fw_in", "i")

    def _unfolded(self, table: ir.Table, each_node: Each) -> ir.Table:
        container = self._column(each_node.arg)
        if each_node.arg.dtype.is_map():
            return self.engine.entries(table, table[container], MEMBER, "_fw_element")
        return table.mutate(_fw_element=table[container]).unnest(
            "_fw_element", offset=MEMBER if each_node.by_position else None
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
STORE_VARIANT = Variant(held=True)


@frozen(eq=False)
class Replay:
    """Some answers, and every value that they could have had; each variant is computed once."""

    join: Join
    told: ServedAnswers  # these answers alone
    engine: Engine
    left: ir.Table
    sides: Mapping[int, EventSides]
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
            part_features = (
                self.states[number][variant.held or "stale_batch" in variant.kinds]
                if number in self.states
                else self._part(number, variant)
            )
            return spine.left_join(part_features, ROW).select(
                *spine.columns, *(c for c in part_features.columns if c not in spine.columns)
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
        part_variant = evolve(variant, kinds=variant.kinds & self.present[number])
        if (number, part_variant) not in self.parts:
            part, side = self.join.parts[number], self.sides[number]
            group_by = (
                part.group_by
                if part_variant.resolution is None
                else evolve(part.group_by, resolution=part_variant.resolution)
            )
            rows = StoredRows(
                group_by, self.engine, side.stored, self._chosen(number, part_variant)
            )
            keys = {f"_fw_key{i}": side.asked[f"k{i}"] for i in range(len(part.keys))}
            spine = side.asked.select(
                **keys, **{AT: side.asked["at"] + part_variant.later}, **{ROW: side.asked[ROW]}
            )
            self.parts[number, part_variant] = self.engine.keep(
                features(
                    spine,
                    group_by,
                    self.engine,
                    newest=part.max_age is not None,
                    planner=briefly,
                    rows=rows,
                ).drop(AT)
            )
        return self.parts[number, part_variant]

    def _chosen(self, number: int, variant: Variant) -> ir.Table:
        events = self.events[number]
        from_store, kinds = (
            events["side"] == "store",
            (events["kind"].isin(sorted(variant.kinds)) if variant.kinds else ibis.literal(False)),
        )
        return (
            events.filter(from_store | (events["kind"] == "carried"))
            if variant.held
            else events.filter((from_store & kinds) | (~from_store & ~kinds))
        )


def replay(store: Store, join: Join, told: ServedAnswers, engine: Engine) -> Replay:
    """Returns what these answers may have seen, from the warehouse and from the store.

    It is kept in a DuckDB of this process.
    """
    con, local_engine = local()
    event_sides: dict[int, EventSides] = {}
    states: dict[int, dict[bool, ir.Table]] = {}
    for number, part in enumerate(join.parts):
        if isinstance(part.group_by.source, EntitySource):
            snapshots = snapshots_seen(store, told, number)
            states[number] = {
                as_served: con.create_table(
                    f"states{number}{as_served}",
                    _states(told, number, part, engine, snapshots if as_served else None),
                )
                for as_served in (False, True)
            }
        else:
            event_sides[number] = sides(store, con, told, number, part.group_by, engine)
    events = {number: paired(side) for number, side in event_sides.items()}
    kinds: dict[int, set[str]] = {}
    present: dict[int, set[str]] = {number: set() for number in events}
    for number, table in events.items():
        for row in table.select(ROW, "kind").distinct().to_pyarrow().to_pylist():
            kinds.setdefault(row[ROW], set()).add(row["kind"])
            present[number].add(row["kind"])
    left = left_on(join, told, told.rows, local_engine)
    return Replay(
        join,
        told,
        local_engine,
        left,
        event_sides,
        events,
        states,
        {r: frozenset(k) for r, k in kinds.items()},
        {p: frozenset(k) for p, k in present.items()},
    )


def _states(
    answers: ServedAnswers,
    number: int,
    part: JoinPart,
    engine: Engine,
    snapshots: Sequence[tuple[int, int]] | None,
) -> pa.Table:
    """Returns an entity's features for each answer.

    They are of all snapshots that the warehouse has, or of those that the store had by then.
    """
    question_rows = questions(answers, number)
    at = question_rows["at"].to_pylist()
    if snapshots is not None:
        at = [
            max(
                (end for end, written_at in snapshots if end <= t and written_at <= stamp),
                default=NONE,
            )
            for t, stamp in zip(at, question_rows["stamp"].to_pylist(), strict=True)
        ]
    keys = {f"_fw_key{i}": question_rows[f"k{i}"] for i in range(len(part.keys))}
    spine = pa.table({**keys, AT: pa.array(at, pa.int64()), ROW: question_rows[ROW]})
    outputs = part.group_by.outputs
    schema = pa.schema(
        [(ROW, pa.int64()), *((f.name, arrow(f.dtype)) for f in outputs), (NEWEST, pa.int64())]
    )
    if not spine.num_rows:
        return schema.empty_table()
    spine_table = engine.keep(spine)
    texts = {
        k: spine_table[k].cast("uuid")
        for k, (_, name) in zip(keys, part.keys, strict=True)
        if part.group_by.source.table.schema[name].is_uuid()
    }
    spine_table = spine_table.mutate(**texts) if texts else spine_table
    part_features = features(
        _distinct(spine_table), part.group_by, engine, newest=True, planner=Chooser(engine)
    )
    joined = spine_table.left_join(
        part_features,
        [*(spine_table[k] == part_features[k] for k in keys), spine_table[AT] == part_features[AT]],
    )
    return engine.fetch(joined.select(ROW, *(f.name for f in outputs), NEWEST)).cast(schema)


def _distinct(spine: ir.Table) -> ir.Table:
    return spine.drop(ROW).distinct()


def edges(join: Join) -> Sequence[Variant]:
    """Returns the other ways in which windows could have been cut.

    They are tails at the instant or at a hop, and events at the query time counted.
    """
    variants = [Variant(held=True, later=1)]
    for resolution in ("sawtooth", "exact"):
        try:
            for part in join.parts:
                if not isinstance(part.group_by.source, EntitySource):
                    evolve(part.group_by, resolution=resolution)
        except DefinitionError:
            continue
        variants.append(Variant(held=True, resolution=resolution))
    return variants
