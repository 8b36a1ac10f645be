"""What the days of a dated table could see of their sources: row counts and checksums by day."""

from __future__ import annotations

from bisect import bisect_left
from datetime import date, timedelta
from itertools import accumulate
from typing import TYPE_CHECKING

import ibis
import ibis.expr.operations as ops
from attrs import evolve

from workbench.backends import Engine
from workbench.backends.time_literals import Extremes
from workbench.definitions.sources import EntitySource
from workbench.online.time_units import (
    DAY,
    DAY_US,
    days_since_epoch,
    in_us,
    us_since_epoch,
    utc_day,
)
from workbench.planner.entity_snapshots import EntityRows
from workbench.planner.plan_choice import check_partition
from workbench.planner.source_rows import EVENT, EventRows
from workbench.portable.time_rewrites import floor_to, micros

if TYPE_CHECKING:
    from collections.abc import Sequence

    import ibis.expr.types as ir

    from workbench.definitions.group_by import GroupBy
    from workbench.definitions.join import JoinPart


# checksums of rows add up within 64 bits for eight thousand million rows a day
PRIME, MIX, NOTHING = 1_000_000_007, 31, 7


def extremes_of(start: date | None, end: date | None) -> Extremes:
    """Return the first instants of two days."""
    return Extremes(*(None if day is None else us_since_epoch(day) for day in (start, end)))


def sums_by_day(
    engine: Engine, table: ir.Table, us: ir.IntegerValue, columns: Sequence[str]
) -> dict[date, list[int]]:
    """Return the number of rows of each day, UTC, and a checksum of their `columns`.

    The order of rows does not change the checksum.
    """
    mixed = [
        ((engine.hashed(table[c]) % PRIME + PRIME) % PRIME).fill_null(NOTHING) for c in columns
    ]
    # as a sum of products, not nested by column: engines refuse expressions that are hundreds of
    # calls deep
    weighed = [(m * pow(MIX, len(mixed) - 1 - i, PRIME)) % PRIME for i, m in enumerate(mixed)]
    row = _sum(weighed) % PRIME if mixed else ibis.literal(0)
    # squared, as two rows that swap the values of a column would else add up to the same
    row_mark = row * row % PRIME
    days = table.select(day=floor_to(us, DAY_US), mark=row_mark).filter(lambda t: t.day.notnull())
    counts = engine.fetch(
        days.group_by("day").agg(n=days.count(), mark=days.mark.sum()).order_by("day")
    ).to_pylist()
    return {utc_day(c["day"]): [c["n"], int(c["mark"])] for c in counts}


def _sum(values: Sequence[ir.IntegerValue]) -> ir.IntegerValue:
    half = len(values) // 2
    return values[0] if not half else _sum(values[:half]) + _sum(values[half:])


class VisibleSource:
    """The source rows of a part that the values of some days, in order, could see.

    Late and changed rows are detected by their number and checksum.
    """

    def __init__(self, part: JoinPart, engine: Engine, days: Sequence[date]) -> None:
        group_by = part.group_by
        self.entity = isinstance(group_by.source, EntitySource)
        lengths = [w.length + w.hop for w in group_by.windows if w]
        bounded = part.max_age is None and lengths and None not in group_by.windows
        self.lookback = max(lengths) + DAY if bounded else None
        day_sums = (
            _snapshots(EntityRows(group_by, engine), days)
            if self.entity
            else _events(EventRows(group_by, engine), days, self.lookback)
        )
        self.days, self.found = list(day_sums), list(day_sums.values())
        self.rows, self.marks = ([0, *accumulate(v[i] for v in self.found)] for i in (0, 1))

    def before(self, day: date) -> list[int]:
        """Return the number and checksum of events from the longest window's start to a day's end.

        For an entity, those of the snapshot in force.
        """
        end = bisect_left(self.days, day + timedelta(days=1))
        if self.entity:
            return [days_since_epoch(self.days[end - 1]), *self.found[end - 1]] if end else []
        start = 0 if self.lookback is None else bisect_left(self.days, day - self.lookback)
        return [self.rows[end] - self.rows[start], self.marks[end] - self.marks[start]]


def _events(
    source: EventRows, days: Sequence[date], lookback: timedelta | None
) -> dict[date, list[int]]:
    """Return every day of events that these days, in order, look at, and perhaps others."""
    extremes = extremes_of(days[0], days[-1] + timedelta(days=1)) if days else Extremes()
    reach = None if lookback is None else in_us(lookback)
    if extremes.near((reach or 0) + in_us((source.group_by.events.slack or DAY) + DAY)):
        source = evolve(source, instants=extremes)
        check_partition(source, reach or 0)
    table = evolve(source, pruned=True).within(reach).table
    return sums_by_day(
        source.engine,
        table,
        micros(table[source.group_by.events.time]),
        sorted(_used(source.group_by)),
    )


def _snapshots(rows: EntityRows, days: Sequence[date]) -> dict[date, list[int]]:
    """Return the snapshots that these days, in order, see, with a checksum of the used rows.

    All snapshots of the base table count, since they decide what is in force (rule 6).
    """
    if days and rows.group_by.entity.snapshot is not None:
        bounded_rows, look = rows.seen()
        first, last = (us_since_epoch(day) for day in (days[0], days[-1]))
        rows = bounded_rows if look(first, last) else rows
    engine, ends, table = rows.engine, rows.snapshots(), rows.table
    used = sums_by_day(engine, table, rows.ended(table)[EVENT], sorted(_used(rows.group_by)))
    return {
        day: [n, used.get(day, [0, 0])[1]]
        for day, (n, _) in sums_by_day(engine, ends, ends[EVENT], ()).items()
    }


def _used(group_by: GroupBy) -> set[str]:
    """Return the source's columns that a value depends on."""
    fields = {
        f.name
        for feature in group_by.computed
        for f in feature.node.find(ops.Field, filter=ops.Value)
    }
    order = (
        set()
        if isinstance(group_by.source, EntitySource)
        else {group_by.events.time, *group_by.events.order}
    )
    return (
        fields | order | set(group_by.keys) | {f.by for f in group_by.computed if f.by is not None}
    )
