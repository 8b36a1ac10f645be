"""`compare`: one definition on several engines, or by several plans of one engine.

The result is a certificate that the numbers are equal, or the rows that differ.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.operations as ops
from attrs import field, frozen

from workbench.backends import Engine
from workbench.backends.equality import TOLERANCE, equal
from workbench.definitions.canonical import fingerprint
from workbench.definitions.join import expect_join
from workbench.errors import DefinitionError
from workbench.html import definition_view
from workbench.html.markup import Markup, row, section, tag
from workbench.online.legible_text import written
from workbench.online.own_columns import row_beside
from workbench.planner.plan_choice import PAIRS, Chooser
from workbench.portable.arrow_types import fetched
from workbench.previews import preview_words
from workbench.training.backfilling import Day, computed, connection_of, engine_for, span_of
from workbench.training.error_bounds import scales
from workbench.training.provenance import RULES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import date

    import pandas as pd
    from ibis.backends import BaseBackend

    from workbench.definitions.join import Join

KEPT = 1_000  # differences that a certificate holds; all are counted
SHOWN = 8  # of them that it shows
NUMBER, THERE = "_fw_number", "_fw_there"


@frozen
class Way:
    """One computation of the definition: engine, version, each part's plan, number of rows."""

    engine: str
    version: str
    plans: dict[str, str]
    rows: int
    label: str

    @property
    def plan(self) -> str:
        """The plans that were taken, each once; an empty text for snapshots alone."""
        return ", ".join(dict.fromkeys(self.plans.values()))


@frozen
class Difference:
    """One value that differs: the left's row, the feature, and the value of each of two ways.

    `feature` is None where one way lacks the row.
    """

    left: dict[str, Any]
    feature: str | None
    ways: tuple[str, str]
    given: tuple[Any, Any]


@frozen(repr=False)
class Certificate:
    """The result of `compare`: true where every value is the same number on every way.

    `rows` are those of the left, `differing` counts values by feature (a missing row under `None`),
    `differences` holds at most a thousand of them.
    """

    join: str
    definition: str
    rows: int
    features: int
    ways: tuple[Way, ...]
    differing: dict[str | None, int] = field(factory=dict)
    differences: tuple[Difference, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not self.differing

    def __bool__(self) -> bool:
        return self.equal

    def to_pandas(self) -> pd.DataFrame:
        """Return the differences: left columns, `feature`, and each way's name and value.

        A left column that is named like one of these has `_` behind its name.
        """
        import pandas as pd  # noqa: PLC0415 half a second that an equal certificate need not cost

        return pd.DataFrame(
            [
                row_beside(
                    d.left,
                    {
                        "feature": d.feature,
                        "way": d.ways[0],
                        "value": d.given[0],
                        "other_way": d.ways[1],
                        "other_value": d.given[1],
                    },
                )
                for d in self.differences
            ]
        )

    @property
    def verdict(self) -> str:
        """The result, in one sentence."""
        values = self.rows * self.features
        if self.equal:
            every = "both" if not self.ways[2:] else f"all {len(self.ways)}"
            return (
                f"equal: {values:,} values ({self.rows:,} rows x {self.features} features) are the"
                f" same number {every} ways"
            )
        lost = self.differing.get(None, 0)
        said = [
            f"{n:,} of {values:,} values"
            for n in [sum(v for k, v in self.differing.items() if k is not None)]
            if n
        ] + ([f"{lost:,} rows that one way lacks"] if lost else [])
        return f"differs: {' and '.join(said)}"

    def __repr__(self) -> str:
        lines = [
            f"{self.join}: {self.verdict}",
            *definition_view.table(("way", "version", "plan", "rows"), self._ways(), right=(3,)),
        ]
        if not self.equal:
            lines += [
                "",
                *definition_view.table(("feature", "differ"), self._counts(), right=(1,)),
                "",
                *definition_view.table(
                    ("row", "feature", "way", "value", "way", "value"), self._shown()
                ),
            ]
        return written([*lines, "", f"  {self._rule()}"])

    def _repr_html_(self) -> str:
        head = tag(
            "header",
            tag("h3", self.join),
            tag("span", "equal" if self.equal else "differs", class_="chip"),
            tag("span", self.verdict.partition(": ")[2], class_="muted"),
        )
        tables = [
            _grid(
                f"Ways of computing {self.join}",
                ("way", "version", "plan", "rows"),
                self._ways(),
                {3: "num"},
            )
        ]
        if not self.equal:
            tables += [
                _grid(
                    "Values that differ, by feature",
                    ("feature", "differ"),
                    self._counts(),
                    {1: "num"},
                ),
                _grid(
                    "Rows that differ",
                    ("row", "feature", "way", "value", "way", "value"),
                    self._shown(),
                    {3: "num", 5: "num"},
                ),
            ]
        return str(
            section(
                head,
                *tables,
                tag("p", self._rule(), class_="bar muted", style="padding-top:8px"),
                label=f"Certificate of {self.join}",
            )
        )

    def _ways(self) -> list[tuple[str, ...]]:
        return [(w.label, w.version, w.plan, f"{w.rows:,}") for w in self.ways]

    def _counts(self) -> list[tuple[str, ...]]:
        return [
            (name or "(the row)", f"{n:,}")
            for name, n in sorted(self.differing.items(), key=lambda i: (-i[1], i[0] or ""))
        ]

    def _shown(self) -> list[tuple[str, ...]]:
        return [
            (
                _row(d.left),
                d.feature or "(the row)",
                d.ways[0],
                _exact(d.given[0]),
                d.ways[1],
                _exact(d.given[1]),
            )
            for d in self.differences[:SHOWN]
        ]

    def _rule(self) -> str:
        return (
            "exact types to the bit, floats within 1e-12 (rule 11); definition"
            f" {self.definition[:12]}, rules {RULES}"
        )


def _grid(
    caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]], classes: Mapping[int, str]
) -> Markup:
    body = tag("tbody", *(row(r, classes=dict(classes)) for r in rows))
    return tag(
        "div",
        tag("table", tag("caption", caption), tag("thead", row(heads, "th", dict(classes))), body),
        class_="scroll",
        tabindex="0",
    )


