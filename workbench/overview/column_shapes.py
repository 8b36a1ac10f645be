"""Distributions of columns: bins of numbers and times, the commonest texts and flags.

One row of aggregates has all bins.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import ibis
from attrs import evolve

from workbench.overview.column_facts import NUMBERS, TIMES, ColumnFacts, measured

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import ibis.expr.types as ir

    from workbench.backends import Engine

BINS, TOP = 12, 5
# Up to so many whole numbers have a bar each: in fewer bins some would hold two, and stand out.
MAX_SINGLE_BINS = 31
LONGEST_VALUE = 60  # characters of a common text


def edges(column: ColumnFacts) -> list[Any]:
    """Return where the bins of a column begin, in the type that it is measured in.

    `None` where its values do not differ.
    """
    if column.kind not in NUMBERS | TIMES or column.least is None or column.least == column.most:
        return []
    least, most = column.least, column.most
    if column.kind == "float":
        step = most / BINS - least / BINS  # apart, since the difference may overflow
        return sorted(
            {least, *(least + step * i for i in range(1, BINS) if least < least + step * i <= most)}
        )
    if column.kind == "decimal":
        step = (Decimal(most) - Decimal(least)) / BINS
        return [least, *(least + (step * i) for i in range(1, BINS))]
    span = int(most) - int(least) + 1
    count = span if column.kind == "whole" and span <= MAX_SINGLE_BINS else min(BINS, span)
    return [int(least) + span * i // count for i in range(count)]


def bin_counts(
    table: ir.Table, columns: Sequence[ColumnFacts], engine: Engine
) -> dict[str, ir.Value]:
    """Return, for each bin but a column's first, how many values are at or above its beginning."""
    counts = {}
    for i, column in enumerate(columns):
        starts = edges(column)
        if not starts:
            continue
        value = measured(table[column.name], column.kind, engine)
        # doubles compare alike on every engine, also beside a scale that no literal has
        if column.kind == "decimal":
            value, starts = (
                (value - ibis.literal(column.least, value.type())).cast("float64"),
                [float(s - column.least) for s in starts],
            )
        for j, start in enumerate(starts[1:], 1):
            counts[f"from_{i}_{j}"] = (
                (
                    value
                    >= ibis.literal(
                        start,
                        "float64" if column.kind in {"float", "decimal"} else _integer_type(start),
                    )
                )
                .ifelse(1, 0)
                .sum()
            )
    return counts


def _integer_type(value: int) -> str:
    return "int64" if -(2**63) <= value < 2**63 else "uint64"


def binned(columns: Sequence[ColumnFacts], told: Mapping[str, Any]) -> list[ColumnFacts]:
    """Return the columns with their bins."""
    binned_columns = []
    for i, column in enumerate(columns):
        starts = edges(column)
        above = [column.known, *(int(told[f"from_{i}_{j}"] or 0) for j in range(1, len(starts))), 0]
        ends = [*starts[1:], column.most]
        bins = tuple(
            (a, b, n - m) for a, b, n, m in zip(starts, ends, above, above[1:], strict=False)
        )
        binned_columns.append(evolve(column, bins=bins) if starts else column)
    return binned_columns


def commonest(table: ir.Table, columns: Sequence[ColumnFacts]) -> ir.Table | None:
    """Return the commonest values of each text that repeats, by the column's number.

    Values with most rows come first, then by value; `None` where no text repeats.
    """
    queries = []
    for i, column in enumerate(columns):
        if column.kind != "text" or not column.distinct or column.distinct == column.known:
            continue
        values = table.select(value=table[column.name])
        counted = (
            values.filter(values["value"].notnull()).group_by("value").agg(n=lambda t: t.count())
        )
        best = counted.order_by(ibis.desc("n"), "value").limit(TOP)
        queries.append(
            best.select(
                column=ibis.literal(i, "int64"),
                value=best["value"].left(LONGEST_VALUE),
                n=best["n"],
            )
        )
    return (
        ibis.union(queries[0], *queries[1:])
        if len(queries) > 1
        else queries[0]
        if queries
        else None
    )


def with_commonest(
    columns: Sequence[ColumnFacts], told: Sequence[tuple[Any, ...]]
) -> list[ColumnFacts]:
    """Return the columns with their commonest values; a flag has both of its own."""
    value_counts: dict[int, list[tuple[Any, int]]] = {}
    for i, value, n in told:
        value_counts.setdefault(int(i), []).append((value, int(n)))
    new_columns = []
    for i, column in enumerate(columns):
        top = sorted(value_counts.get(i, []), key=lambda pair: (-pair[1], pair[0]))
        if column.kind == "flag" and column.known:
            true = column.true or 0
            top = sorted(((True, true), (False, column.known - true)), key=lambda pair: -pair[1])
            top = [pair for pair in top if pair[1]]
        new_columns.append(evolve(column, top=tuple(top)))
    return new_columns
