"""Proven operations of casts, text, times and lists, with what Python says they give.

Beside `scalars`, which has the rows.
"""

from __future__ import annotations

import calendar
import re
import struct
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

import ibis
import ibis.expr.operations as ops
from scalars import PAIRS, case, column, elapsed, truncated

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 naive UTC
US = timedelta(microseconds=1)

# casts


def ops_cast(value, to):
    """Return a cast to the type that a value has, which Ibis would leave out."""
    return ops.Cast(value.op(), to).to_expr()


def small(v: float) -> float:
    return v if abs(v) < 1e6 else 0.0


def tried(v: str, low: int, high: int) -> int | None:
    n = int(v) if re.fullmatch(r" *[+-]?[0-9]+ *", v) else None
    return n if n is not None and low <= n <= high else None


def tried_float(v: str) -> float | None:
    x = (
        float(v)
        if re.fullmatch(r" *[+-]?(?:\d+[.]?\d*|[.]\d+)(?:[eE][+-]?\d{1,3})? *", v)
        else None
    )
    return None if x in (float("inf"), None) else x


case("cast of null", lambda t: ibis.null().cast("int64"), lambda v: None)
case("bool to bool", lambda t: ops_cast(t.b, "boolean"), lambda v: v.b)
case("bool to int", lambda t: t.b.cast("int64"), lambda v: int(v.b))
case("bool to float", lambda t: t.b.cast("float64"), lambda v: float(v.b))
case("bool to string", lambda t: t.b.cast("string"), lambda v: str(v.b).lower())
case("int to bool", lambda t: t.i.cast("boolean"), lambda v: v.i != 0)
case("int to wider int", lambda t: t.n.cast("int64"), lambda v: v.n)
case("int to narrower int", lambda t: t.i.cast("int32"), lambda v: v.i)
case("int to float", lambda t: t.big.cast("float64"), lambda v: float(v.big))
case("int to decimal", lambda t: t.i.cast("decimal(12, 2)"), lambda v: Decimal(v.i))
case("int to string", lambda t: t.big.cast("string"), lambda v: str(v.big))
case("float to bool", lambda t: t.x.cast("boolean"), lambda v: v.x != 0)
case("float to int", lambda t: t.x.cast("int64"), lambda v: int(v.x))
case(
    "float to narrower int",
    lambda t: (t.x.abs() >= 1e6).ifelse(0.0, t.x).cast("int32"),
    lambda v: int(small(v.x)),
)
case("float to float", lambda t: ops_cast(t.x, "float64"), lambda v: v.x)
case(
    "float32 to float",
    lambda t: t.f.cast("float64"),
    lambda v: struct.unpack("f", struct.pack("f", v.f))[0],
)
case("decimal to bool", lambda t: t.d.cast("boolean"), lambda v: v.d != 0)
case("decimal to int", lambda t: t.d.cast("int64"), lambda v: int(v.d))
case("decimal to float", lambda t: t.d.cast("float64"), lambda v: float(v.d))
case(
    "decimal to decimal",
    lambda t: t.e.cast("decimal(9, 2)"),
    lambda v: v.e.quantize(Decimal("0.01"), ROUND_HALF_UP),
)
case("decimal to wider decimal", lambda t: t.e.cast("decimal(20, 6)"), lambda v: v.e)
case("decimal to string", lambda t: t.d.cast("string"), lambda v: f"{v.d:.2f}")
case("string to string", lambda t: ops_cast(t.s, "string"), lambda v: v.s)
case("string to int", lambda t: (" " + t.big.cast("string") + "  ").cast("int64"), lambda v: v.big)
case("string to narrower int", lambda t: t.i.cast("string").cast("int32"), lambda v: v.i)
case("string to float", lambda t: t.d.cast("string").cast("float64"), lambda v: float(v.d))
case(
    "string with exponent to float",
    lambda t: (t.i.cast("string") + "e-5").cast("float64"),
    lambda v: float(f"{v.i}e-5"),
)
case(
    "NaN as text to float",
    lambda t: (t.i > 2).ifelse(" NaN", (t.i > 0).ifelse("-Infinity", "1.5")).cast("float64"),
    lambda v: 1.5 if v.i is None or v.i <= 0 else None,
    nulls=True,
)
case("string to date", lambda t: t.day.cast("string").cast("date"), lambda v: v.day)
case("string to timestamp", lambda t: t.t.cast("string").cast("timestamp"), lambda v: v.t)
case(
    "day to timestamp",
    lambda t: t.day.cast("string").cast("timestamp"),
    lambda v: truncated(v.t, "D"),
)
case(
    "minutes to timestamp",
    lambda t: (t.day.cast("string") + "T01:02").cast("timestamp"),
    lambda v: truncated(v.t, "D") + timedelta(minutes=62),
)
case(
    "Z to timestamp",
    lambda t: (t.day.cast("string") + "T01:02:03Z").cast("timestamp"),
    lambda v: truncated(v.t, "D") + timedelta(minutes=62, seconds=3),
)
case(
    "east to timestamp",
    lambda t: (t.day.cast("string") + "T01:02:03+05:30").cast("timestamp"),
    lambda v: truncated(v.t, "D") + timedelta(hours=-4, minutes=-28, seconds=3),
)
case(
    "west to timestamp",
    lambda t: (t.day.cast("string") + " 23:02:03.123456-02:00").cast("timestamp"),
    lambda v: truncated(v.t, "D") + timedelta(hours=25, minutes=2, seconds=3, microseconds=123_456),
)
case("timestamp to timestamp", lambda t: ops_cast(t.t, "timestamp"), lambda v: v.t)
case("timestamp to date", lambda t: t.t.cast("date"), lambda v: v.t.date())
case(
    "timestamp to string",
    lambda t: t.t.cast("string"),
    lambda v: str(v.t).rstrip("0") if v.t.microsecond else str(v.t),
)
case("timestamp to zoned", lambda t: column(t, "zoned", 0), lambda v: v.t)
case("zoned to zoned", lambda t: ops_cast(column(t, "zoned", 0), "timestamp('UTC')"), lambda v: v.t)
case("zoned to timestamp", lambda t: column(t, "zoned", 0).cast("timestamp"), lambda v: v.t)
case("zoned to date", lambda t: column(t, "zoned", 0).cast("date"), lambda v: v.t.date())
case("date to date", lambda t: ops_cast(t.day, "date"), lambda v: v.day)
case("date to timestamp", lambda t: t.day.cast("timestamp"), lambda v: truncated(v.t, "D"))
case("date to string", lambda t: t.day.cast("string"), lambda v: str(v.day))
case("try text as int", lambda t: t.q.try_cast("int64"), lambda v: tried(v.q, -(2**63), 2**63 - 1))
case("try text as narrow int", lambda t: t.q.try_cast("int8"), lambda v: tried(v.q, -128, 127))
case(
    "try int",
    lambda t: t.big.try_cast("int16"),
    lambda v: v.big if -(2**15) <= v.big < 2**15 else None,
)
case(
    "try float",
    lambda t: (t.x * 1e4).try_cast("int64"),
    lambda v: int(v.x * 1e4) if abs(v.x * 1e4) < 2**63 else None,
)
case(
    "try float as narrow int",
    lambda t: t.x.try_cast("int8"),
    lambda v: int(v.x) if -129 < v.x < 128 else None,
)
case(
    "try decimal", lambda t: t.d.try_cast("int8"), lambda v: int(v.d) if -129 < v.d < 128 else None
)
case("try text as float", lambda t: t.q.try_cast("float64"), lambda v: tried_float(v.q))

