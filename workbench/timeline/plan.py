"""What a preview asks the engine: a page of left rows with their features, and why each null is one."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.operations as ops
from attrs import evolve, frozen

from workbench.asked import fetched
from workbench.binding import title
from workbench.checks import check_data
from workbench.compile import features, instant, training_set
from workbench.definitions import Aggregation
from workbench.errors import DefinitionError
from workbench.normal import micros
from workbench.planning import briefly
from workbench.rows import AT, NEWEST, EventRows, in_us, rebound
from workbench.sources import EntitySource

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from backends import Engine
    from workbench.definitions import Feature, GroupBy
    from workbench.joins import Join, JoinPart

ROW, KNOWN, SEEN, AGE = "_fw_row", "_fw_known", "_fw_seen", "_fw_age"
NULL_WORDS = {
    "empty": "no event in the window",
    "no key": "the key is never in the source",
    "null key": "a key of the left row is null",
    "input null": "events are there, but nothing to make a value of",
    "undefined": "the expression has no value here, as in a division by zero",
    "expired": "the key's newest data is older than max_age",
}


@frozen
class Page:
    """Some left rows in order of time, with their features and the kind of each null."""

    join: Join
    engine: Engine
    first: int
    total: int
    rows: tuple[dict[str, Any], ...]
    nulls: tuple[dict[str, str], ...]

    @property
    def outputs(self) -> tuple[Feature, ...]:
        """The join's features, in column order."""
        return self.join.outputs


def page(join: Join, engine: Engine, number: int, size: int) -> Page:
    """The `number`-th page (from 1) of `size` left rows; DefinitionError past the last."""
    left = rebound(join.left.table, engine, clean=False).to_expr()
    total = left.count().to_pyarrow().as_py()
    first = (number - 1) * size
    if first >= total > 0:
        message = f"row {first + 1} is past the end: {title(join.left.table)} has {total} rows, {-(-total // size)} pages of {size}"
        raise DefinitionError(message)
    order = [left[join.left.time], *(left[c] for c in left.columns if c != join.left.time and _sortable(left[c]))]
    numbered = left.mutate(**{ROW: ibis.row_number().over(order_by=order)})
    kept = engine.keep(numbered.filter((numbered[ROW] >= first) & (numbered[ROW] < first + size)))
    check_data(join, engine, kept)
    table = training_set(join, engine, kept, briefly)
    rows = fetched(engine, table.order_by(ROW)).to_pylist(maps_as_pydicts="strict")
    facts = [_facts(part, join, engine, kept) for part in join.parts]
    return Page(join, engine, first, total, tuple(rows), tuple(_nulls(join, row, facts) for row in rows))


def _sortable(column: ir.Column) -> bool:
    dtype = column.type()
    return dtype.is_numeric() or dtype.is_string() or dtype.is_temporal() or dtype.is_boolean()


# --- why a null is one


def _facts(part: JoinPart, join: Join, engine: Engine, kept: ir.Table) -> dict[int, dict[str, Any]]:
    """By row number: whether the key is known at all, and how many events each window holds."""
    if isinstance(part.group_by.source, EntitySource):
        return {}
    counted = counting(part.group_by)
    at = micros(kept[join.left.time])
    base = kept.mutate(**{AT: instant(at, part.group_by)})
    keys = {f"_fw_key{i}": base[left] for i, (left, _) in enumerate(part.keys)}
    there = reduce(lambda a, b: a & b, (k.notnull() for k in keys.values()))
    spine = base.filter(there).select(**keys, **{AT: base[AT]}).distinct()
    counts = features(spine, counted, engine, newest=True)
    known = EventRows(counted, engine)
    ever = known.table.select(**known.keys(known.table)).distinct().mutate(**{KNOWN: ibis.literal(value=True)})
    joined = base.left_join(counts, [*(base[left] == counts[f"_fw_key{i}"] for i, (left, _) in enumerate(part.keys)), base[AT] == counts[AT]])
    joined = joined.mutate(**{AGE: micros(joined[join.left.time]) - joined[NEWEST]})
    both = joined.left_join(ever, [joined[left] == ever[f"_fw_key{i}"] for i, (left, _) in enumerate(part.keys)], rname="{name}_ever")
    rows = both.select(ROW, KNOWN, NEWEST, AGE, *(f.name for f in counted.outputs)).to_pyarrow().to_pylist()
    return {r[ROW]: r for r in rows}


def counting(group_by: GroupBy) -> GroupBy:
    """The same group-by, with the number of events in each window as its features: n, n_3d, ..."""
    table = group_by.source.table.to_expr()
    windows = tuple(w for w in group_by.windows if w)
    counts = [Aggregation(table.count().name(SEEN)), *([Aggregation(table.count().name(SEEN), windows)] if windows else [])]
    return evolve(group_by, aggregations=counts, features=(), derivations={})


def _nulls(join: Join, row: dict[str, Any], facts: list[dict[int, dict[str, Any]]]) -> dict[str, str]:
    """For each feature that is null in this row, which kind of null."""
    kinds: dict[str, str] = {}
    for part, known in zip(join.parts, facts, strict=True):
        fact = known.get(row[ROW], {})
        for feature in part.group_by.outputs:
            name = f"{part.head}_{feature.name}"
            if row[name] is None:
                derived = feature in part.group_by.derivations
                kinds[name] = _inherited(feature, kinds, f"{part.head}_") if derived else _kind(part, feature, row, fact)
    return kinds | {f.name: _inherited(f, kinds) for f in join.derivations if row[f.name] is None}


def _inherited(derivation: Feature, kinds: dict[str, str], head: str = "") -> str:
    """The kind of the first of a derivation's inputs that is null; if none is, its expression gives none."""
    inputs = (f"{head}{f.name}" for f in derivation.node.find(ops.Field))
    return next((kinds[i] for i in inputs if i in kinds), "undefined")


def _kind(part: JoinPart, feature: Feature, row: dict[str, Any], fact: dict[str, Any]) -> str:
    if any(row[left] is None for left, _ in part.keys):
        return "null key"
    if isinstance(part.group_by.source, EntitySource):
        columns = [row[f"{part.head}_{f.name}"] for f in part.group_by.computed]
        return "no key" if all(c is None for c in columns) else "input null"
    if not fact.get(KNOWN):
        return "no key"
    if part.max_age is not None and (fact[AGE] or 0) > in_us(part.max_age):
        return "expired"
    return "input null" if fact[_count(feature)] else "empty"


def _count(feature: Feature) -> str:
    return f"{SEEN}_{feature.window!r}" if feature.window else SEEN
