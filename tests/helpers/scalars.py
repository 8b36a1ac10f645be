"""Rows of nasty values, and what Python says each proven scalar operation gives over them."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from itertools import product
from types import SimpleNamespace
from typing import Any

import ibis
import pyarrow as pa
from attrs import frozen

WHOLE = [7, -7, 0, 2, -2, 3, 1_000_003, -1, None]
DIVISORS = [3, -3, 2, -2, 7, 1, -1, 5, 0, None]
EXTREMES = [2**63 - 1, -(2**63), 2**53 + 1, -(2**53) - 1, 2**62, 0, 1, -1, 20_260_101]
FLOATS = [
    2.5,
    -2.5,
    0.5,
    -0.5,
    1.5,
    3.5,
    0.1,
    -0.7,
    0.0,
    -0.0,
    math.nan,
    math.inf,
    -math.inf,
    None,
    1e15 + 0.5,
    2.675,
    -1234.5678,
    4.0,
    1e-7,
    0.49999999999999994,
    1.005,
    8.345,
    -2.675,
    800.0,
    -745.1,
    12345.5,
    2.0**53,
]
OTHERS = [2.0, -2.0, 0.5, 3.0, None, 1.0, -1.5, 0.0, 0.3, 10.0]
CENTS = [Decimal(c) / 100 for c in (125, -125, 0, 9_999_999, -700, 250, -250, 350, 5)] + [None]
FINE = [Decimal(c) / 10_000 for c in (1, -35_000, 20_000, 123_456, 0, 50, -150)] + [None]
WORDS = [
    "",
    "a",
    "Ab c",
    "  x y ",
    "50%",
    "a_b",
    "back\\slash",
    "é",
    "e\u0301Z",
    "ß",
    "日本語",
    "\U0001f600!",
    "x,y,,z",
    "ŽLUŤ",
    "\ttab\t",
    "new\nline",
    "it's",
    '"q"',
    "abcabc",
    "ΑΣ",
    None,
    "foo@bar.com",
    "12",
    "-3.5",
    "\\tab\\n",
    "ŉﬁ",
    "ab\n",
    "İ",
    "f v",
]
PARTS = ["a", "b", "", "é", "x", "%", "_", None, "\\", "z"]
NUMERALS = [
    "12",
    "-3.5",
    " 7 ",
    "1e3",
    "9223372036854775807",
    "9223372036854775808",
    "-129",
    "+5",
    "1.",
    ".5",
    "12\n",
    "NaN",
    "1e999",
    "-",
    "",
    "0x1F",
    "1_000",
    None,
    "true",
    "1.5e-3",
    "007",
]
AT = [
    datetime(2024, 2, 29, 23, 59, 59, 999_999),  # noqa: DTZ001
    datetime(1969, 12, 31, 23, 59, 59, 1),  # noqa: DTZ001
    datetime(1970, 1, 1),  # noqa: DTZ001
    datetime(2038, 1, 19, 3, 14, 8),  # noqa: DTZ001
    datetime(2024, 3, 31, 1, 30),  # noqa: DTZ001
    datetime(2024, 3, 31, 2, 30, 0, 500_000),  # noqa: DTZ001
    datetime(2023, 1, 1),  # noqa: DTZ001
    datetime(2020, 12, 31, 12),  # noqa: DTZ001
    datetime(2021, 1, 3, 0, 0, 0, 1),  # noqa: DTZ001
    datetime(2024, 12, 30, 5, 6, 7, 89_000),  # noqa: DTZ001
    None,
    datetime(1950, 7, 4, 6, 5, 4, 3),  # noqa: DTZ001
]
THEN = [
    datetime(2024, 3, 1),  # noqa: DTZ001
    datetime(1970, 1, 1),  # noqa: DTZ001
    None,
    datetime(2023, 12, 31, 23, 59, 59, 999_999),  # noqa: DTZ001
    datetime(1960, 1, 1, 0, 0, 0, 5),  # noqa: DTZ001
]
LISTS = [[1, 2, 3], [], None, [None, 5], [5, 5, -1], [7]]
NAMES = [["b", "a"], ["é", None], [], None, ["a", "a", "c"]]
TRUTHS = [True, False, None]

DTYPES = {
    "k": pa.int64(),
    "i": pa.int64(),
    "j": pa.int64(),
    "n": pa.int16(),
    "big": pa.int64(),
    "f": pa.float32(),
    "x": pa.float64(),
    "y": pa.float64(),
    "d": pa.decimal128(12, 2),
    "g": pa.decimal128(12, 2),
    "e": pa.decimal128(9, 4),
    "b": pa.bool_(),
    "c": pa.bool_(),
    "s": pa.string(),
    "p": pa.string(),
    "q": pa.string(),
    "t": pa.timestamp("us"),
    "v": pa.timestamp("us"),
    "day": pa.date32(),
    "night": pa.date32(),
    "a": pa.list_(pa.int64()),
    "w": pa.list_(pa.string()),
}


def _pairs(left: list, right: list) -> Callable[[int], tuple]:
    both = list(product(left, right))
    return lambda k: both[k * 7 % len(both)] if len(both) % 7 else both[k % len(both)]


class Row(SimpleNamespace):
    """A row, by name and by item."""

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)


def rows() -> list[dict]:
    """Rows that pair the values of a type with each other."""
    pairs = {
        "ij": _pairs(WHOLE, DIVISORS),
        "xy": _pairs(FLOATS, OTHERS),
        "dg": _pairs(CENTS, CENTS),
        "bc": _pairs(TRUTHS, TRUTHS),
        "sp": _pairs(WORDS, PARTS),
        "tv": _pairs(AT, THEN),
    }
    made = []
    for k in range(len(WORDS) * len(PARTS)):
        row: dict = {"k": k}
        for names, pair in pairs.items():
            row |= dict(zip(names, pair(k), strict=True))
        row |= {
            c: values[k % len(values)]
            for c, values in (
                ("n", [1, -1, 100, None, 0, 7, 32_767]),
                ("f", [0.1, -2.5, None, 0.0, 1e30, math.nan]),
                ("big", EXTREMES),
                ("e", FINE),
                ("q", NUMERALS),
                ("a", LISTS),
                ("w", NAMES),
            )
        }
        row |= {"day": row["t"] and row["t"].date(), "night": row["v"] and row["v"].date()}
        made.append(row)
    return made


# --- cases


@frozen
class Case:
    """One operation: an expression over the rows, and what Python says of a row.

    Nothing where only engines are compared.
    """

    expr: Callable[[Any], Any]
    want: Callable[[Any], Any] | None = None
    nulls: bool = False  # whether `want` is asked where an operand is null; else the answer is null


CASES: dict[str, Case] = {}


def case(
    name: str,
    expr: Callable[[Any], Any],
    want: Callable[[Any], Any] | None = None,
    *,
    nulls: bool = False,
) -> None:
    assert name not in CASES, name
    CASES[name] = Case(expr, want, nulls)


def away(x: float | Decimal) -> int:
    """Round halves away from zero."""
    size = Fraction(abs(x))
    whole = math.floor(size) + (size - math.floor(size) >= Fraction(1, 2))
    return -whole if x < 0 else whole


def scaled(x: float, digits: int) -> float:
    scale = 10.0 ** abs(digits)
    if digits > 0:
        return away(x * scale) / scale if abs(x * scale) < 2**52 else x
    return away(x / scale) * scale


def power(a: float, b: float) -> float | None:
    try:
        made = float(a) ** float(b)
    except (ZeroDivisionError, OverflowError):
        return None
    return None if isinstance(made, complex) else made


def over(a: Any, b: Any) -> float | None:
    return None if b == 0 else float(a) / float(b)


def truncated(value: Any, unit: str) -> Any:
    day = value.date() if isinstance(value, datetime) else value
    first = {
        "Y": day.replace(month=1, day=1),
        "Q": day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1),
        "M": day.replace(day=1),
        "W": day - timedelta(days=day.weekday()),
        "D": day,
    }.get(unit)
    if first is None:
        zeros = {
            "h": {"minute": 0, "second": 0, "microsecond": 0},
            "m": {"second": 0, "microsecond": 0},
            "s": {"microsecond": 0},
            "ms": {"microsecond": value.microsecond // 1000 * 1000},
            "us": {},
        }
        return value.replace(**zeros[unit])
    # naive UTC
    return datetime(first.year, first.month, first.day) if isinstance(value, datetime) else first  # noqa: DTZ001


def elapsed(a: Any, b: Any, unit: timedelta) -> int:
    whole = abs(a - b) // unit
    return whole if a >= b else -whole


# numbers

SIDES = {"int": ("i", "j"), "float": ("x", "y"), "decimal": ("d", "g")}
for kind, (left, right) in SIDES.items():
    for sign, do in {"+": operator.add, "-": operator.sub, "*": operator.mul}.items():
        case(
            f"{kind} {sign} {kind}",
            lambda t, left=left, right=right, do=do: do(t[left], t[right]),
            lambda v, left=left, right=right, do=do: do(v[left], v[right]),
        )
    case(
        f"{kind} / {kind}",
        lambda t, left=left, right=right: t[left] / t[right],
        lambda v, left=left, right=right: over(v[left], v[right]),
    )
    case(f"-{kind}", lambda t, left=left: -t[left], lambda v, left=left: -v[left])
    case(f"abs of {kind}", lambda t, left=left: t[left].abs(), lambda v, left=left: abs(v[left]))
    case(
        f"sign of {kind}",
        lambda t, left=left: t[left].sign(),
        lambda v, left=left, kind=kind: {"int": int, "float": float, "decimal": Decimal}[kind](
            (v[left] > 0) - (v[left] < 0)
        ),
    )
    case(
        f"clip of {kind}",
        lambda t, left=left: t[left].clip(-1, 2),
        lambda v, left=left: min(max(v[left], type(v[left])(-1)), type(v[left])(2)),
    )
    case(
        f"power of {kind}",
        lambda t, left=left, right=right: t[left] ** t[right],
        lambda v, left=left, right=right: power(v[left], v[right]),
    )
    case(
        f"square of {kind}",
        lambda t, left=left: t[left] ** 2,
        lambda v, left=left: power(v[left], 2),
    )
    case(
        f"inverse of {kind}",
        lambda t, left=left: t[left] ** -1,
        lambda v, left=left: power(v[left], -1),
    )
    case(
        f"root of {kind}",
        lambda t, left=left: t[left] ** 0.5,
        lambda v, left=left: power(v[left], 0.5),
    )
    for name in (
        "sqrt",
        "exp",
        "ln",
        "log2",
        "log10",
        "sin",
        "cos",
        "tan",
        "atan",
        "degrees",
        "radians",
    ):

        def want(v, left=left, name=name):
            x = float(v[left])
            if (
                (name.startswith("l") and x <= 0)
                or (name == "sqrt" and x < 0)
                or (name == "exp" and x > 709)
            ):
                return None
            return getattr(math, name.replace("ln", "log"))(x)

        case(f"{name} of {kind}", lambda t, left=left, name=name: getattr(t[left], name)(), want)
    case(
        f"log of {kind}",
        lambda t, left=left: t[left].log(3),
        lambda v, left=left: math.log(v[left]) / math.log(3) if v[left] > 0 else None,
    )
case("int // int", lambda t: t.i // t.j, lambda v: v.i // v.j if v.j else None)
case("float // float", lambda t: t.x // t.y, lambda v: math.floor(v.x / v.y) if v.y else None)
case("decimal // decimal", lambda t: t.d // t.g, lambda v: math.floor(v.d / v.g) if v.g else None)
case(
    "big // int",
    lambda t: t.big.clip(-(2**62), 2**62) // t.j,
    lambda v: min(max(v.big, -(2**62)), 2**62) // v.j if v.j else None,
)
case("int % int", lambda t: t.i % t.j, lambda v: int(math.fmod(v.i, v.j)) if v.j else None)
case("decimal % decimal", lambda t: t.d % t.g, lambda v: v.d % v.g if v.g else None)
case("int * float", lambda t: t.i * t.x, lambda v: v.i * v.x)
case("decimal * int", lambda t: t.d * t.j, lambda v: v.d * v.j)
case("decimal * float", lambda t: t.d * t.x, lambda v: float(v.d) * v.x)
case("small + small", lambda t: t.n + t.n, lambda v: v.n + v.n)
case("small * small", lambda t: t.n * t.n, lambda v: v.n * v.n)
case("1.5 * int", lambda t: ibis.literal(1.5) * t.i, lambda v: 1.5 * v.i)
case("null + int", lambda t: ibis.null("int64") + t.i, lambda v: None)
case("atan2 of float", lambda t: t.x.atan2(t.y), lambda v: math.atan2(v.x + 0.0, v.y))
case("atan2 of int", lambda t: t.i.atan2(t.j), lambda v: math.atan2(v.i, v.j))
case("pi", lambda t: ibis.pi, lambda v: math.pi, nulls=True)
case("e", lambda t: ibis.e, lambda v: math.e, nulls=True)
for name, do in {"floor": math.floor, "ceil": math.ceil}.items():
    case(f"{name} of float", lambda t, name=name: getattr(t.x, name)(), lambda v, do=do: do(v.x))
    case(f"{name} of int", lambda t, name=name: getattr(t.i, name)(), lambda v: v.i)
    case(
        f"{name} of decimal",
        lambda t, name=name: getattr(t.d, name)(),
        lambda v, do=do: Decimal(do(v.d)),
    )
case("round of float", lambda t: t.x.round(), lambda v: away(v.x))
for digits in (1, 2, 5, -2):
    case(
        f"round to {digits}",
        lambda t, digits=digits: t.x.round(digits),
        lambda v, digits=digits: scaled(v.x, digits),
    )
case("round of decimal", lambda t: t.d.round(), lambda v: v.d.quantize(Decimal(1), ROUND_HALF_UP))
case(
    "round of decimal to 1",
    lambda t: t.d.round(1),
    lambda v: v.d.quantize(Decimal("0.1"), ROUND_HALF_UP),
)
case("round of int", lambda t: t.i.round(), lambda v: v.i)
for sign, do in {"&": operator.and_, "|": operator.or_, "^": operator.xor}.items():
    case(f"int {sign} int", lambda t, do=do: do(t.i, t.j), lambda v, do=do: do(v.i, v.j))
case("~int", lambda t: ~t.i, lambda v: ~v.i)

# comparing and choosing

PAIRS = SIDES | {
    "bool": ("b", "c"),
    "string": ("s", "p"),
    "timestamp": ("t", "v"),
    "zoned": ("t", "v"),
    "date": ("day", "night"),
}


def column(t: Any, kind: str, side: int) -> Any:
    found = t[PAIRS[kind][side]]
    return found.cast("timestamp('UTC')") if kind == "zoned" else found


def same(a: Any, b: Any) -> bool:
    return (a is None) == (b is None) and a == b


for kind, (left, right) in PAIRS.items():
    one, other = (lambda t, kind=kind, side=side: column(t, kind, side) for side in (0, 1))
    for sign, do in {
        "==": operator.eq,
        "!=": operator.ne,
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
    }.items():
        case(
            f"{kind} {sign} {kind}",
            lambda t, a=one, b=other, do=do: do(a(t), b(t)),
            lambda v, left=left, right=right, do=do: do(v[left], v[right]),
        )
    case(
        f"{kind} identical",
        lambda t, a=one, b=other: a(t).identical_to(b(t)),
        lambda v, left=left, right=right: same(v[left], v[right]),
        nulls=True,
    )
    case(
        f"{kind} between",
        lambda t, a=one, b=other: a(t).between(b(t), b(t)),
        lambda v, left=left, right=right: v[left] == v[right],
    )
    case(
        f"{kind} isin",
        lambda t, a=one, b=other: a(t).isin([b(t)]),
        lambda v, left=left, right=right: v[left] == v[right],
    )
    case(
        f"{kind} nullif",
        lambda t, a=one, b=other: a(t).nullif(b(t)),
        lambda v, left=left, right=right: (
            None if v[left] is None or v[left] == v[right] else v[left]
        ),
        nulls=True,
    )
    case(
        f"{kind} simple case",
        lambda t, a=one, b=other: a(t).cases((b(t), 1), else_=0),
        lambda v, left=left, right=right: int(
            None not in (v[left], v[right]) and v[left] == v[right]
        ),
        nulls=True,
    )
    for name, do in {"greatest": max, "least": min}.items():
        case(
            f"{name} of {kind}",
            lambda t, a=one, b=other, name=name: getattr(ibis, name)(a(t), b(t)),
            lambda v, left=left, right=right, do=do: do(
                (s for s in (v[left], v[right]) if s is not None), default=None
            ),
            nulls=True,
        )
for kind, (left, right) in (PAIRS | {"list": ("a", "a")}).items():
    one, other = (
        lambda t, kind=kind, side=side: t.a if kind == "list" else column(t, kind, side)
        for side in (0, 1)
    )
    case(
        f"{kind} isnull",
        lambda t, a=one: a(t).isnull(),
        lambda v, left=left: v[left] is None,
        nulls=True,
    )
    case(
        f"{kind} notnull",
        lambda t, a=one: a(t).notnull(),
        lambda v, left=left: v[left] is not None,
        nulls=True,
    )
    case(
        f"{kind} coalesce",
        lambda t, a=one, b=other: ibis.coalesce(a(t), b(t)),
        lambda v, left=left, right=right: v[right] if v[left] is None else v[left],
        nulls=True,
    )
    case(
        f"{kind} ifelse",
        lambda t, a=one, b=other: t.c.ifelse(a(t), b(t)),
        lambda v, left=left, right=right: v[left] if v["c"] else v[right],
        nulls=True,
    )
    case(
        f"{kind} cases",
        lambda t, a=one: ibis.cases((t.i > 2, a(t))),
        lambda v, left=left: v[left] if v["i"] is not None and v["i"] > 2 else None,
        nulls=True,
    )
case("int == float", lambda t: t.i == t.x, lambda v: v.i == v.x)
case("int < decimal", lambda t: t.i < t.d, lambda v: v.i < v.d)
case(
    "date < timestamp",
    lambda t: t.day < t.v,
    lambda v: (
        truncated(v.day, "D") < v.v.date() or (v.day == v.v.date() and v.v > truncated(v.v, "D"))
    ),
)
case("isin with a null", lambda t: t.i.isin([1, 7, None]), lambda v: True if v.i == 7 else None)
case("notin", lambda t: t.s.notin(["a", "é"]), lambda v: v.s not in ("a", "é"))
case(
    "and",
    lambda t: t.b & t.c,
    lambda v: False if False in (v.b, v.c) else None if None in (v.b, v.c) else True,
    nulls=True,
)
case(
    "or",
    lambda t: t.b | t.c,
    lambda v: True if True in (v.b, v.c) else None if None in (v.b, v.c) else False,
    nulls=True,
)
case("xor", lambda t: t.b ^ t.c, lambda v: v.b != v.c)
case("not", lambda t: ~t.b, lambda v: not v.b)
case(
    "ifelse of mixed",
    lambda t: t.b.ifelse(t.i, t.y),
    lambda v: (None if v.i is None else float(v.i)) if v.b else v.y,
    nulls=True,
)
case(
    "cases in order",
    lambda t: ibis.cases((t.i > 2, "big"), (t.i < 0, "negative"), else_="mid"),
    lambda v: "mid" if v.i is None or 0 <= v.i <= 2 else "big" if v.i > 2 else "negative",
    nulls=True,
)
