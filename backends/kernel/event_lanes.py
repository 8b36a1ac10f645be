"""Lanes: the events that a reduction counts, in order, and the row ranges of its windows."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from attrs import frozen

from workbench.backends.kernel import exact_sums, order_statistics
from workbench.backends.kernel.arrow_arrays import Columns, Numbers
from workbench.backends.kernel.window_bounds import first_at, groups, in_order, settled, tails

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.backends.asof_request import WindowSpan
    from workbench.backends.kernel.jit import Longs


@frozen
class SortedRows:
    """Codes and times of rows, and the positions of those rows in the input table."""

    codes: Longs
    times: Longs
    rows: Longs

    def sorted(self) -> SortedRows:
        """Returns the rows by code, then time."""
        order = in_order(self.codes, self.times)
        return SortedRows(self.codes[order], self.times[order], self.rows[order])

    def among(self, first: int, end: int) -> SortedRows:
        """Returns the rows whose code is in [first, end)."""
        (at,) = np.nonzero((self.codes >= first) & (self.codes < end))
        return SortedRows(self.codes[at], self.times[at], self.rows[at])


class KeyedRows:
    """Some keys' events and left rows, both in order of key and time.

    The columns `order` settle ties in time; events equal in these too are in no set order.
    """

    def __init__(
        self, events: SortedRows, left: SortedRows, columns: Columns, order: Sequence[str]
    ) -> None:
        self.columns, self.order = columns, order
        self.left, self.events = left.sorted(), self._settled(events.sorted())
        self._lows: dict[WindowSpan, Longs] = {}
        self._lane: tuple[tuple[tuple[str, ...], str | None], Lane] | None = None

    def _settled(self, events: SortedRows) -> SortedRows:
        tie_groups = groups([events.codes, events.times])
        if not self.order or not len(tie_groups) or tie_groups[-1] == len(tie_groups) - 1:
            return events
        return SortedRows(
            events.codes,
            events.times,
            settled(events.rows, tie_groups, [self.columns.ordinals(o) for o in self.order]),
        )

    @cached_property
    def high(self) -> Longs:
        """The first event at or after each left row's time."""
        return first_at(self.events.codes, self.events.times, self.left.codes, self.left.times)

    def low(self, span: WindowSpan) -> Longs:
        """Returns the first event in each left row's window."""
        if span not in self._lows:
            self._lows[span] = first_at(
                self.events.codes, self.events.times, self.left.codes, tails(span, self.left.times)
            )
        return self._lows[span]

    @cached_property
    def ties(self) -> Longs:
        """Numbers that neighbours share where key, time and order are equal."""
        return groups(
            [
                self.events.codes,
                self.events.times,
                *(self.columns.ordinals(o)[self.events.rows] for o in self.order),
            ]
        )

    def lane(self, names: tuple[str, ...], where: str | None) -> Lane:
        """Returns the lane of these values and this condition.

        The last one is kept, since its arrays are as long as the events.
        """
        if self._lane is None or self._lane[0] != (names, where):
            self._lane = (names, where), Lane(self, names, where)
        return self._lane[1]


class Lane:
    """The rows of a part that have every value and pass the condition.

    It computes what several reductions need of them once.
    """

    def __init__(self, part: KeyedRows, names: tuple[str, ...], where: str | None) -> None:
        self.part, self.names = part, names
        masks = [k for k in (part.columns.there(n) for n in names) if k is not None]
        masks += [part.columns.flags(where)] if where is not None else []
        self._kept, self._places = None, None
        if masks:
            keep = np.logical_and.reduce(masks)[part.events.rows]
            self._kept, self._places = np.flatnonzero(keep), np.concatenate(([0], np.cumsum(keep)))
        self._ranges: dict[WindowSpan, tuple[Longs, Longs]] = {}
        self._numbers: dict[str, Numbers] = {}
        self._totals: tuple[tuple[str, WindowSpan], tuple[Longs, Longs]] | None = None

    def _of(self, rows: Longs) -> Longs:
        return rows if self._kept is None else rows[self._kept]

    @cached_property
    def rows(self) -> Longs:
        """The lane's events, as positions in the input table."""
        return self._of(self.part.events.rows)

    @cached_property
    def codes(self) -> Longs:
        """The codes of the events' keys."""
        return self._of(self.part.events.codes)

    def range(self, span: WindowSpan) -> tuple[Longs, Longs]:
        """Returns the first row of each left row's window, and the row after its last."""
        if span not in self._ranges:
            low, high = self.part.low(span), self.part.high
            self._ranges[span] = (
                (low, high) if self._places is None else (self._places[low], self._places[high])
            )
        return self._ranges[span]

    def values(self, name: str, rows: Longs) -> pa.Array:
        """Returns a column's values at rows of the lane; null for -1."""
        column = self.part.columns[name]
        if not len(self.rows):
            return pa.nulls(len(rows), column.type)
        return column.take(pa.array(self.rows[np.maximum(rows, 0)], mask=rows < 0))

    def ordinals(self, name: str) -> Longs:
        """Returns a column's values as whole numbers that compare alike, in the lane's order."""
        return self.part.columns.ordinals(name)[self.rows]

    def numbers(self, name: str) -> Numbers:
        """Returns a column's values as exact numbers, in the lane's order."""
        if name not in self._numbers:
            column_numbers = self.part.columns.numbers(name)
            shifts = (
                column_numbers.shifts[self.rows]
                if len(column_numbers.shifts) > 1
                else column_numbers.shifts
            )
            self._numbers[name] = Numbers(
                column_numbers.mantissas[self.rows],
                shifts,
                column_numbers.exponent,
                column_numbers.scale,
            )
        return self._numbers[name]

    def totals(self, name: str, span: WindowSpan) -> tuple[Longs, Longs]:
        """Returns the digits and the signs of each window's sum.

        The last ones are kept, for the means that follow.
        """
        if self._totals is None or self._totals[0] != (name, span):
            column_numbers, (low, high) = self.numbers(name), self.range(span)
            self._totals = (
                (name, span),
                exact_sums.totals(
                    column_numbers.mantissas,
                    column_numbers.shifts,
                    low,
                    high,
                    exact_sums.digits_of(column_numbers.shifts, 1),
                ),
            )
        return self._totals[1]

    @cached_property
    def by_value(self) -> Longs:
        """The lane's rows by key, then value."""
        return order_statistics.by_key_and_value(self.codes, self.ordinals(self.names[0]))

    @cached_property
    def value_ids(self) -> Longs:
        """A number for each row that rows of equal key and value share."""
        return order_statistics.value_ids(self.by_value, self.codes, self.ordinals(self.names[0]))

    @cached_property
    def in_time(self) -> Longs:
        """The lane's rows in the order of rule 10: full ties by value."""
        ties, rows = self._of(self.part.ties), np.arange(len(self.rows))
        if (ties[1:] == ties[:-1]).any():
            return settled(rows, ties, [self.ordinals(self.names[0])])
        return rows
