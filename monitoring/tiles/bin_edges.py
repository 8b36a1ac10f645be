"""Bin edges of features, frozen on a reference so that all later counts can be compared with it."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import ibis
from attrs import asdict, field, frozen
from attrs.converters import optional

from workbench.backends import engine_of
from workbench.monitoring.tiles.measured_columns import X, double, parts
from workbench.portable.rewrites import finite

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import ibis.expr.types as ir

    from workbench.backends import Engine
    from workbench.monitoring.tiles.measured_columns import MeasuredColumn

BINS = 20
MAX_SINGLE_BINS = 50  # different numbers up to which each has a bin
TOP = 200  # different texts that have a bin each; the reference's others share one
TAIL = 2_000  # of those others, the most that a list in the query tells from new texts
DISTINCT = 0.5  # share of different texts from which bins would say nothing
OTHER_VALUES, NEW = "other values of the reference", "new"


def _floats(values: Iterable[Any]) -> tuple[float, ...]:
    return tuple(float(v) for v in values)


@frozen
class Edges:
    """The bins of one measured column.

    `kind` is "ranges": bin i is [cuts[i-1], cuts[i]), the outer ones open to the infinities;
    "numbers": a bin for each of `cuts`, then one for new numbers; "texts": a bin for each of
    `values`, then one for `tail`, then one for new texts; "none": too many different texts to
    count. `low` and `high` are the extremes of the reference, whose name is `reference`.
    """

    feature: str
    kind: str
    cuts: tuple[float, ...] = field(default=(), converter=_floats)
    values: tuple[str, ...] = field(default=(), converter=tuple)
    tail: tuple[str, ...] = field(default=(), converter=tuple)
    low: float | None = field(default=None, converter=optional(float))
    high: float | None = field(default=None, converter=optional(float))
    reference: str = ""

    @property
    def edges_id(self) -> str:
        """A hash of all fields: tiles are comparable if, and only if, their hashes are equal."""
        return sha256(self.dumps().encode()).hexdigest()[:16]

    @property
    def bins(self) -> int:
        """The number of counts in a tile."""
        return {
            "ranges": len(self.cuts) + 1,
            "numbers": len(self.cuts) + 1,
            "texts": len(self.values) + 2,
            "none": 0,
        }[self.kind]

    @property
    def numeric(self) -> bool:
        """Whether the bins have an order and a distance."""
        return self.kind in {"ranges", "numbers"}

    @property
    def labels(self) -> tuple[str, ...]:
        """The content of each bin, in words."""
        if self.kind == "ranges":
            ends = [f"{c:g}" for c in self.cuts]
            return tuple(
                f"[{a}, {b})" for a, b in zip(["-inf", *ends], [*ends, "inf"], strict=True)
            )
        return {
            "numbers": (*(f"{c:g}" for c in self.cuts), NEW),
            "texts": (*self.values, OTHER_VALUES, NEW),
            "none": (),
        }[self.kind]

    def dumps(self) -> str:
        """Returns the edges as JSON; equal edges give equal text."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def loads(cls, text: str) -> Edges:
        """Reads edges from the JSON of `dumps`."""
        return cls(**json.loads(text))


def edges_of(
    reference: ir.Table, *, features: Sequence[str], name: str = "", bins: int = BINS
) -> dict[str, Edges]:
    """Returns the edges of each measured column of the features, by column, from a reference table.

    The reference is a table such as a training set. Runs.

    Numbers of more than 50 different values have `bins` of equal depth, cut at values that occur
    (numpy's inverted_cdf), fewer where values repeat. Texts have a bin each up to 200; where more
    than half differ, or more than 2,200 occur, only their lengths are counted. Nulls, NaN and
    infinities are in no bin. `name` names the reference and is part of `edges_id`.
    """
    engine = engine_of(reference.get_backend())
    edges = {
        part.name: (_ranges if part.numeric else _texts)(part, engine, name, bins)
        for part in parts(reference, features)
    }
    lengths = {f"{n}.length" for n, e in edges.items() if e.kind == "texts"}
    return {n: e for n, e in edges.items() if n not in lengths}


def grouped(table: ir.Table) -> ir.Table:
    """Returns each finite value once, as `x`, with its number of rows as `n`."""
    values = table.select(x=finite(table[X]))
    values = values.filter(values.x.notnull())
    return values.group_by("x").agg(n=values.count())


def _ranges(part: MeasuredColumn, engine: Engine, name: str, bins: int) -> Edges:
    """Returns the edges of a column of doubles.

    A cut is the smallest x with at least i/bins of the rows at or below it, in whole numbers
    throughout.
    """
    values = grouped(part.table)
    rows = values.mutate(below=values.n.cumsum(order_by=values.x), total=values.n.sum().over())
    cuts = {f"q{i}": rows.x.min(where=rows.below * bins >= rows.total * i) for i in range(1, bins)}
    ((distinct, low, high, *quantiles),) = engine.rows(
        rows.agg(distinct=rows.count(), low=rows.x.min(), high=rows.x.max(), **cuts)
    )
    if distinct <= MAX_SINGLE_BINS:
        return Edges(
            part.name,
            "numbers",
            sorted(x for (x,) in engine.rows(values.select("x"))),
            low=low,
            high=high,
            reference=name,
        )
    return Edges(
        part.name,
        "ranges",
        sorted({x for x in quantiles if x > low}),
        low=low,
        high=high,
        reference=name,
    )


def _texts(part: MeasuredColumn, engine: Engine, name: str, _: int) -> Edges:
    values = grouped(part.table)
    ((distinct, total),) = engine.rows(values.agg(distinct=values.count(), total=values.n.sum()))
    if distinct > MAX_SINGLE_BINS and (distinct > DISTINCT * total or distinct > TOP + TAIL):
        return Edges(part.name, "none", reference=name)
    # ordered here: engines sort texts by rules of their own
    ordered = [x for _, x in sorted((-n, x) for x, n in engine.rows(values.select("x", "n")))]
    return Edges(part.name, "texts", values=ordered[:TOP], tail=ordered[TOP:], reference=name)


def bin_of(x: ir.StringValue, edges: Edges) -> ir.IntegerValue:
    """Returns the bin number of a text that is not null, or -1 where the text is a label."""
    last = edges.bins - 1
    if edges.kind == "none":
        return x.length() * 0
    return (
        x.isin(edges.values).ifelse(-1, x.isin(edges.tail).ifelse(last - 1, last))
        if edges.values
        else x.length() * 0 + last
    )


def reached(x: ir.Value, cuts: Sequence[float], before: int) -> ir.IntegerValue:
    """Counts the cuts at or below x by binary search, plus `before`; a null x counts none."""
    if not cuts:
        return ibis.literal(before, "int64")
    middle = len(cuts) // 2
    return (x >= double(cuts[middle])).ifelse(
        reached(x, cuts[middle + 1 :], before + middle + 1), reached(x, cuts[:middle], before)
    )
