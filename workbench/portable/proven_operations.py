"""Scalar operations proven to give one value on DuckDB, Postgres and Spark (semantics rule 9).

`tests/backends/test_operations.py` holds every entry against the three engines and against Python.
What is listed is proven as the engines run it: as Ibis compiles it, or as
`workbench.portable.rewrites` rewrites it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
from attrs import field, frozen

from workbench.portable.operand_conditions import (
    buckets_by_fixed_units,
    counts_fixed_units,
    has_fixed_unit,
    is_constant_text,
    is_portable_span,
    is_whole_constant,
    likes_constant_pattern,
    multiplies_fixed_unit,
    pads_by_constants,
    replaces_by_constants,
    rounds_to_constant_digits,
    slices_by_constants,
    translates_in_pairs,
)
from workbench.portable.regex_subset import searchable

if TYPE_CHECKING:
    from collections.abc import Callable


NUMBERS, TIMES = "int float decimal", "timestamp zoned date"
SCALARS = f"bool {NUMBERS} string {TIMES}"
ANY_FAMILY = f"{SCALARS} list"
CASTS = {
    "null": ANY_FAMILY,
    "bool": "bool int float string",
    "int": "bool int float decimal string",
    "float": "bool int float",
    "float32": "float",
    "decimal": "bool int float decimal string",
    "string": "string int float date timestamp",
    "timestamp": "timestamp zoned date string",
    "zoned": "timestamp zoned date",
    "date": "date timestamp string",
}
TRIED = {"string": "int float", "int": "int", "float": "int", "decimal": "int"}
EPOCHS = ("s", "ms", "us")
TRUNCATED = ("Y", "Q", "M", "W", "D", "h", "m", "s", "ms", "us")
FORMAT = re.compile(r"(%[YmdHMS]|[-/:_., ])+")  # letters are patterns of their own on Postgres
SEPARATOR = re.compile(r"[^\\\[\](){}*+?.^$|]+")  # Spark takes a separator for a regular expression


def family(dtype: dt.DataType) -> str:
    """Return the family of types that engines treat alike."""
    if dtype.is_timestamp():
        return "zoned" if dtype.timezone else "timestamp"
    if dtype.is_floating():
        return "float" if dtype.is_float64() else str(dtype)
    families = {
        "bool": dtype.is_boolean,
        "int": dtype.is_integer,
        "decimal": dtype.is_decimal,
        "list": dtype.is_array,
    }
    return next((name for name, is_ in families.items() if is_()), re.split(r"\W", str(dtype))[0])


def _families(names: str) -> frozenset[str]:
    return frozenset(names.split())


@frozen
class Proven:
    """The type families for which an operation is proven, and its conditions on arguments."""

    of: frozenset[str] = field(converter=_families)
    only: Callable[[Any], bool] = lambda _: True
    asks: str = ""


def _cast(table: dict[str, str]) -> Callable[[Any], bool]:
    return lambda node: (
        family(node.to) in table.get(family(node.arg.dtype), "").split() and _everywhere(node.to)
    )


def _everywhere(to: Any) -> bool:
    """Return whether a type is the same on every engine.

    Integers are signed, decimals have a scale, and timestamps are microseconds, in UTC or naive.
    """
    if to.is_timestamp():
        return to.scale in (None, 6) and to.timezone in (None, "UTC")
    return not to.is_unsigned_integer() and not (to.is_decimal() and to.scale is None)


NUMERIC, WHOLE_NUMBERS, LOGIC, SCALAR, WHATEVER = (
    Proven(NUMBERS),
    Proven("int"),
    Proven("bool"),
    Proven(SCALARS),
    Proven(ANY_FAMILY),
)
TEXT, TIME, INSTANT, LISTED = (
    Proven("string"),
    Proven(TIMES),
    Proven("timestamp zoned"),
    Proven("list"),
)
SHIFT = Proven(
    "timestamp interval",
    lambda n: is_portable_span(n.right),
    "a span from years to microseconds, but no quarters",
)
A_COUNT = "a number of characters that is written out"

PROVEN: dict[type[ops.Node], Proven] = {
    **dict.fromkeys(
        (
            ops.Add,
            ops.Subtract,
            ops.Multiply,
            ops.Divide,
            ops.FloorDivide,
            ops.Negate,
            ops.Abs,
            ops.Floor,
            ops.Ceil,
            ops.Sign,
            ops.Clip,
        ),
        NUMERIC,
    ),
    **dict.fromkeys(
        (
            ops.Power,
            ops.Sqrt,
            ops.Exp,
            ops.Ln,
            ops.Log2,
            ops.Log10,
            ops.Sin,
            ops.Cos,
            ops.Tan,
            ops.Atan,
            ops.Degrees,
            ops.Radians,
        ),
        NUMERIC,
    ),
    ops.Atan2: Proven("int float"),
    ops.Modulus: Proven("int decimal"),
    ops.Round: Proven(NUMBERS, rounds_to_constant_digits, "a number of digits that is written out"),
    ops.Log: Proven(
        NUMBERS, lambda n: isinstance(n.base, ops.Literal), "a base that is written out"
    ),
    **dict.fromkeys((ops.BitwiseAnd, ops.BitwiseOr, ops.BitwiseXor, ops.BitwiseNot), WHOLE_NUMBERS),
    ops.Pi: Proven(""),
    ops.E: Proven(""),
    # comparing, choosing
    **dict.fromkeys(
        (
            ops.Equals,
            ops.NotEquals,
            ops.Less,
            ops.LessEqual,
            ops.Greater,
            ops.GreaterEqual,
            ops.IdenticalTo,
            ops.Between,
            ops.InValues,
            ops.NullIf,
            ops.Greatest,
            ops.Least,
        ),
        SCALAR,
    ),
    **dict.fromkeys((ops.And, ops.Or, ops.Xor, ops.Not), LOGIC),
    **dict.fromkeys(
        (ops.IsNull, ops.NotNull, ops.Coalesce, ops.IfElse, ops.SearchedCase), WHATEVER
    ),
    ops.SimpleCase: SCALAR,
    # casts
    ops.Cast: Proven(f"{SCALARS} float32", _cast(CASTS)),
    ops.TryCast: Proven(f"string {NUMBERS}", _cast(TRIED)),
    # text
    **dict.fromkeys(
        (
            ops.Uppercase,
            ops.Lowercase,
            ops.Capitalize,
            ops.Strip,
            ops.LStrip,
            ops.RStrip,
            ops.StringLength,
            ops.StringAscii,
        ),
        TEXT,
    ),
    **dict.fromkeys(
        (ops.StringContains, ops.StartsWith, ops.EndsWith, ops.StringReplace, ops.StringConcat),
        TEXT,
    ),
    ops.Substring: Proven(
        "string int", lambda n: n.length is None or is_whole_constant(n.length), A_COUNT
    ),
    ops.StringSlice: Proven(
        "string int", slices_by_constants, "a start and an end that are written out"
    ),
    ops.StrRight: Proven("string int", lambda n: is_whole_constant(n.nchars), A_COUNT),
    ops.Repeat: Proven(
        "string int", lambda n: is_whole_constant(n.times), "a number of times that is written out"
    ),
    ops.LPad: Proven(
        "string int", pads_by_constants, "one character to pad with, and a length, written out"
    ),
    ops.RPad: Proven(
        "string int", pads_by_constants, "one character to pad with, and a length, written out"
    ),
    ops.StringFind: Proven(
        "string int",
        lambda n: n.end is None and (n.start is None or is_whole_constant(n.start)),
        "a start that is written out, and no end",
    ),
    ops.StringJoin: Proven(
        "string", lambda n: isinstance(n.sep, ops.Literal), "a separator that is written out"
    ),
    ops.Translate: Proven("string", translates_in_pairs, "two written out texts of one length"),
    ops.StringSQLLike: Proven(
        "string", likes_constant_pattern, "a written out pattern without backslash"
    ),
    ops.StringSQLILike: Proven(
        "string", likes_constant_pattern, "a written out pattern without backslash"
    ),
    ops.RegexSearch: Proven(
        "string",
        lambda n: is_constant_text(n.pattern, searchable),
        "a written out pattern of plain characters, classes, groups, | and greedy repetition",
    ),
    ops.RegexReplace: Proven(
        "string",
        replaces_by_constants,
        "a written out pattern that is plain text or one class as in [^a-z]+, and a replacement"
        " without backslash, $ and &",
    ),
    ops.StringSplit: Proven(
        "string",
        lambda n: is_constant_text(n.delimiter, SEPARATOR.fullmatch),
        r"a written out separator without any of \ [ ] ( ) { } * + ? . ^ $ |",
    ),
    # times
    **dict.fromkeys(
        (
            ops.ExtractYear,
            ops.ExtractIsoYear,
            ops.ExtractQuarter,
            ops.ExtractMonth,
            ops.ExtractWeekOfYear,
            ops.ExtractDay,
            ops.ExtractDayOfYear,
            ops.DayOfWeekIndex,
            ops.DayOfWeekName,
            ops.ExtractEpochSeconds,
        ),
        TIME,
    ),
    **dict.fromkeys(
        (
            ops.ExtractHour,
            ops.ExtractMinute,
            ops.ExtractSecond,
            ops.ExtractMillisecond,
            ops.ExtractMicrosecond,
            ops.Date,
        ),
        INSTANT,
    ),
    ops.TimestampTruncate: Proven(
        "timestamp zoned", lambda n: n.unit.value in TRUNCATED, "units down to the microsecond"
    ),
    ops.DateTruncate: Proven(
        "date", lambda n: n.unit.value in TRUNCATED[:5], "units of days and more"
    ),
    ops.TimestampBucket: Proven(
        "timestamp interval", buckets_by_fixed_units, "weeks or shorter spans, and no offset"
    ),
    ops.TimestampDelta: Proven("timestamp zoned", counts_fixed_units, "weeks or shorter units"),
    ops.DateDelta: Proven("date", counts_fixed_units, "days or weeks"),
    **dict.fromkeys((ops.TimestampAdd, ops.TimestampSub), SHIFT),
    **dict.fromkeys(
        (ops.DateAdd, ops.DateSub),
        Proven(
            "date interval",
            lambda n: is_portable_span(n.right),
            "a span of years, months, weeks or days",
        ),
    ),
    ops.IntervalFromInteger: Proven("int", has_fixed_unit, "weeks or shorter units"),
    ops.IntervalMultiply: Proven(
        "int interval",
        multiplies_fixed_unit,
        "a written out interval of weeks or less, and an integer",
    ),
    ops.TimestampFromUNIX: Proven(
        "int", lambda n: n.unit.value in EPOCHS, "seconds, milliseconds or microseconds"
    ),
    ops.DateFromYMD: WHOLE_NUMBERS,
    ops.Strftime: Proven(
        "timestamp date",
        lambda n: is_constant_text(n.format_str, FORMAT.fullmatch),
        "a format of %Y %m %d %H %M %S and the signs - / : _ . , and space",
    ),
    # lists
    ops.Array: SCALAR,
    **dict.fromkeys(
        (
            ops.ArrayLength,
            ops.ArrayConcat,
            ops.ArraySum,
            ops.ArrayMean,
            ops.ArrayMin,
            ops.ArrayMax,
            ops.ArrayAny,
            ops.ArrayAll,
        ),
        LISTED,
    ),
    ops.ArrayIndex: Proven("list int"),
    ops.ArraySlice: Proven(
        "list int",
        lambda n: is_whole_constant(n.start) and (n.stop is None or is_whole_constant(n.stop)),
        "a start and a stop that are written out",
    ),
    **dict.fromkeys((ops.ArrayContains, ops.ArrayRemove), Proven("list int string")),
    **dict.fromkeys(
        (ops.ArrayMap, ops.ArrayFilter),
        Proven("list", lambda n: n.index is None, "a function of the element alone"),
    ),
}


# What to write instead of operations that are not listed at all.
INSTEAD: dict[type[ops.Node], str] = {
    ops.TimestampDiff: "say a.delta(b, unit='second')",
    ops.DateDiff: "say a.delta(b, unit='day')",
    ops.IsNan: "NaN is null in every source; say isnull()",
    ops.IsInf: "an infinity is null in every source; say isnull()",
    ops.Time: "say hour(), minute() and second()",
    ops.StringToTimestamp: (
        "write ISO text and say cast('timestamp'), as preview(table) does of the table's own texts"
    ),
    ops.StringToDate: (
        "write ISO text and say cast('date'), as preview(table) does of the table's own texts"
    ),
    ops.BitwiseLeftShift: "say * 2**n",
    ops.BitwiseRightShift: "say // 2**n",
}
