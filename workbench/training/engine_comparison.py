"""`compare`: one definition on several engines, or by several plans of one engine.

The result is a certificate that the numbers are equal, or the rows that differ.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from typing import TYPE_CHECKING, Any

import ibis
from attrs import field, frozen

from workbench.definitions.canonical import fingerprint
from workbench.definitions.join import expect_join
from workbench.errors import DefinitionError
from workbench.html import definition_view
from workbench.html.markup import Markup, row, section, tag
from workbench.online.legible_text import written
from workbench.online.own_columns import row_beside
from workbench.planner.plan_choice import PAIRS, Chooser
from workbench.previews import preview_words
from workbench.training.backfilling import Day, span_of
from workbench.training.provenance import RULES
from workbench.training.source_connections import connection_of, engine_for
from workbench.training.value_differences import DifferenceCounter, FeatureScales

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from ibis.backends import BaseBackend

    from workbench.definitions.join import Join

MAX_DIFFERENCES_KEPT = 1_000  # differences that a certificate holds; all are counted
MAX_DIFFERENCES_SHOWN = 8  # of them that it shows


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
class EngineDifference:
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
    differences: tuple[EngineDifference, ...] = ()

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
        phrases = [
            f"{n:,} of {values:,} values"
            for n in [sum(v for k, v in self.differing.items() if k is not None)]
            if n
        ] + ([f"{lost:,} rows that one way lacks"] if lost else [])
        return f"differs: {' and '.join(phrases)}"

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
            for d in self.differences[:MAX_DIFFERENCES_SHOWN]
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


def _row(left_row: Mapping[str, Any]) -> str:
    return ", ".join(f"{k}={preview_words.cell(v)}" for k, v in left_row.items())


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
        counter = DifferenceCounter(join, ibis.duckdb.connect(f"{folder}/compared.duckdb"))
        counts = [counter.add(chooser, first, last) for chooser in choosers]
        differing: Counter[str | None] = Counter()
        kept_differences: list[EngineDifference] = []
        for i in range(1, len(choosers)):
            for left_row, feature, values in counter.differences(
                i, FeatureScales(join, choosers[0].engine, first, last)
            ):
                differing[feature] += 1
                if len(kept_differences) < MAX_DIFFERENCES_KEPT:
                    kept_differences.append(
                        EngineDifference(left_row, feature, (labels[0], labels[i]), values)
                    )
        counter.con.disconnect()
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
        tuple(kept_differences),
    )


def _choosers(
    join: Join, on: Sequence[BaseBackend] | BaseBackend | None, plan: str | None
) -> list[Chooser]:
    own_connections = list(on) if isinstance(on, list | tuple) else [connection_of(join, on)]
    engines = [engine_for(join, con) for con in own_connections]
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
