"""Slices of a hot key by time, also for windows without a start.

Each reduction that merges gets an event column of its own that already knows what counts. A slice's
answer then becomes a few events of the key's distant past in every later slice: its total, its
extreme, its newest values. Cuts lie between times, so no tie is ever cut; the kernel adds the
totals exactly, and orders what is handed on by slice.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from attrs import evolve, frozen
from pyspark.sql import functions as f

from workbench.backends.asof_request import Ask, WindowSpan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import Column

FOLDED = ("min", "max", "any", "all", "bit_and", "bit_or", "bit_xor", "first", "last")
LISTED = ("first_k", "top_k", "bottom_k", "last_k")
SUMMED = ("count", "sum", "average")
# The time of the first slice's events, and the distance to those of the next one.
PAST, APART = -(2**62), 2**32
WORD, AFTER = 2**63 - 1, 2**62
EXACT = pa.decimal128(38, 0)


def merges(ask: Ask) -> bool:
    """Returns whether a reduction of all the past can be cut by time."""
    return ask.span.length is None and ask.reduction in (*FOLDED, *LISTED, *SUMMED)


@frozen
class Merging:
    """One reduction with the event column of its own (two for an average)."""

    ask: Ask
    value: str
    kind: pa.DataType | None  # of the input; None where rows are counted

    @property
    def number(self) -> str:
        """The column that counts what an average is over."""
        return f"{self.value}n"

    @property
    def summed(self) -> pa.DataType:
        """The type that totals have until the end: wide enough for parts of them."""
        if self.kind is None or self.ask.reduction == "count":
            return pa.int64()
        if pa.types.is_floating(self.kind):
            return pa.float64()
        return pa.decimal128(38, self.kind.scale) if pa.types.is_decimal(self.kind) else EXACT

    def columns(self) -> dict[str, Column]:
        """Returns the values that count, null elsewhere, by column."""
        inputs = self.ask.inputs
        counts = (
            f.coalesce(f.col(inputs["where"]), f.lit(False)) if "where" in inputs else f.lit(True)
        )
        column = f.when(
            counts & f.col(inputs["arg"]).isNotNull() if "arg" in inputs else counts,
            f.lit(1).cast("bigint"),
        )
        if self.ask.reduction == "count":
            return {self.value: column}
        value = f.when(counts, f.col(inputs["arg"]))
        if self.ask.reduction in SUMMED:
            value = value.cast(
                "double"
                if pa.types.is_floating(self.summed)
                else "bigint"
                if self.summed == EXACT
                else f"decimal(38, {self.summed.scale})"
            )
        return {
            self.value: value,
            **({self.number: column} if self.ask.reduction == "average" else {}),
        }

    def asks(self) -> list[Ask]:
        """Returns the asks of one slice together with what was handed on to it."""
        if self.ask.reduction not in SUMMED:
            return [evolve(self.ask, inputs={"arg": self.value})]
        total = self.ask.type if self.ask.reduction == "sum" else self.summed
        asks = [Ask(self.ask.name, "sum", {"arg": self.value}, WindowSpan(), total)]
        return (
            asks
            if self.ask.reduction != "average"
            else [*asks, Ask(self.number, "sum", {"arg": self.number}, WindowSpan(), pa.int64())]
        )

    def totals(self) -> list[Ask]:
        """Returns the asks of one slice alone.

        Its totals may be wider than the answer, and sums of doubles are left out, since no one
        double holds them.
        """
        asks = self.asks()
        if self.ask.reduction not in SUMMED:
            return asks
        return [
            *([] if self.summed == pa.float64() else [evolve(asks[0], type=self.summed)]),
            *asks[1:],
        ]

    def finished(self, answers: pa.Table) -> pa.Array:
        """Returns the reduction's answer from those to its asks."""
        answer_column = answers[self.ask.name].combine_chunks()
        if self.ask.reduction == "count":
            return pc.fill_null(answer_column, 0)
        return (
            _means(answer_column, answers[self.number].combine_chunks())
            if self.ask.reduction == "average"
            else answer_column
        )

    def handed(self, events: pa.Table, totals: pa.Table) -> dict[str, list[Any]]:
        """Returns the values of its columns that stand for a whole slice, oldest first."""
        if self.ask.reduction not in SUMMED:
            (slice_total,) = totals[self.ask.name].to_pylist()
            values = (
                []
                if slice_total is None
                else slice_total
                if self.ask.reduction in LISTED
                else [slice_total]
            )
            return {self.value: values[::-1] if self.ask.reduction == "last_k" else values}
        counted = (
            {self.number: _words(totals[self.number][0].as_py())}
            if self.ask.reduction == "average"
            else {}
        )
        if self.summed == pa.float64():
            return {self.value: _parts(events[self.value]), **counted}
        total = totals[self.ask.name][0].as_py()
        is_exact = self.summed in (pa.int64(), EXACT)
        return {
            self.value: _words(total) if is_exact else [] if total is None else [total],
            **counted,
        }


