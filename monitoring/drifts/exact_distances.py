"""Exact Kolmogorov-Smirnov and Wasserstein-1 distances of two columns, by one query."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis
from attrs import frozen

from workbench.backends import engine_of
from workbench.monitoring.tiles.bin_edges import grouped
from workbench.monitoring.tiles.measured_columns import parts

if TYPE_CHECKING:
    import ibis.expr.types as ir

MAX_ROWS_SORTED = 5_000_000  # rows of both sides together that are sorted for it


@frozen
class Gap:
    """The distances `ks` and `w1`, in the feature's unit, of n_ref and n_cur finite rows."""

    ks: float
    w1: float
    n_ref: int
    n_cur: int


def gap_of(
    reference: ir.Table, current: ir.Table, feature: str, *, most: int = MAX_ROWS_SORTED
) -> Gap | None:
    """Returns the exact distances of a numeric measured column of two tables of one engine.

    The result is None over no rows, or over more than `most`. Runs.
    """
    engine = engine_of(reference.get_backend())
    column = (
        feature.removesuffix(".length")
        .removesuffix(".value")
        .removesuffix(".key")
        .removesuffix("[]")
    )
    ref, cur = (
        grouped(
            next(
                p.table
                for p in parts(t, [feature if feature in t.columns else column])
                if p.name == feature and p.numeric
            )
        )
        for t in (reference, current)
    )
    counts = ref.select("x", r="n", c=ibis.literal(0).cast("int64")).union(
        cur.select("x", r=ibis.literal(0).cast("int64"), c="n")
    )
    ((n, m),) = engine.rows(counts.agg(n=counts.r.sum(), m=counts.c.sum()))
    if not n or not m or n + m > most:
        return None
    values = counts.group_by("x").agg(r=counts.r.sum(), c=counts.c.sum())
    cumulated = {
        side: (
            values[side].cumsum(order_by=values.x).cast("float64")
            / ibis.literal(float(total)).cast("float64")
        )
        for side, total in (("r", n), ("c", m))
    }
    steps = values.select(
        apart=(cumulated["r"] - cumulated["c"]).abs(),
        width=values.x.lead().over(ibis.window(order_by=values.x)) - values.x,
    )
    ((ks, w1),) = engine.rows(steps.agg(ks=steps.apart.max(), w1=(steps.apart * steps.width).sum()))
    return Gap(float(ks), float(w1 or 0.0), int(n), int(m))
