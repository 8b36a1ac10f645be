"""Every reduction against every input type that it takes.

One generated history has a column of each type, and the oracle says what each reduction gives.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import cases
import ibis
import ibis.expr.operations as ops
import numpy as np
import oracle
import pyarrow as pa
from attrs import frozen
from cases import moment
from ibis import _
from oracle import DAY, HOUR

import workbench as wb
from workbench import Aggregation, EventSource, GroupBy, Join, days

BASE = 1_701_302_400_000_000  # 2023-11-30 00:00 UTC
ALL = ("duckdb", "postgres", "pyspark")
SQL = ("duckdb", "postgres")
BIG = 10**37 + 1  # 38 digits


@frozen
class Kind:
    """A type as the engines have it, and its values by key, which no sum takes out of the type."""

    name: str
    arrow: pa.DataType  # as rows are brought; text where only an engine's own cast makes the value
    values: tuple[tuple[Any, ...], tuple[Any, ...]]
    family: str  # which reductions it takes
    sql: str | None = None  # what the column is cast to on its engines
    engines: tuple[str, ...] = ALL
    means: Callable[[Any], Any] = oracle.clean  # what a value is to the rules


def _single(value: float) -> float:
    return float(np.float32(value))


def whole(bits: int, *, signed: bool = True) -> Kind:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    name = f"{'' if signed else 'u'}int{bits}"
    # A sum has 63 bits and a sign, or is refused (rule 11).
    family = "number" if high < 2**63 else "unsummed"
    return Kind(
        name,
        getattr(pa, name)(),
        ((high, *((-1, 0) if signed else (0, 0)), None, 0), (low, 0, 1, 1, None)),
        family,
        engines=ALL if signed else ("duckdb",),
    )


def decimal(digits: int, scale: int) -> Kind:
    most, small = Decimal((0, (9,) * digits, -scale)), Decimal((0, (1,), -scale))
    return Kind(
        f"decimal{digits}_{scale}",
        pa.decimal128(digits, scale),
        (
            (most, small.copy_negate(), Decimal(0), None, small.copy_negate()),
            (most.copy_negate(), small, Decimal(0), Decimal(0), None),
        ),
        "number",
    )


TEXTS = (("", "a", "B", "é", None, "a b"), ("zz", "😀", "it's", "back\\slash", "NaN", "a", None))
SHORT = (("a", "B", "é", None, ""), ("zz", "it", "a", None))
NAMED = (("small", "large", None, "medium"), ("medium", "small", "small", None))
DAYS = (
    (date(1, 1, 1), date(9999, 12, 31), date(2023, 11, 29), None),
    (date(1969, 12, 31), date(1970, 1, 1), date(1970, 1, 1), None),
)
# A naive time is UTC.
TIMES = tuple(
    tuple(None if d is None else datetime(d.year, d.month, d.day, 23, 59, 59, 999999) for d in some)  # noqa: DTZ001
    for some in DAYS
)


def text_kinds() -> list[Kind]:
    return [
        Kind("text", pa.string(), TEXTS, "text"),
        Kind("varchar6", pa.string(), SHORT, "text", "varchar(6)"),
        Kind("char3", pa.string(), SHORT, "text", "char(3)"),
        Kind("enum", pa.string(), NAMED, "text", "size", SQL),
        Kind("name", pa.string(), SHORT, "text", "name", ("postgres",)),
        Kind("domain", pa.string(), SHORT, "text", "short_text", ("postgres",)),
        Kind("domain_of_enum", pa.string(), NAMED, "text", "sized", ("postgres",)),
        Kind("bpchar", pa.string(), SHORT, "text", "bpchar", ("postgres",)),
    ]


def zoned(values: tuple[tuple[Any, ...], ...]) -> Any:
    return tuple(tuple(v and v.replace(tzinfo=UTC) for v in some) for some in values)


def _not_finite(value: str | None) -> Any:
    return None if value in (None, "NaN", "Infinity", "-Infinity") else Decimal(value)


def _time_of(value: str | None) -> Any:
    return None if value in (None, "infinity", "-infinity") else datetime.fromisoformat(value)


def _day_of(value: str | None) -> Any:
    return None if value in (None, "infinity", "-infinity") else date.fromisoformat(value)


LONG = ("0.1234567890123456789", "-12345678901234567890.5", None, "0.1234567890123456789")
KINDS = [
    Kind("bool", pa.bool_(), ((True, False, None, True), (False, False, None)), "truth"),
    *(whole(b) for b in (8, 16, 32, 64)),
    *(whole(b, signed=False) for b in (8, 16, 32, 64)),
    Kind(
        "float64",
        pa.float64(),
        (
            (0.1, 0.2, -0.0, math.nan, math.inf, None, 1e15),
            (5e-324, -3.75, 0.0, -math.inf, 2.25, 2.25),
        ),
        "number",
    ),
    Kind(
        "float32",
        pa.float32(),
        ((_single(0.1), -0.0, math.nan, None, 3.5), (math.inf, _single(1e10), 0.0, 2.25)),
        "number",
    ),
    Kind(
        "float64_extremes",
        pa.float64(),
        (
            (1.7976931348623157e308, -5e-324, math.nan, None),
            (-1.7976931348623157e308, 5e-324, 0.0, -0.0),
        ),
        "ordered",
    ),
    decimal(9, 2),
    decimal(18, 4),
    decimal(38, 10),
    decimal(38, 0),
    Kind(
        "numeric",
        pa.string(),
        (("NaN", "1.5", *LONG), ("2.25", "-0.001", "NaN", None)),
        "unbounded",
        "numeric",
        ("postgres",),
        _not_finite,
    ),
    Kind(
        "numeric_infinite",
        pa.string(),
        (("Infinity", "1.5", "NaN"), ("-Infinity", "2.25", None)),
        "unbounded",
        "numeric",
        ("postgres",),
        _not_finite,
    ),
    Kind(
        "numeric_nan",
        pa.string(),
        (("NaN", "1.50", "2.50", None), ("NaN", "-0.01", "0.00")),
        "number",
        "numeric(10, 2)",
        ("postgres",),
        _not_finite,
    ),
    Kind(
        "hugeint",
        pa.decimal128(38, 0),
        ((Decimal(BIG), Decimal(-1), None), (Decimal(-BIG), Decimal(1), Decimal(0))),
        "number",
        "hugeint",
        ("duckdb",),
    ),
    *text_kinds(),
    Kind("date", pa.date32(), DAYS, "ordered"),
    Kind("timestamp", pa.timestamp("us"), TIMES, "ordered"),
    Kind("timestamp_tz", pa.timestamp("us", "UTC"), zoned(TIMES), "ordered", engines=SQL),
    Kind(
        "date_infinite",
        pa.string(),
        (("infinity", "2023-11-29", None), ("-infinity", "1969-12-31")),
        "ordered",
        "date",
        SQL,
        _day_of,
    ),
    Kind(
        "timestamp_infinite",
        pa.string(),
        (("infinity", "2023-11-29 01:02:03", None), ("-infinity", "1969-12-31 00:00:00")),
        "ordered",
        "timestamp",
        SQL,
        _time_of,
    ),
    Kind(
        "clock",
        pa.time64("us"),
        ((time(0), time(23, 59, 59, 999999), None), (time(12), time(12), time(1, 2, 3))),
        "ordered",
        engines=SQL,
    ),
    Kind(
        "uuid",
        pa.string(),
        tuple(
            tuple(s and str(UUID(int=s)) for s in some)
            for some in ((1, 2**128 - 1, None), (2**127, 2**127 - 1, 2**127))
        ),
        "ordered",
        "uuid",
        SQL,
        lambda v: v,
    ),
    Kind(
        "bytes", pa.binary(), ((b"", b"\x00", b"\xff\xfe", None), (b"a", b"a\x00", b"a")), "ordered"
    ),
    Kind(
        "list", pa.list_(pa.int64()), (([1, None], [], None, [2**62]), ([3], [3], [-1, 0])), "list"
    ),
    Kind(
        "list_of_texts",
        pa.list_(pa.string()),
        ((["a", None], [], None, ["é,"]), (['"'], ["\\"], [""])),
        "placed",
    ),
    Kind(
        "map",
        pa.map_(pa.string(), pa.float64()),
        (({"a": 1.5}, {}, None, {"b": None}), ({"é": -0.5}, {"": 0.25})),
        "map",
    ),
    Kind(
        "struct",
        pa.struct({"a": pa.int64(), "b": pa.string()}),
        (({"a": 1, "b": "x"}, None), ({"a": None, "b": "é"}, {"a": 2, "b": None})),
        "placed",
        engines=("duckdb", "pyspark"),
    ),
    Kind(
        "uint64_sums",
        pa.uint64(),
        ((2**63 - 1, 0, 0, None), (0, 2**62, 1, 1)),
        "number",
        engines=("duckdb",),
    ),
]


@frozen
class Asked:
    """One reduction, written for workbench and for the oracle."""

    name: str
    expr: Any
    value: Callable[[dict[str, Any]], Any]


def placed(kind: Kind) -> list[Asked]:
    col, v = _[kind.name], lambda e: kind.means(e[kind.name])
    nested = [
        Asked("first2", wb.first_k(col, 2), v),
        Asked("last3", wb.last_k(col, 3), v),
        Asked("collect", col.collect(), v),
    ]
    plain = [
        Asked("count", col.count(), v),
        Asked("first", col.first(), v),
        Asked("last", col.last(), v),
        Asked("count", col.count(where=_.n > 4), _if(v)),
    ]
    return plain + (nested if kind.family in ORDERED else [])


def _if(v: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    return lambda e: v(e) if e["n"] > 4 else None


def ordered(kind: Kind) -> list[Asked]:
    col, v = _[kind.name], lambda e: kind.means(e[kind.name])
    number, other = (lambda e: (e["n"], v(e))), (lambda e: (v(e), e["n"]))
    return [
        *placed(kind),
        Asked("unique_count", col.nunique(), v),
        Asked("min", col.min(), v),
        Asked("max", col.max(where=_.n > 4), _if(v)),
        Asked("top2", wb.top_k(col, 2), v),
        Asked("bottom2", wb.bottom_k(col, 2), v),
        Asked("mode", col.mode(), v),
        Asked("histogram", wb.histogram(col), v),
        Asked("histogram2", wb.histogram(col, 2), v),
        Asked("argmin", _.n.argmin(col), number),
        Asked("argmax", col.argmax(_.n), other),
    ]


def sums(kind: Kind) -> list[Asked]:
    col, v = _[kind.name], lambda e: kind.means(e[kind.name])
    return [Asked("sum", col.sum(), v), Asked("sum", col.sum(where=_.n > 4), _if(v))]


def numeric(kind: Kind) -> list[Asked]:
    col, v = _[kind.name], lambda e: kind.means(e[kind.name])
    pair = lambda e: (v(e), e["n"])  # noqa: E731
    return [
        Asked("average", col.mean(), v),
        Asked("variance", col.var(), v),
        Asked("variance_pop", col.var(how="pop"), v),
        Asked("stddev", col.std(), v),
        Asked("skew", wb.skew(col), v),
        Asked("kurtosis", wb.kurtosis(col), v),
        Asked("covariance", col.cov(_.n), pair),
        Asked("correlation", col.corr(_.n), pair),
    ]


def quantiles(kind: Kind) -> list[Asked]:
    col, v = _[kind.name], lambda e: kind.means(e[kind.name])
    return [
        Asked("p50", col.median(), v),
        Asked("p90", col.quantile(0.9), v),
        Asked("quantiles", col.quantile([0.25, 0.75]), v),
    ]


def truth(kind: Kind) -> list[Asked]:
    col, v = _[kind.name], lambda e: kind.means(e[kind.name])
    return [Asked("any", col.any(), v), Asked("all", col.all(), v)]


def bits(kind: Kind) -> list[Asked]:
    col, v = _[kind.name], lambda e: kind.means(e[kind.name])
    return [Asked(name, getattr(col, name)(), v) for name in ("bit_and", "bit_or", "bit_xor")]


def joined(kind: Kind) -> list[Asked]:
    return [Asked("group_concat", _[kind.name].group_concat(), lambda e: kind.means(e[kind.name]))]


FAMILIES: dict[str, tuple[Callable[[Kind], list[Asked]], ...]] = {
    "truth": (ordered, sums, numeric, truth),
    "number": (ordered, sums, numeric, quantiles),
    "unsummed": (ordered, numeric, quantiles),
    "unbounded": (ordered, sums, numeric, quantiles),
    "ordered": (ordered,),
    "text": (ordered, joined),
    "list": (placed,),
    "map": (placed,),
    "placed": (placed,),
}
ORDERED = ("truth", "number", "unsummed", "unbounded", "ordered", "text")


def asked(kind: Kind) -> list[Asked]:
    """Return every reduction that takes the type."""
    whole_numbers = bits(kind) if kind.name.startswith("int") else []
    return [a for make in FAMILIES[kind.family] for a in make(kind)] + whole_numbers


# --- the history

KEYS = ("a", "é")
WINDOWS = {"3d": (days(3), 3 * DAY), "all": ((), None)}


def _rows(seed: int = 7) -> list[dict[str, Any]]:
    """Return events of two keys, some at one time, each type's values in another order.

    Every extreme once a key.
    """
    chance = random.Random(seed)  # noqa: S311 no secret
    rows: list[dict[str, Any]] = []
    for number, key in enumerate(KEYS):
        columns = {}
        for kind in KINDS:
            values = list(kind.values[number]) + [None] * (8 - len(kind.values[number]))
            chance.shuffle(values)
            columns[kind.name] = values
        for i in range(8):
            at = BASE - (5 - i) * DAY + chance.choice([0, 0, HOUR, -1])
            at = rows[-1]["at"] if i in (3, 6) else at  # ties in time
            rows.append(
                {"k": key, "at": at, "seq": chance.choice([None, 1, 1, 2]), "n": 8 * number + i}
                | {c: v[i] for c, v in columns.items()}
            )
    return rows


ROWS = _rows()
LEFT = [
    {"row": i, "k": k, "t": t}
    for i, (k, t) in enumerate(
        (k, BASE + d * DAY + u)
        for k in (*KEYS, "nobody")
        for d, u in ((-9, 0), (0, 0), (3, 0), (2, 1))
    )
]
EVENTS = pa.schema({"k": pa.string(), "at": pa.timestamp("us"), "seq": pa.int64(), "n": pa.int64()})


def brought(kinds: list[Kind]) -> pa.Table:
    """Return the history as Arrow, with the columns of these types."""
    schema = pa.schema([*EVENTS, *((k.name, k.arrow) for k in kinds)])
    rows = [
        {
            c: (
                moment(r[c])
                if c == "at"
                else (
                    list(r[c].items())
                    if isinstance(r[c], dict) and pa.types.is_map(schema.field(c).type)
                    else r[c]
                )
            )
            for c in schema.names
        }
        for r in ROWS
    ]
    return pa.Table.from_pylist(rows, schema)


def left() -> pa.Table:
    return pa.Table.from_pylist(
        [r | {"t": moment(r["t"])} for r in LEFT],
        pa.schema({"row": pa.int64(), "k": pa.string(), "t": pa.timestamp("us")}),
    )


def there(engine: str) -> list[Kind]:
    return [k for k in KINDS if engine in k.engines]


def group_by(
    events: ibis.Table, kind: Kind, windows: tuple[str, ...] = tuple(WINDOWS), **serving: Any
) -> GroupBy:
    """Return a group-by of every reduction of one type, over these windows."""
    # A full tie goes by the value, and nested values have no order.
    ties = ["seq"] if kind.family in ORDERED else ["seq", "n"]
    asks = [
        Aggregation(a.expr.name(name.removesuffix(f"_{w}")), WINDOWS[w][0])
        for name, a, w in features(kind, windows)
    ]
    return GroupBy(
        name=kind.name,
        source=EventSource(events, time="at", order=ties, **serving),
        keys=["k"],
        aggregations=asks,
    )


def features(kind: Kind, windows: tuple[str, ...] = tuple(WINDOWS)) -> list[tuple[str, Asked, str]]:
    """Return (name, reduction, window) of each feature of the kind's group-by."""
    return [
        (f"f{i}_{w}" if w != "all" else f"f{i}_ever", a, w)
        for i, a in enumerate(asked(kind))
        for w in windows
    ]