# text

BLANKS = " \t\n\x0b\x0c\r"
LETTERS = {
    "upper": lambda s: "".join(c if len(c.upper()) > 1 else c.upper() for c in s),
    "lower": lambda s: "".join("i" if c == "İ" else c.lower() for c in s),
}


def like(pattern: str, s: str) -> bool:
    return (
        re.fullmatch(
            "".join({"%": ".*", "_": "."}.get(c, re.escape(c)) for c in pattern), s, re.DOTALL
        )
        is not None
    )


def found(pattern: str, s: str) -> bool:
    return re.search(re.sub(r"\$$", r"\\Z", pattern), s, re.ASCII) is not None


for name, do in LETTERS.items():
    case(f"{name} of string", lambda t, name=name: getattr(t.s, name)(), lambda v, do=do: do(v.s))
case(
    "capitalize",
    lambda t: t.s.capitalize(),
    lambda v: LETTERS["upper"](v.s[:1]) + LETTERS["lower"](v.s[1:]),
)
for name in ("strip", "lstrip", "rstrip"):
    case(
        name,
        lambda t, name=name: getattr("\tf v \n" + t.s + " \u2028 \r\n", name)(),
        lambda v, name=name: getattr("\tf v \n" + v.s + " \u2028 \r\n", name)(BLANKS),
    )
    case(
        f"{name} as it is",
        lambda t, name=name: getattr(t.s, name)(),
        lambda v, name=name: getattr(v.s, name)(BLANKS),
    )
