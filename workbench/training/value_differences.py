"""Values of two ways to compute a definition, compared feature by feature (rule 11)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ibis.expr.operations as ops

from workbench.backends import Engine
from workbench.backends.equality import TOLERANCE, equal
from workbench.planner.plan_choice import Chooser
from workbench.portable.arrow_types import fetched
from workbench.training.backfilling import computed
from workbench.training.error_bounds import scales

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import date

    from workbench.definitions.join import Join


NUMBER, PRESENT_COLUMN = "_fw_number", "_fw_there"


class FeatureScales:
    """What the errors of float features are relative to, by left row.

    It is computed once, where something may differ.
    """

    def __init__(self, join: Join, engine: Engine, first: date | None, last: date | None) -> None:
        self.join, self.engine, self.first, self.last = join, engine, first, last
        self.found: dict[tuple[Any, ...], dict[str, float]] | None = None

    def of(self, left: Mapping[str, Any], feature: str, floats: Mapping[str, Any]) -> float:
        """Return the scale of one value; of a derivation, the largest number that it uses."""
        derived = next((f for f in self.join.derivations if f.name == feature), None)
        if derived is not None:
            names = {n.name for n in derived.node.find(ops.Field)}
            return max(
                (abs(v) for n, v in floats.items() if n in names and isinstance(v, float)),
                default=0.0,
            )
        if self.found is None:
            self.found = self._compute()
        return self.found.get(_hashed(left), {}).get(feature, 0.0)

    def _compute(self) -> dict[tuple[Any, ...], dict[str, float]]:
        scale_question = scales(self.join)
        if scale_question is None:
            return {}
        join, named = scale_question
        table = computed(join, Chooser(self.engine), self.first, self.last)
        rows = fetched(self.engine, table.select(*join.schema), join.schema).to_pylist(
            maps_as_pydicts="strict"
        )
        columns = list(self.join.left.table.schema.names)
        return {
            _hashed({c: r[c] for c in columns}): {
                f: r[s] for f, s in named.items() if r[s] is not None
            }
            for r in rows
        }


def _hashed(left_row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(repr(v) for v in left_row.values())


class DifferenceCounter:
    """The results of each way, in one embedded DuckDB on disk, and their differences."""

    def __init__(self, join: Join, con: Any) -> None:
        self.join, self.con, self.ways = join, con, 0
        self.lefts = list(join.left.table.schema.names)
        # columns have numbers here, since DuckDB ignores the case of names, and other engines may
        # not
        self.columns = {name: f"c{i}" for i, name in enumerate(join.schema)} | {
            NUMBER: NUMBER,
            PRESENT_COLUMN: PRESENT_COLUMN,
        }

    def add(self, chooser: Chooser, first: date | None, last: date | None) -> int:
        """Compute the join once more, and return how many rows it has."""
        table = computed(self.join, chooser, first, last)
        rows = fetched(chooser.engine, table.select(*self.join.schema), self.join.schema)
        lefts = ", ".join(self.columns[c] for c in self.lefts)
        self.con.con.register(
            "_fw_arrived", rows.rename_columns([self.columns[c] for c in rows.column_names])
        )
        self.con.raw_sql(
            f"CREATE TABLE way{self.ways} AS SELECT *,"  # noqa: S608 names are quoted
            f" row_number() OVER (PARTITION BY {lefts}) AS {NUMBER},"
            f" true AS {PRESENT_COLUMN} FROM _fw_arrived"
        )
        self.con.con.unregister("_fw_arrived")
        self.ways += 1
        return rows.num_rows

    def differences(
        self, other: int, scales_: FeatureScales
    ) -> Iterator[tuple[dict[str, Any], str | None, tuple[Any, Any]]]:
        """Yield each value of way `other` that differs from the first way's.

        With it come the left row, the feature and the first way's value.
        """
        for pair in self._suspects(other):
            sides = [
                {k.removeprefix(p): v for k, v in pair.items() if k.startswith(p)}
                for p in ("a.", "b.")
            ]
            sides_present = [bool(s[PRESENT_COLUMN]) for s in sides]
            left_row = {c: sides[0 if sides_present[0] else 1][c] for c in self.lefts}
            if not all(sides_present):
                yield (
                    left_row,
                    None,
                    ("a row" if sides_present[0] else None, "a row" if sides_present[1] else None),
                )
                continue
            for feature in self.join.outputs:
                a, b = (s[feature.name] for s in sides)
                if not equal(a, b) and not equal(
                    a, b, scales_.of(left_row, feature.name, sides[0])
                ):
                    yield left_row, feature.name, (a, b)

    def _suspects(self, way_number: int) -> Iterator[dict[str, Any]]:
        """Yield pairs of rows that are not equal to the bit, or that one way lacks.

        Columns have `a.` and `b.` before their names.
        """
        matched = " AND ".join(
            f"a.{self.columns[c]} IS NOT DISTINCT FROM b.{self.columns[c]}"
            for c in [*self.lefts, NUMBER]
        )
        differ = [_differ(self.columns[f.name], f.dtype.is_floating()) for f in self.join.outputs]
        named = [(side, c) for side in "ab" for c in [*self.join.schema, PRESENT_COLUMN]]
        select_list = ", ".join(
            f"{side}.{self.columns[c]} AS {side}_{self.columns[c]}" for side, c in named
        )
        # names are quoted
        sql = (
            f"SELECT {select_list} FROM way0 a FULL JOIN way{way_number} b ON {matched}"  # noqa: S608
            f" WHERE a.{PRESENT_COLUMN} IS NULL OR b.{PRESENT_COLUMN} IS NULL OR"
            f" {' OR '.join(differ)}"
        )
        for batch in self.con.con.execute(sql).to_arrow_reader(10_000):
            renamed = batch.rename_columns([f"{side}.{c}" for side, c in named])
            yield from renamed.to_pylist(maps_as_pydicts="strict")


def _differ(column: str, floating: bool) -> str:  # noqa: FBT001 a column and its kind
    a, b = f"a.{column}", f"b.{column}"
    if not floating:
        return f"{a} IS DISTINCT FROM {b}"
    return (
        f"(({a} IS NULL) <> ({b} IS NULL) OR abs({a} - {b}) > {TOLERANCE} * greatest(abs({a}),"
        f" abs({b})))"
    )