def join(
    events: ibis.Table,
    lefts: ibis.Table,
    kinds: list[Kind],
    windows: tuple[str, ...] = tuple(WINDOWS),
) -> Join:
    return Join(
        name="matrix",
        left=EventSource(lefts, time="t"),
        parts=[group_by(events, k, windows) for k in kinds],
    )


def expected(kind: Kind, ask: Asked, window: str, row: dict[str, Any]) -> tuple[Any, float]:
    """Return what the oracle says, and the scale that rule 11 measures an error against."""
    ties = ("seq",) if kind.family in ORDERED else ("seq", "n")
    rows = [
        r | {"key": (r["k"],), "time": r["at"], "order": tuple(r[c] for c in ties)} for r in ROWS
    ]
    rows = oracle.events_at(rows, (row["k"],), row["t"], window=WINDOWS[window][1])
    return oracle.reduce_(ask.name, rows, ask.value), oracle.scale(ask.name, rows, ask.value)


# --- the history on an engine

TYPES = (
    "create type size as enum ('small', 'medium', 'large')",
    "create domain short_text as varchar(9)",
    "create domain sized as size",
)


def loaded(con: Any, kinds: list[Kind]) -> ibis.Table:
    """Make the history a table of `con`, each column of the engine's own type."""
    rows = brought(kinds)
    if con.name == "postgres":
        rows = (
            rows.set_column(
                rows.column_names.index("bytes"),
                "bytes",
                pa.array(
                    [None if b is None else f"\\x{b.hex()}" for b in rows["bytes"].to_pylist()]
                ),
            )
            if "bytes" in rows.column_names
            else rows
        )
    raw = cases.stored(con, "matrix_raw", rows)
    casts = {k.name: k.sql for k in kinds if k.sql} | (
        {"bytes": "bytea"} if con.name == "postgres" and "bytes" in rows.column_names else {}
    )
    if not casts:
        return raw
    chosen = ", ".join(
        f'cast("{c}" as {casts[c]}) as "{c}"' if c in casts else f'"{c}"' for c in rows.column_names
    )
    if con.name == "pyspark":
        session = con._session  # noqa: SLF001 Ibis hands out no session
        session.sql("drop table if exists matrix")
        padded = ", ".join(
            f"`{f.name}` {casts.get(f.name, f.dataType.simpleString())}"
            for f in session.table("matrix_raw").schema
        )
        session.sql(f"create table matrix ({padded}) using parquet")
        session.sql("insert into matrix select * from matrix_raw")
        return con.table("matrix")
    for statement in TYPES[: 3 if con.name == "postgres" else 1]:
        _made(con, statement)
    for statement in (
        "drop table if exists matrix",
        f"create table matrix as select {chosen} from matrix_raw",
    ):
        _run(con, statement)
    table = con.table("matrix")
    maps = {
        k.name: ibis.dtype("map<string, float64>")
        for k in kinds
        if con.name == "postgres" and k.family == "map"
    }
    return (
        ops.DatabaseTable(
            "matrix",
            schema=ibis.schema(dict(table.schema().items()) | maps),
            source=con,
            namespace=ops.Namespace(),
        ).to_expr()
        if maps
        else table
    )


def _made(con: Any, statement: str) -> None:
    name = statement.split()[2]
    known = "duckdb_types() where type_name" if con.name == "duckdb" else "pg_type where typname"
    if not con.raw_sql(f"select 1 from {known} = '{name}'").fetchall():
        _run(con, statement)


def _run(con: Any, statement: str) -> None:
    cursor = con.raw_sql(statement)
    if con.name == "postgres":
        cursor.close()