case("length", lambda t: t.s.length(), lambda v: len(v.s))
case("ascii", lambda t: t.s.ascii_str())
for name, do in {
    "contains": str.__contains__,
    "startswith": str.startswith,
    "endswith": str.endswith,
}.items():
    case(name, lambda t, name=name: getattr(t.s, name)(t.p), lambda v, do=do: do(v.s, v.p))
    case(f"{name} %", lambda t, name=name: getattr(t.s, name)("%"), lambda v, do=do: do(v.s, "%"))
case("replace", lambda t: t.s.replace(t.p, "-"), lambda v: v.s.replace(v.p, "-") if v.p else v.s)
case("concat", lambda t: t.s + t.p, lambda v: v.s + v.p)
for literal in ("back\\slash", "it's", '"q"', "ab\n", "\ttab\t", "a_b", "50%", "\U0001f600!", ""):
    case(
        f"== {literal!r}",
        lambda t, literal=literal: t.s == literal,
        lambda v, literal=literal: v.s == literal,
    )
    case(
        f"replace {literal!r}",
        lambda t, literal=literal: t.s.replace(literal, "\\'"),
        lambda v, literal=literal: v.s.replace(literal, "\\'") if literal else v.s,
    )
for pattern in (r"\.", r"\\", r"[\]\-]", r"[-.]\d", r"\$|_"):
    case(
        f"search {pattern!r}",
        lambda t, pattern=pattern: t.s.re_search(pattern),
        lambda v, pattern=pattern: found(pattern, v.s),
    )
case("concat of three", lambda t: t.s.concat("-", t.p), lambda v: f"{v.s}-{v.p}")
case("join", lambda t: ibis.literal(",").join([t.s, t.p]))
case("substr", lambda t: t.s.substr(1, 2), lambda v: v.s[1:3])
case("substr to the end", lambda t: t.s.substr(2), lambda v: v.s[2:])
case(
    "substr from a column",
    lambda t: t.s.substr(t.n.clip(0, 2), 2),
    lambda v: v.s[min(max(v.n, 0), 2) :][:2],
)
case("left", lambda t: t.s.left(2), lambda v: v.s[:2])
case("right", lambda t: t.s.right(2), lambda v: v.s[-2:])
case("first character", lambda t: t.s[0], lambda v: v.s[:1])
case("slice", lambda t: t.s[1:3], lambda v: v.s[1:3])
case("slice to the end", lambda t: t.s[1:], lambda v: v.s[1:])
case("repeat", lambda t: t.s.repeat(2), lambda v: v.s * 2)
case("lpad", lambda t: t.s.lpad(5, "*"), lambda v: v.s.rjust(5, "*"))
case("rpad", lambda t: t.s.rpad(5, "é"), lambda v: v.s.ljust(5, "é"))
case("find", lambda t: t.s.find(t.p), lambda v: v.s.find(v.p))
case("find from", lambda t: t.s.find("a", 1), lambda v: v.s.find("a", 1))
case(
    "translate",
    lambda t: t.s.translate("abé", "xyz"),
    lambda v: v.s.translate(str.maketrans("abé", "xyz")),
)
for pattern in ("a%", "a_b", "%ž%", "_", "%\n%", ""):
    case(
        f"like {pattern!r}",
        lambda t, pattern=pattern: t.s.like(pattern),
        lambda v, pattern=pattern: like(pattern, v.s),
    )
