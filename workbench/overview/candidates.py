"""Candidates for the columns that say whose a row is (key), and when it happened (time)."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from workbench.online.time_units import DAY_US, HOUR_US, MINUTE_US, SECOND_US, days_since_epoch
from workbench.overview.column_facts import NUMBERS, ColumnFacts
from workbench.previews import preview_words
from workbench.training.source_checks import EARLIEST_PLAUSIBLE, LATEST_PLAUSIBLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.overview.text_readings import Reading

# Units of epoch integers, with how many of them make a second.
UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
CALLED = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
FIRST_S, LAST_S = 631_152_000, 4_102_444_800  # 1990 and 2100, in seconds since 1970
KEYISH = re.compile(r"(?i)(?:^|[_\W]|[a-z](?=I))(?:id|key|uuid|guid|code|nr|no|number|sku)\W*$|^id")
TIMEISH = re.compile(r"(?i)time|date|^ts$|_ts$|_at$|^at$|^when$|^ds$|day|created|updated")
DAY_OR_TEXT = '.cast("timestamp")'
FIRST_YEAR = 1000  # pages write no year before
# zones differ from UTC by whole quarters of an hour, and by this at most
QUARTER_US, FARTHEST_US = 15 * MINUTE_US, 14 * HOUR_US
ROUNDED_US = SECOND_US  # a clock that is written twice may be rounded once
REPEATS = 2.0  # rows a value from which a column's values repeat


@frozen
class TimeCandidate:
    """A column that may say when, the Ibis that makes it a timestamp, and why it may."""

    name: str
    then: str
    reason: str


@frozen
class KeyCandidate:
    """A column that may be a key, whether each value comes once, and why it may."""

    name: str
    unique: bool
    reason: str


def time_candidates(
    columns: Sequence[ColumnFacts], readings: Sequence[Reading] = ()
) -> list[TimeCandidate]:
    """Return the columns that may say when, the likeliest first.

    Timestamps come first, then epochs that are named as times, dates and ISO texts, other epochs. A
    local clock, beside a column that has the instants in UTC, comes last: it would be taken as UTC.
    A day comes after what tells the hour: an event that counts from its day's first instant is
    known before it happened.
    """
    ranked = []
    time_readings = {r.name: r for r in readings if r.form.is_time and r.sure}
    for place, column in enumerate(columns):
        candidate = _time(column, time_readings.get(column.name))
        if candidate is not None and _plausible(column):
            clock = _utc_of(column, columns)
            if clock is not None:
                candidate = evolve(
                    candidate,
                    reason=f"{candidate.reason}; they differ from {clock} as a local clock does",
                )
            rank = _time_rank(column, candidate, is_local=clock is not None)
            ranked.append(((*rank, place), candidate))
    return [candidate for _, candidate in sorted(ranked, key=lambda pair: pair[0])]


def _time_rank(
    column: ColumnFacts, candidate: TimeCandidate, *, is_local: bool
) -> tuple[bool, int, bool, bool]:
    """Rank a candidate: the least comes first."""
    named = bool(TIMEISH.search(column.name))
    if is_local:
        rank = 4
    elif not candidate.then:
        rank = 0
    elif column.kind != "whole":
        rank = 2
    else:
        rank = 1 if named else 3
    return column.distinct == 1 < column.rows, rank, column.nulls > column.rows / 2, not named


def _utc_of(column: ColumnFacts, columns: Sequence[ColumnFacts]) -> str | None:
    """Return the column whose instants in UTC this one has in another zone, or `None`.

    Their extremes differ as time zones do.
    """
    if not column.dtype.is_timestamp() or column.dtype.timezone or not column.known:
        return None
    for candidate in columns:
        extremes = _extremes_us(candidate)
        if (
            extremes is None
            or candidate.known != column.known
            or not any(_off_quarter(at) for at in extremes)
        ):
            continue
        apart = [
            value - at for value, at in zip((column.least, column.most), extremes, strict=True)
        ]
        if all(not _off_quarter(a) and abs(a) <= FARTHEST_US for a in apart) and any(
            abs(a) > ROUNDED_US for a in apart
        ):
            return candidate.name
    return None


def _extremes_us(column: ColumnFacts) -> tuple[int, int] | None:
    """Return the extremes, in microseconds since 1970, of a column known to be in UTC."""
    unit = _epoch(column) if column.kind == "whole" else None
    if unit is not None:
        return (column.least * 1_000_000 // UNITS[unit], column.most * 1_000_000 // UNITS[unit])
    zoned = column.dtype.is_timestamp() and column.dtype.timezone
    return (column.least, column.most) if zoned and column.known else None


def _off_quarter(us: int) -> bool:
    """Return whether a time is no whole quarter of an hour, but for rounding.

    Zones differ by whole quarters.
    """
    return (us + ROUNDED_US) % QUARTER_US > 2 * ROUNDED_US


def _plausible(column: ColumnFacts) -> bool:
    """Return whether the column has no time that a feature would refuse.

    Such a time is a placeholder for 'never'.
    """
    # whole numbers were checked as epochs; texts are not in the order of their times
    if column.kind in {
        "whole",
        "text",
    }:
        years = [
            int(t[:4])
            for t in (column.least, column.most)
            if column.kind == "text" and t and t[:4].isdigit()
        ]
        return all(FIRST_YEAR <= y < LATEST_PLAUSIBLE.year for y in years) and years != [
            EARLIEST_PLAUSIBLE.year,
            EARLIEST_PLAUSIBLE.year,
        ]
    unit = 1 if column.kind == "date" else DAY_US
    first, near, far = (
        days_since_epoch(date(FIRST_YEAR, 1, 1)),
        days_since_epoch(EARLIEST_PLAUSIBLE.date()),
        days_since_epoch(LATEST_PLAUSIBLE.date()),
    )
    return (
        first * unit <= column.least
        and column.most < far * unit
        and not (column.least >= 0 and column.most < near * unit)
    )


def _time(column: ColumnFacts, reading: Reading | None) -> TimeCandidate | None:
    """Return the column as a time, with the Ibis that makes timestamps of it, or `None`."""
    name = column.name
    match column.kind:
        case "instant" if column.known:
            reason = "timestamps" if column.dtype.timezone else "timestamps, taken as UTC"
            return TimeCandidate(name, "", reason)
        case "date" if column.known:
            reason = "dates; an event counts from the day's first instant, UTC"
            return TimeCandidate(name, DAY_OR_TEXT, reason)
        case "text" if reading is not None:
            reason = (
                f"texts that are all {reading.form.said}"
                if reading.rows == column.known
                else f"texts of which {reading.rows:,} of {column.known:,} are {reading.form.said};"
                " the others have no time, and count nowhere"
            )
            return TimeCandidate(name, reading.then, reason)
        case "whole" if (unit := _epoch(column)) is not None:
            conversion = (
                f'.as_timestamp("{unit}")' if unit != "ns" else '.floordiv(1000).as_timestamp("us")'
            )
            reason = f"whole numbers that look like {CALLED[unit]} since 1970"
            return TimeCandidate(name, conversion, reason)
    return None


def _epoch(column: ColumnFacts) -> str | None:
    """Return the unit in which all values are between 1990 and 2100, or `None`.

    A column of one value or a handful is no clock's.
    """
    if column.least is None or (
        not TIMEISH.search(column.name) and (column.distinct or 0) < REPEATS
    ):
        return None
    return next(
        (
            unit
            for unit, n in UNITS.items()
            if FIRST_S * n <= column.least and column.most < LAST_S * n
        ),
        None,
    )


def key_candidates(
    columns: Sequence[ColumnFacts], times: Sequence[TimeCandidate], readings: Sequence[Reading] = ()
) -> list[KeyCandidate]:
    """Return the columns that may be keys, the likeliest first.

    Those named as keys come first, then texts and whole numbers whose values repeat, then unique
    ones.
    """
    time_names = {t.name for t in times} | {r.name for r in readings if r.form.is_time}
    added = {r.name for r in amounts(columns, readings)}
    ranked = []
    for place, column in enumerate(columns):
        if (
            column.name in time_names
            or column.kind not in {"text", "whole", "uuid"}
            or not column.distinct
        ):
            continue
        rows_per_value = column.known / column.distinct
        if not column.unique and (rows_per_value < REPEATS or column.distinct == 1):
            continue
        reason = (
            "unique"
            if column.unique
            else (
                f"{preview_words.plural(column.distinct, 'value')}, {rows_per_value:,.1f} rows each"
            )
        )
        nulls = f", {preview_words.plural(column.nulls, 'row')} of none" if column.nulls else ""
        rank = (
            column.name in added,
            not KEYISH.search(column.name),
            column.unique,
            column.kind == "whole" and not KEYISH.search(column.name),
            column.nulls > column.rows / 2,
            -column.distinct,
            place,
        )
        ranked.append((rank, KeyCandidate(column.name, column.unique, reason + nulls)))
    return [candidate for _, candidate in sorted(ranked, key=lambda pair: pair[0])]


def _adds_up(column: ColumnFacts) -> bool:
    """Return whether the sum of all rows fits: integers 64 bits, decimals 38 digits (rule 11)."""
    if column.kind == "float":
        return True
    most = max(abs(column.least), abs(column.most)) * column.known
    return most < (2**63 if column.kind == "whole" else 10 ** (38 - (column.dtype.scale or 0)))


def amounts(columns: Sequence[ColumnFacts], readings: Sequence[Reading]) -> list[Reading]:
    """Return the texts that are surely numbers, and amounts rather than identifiers.

    They are not named as a key, and not all of them are plain digits.
    """
    sample_texts = {
        c.name: "".join(str(v) for v in (c.least, c.most, *(v for v, _ in c.top)))
        for c in columns
        if c.kind == "text"
    }
    return [
        r
        for r in readings
        if r.sure
        and not r.form.is_time
        and not KEYISH.search(r.name)
        and (r.rows < r.known or set(",.") & set(sample_texts[r.name]))
    ]


def values(columns: Sequence[ColumnFacts], taken: set[str]) -> list[ColumnFacts]:
    """Return numbers to add up, the likeliest first: those with a fraction.

    Those that are named as a key count only where there are no others.
    """
    number_columns = [
        c
        for c in columns
        if c.kind in NUMBERS
        and c.known
        and c.name not in taken
        and not (c.unique and c.kind == "whole")
        and _adds_up(c)
    ]
    number_columns = [c for c in number_columns if not KEYISH.search(c.name)] or number_columns
    return sorted(number_columns, key=lambda c: (c.kind == "whole", columns.index(c)))