def _words(total: Any) -> list[int]:
    """Returns whole numbers of 64 bits that add up to a total; empty for null."""
    rest, words = 0 if total is None else int(total), [] if total is None else [0]
    while rest:
        words.append(max(-WORD, min(WORD, rest)))
        rest -= words[-1]
    return words


def _parts(column: pa.ChunkedArray) -> list[float]:
    """Returns doubles whose exact sum is that of the column, or the column where that overflows."""
    values = column.drop_null().to_pylist()
    parts: list[float] = values[:0]
    try:
        while values and (remainder := math.fsum([*values, *(-p for p in parts)])):
            parts.append(remainder)
    except OverflowError:
        return list(values)
    return parts or ([0.0] if values else [])


def _means(totals: pa.Array, counts: pa.Array) -> pa.Array:
    """Returns totals over counts, rounded once; null where a count is 0."""
    if pa.types.is_floating(totals.type):
        return pc.divide(totals, pc.if_else(pc.equal(counts, 0), None, counts).cast(pa.float64()))
    ratios = (None if t is None else t.as_integer_ratio() for t in totals.to_pylist())
    return pa.array(
        [
            None if r is None else r[0] / (r[1] * n)
            for r, n in zip(ratios, counts.to_pylist(), strict=True)
        ],
        pa.float64(),
    )


def handed_on(
    events: pa.Table,
    merging: Sequence[Merging],
    keys: Sequence[str],
    time: str,
    order: Sequence[str],
) -> pa.Table:
    """Returns the events that stand for one slice in all later ones.

    They have the slice's keys, the last of which is its number, and lie in the distant past.
    """
    from workbench.backends.kernel import as_of  # noqa: PLC0415 numba loads in the executors alone

    first = events.slice(0, 1)
    left = first.select(list(keys)).append_column("at", pa.array([AFTER]))
    totals = as_of(
        events,
        left,
        [a for m in merging for a in m.totals()],
        keys=keys,
        time=time,
        at="at",
        order=order,
        threads=1,
    )
    values = {c: v for m in merging for c, v in m.handed(events, totals).items()}
    n = max(map(len, values.values()))
    column_arrays: dict[str, Any] = {
        time: pa.array(np.arange(n) + PAST + APART * first[keys[-1]][0].as_py())
    }
    column_arrays |= {
        c: pa.array([*v, *[None] * (n - len(v))], events[c].type) for c, v in values.items()
    }
    # keys, and order columns, which decide nothing since no other event has this time
    alike = pa.array(np.zeros(n, np.int64))
    return pa.table(
        {
            c: column_arrays[c] if c in column_arrays else first[c].combine_chunks().take(alike)
            for c in events.column_names
        }
    )


def finished(answers: pa.Table, merging: Sequence[Merging]) -> pa.Table:
    """Returns the left's columns and one column for each reduction, from answers to its asks."""
    for merge in merging:
        answer = merge.finished(answers)
        answers = answers.set_column(
            answers.column_names.index(merge.ask.name), merge.ask.name, answer
        )
    return answers