for pattern in ("%Ž%", "AB_C", "%SS"):
    case(
        f"ilike {pattern!r}",
        lambda t, pattern=pattern: t.s.ilike(pattern),
        lambda v, pattern=pattern: like(LETTERS["lower"](pattern), LETTERS["lower"](v.s)),
    )
for pattern in (
    "^[a-z]+$",
    "b|c",
    r"^\d+$",
    "a.b",
    r"\w+@\w+\.com$",
    "a$",
    "^.{3,5}$",
    r"(?:ab|c)+\s",
    r"[^a-z\d]",
    "é",
    "[A-Z]{1,2}",
    "^-?[0-9]+",
):
    case(
        f"search {pattern!r}",
        lambda t, pattern=pattern: t.s.re_search(pattern),
        lambda v, pattern=pattern: found(pattern, v.s),
    )
for pattern, new in (
    ("[^a-z0-9]+", "-"),
    ("[aeiou]", ""),
    ("ab", "X"),
    (r"[\s]+", " "),
    ("é", "e"),
):
    case(
        f"re_replace {pattern!r}",
        lambda t, pattern=pattern, new=new: t.s.re_replace(pattern, new),
        lambda v, pattern=pattern, new=new: re.sub(pattern, new, v.s, flags=re.ASCII),
    )
case("split", lambda t: t.s.split(","), lambda v: v.s.split(","))
case("split at a space", lambda t: t.s.split(" "), lambda v: v.s.split(" "))
case("a part of a split", lambda t: t.s.split(",")[1], lambda v: [*v.s.split(","), None][1])
case("the last of a split", lambda t: t.s.split(",")[-1], lambda v: v.s.split(",")[-1])

# times

FIELDS = {
    "year": lambda v: v.year,
    "iso_year": lambda v: v.isocalendar().year,
    "quarter": lambda v: (v.month + 2) // 3,
    "month": lambda v: v.month,
    "week_of_year": lambda v: v.isocalendar().week,
    "day": lambda v: v.day,
    "day_of_year": lambda v: v.timetuple().tm_yday,
    "hour": lambda v: v.hour,
    "minute": lambda v: v.minute,
    "second": lambda v: v.second,
    "millisecond": lambda v: v.microsecond // 1000,
    "microsecond": lambda v: v.microsecond,
    "date": lambda v: v.date(),
    "epoch_seconds": lambda v: (
        (v - EPOCH) // timedelta(seconds=1)
        if isinstance(v, datetime)
        else calendar.timegm(v.timetuple())
    ),
}
INSTANTS = ("hour", "minute", "second", "millisecond", "microsecond", "date")
for kind, c in {"timestamp": "t", "zoned": "t", "date": "day"}.items():
    for name, do in FIELDS.items():
        if kind != "date" or name not in INSTANTS:
            case(
                f"{name} of {kind}",
                lambda t, kind=kind, name=name: getattr(column(t, kind, 0), name)(),
                lambda v, c=c, do=do: do(v[c]),
            )
    case(
        f"day of week of {kind}",
        lambda t, kind=kind: column(t, kind, 0).day_of_week.index(),
        lambda v, c=c: v[c].weekday(),
    )
    case(
        f"name of day of {kind}",
        lambda t, kind=kind: column(t, kind, 0).day_of_week.full_name(),
        lambda v, c=c: calendar.day_name[v[c].weekday()],
    )
    for unit in ("Y", "Q", "M", "W", "D", "h", "m", "s", "ms", "us")[: 5 if kind == "date" else 10]:
        case(
            f"{kind} truncated to {unit}",
            lambda t, kind=kind, unit=unit: column(t, kind, 0).truncate(unit),
            lambda v, c=c, unit=unit: truncated(v[c], unit),
        )