def _row(left: Mapping[str, Any]) -> str:
    return ", ".join(f"{k}={preview_words.cell(v)}" for k, v in left.items())


def _exact(value: Any) -> str:
    """Write every digit, since two values that look alike may differ."""
    return "null" if value is None else repr(value)


def compare(
    join: Join,
    start: Day = None,
    end: Day = None,
    *,
    on: Sequence[BaseBackend] | BaseBackend | None = None,
    plan: str | None = None,
) -> Certificate:
    """Run one definition on several engines and certify that every value is the same number.

    Where one is not, the certificate has the rows that differ.

    Parameters
    ----------
    join
        What to compute.
    start, end
        Days of the left's time, [start, end), UTC; both open by default.
    on
        Ibis connections that have the same tables, two or more: each computes the join by its own
        plan, and each is compared with the first. One connection, or none for the join's own, is
        compared with itself by its other plan.
    plan
        The plan to force on all of them, as `backfill` takes it.

    Rows are matched by the left's columns; equal left rows stand for each other. "Equal" is
    semantics rule 11: exact types to the bit, doubles within 1e-12 of the sum of |x| for a sum, its
    average for a mean, the mean of x^2 for a variance, else of the values.

    Returns a `Certificate`, which is true where all is equal, and shows itself in a cell.

    Raises DefinitionError where there is one way only, EngineError where an engine fails.
    """
    expect_join(join, "compare")
    first, last = span_of(start, end)
    choosers = _choosers(join, on, plan)
    labels = _labels(choosers)
    with tempfile.TemporaryDirectory() as folder:
        found = _Found(join, ibis.duckdb.connect(f"{folder}/compared.duckdb"))
        counts = [found.add(chooser, first, last) for chooser in choosers]
        differing: Counter[str | None] = Counter()
        kept: list[Difference] = []
        for i in range(1, len(choosers)):
            for left, feature, values in found.differences(
                i, _Scales(join, choosers[0].engine, first, last)
            ):
                differing[feature] += 1
                if len(kept) < KEPT:
                    kept.append(Difference(left, feature, (labels[0], labels[i]), values))
        found.con.disconnect()
    ways = [
        Way(
            c.engine.title,
            str(c.engine.connected.version),
            {o.part: o.plan for o in c.choices},
            n,
            label,
        )
        for c, n, label in zip(choosers, counts, labels, strict=True)
    ]
    return Certificate(
        join.name,
        fingerprint(join, serving=False),
        counts[0],
        len(join.outputs),
        tuple(ways),
        dict(differing),
        tuple(kept),
    )


