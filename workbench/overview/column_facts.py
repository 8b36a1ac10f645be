"""Facts of a table's columns (nulls, distinct values, extremes), by one row of aggregates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.datatypes as dt
from attrs import field, frozen

from workbench.planner.bound_tables import cleaned
from workbench.portable.text_rewrites import CLOCK, ZONE, ends_with_match
from workbench.portable.time_rewrites import micros

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import ibis.expr.types as ir

    from workbench.backends import Engine

LONGEST_TEXT = 200  # characters of an extreme that are fetched
# Days that exist, in leap years and others.
LEAP = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
ISO_DAY = (
    "^(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    f"|02-(?:0[1-9]|1[0-9]|2[0-8]))|{LEAP}-02-29)"
)
ISO = f"{ISO_DAY}{CLOCK}(?:Z|{ZONE})?"

# The kinds of columns, by the first of these tests that a type passes.
KINDS: Mapping[str, Callable[[dt.DataType], bool]] = {
    "flag": lambda t: t.is_boolean(),
    "whole": lambda t: t.is_integer(),
    "float": lambda t: t.is_floating(),
    "decimal": lambda t: t.is_decimal(),
    "date": lambda t: t.is_date(),
    "instant": lambda t: t.is_timestamp(),
    "text": lambda t: t.is_string(),
    "uuid": lambda t: t.is_uuid(),
    "bytes": lambda t: t.is_binary(),
    "clock": lambda t: t.is_time(),
    "nested": lambda t: t.is_nested() or t.is_json(),
    "untyped": lambda t: t.is_null(),
}
OTHER_KIND = "other"  # of no kind above: intervals, bits, shapes, addresses
NUMBERS = frozenset({"whole", "float", "decimal"})
TIMES = frozenset({"date", "instant"})
ORDERED = NUMBERS | TIMES | {"text", "uuid", "clock"}
COUNTED_SHAPES = ORDERED | {"flag", "bytes"}


@frozen
class ColumnFacts:
    """The facts of a column over the rows that were looked at.

    `least` and `most` are of the values that are finite: times are microseconds since 1970, dates
    days; texts are cut at 200 characters. None is what was not asked, or has no values.
    """

    name: str
    dtype: dt.DataType
    stored: str
    kind: str
    rows: int
    nulls: int
    unusual: int = 0  # NaN, infinities: nulls to a feature
    distinct: int | None = None
    least: Any = None
    most: Any = None
    true: int | None = None
    iso: int | None = None  # texts that are ISO days or times
    bins: tuple[tuple[Any, Any, int], ...] = ()  # from, to, rows; the last has its end
    top: tuple[tuple[Any, int], ...] = ()
    wanting: str = field(default="")  # what a feature cannot have of it, and what to do

    @property
    def known(self) -> int:
        """The number of values that a feature counts in."""
        return self.rows - self.nulls - self.unusual

    @property
    def unique(self) -> bool:
        """Whether no value comes twice, and none is missing."""
        return self.distinct is not None and self.rows == self.known == self.distinct > 0


def kind_of(dtype: dt.DataType) -> str:
    """Return the kind of column that a type makes."""
    return next((kind for kind, test in KINDS.items() if test(dtype)), OTHER_KIND)


def wanting(dtype: dt.DataType) -> str:
    """Say what a feature cannot have of a column of a type, and what to do; empty where it can."""
    if dtype.is_null():
        return "all null and without a type: cast it to the type that its values will have"
    if dtype.is_interval():
        return (
            "lengths of time mean something else on each engine, so a feature only counts them:"
            " store seconds as a number"
        )
    if dtype.is_unknown() or kind_of(dtype) == OTHER_KIND:
        called = getattr(dtype, "raw_type", None) or dtype
        return (
            f"{called} is no type that all engines share, so a feature only counts it: store it as"
            " text or as numbers in the table"
        )
    return ""


def questions(table: ir.Table, names: list[str], engine: Engine) -> dict[str, ir.Value]:
    """Return the aggregates of a table by name: the number of rows, and each column's facts."""
    aggregates: dict[str, ir.Value] = {"rows": table.count()}
    for i, name in enumerate(names):
        for fact, value in _questions(table[name], engine).items():
            aggregates[f"{fact}_{i}"] = value
    return aggregates


def _questions(column: ir.Column, engine: Engine) -> dict[str, ir.Value]:
    kind = kind_of(column.type())
    if kind == "untyped":
        return {}
    aggregates = {"known": column.count()}
    if kind not in COUNTED_SHAPES:
        return aggregates
    fine = measured(column, kind, engine)
    aggregates |= {"fine": fine.count(), "distinct": fine.nunique()}
    if kind == "flag":
        aggregates["true"] = column.ifelse(1, 0).sum()
    if kind in ORDERED:
        aggregates |= {
            "least": extreme(fine, engine, largest=False),
            "most": extreme(fine, engine, largest=True),
        }
    if kind == "text":
        aggregates["iso"] = ends_with_match(column, ISO).ifelse(1, 0).sum()
    return aggregates


def measured(column: ir.Column, kind: str, engine: Engine) -> ir.Column:
    """Return a column's values without those that no feature has.

    Times are microseconds, dates days, since 1970.
    """
    fine = cleaned(column, engine)
    if kind == "instant":
        return micros(fine)
    if kind == "date":
        return fine.delta(ibis.date("1970-01-01"), unit="day")
    return fine


def extreme(fine: ir.Column, engine: Engine, *, largest: bool) -> ir.Value:
    """Return the least or the largest value; of texts, as much as is shown."""
    value = engine.extremum(fine, None, largest=largest)
    if fine.type().is_string():
        return value.left(LONGEST_TEXT)
    return value.cast("string") if fine.type().is_uuid() else value


def facts(
    names: list[str],
    schema: Mapping[str, dt.DataType],
    stored: Mapping[str, str],
    told: Mapping[str, Any],
) -> list[ColumnFacts]:
    """Return the facts of each column from the aggregates' results."""
    return [
        _facts(i, name, schema[name], stored.get(name, str(schema[name])), told)
        for i, name in enumerate(names)
    ]


def _facts(
    i: int, name: str, dtype: dt.DataType, stored: str, answers: Mapping[str, Any]
) -> ColumnFacts:
    rows, kind = int(answers["rows"]), kind_of(dtype)
    known_count = int(answers.get(f"known_{i}", 0))
    fine = int(answers.get(f"fine_{i}", known_count))
    numbers = {fact: answers.get(f"{fact}_{i}") for fact in ("distinct", "true", "iso")}
    counts: dict[str, Any] = {fact: None if n is None else int(n) for fact, n in numbers.items()}
    return ColumnFacts(
        name,
        dtype,
        stored,
        kind,
        rows,
        rows - known_count,
        known_count - fine,
        least=answers.get(f"least_{i}"),
        most=answers.get(f"most_{i}"),
        wanting=wanting(dtype),
        **counts,
    )


def share(n: int, of: int) -> str:
    """Format a share in per cent; some is never shown as 0 or as all.

    >>> share(0, 9), share(1, 100_000), share(99_999, 100_000), share(1, 4)
    ('0', '<0.1%', '>99.9%', '25%')
    """
    if not n or not of:
        return "0"
    part = 100 * n / of
    if part < 0.1:  # noqa: PLR2004 a tenth of a per cent
        return "<0.1%"
    # what rounds to 100 % is not all of it
    return "100%" if n == of else ">99.9%" if part > 99.9 else f"{part:.3g}%"  # noqa: PLR2004