for unit in ("week", "day", "hour", "minute", "second", "millisecond", "microsecond"):
    span = timedelta(**{f"{unit}s": 1})
    case(
        f"elapsed {unit}s",
        lambda t, unit=unit: t.t.delta(t.v, unit=unit),
        lambda v, span=span: elapsed(v.t, v.v, span),
    )
case(
    "elapsed zoned",
    lambda t: column(t, "zoned", 0).delta(column(t, "zoned", 1), unit="hour"),
    lambda v: elapsed(v.t, v.v, timedelta(hours=1)),
)
for unit in ("week", "day"):
    case(
        f"elapsed {unit}s of dates",
        lambda t, unit=unit: t.day.delta(t.night, unit=unit),
        lambda v, unit=unit: elapsed(v.day, v.night, timedelta(**{f"{unit}s": 1})),
    )
for name, spans in {
    "bucket of minutes": {"minutes": 15},
    "bucket of days": {"days": 7},
    "bucket of milliseconds": {"milliseconds": 7},
}.items():
    width = timedelta(**spans)
    case(
        name,
        lambda t, spans=spans: t.t.bucket(**spans),
        lambda v, width=width: v.t - (v.t - EPOCH) % width,
    )


def moved(value, months: int):
    year, month = divmod(value.year * 12 + value.month - 1 + months, 12)
    return value.replace(
        year=year, month=month + 1, day=min(value.day, calendar.monthrange(year, month + 1)[1])
    )


for unit in ("weeks", "days", "hours", "minutes", "seconds", "milliseconds", "microseconds"):
    span = timedelta(**{unit: 3})
    case(
        f"time + {unit}",
        lambda t, unit=unit: t.t + ibis.interval(**{unit: 3}),
        lambda v, span=span: v.t + span,
    )
    case(
        f"time - {unit}",
        lambda t, unit=unit: t.t - ibis.interval(**{unit: 3}),
        lambda v, span=span: v.t - span,
    )
for unit, months in {"years": 12, "months": 1}.items():
    case(
        f"time + {unit}",
        lambda t, unit=unit: t.t + ibis.interval(**{unit: 1}),
        lambda v, months=months: moved(v.t, months),
    )
    case(
        f"date - {unit}",
        lambda t, unit=unit: t.day - ibis.interval(**{unit: 1}),
        lambda v, months=months: moved(v.day, -months),
    )
case("date + days", lambda t: t.day + ibis.interval(days=3), lambda v: v.day + timedelta(days=3))
case("date + weeks", lambda t: t.day + ibis.interval(weeks=1), lambda v: v.day + timedelta(weeks=1))
for unit, span in {
    "W": timedelta(weeks=1),
    "D": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
    "us": US,
}.items():
    case(
        f"time + int as {unit}",
        lambda t, unit=unit: t.v + t.n.clip(-1, 100).as_interval(unit),
        lambda v, span=span: v.v + min(max(v.n, -1), 100) * span,
    )
for unit in ("days", "minutes", "milliseconds"):
    span = timedelta(**{unit: 2})
    case(
        f"time + int * {unit}",
        lambda t, unit=unit: t.v + t.n * ibis.interval(**{unit: 2}),
        lambda v, span=span: v.v + v.n * span,
    )
    case(
        f"time - {unit} * int",
        lambda t, unit=unit: t.v - ibis.interval(**{unit: 2}) * t.n,
        lambda v, span=span: v.v - v.n * span,
    )