def _choosers(
    join: Join, on: Sequence[BaseBackend] | BaseBackend | None, plan: str | None
) -> list[Chooser]:
    given = list(on) if isinstance(on, list | tuple) else [connection_of(join, on)]
    engines = [engine_for(join, con) for con in given]
    if len(engines) > 1:
        return [Chooser(engine, plan) for engine in engines]
    engine = engines[0]
    if plan is not None or "kernel" not in engine.plans:
        message = (
            f"compare({join.name}) has one way only, {engine.title}{f' by {plan}' if plan else ''}:"
            " pass on=[...] with two or more connections that have the same tables"
        )
        raise DefinitionError(message)
    return [Chooser(engine, p) for p in (PAIRS, "kernel")]


def _labels(choosers: Sequence[Chooser]) -> list[str]:
    """Return distinct names of the ways: the engine, with its plan, or a number if repeated."""
    titles = [f"{c.engine.title}{f' by {c.forced}' if c.forced else ''}" for c in choosers]
    return [
        t if titles.count(t) == 1 else f"{t} ({titles[: i + 1].count(t)})"
        for i, t in enumerate(titles)
    ]


class _Scales:
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
        asked = scales(self.join)
        if asked is None:
            return {}
        join, named = asked
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


def _hashed(left: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(repr(v) for v in left.values())


class _Found:
    """The results of each way, in one embedded DuckDB on disk, and their differences."""

    def __init__(self, join: Join, con: Any) -> None:
        self.join, self.con, self.ways = join, con, 0
        self.lefts = list(join.left.table.schema.names)
        # columns have numbers here, since DuckDB ignores the case of names, and other engines may
        # not
        self.columns = {name: f"c{i}" for i, name in enumerate(join.schema)} | {
            NUMBER: NUMBER,
            THERE: THERE,
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
            f" true AS {THERE} FROM _fw_arrived"
        )
        self.con.con.unregister("_fw_arrived")
        self.ways += 1
        return rows.num_rows

    def differences(
        self, other: int, scales_: _Scales
    ) -> Iterator[tuple[dict[str, Any], str | None, tuple[Any, Any]]]:
        """Yield each value of way `other` that differs from the first way's.

        With it come the left row, the feature and the first way's value.
        """
        for pair in self._suspects(other):
            sides = [
                {k.removeprefix(p): v for k, v in pair.items() if k.startswith(p)}
                for p in ("a.", "b.")
            ]
            there = [bool(s[THERE]) for s in sides]
            left = {c: sides[0 if there[0] else 1][c] for c in self.lefts}
            if not all(there):
                yield left, None, ("a row" if there[0] else None, "a row" if there[1] else None)
                continue
            for feature in self.join.outputs:
                a, b = (s[feature.name] for s in sides)
                if not equal(a, b) and not equal(a, b, scales_.of(left, feature.name, sides[0])):
                    yield left, feature.name, (a, b)

    def _suspects(self, other: int) -> Iterator[dict[str, Any]]:
        """Yield pairs of rows that are not equal to the bit, or that one way lacks.

        Columns have `a.` and `b.` before their names.
        """
        matched = " AND ".join(
            f"a.{self.columns[c]} IS NOT DISTINCT FROM b.{self.columns[c]}"
            for c in [*self.lefts, NUMBER]
        )
        differ = [_differ(self.columns[f.name], f.dtype.is_floating()) for f in self.join.outputs]
        named = [(side, c) for side in "ab" for c in [*self.join.schema, THERE]]
        shown = ", ".join(
            f"{side}.{self.columns[c]} AS {side}_{self.columns[c]}" for side, c in named
        )
        # names are quoted
        sql = (
            f"SELECT {shown} FROM way0 a FULL JOIN way{other} b ON {matched}"  # noqa: S608
            f" WHERE a.{THERE} IS NULL OR b.{THERE} IS NULL OR {' OR '.join(differ)}"
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
