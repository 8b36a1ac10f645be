"""The guard of partition columns: whether each is the day or month of its row's time."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from workbench.guards.guard_finding import NOTE, WARNING, GuardFinding, some
from workbench.guards.guard_runner import Answer, Guard, counted
from workbench.online.time_units import DAY_US
from workbench.portable.rewrites import normal_value
from workbench.portable.time_rewrites import floor_to

if TYPE_CHECKING:
    from collections.abc import Mapping

    import ibis.expr.types as ir

    from workbench.guards.guarded_events import GuardedEvents

NAMED = re.compile(
    r"_?(ds|dt|date|day|month|p_?date|partition(_?(date|day|month|ds))?"
    r"|event_(date|day|month)|year_?month|year)",
    re.IGNORECASE,
)
# the partition into which Hive and Spark put rows whose partition column is null
NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"
YEAR, MONTH, OF_MONTH, BETWEEN = (
    "(19|20)[0-9][0-9]",
    "(0[1-9]|1[0-2])",
    "(0[1-9]|[12][0-9]|3[01])",
    "[-/._]?",
)
# 20240109, 2024-01-09; not 2024/1/9, whose digits would be those of another day
WRITTEN_DAY = (
    f"^{YEAR}{BETWEEN}{MONTH}{BETWEEN}{OF_MONTH}([-/._ T].*|[0-9][0-9]|[0-9][0-9][0-9][0-9])?$"
)
WRITTEN_MONTH = f"^{YEAR}{BETWEEN}{MONTH}$"
# Hive's year=2024/month=01/day=09: what each column of such a name holds, and from which digit of a
# day on.
# A column of months alone may be of anything, and so may one of years or days.
PIECES = {
    "year": (f"^{YEAR}$", 0),
    "month": ("^0?[1-9]$|^1[0-2]$", 4),
    "day": ("^0?[1-9]$|^[12][0-9]$|^3[01]$", 6),
}
EXAMPLE = 40  # characters of a text that is shown


def _digits(time: ir.TimestampValue) -> ir.StringValue:
    """Return the UTC day of a time as eight digits."""
    number = (
        time.year().cast("int64") * 10_000
        + time.month().cast("int64") * 100
        + time.day().cast("int64")
    )
    return normal_value(number.op()).to_expr().cast("string")


def _asked_of_texts(s: GuardedEvents, column: str) -> dict[str, Any]:
    """Compare days as digits, since casting a text that is no day ends some engines' scan."""
    text = s.table[column].cast("string").strip().re_replace(r"^[A-Za-z_]+=", "")
    digits, day = text.re_replace("[^0-9]", ""), _digits(s.value(s.time))
    as_day, as_month = text.re_search(WRITTEN_DAY), text.re_search(WRITTEN_MONTH)
    is_day, off = (
        as_day | as_month,
        (as_day & (digits.left(8) != day)) | (as_month & (digits != day.left(6))),
    )
    name, names = column.casefold(), {c.casefold() for c in s.table.columns}
    if name in PIECES and {"year", "month"} <= names:
        pattern, first = PIECES[name]
        piece = text.re_search(pattern)
        expected = day.left(4) if not first else day.substr(first, 2).re_replace("^0", "")
        is_day, off = is_day | piece, off | (piece & (text.re_replace("^0", "") != expected))
    default = text == NO_PARTITION
    unread = ~is_day & ~default
    return {
        "read": counted(is_day),
        "off": counted(off),
        "none": counted(text.isnull() | default),
        "default": counted(default),
        "other": counted(unread),
        "example": text.min(where=unread),
    }


def _asked_of_times(s: GuardedEvents, column: str) -> dict[str, Any]:
    us, unit = s.clock(column), DAY_US
    return {
        "read": us.count(),
        "off": counted(floor_to(us, unit) != floor_to(s.us, unit)),
        "none": counted(us.isnull()),
    }


def _ask(s: GuardedEvents) -> Mapping[str, Any] | None:
    columns = s.named(
        NAMED, lambda t: t.is_date() or t.is_timestamp() or t.is_string() or t.is_integer()
    )
    question = {"rows": s.table.count()}
    for c in columns:
        dtype = s.table[c].type()
        aggregates = (
            _asked_of_texts(s, c)
            if dtype.is_string() or dtype.is_integer()
            else _asked_of_times(s, c)
        )
        question |= {f"{label} {c}": value for label, value in aggregates.items()}
    return question if columns else None


def _judge(s: GuardedEvents, a: Answer) -> GuardFinding | None:
    columns = [k.removeprefix("read ") for k in a if k.startswith("read ")]
    # a column without any day is no partition by day; Hive's default partition does not count
    off = {
        c: a[f"off {c}"] + (a[f"none {c}"] if a[f"read {c}"] else a.get(f"default {c}", 0))
        for c in columns
    }
    features = tuple(f.name for f in s.group_by.outputs)
    if any(off.values()):
        column, n = max(off.items(), key=lambda item: item[1])
        sentence = (
            f"`{column}` is not the day of `{s.time}` in {some(n, a['rows'], 'rows')} of {s.title}:"
            f" windows read `{s.time}` alone, and a scan that is pruned by `{column}` would lose"
            f" events; prune by `{s.time}`"
        )
        return GuardFinding("partition", s.name, WARNING, sentence, features=features)
    for c in columns:
        if a.get(f"other {c}") and c.casefold() not in PIECES:
            sentence = (
                f"`{c}` of {s.title} is no day in {some(a[f'other {c}'], a['rows'], 'rows')}, such"
                f" as {a[f'example {c}'][:EXAMPLE]!r}, and is not held against `{s.time}`: if it is"
                f" a partition, prune by `{s.time}` instead"
            )
            return GuardFinding("partition", s.name, NOTE, sentence, features=features)
    return None


GUARD = Guard("partition", _ask, _judge)