case(
    "date - int as days",
    lambda t: t.day - t.n.as_interval("D"),
    lambda v: v.day - timedelta(days=v.n),
)
for unit, span in {"s": timedelta(seconds=1), "ms": timedelta(milliseconds=1), "us": US}.items():
    case(
        f"epoch {unit}",
        lambda t, unit=unit: (t.i * 1_003).as_timestamp(unit),
        lambda v, span=span: EPOCH + v.i * 1_003 * span,
    )
case(
    "late epoch ms",
    lambda t: (t.i * 997 + 4_102_444_800_001).clip(0, 4_102_444_900_000).as_timestamp("ms"),
    lambda v: EPOCH + timedelta(milliseconds=min(v.i * 997 + 4_102_444_800_001, 4_102_444_900_000)),
)
case(
    "date of numbers",
    lambda t: ibis.date(t.t.year(), t.t.month(), 1),
    lambda v: v.t.date().replace(day=1),
)
case(
    "strftime",
    lambda t: t.t.strftime("%Y-%m-%d %H:%M:%S"),
    lambda v: v.t.strftime("%Y-%m-%d %H:%M:%S"),
)
case("strftime without signs", lambda t: t.t.strftime("%Y%m%d"), lambda v: v.t.strftime("%Y%m%d"))
case("strftime of date", lambda t: t.day.strftime("%d.%m.%Y"), lambda v: v.day.strftime("%d.%m.%Y"))

# lists

known = lambda v: [e for e in v.a if e is not None]  # noqa: E731 shorter than its uses


def at(values: list, index: int):
    return values[index] if -len(values) <= index < len(values) else None


case("list length", lambda t: t.a.length(), lambda v: len(v.a))
for index in (0, -1, 5, -9):
    case(f"list[{index}]", lambda t, index=index: t.a[index], lambda v, index=index: at(v.a, index))
case("list[column]", lambda t: t.a[t.j], lambda v: at(v.a, v.j))
case("text list[0]", lambda t: t.w[0], lambda v: at(v.w, 0))
case("list[1:3]", lambda t: t.a[1:3], lambda v: v.a[1:3])
case("list[:2]", lambda t: t.a[:2], lambda v: v.a[:2])
case("list[1:]", lambda t: t.a[1:], lambda v: v.a[1:])
case("list + list", lambda t: t.a + t.a, lambda v: v.a + v.a)
case("list contains", lambda t: t.a.contains(t.i))
case("text list contains", lambda t: t.w.contains("a"))
case("list remove", lambda t: t.a.remove(5))
case("text list remove", lambda t: t.w.remove("a"))
case("list of text length", lambda t: t.w.length(), lambda v: len(v.w))
case("list sum", lambda t: t.a.sums(), lambda v: sum(known(v)) if known(v) else None)
case(
    "list mean",
    lambda t: t.a.means(),
    lambda v: sum(known(v)) / len(known(v)) if known(v) else None,
)
case("list max", lambda t: t.a.maxs(), lambda v: max(known(v), default=None))
case("list min", lambda t: t.a.mins(), lambda v: min(known(v), default=None))
case(
    "list map",
    lambda t: t.a.map(lambda e: e * 2),
    lambda v: [None if e is None else e * 2 for e in v.a],
)
case("list filter", lambda t: t.a.filter(lambda e: e > 1), lambda v: [e for e in known(v) if e > 1])
case("list any", lambda t: t.a.map(lambda e: e > 1).anys())
case("list all", lambda t: t.a.map(lambda e: e > 1).alls())
for kind in ("bool", "int", "float", "decimal", "string", "timestamp", "zoned", "date"):
    case(
        f"array of {kind}",
        lambda t, kind=kind: ibis.array([column(t, kind, 0), column(t, kind, 1)]),
        lambda v, kind=kind: [v[c] for c in PAIRS[kind]],
        nulls=True,
    )
