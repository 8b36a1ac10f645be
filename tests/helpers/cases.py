"""Generated histories and definitions, to hold any path that gives features against the oracle."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import ibis
import ibis.expr.operations as ops
import oracle
import pyarrow as pa
from attrs import evolve, frozen
from hypothesis import strategies as st
from ibis import _
from oracle import DAY, HOUR, MINUTE

import workbench as wb
from workbench import Aggregation, EventSource, GroupBy, Join, JoinPart, days, hours, minutes
from workbench.backends import engine_of, postgres_copy
from workbench.planner.plan_choice import Chooser
from workbench.portable.arrow_types import fetched
from workbench.training import backfilling

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 the tables' timestamps are naive UTC
BASE = 1_701_302_400_000_000  # 2023-11-30 00:00 UTC
SPANS = {
    "5m": minutes(5),
    "1h": hours(1),
    "12h": hours(12),
    "1d": days(1),
    "3d": days(3),
    "14d": days(14),
    "all": (),
}
LENGTHS = {
    "5m": 5 * MINUTE,
    "1h": HOUR,
    "12h": 12 * HOUR,
    "1d": DAY,
    "3d": 3 * DAY,
    "14d": 14 * DAY,
    "all": None,
}

EVENTS = pa.schema(
    {
        "user": pa.string(),
        "shop": pa.int64(),
        "at": pa.timestamp("us"),
        "seq": pa.int64(),
        "n": pa.int64(),
        "x": pa.float64(),
        "d": pa.decimal128(12, 2),
        "s": pa.string(),
        "b": pa.bool_(),
        "items": pa.list_(pa.int64()),
        "tags": pa.map_(pa.string(), pa.float64()),
        "pair": pa.list_(pa.float64()),
    }
)
LEFT = pa.schema(
    {"row": pa.int64(), "user": pa.string(), "shop": pa.int64(), "t": pa.timestamp("us")}
)


def moment(us: int) -> datetime:
    return EPOCH + timedelta(microseconds=us)


@frozen
class Reduction:
    """One reduction, written for workbench and for the oracle."""

    name: str
    expr: Any
    value: Callable[[dict], Any]


def _column(c: str) -> Callable[[dict], Any]:
    return lambda e: oracle.clean(e[c])


def _where(c: str) -> Callable[[dict], Any]:
    return lambda e: oracle.clean(e[c]) if e["b"] else None


def numeric(c: str) -> list[Reduction]:
    col, v = _[c], _column(c)
    return [
        Reduction("sum", col.sum(), v),
        Reduction("average", col.mean(), v),
        Reduction("variance", col.var(), v),
        Reduction("variance_pop", col.var(how="pop"), v),
        Reduction("stddev", col.std(), v),
        Reduction("p50", col.median(), v),
        Reduction("p90", col.quantile(0.9), v),
        Reduction("quantiles", col.quantile([0.25, 0.75]), v),
        Reduction("skew", wb.skew(col), v),
        Reduction("kurtosis", wb.kurtosis(col), v),
        Reduction("sum", col.sum(where=_.b), _where(c)),
        Reduction("average", col.mean(where=_.b), _where(c)),
    ]


def ordered(c: str) -> list[Reduction]:
    col, v = _[c], _column(c)
    return [
        Reduction("count", col.count(), v),
        Reduction("unique_count", col.nunique(), v),
        Reduction("min", col.min(), v),
        Reduction("max", col.max(), v),
        Reduction("first", col.first(), v),
        Reduction("last", col.last(), v),
        Reduction("first2", wb.first_k(col, 2), v),
        Reduction("last3", wb.last_k(col, 3), v),
        Reduction("top2", wb.top_k(col, 2), v),
        Reduction("bottom2", wb.bottom_k(col, 2), v),
        Reduction("mode", col.mode(), v),
        Reduction("collect", col.collect(), v),
        Reduction("histogram", wb.histogram(col), v),
        Reduction("histogram2", wb.histogram(col, 2), v),
        Reduction("last3", wb.last_k(col, 3, where=_.b), _where(c)),
        Reduction("count", col.count(where=_.b), _where(c)),
    ]


PAIR = lambda e: (oracle.clean(e["x"]), e["n"])  # noqa: E731
REDUCTIONS = [
    *(r for c in ("n", "x", "d") for r in numeric(c)),
    *(r for c in ("n", "x", "d", "s") for r in ordered(c)),
    Reduction("group_concat", _.s.group_concat(), _column("s")),
    Reduction("any", _.b.any(), _column("b")),
    Reduction("all", _.b.all(), _column("b")),
    Reduction("count", _.count(), lambda e: 1),
    Reduction("count", _.count(where=_.b), lambda e: 1 if e["b"] else None),
    Reduction("covariance", _.x.cov(_.n), PAIR),
    Reduction("correlation", _.x.corr(_.n), PAIR),
    Reduction("argmin", _.s.argmin(_.n), lambda e: (e["s"], e["n"])),
    Reduction("argmax", _.s.argmax(_.n), lambda e: (e["s"], e["n"])),
    Reduction("sum", (_.n * 2 + 1).sum(), lambda e: None if e["n"] is None else e["n"] * 2 + 1),
    Reduction(
        "average",
        (_.n / _.seq).mean(),
        lambda e: None if None in (e["n"], e["seq"]) or e["seq"] == 0 else e["n"] / e["seq"],
    ),
]

# --- histories: few keys, a coarse grid of times, so that ties and window edges are met often

users = st.sampled_from(["ab", "a", "žluť", "", None])
shops = st.sampled_from([1, 2, None])
edges = st.sampled_from([0, 1, -1, 5 * MINUTE, HOUR, 12 * HOUR, DAY, 3 * DAY, 14 * DAY])
grid = st.builds(
    lambda days, edge, nudge: BASE - days * DAY - edge + nudge,
    st.integers(0, 3),
    edges,
    st.sampled_from([0, 0, 0, 1, -1, 7 * HOUR]),
)
times = st.one_of(grid, grid, st.integers(-40 * DAY, -1))  # some before 1970
floats = st.sampled_from(
    [None, 0.0, -0.0, 1.5, 2.25, -3.75, 0.1, 1e15, math.nan, math.inf, -math.inf]
)
maybe = lambda strategy: st.one_of(st.none(), strategy)  # noqa: E731

event = st.fixed_dictionaries(
    {
        "user": users,
        "shop": shops,
        "at": times,
        "seq": maybe(st.integers(0, 3)),
        "n": maybe(st.integers(-4, 4)),
        "x": floats,
        "d": maybe(st.integers(-300, 300).map(lambda i: Decimal(i) / 100)),
        "s": maybe(st.sampled_from(["b", "B", "é", "zz", "a,b"])),
        "b": maybe(st.booleans()),
        "items": maybe(st.lists(maybe(st.integers(-3, 3)), max_size=3)),
        "tags": maybe(
            st.dictionaries(
                st.sampled_from("xyz"), maybe(st.sampled_from([1.0, 2.5, math.nan])), max_size=2
            ).map(lambda m: list(m.items()))
        ),
        "pair": maybe(st.lists(maybe(st.sampled_from([1.0, 2.5, -1.0])), min_size=2, max_size=2)),
    }
)
left_row = st.fixed_dictionaries({"user": users, "shop": shops, "t": times})


@frozen
class Case:
    """A history, left rows, and the reductions and windows that are computed over them."""

    events: list[dict]
    left: list[dict]
    keys: tuple[str, ...]
    ordered: bool
    resolution: str
    accuracy: str | None
    max_age: int | None
    asked: tuple[tuple[Reduction, str], ...]

    @property
    def rows(self) -> list[dict]:
        """The events in the form that the oracle takes."""
        return [
            e
            | {
                "key": tuple(e[k] for k in self.keys),
                "time": e["at"],
                "order": (e["seq"],) if self.ordered else (),
            }
            for e in self.events
        ]

    def window(self, span: str) -> str:
        """Snapshot values have whole-day windows only (rule 4)."""
        return "1d" if self.accuracy == "snapshot" and span in ("5m", "1h", "12h") else span

    def key(self, row: dict) -> tuple:
        return tuple(row[k] for k in self.keys)


def crowded(case: Case) -> Case:
    """Return the case with few keys, ties and equal events: what most faults need.

    Its left rows stand where windows begin and end.
    """
    events = [
        e | {"user": "ab" if i % 4 else e["user"], "shop": 1 if i % 5 else e["shop"]}
        for i, e in enumerate(case.events)
    ]
    events = [e | {"at": events[i - 1]["at"]} if i % 2 else e for i, e in enumerate(events)]
    events += [events[0], events[1], events[1], events[0]]
    steps = [0, DAY, DAY + 1, HOUR, 3 * DAY, HOUR + 1, 1]
    left = [
        {"user": e["user"], "shop": e["shop"], "t": e["at"] + step}
        for e, step in zip([*events[1:], *events], steps, strict=False)
    ]
    return evolve(case, events=events, left=[*left, {"user": None, "shop": None, "t": BASE}])


def drawn(reductions: list[Reduction]) -> st.SearchStrategy[Case]:
    """Return a strategy of cases that compute some of these reductions."""
    return st.builds(
        Case,
        events=st.lists(event, max_size=14),
        left=st.lists(left_row, min_size=1, max_size=5),
        keys=st.sampled_from([("user",), ("user", "shop"), ("shop",)]),
        ordered=st.booleans(),
        resolution=st.sampled_from(["exact", "sawtooth"]),
        accuracy=st.sampled_from([None, "temporal", "snapshot"]),
        max_age=st.sampled_from([None, None, HOUR, 2 * DAY]),
        asked=st.lists(
            st.tuples(st.sampled_from(reductions), st.sampled_from(list(SPANS))),
            min_size=1,
            max_size=6,
        ).map(tuple),
    )


cases = drawn(REDUCTIONS)
dense_cases = cases.filter(lambda c: len(c.events) > 3).map(crowded)
# For backends whose drivers load no decimals or nested values from Arrow, and Postgres, where Ibis
# makes no typed maps.
SIMPLE = ("user", "shop", "at", "seq", "n", "x", "s", "b")
SIMPLY = [
    r for r in REDUCTIONS if "_['d']" not in repr(r.expr) and not r.name.startswith("histogram")
]
simple_cases = drawn(SIMPLY)
# For running totals: counts, and sums and means of whole numbers.
exact_cases = drawn(
    [
        r
        for r in SIMPLY
        if r.name in ("count", "sum", "average")
        and "_['x']" not in repr(r.expr)
        and "seq" not in repr(r.expr)
    ]
)


def tables(
    con: ibis.BaseBackend, case: Case, columns: tuple[str, ...] = tuple(EVENTS.names)
) -> tuple[Any, Any]:
    """The case's events and left rows as tables of `con`."""
    events = [{k: moment(v) if k == "at" else v for k, v in e.items()} for e in case.events]
    left = [
        {"row": i} | {k: moment(v) if k == "t" else v for k, v in r.items()}
        for i, r in enumerate(case.left)
    ]
    made = (
        ("events", pa.Table.from_pylist(events, EVENTS).select(columns)),
        ("lefts", pa.Table.from_pylist(left, LEFT)),
    )
    return tuple(stored(con, name, rows) for name, rows in made)


def stored(con: ibis.BaseBackend, name: str, rows: pa.Table) -> Any:
    """The rows as a table of `con`.

    As a view on Spark, where Ibis goes by pandas and large integers beside nulls would be rounded.

    On Postgres maps are columns of jsonb, which the definition takes for the maps that it declares.
    """
    if con.name == "postgres":
        schema = ibis.Schema.from_pyarrow(rows.schema)
        con.create_table(
            name,
            schema={c: "jsonb" if t.is_map() else t for c, t in schema.items()},
            overwrite=True,
        )
        postgres_copy.append_rows(con, name, rows)
        return ops.DatabaseTable(
            name, schema=schema, source=con, namespace=ops.Namespace()
        ).to_expr()
    if con.name != "pyspark":
        return con.create_table(name, rows, overwrite=True)
    rows = rows.cast(
        pa.schema(
            [
                f.with_type(pa.timestamp("us", "UTC")) if pa.types.is_timestamp(f.type) else f
                for f in rows.schema
            ]
        )
    )
    # Ibis hands out no session
    con._session.createDataFrame(rows).createOrReplaceTempView(name)  # noqa: SLF001
    return con.table(name)


def computed(way: tuple[ibis.BaseBackend, str], join: Join) -> pa.Table:
    """Return the join's rows, by one engine and plan, in the types that the join declares.

    Ibis itself fetches no maps from Postgres, and goes by pandas on Spark.
    """
    engine, plan = engine_of(way[0]), way[1]
    return fetched(
        engine, backfilling.computed(join, Chooser(engine, plan), None, None), join.schema
    )


def group_by(events: Any, case: Case, aggregations: list) -> GroupBy:
    source = EventSource(events, time="at", order=["seq"] if case.ordered else [])
    return GroupBy(
        name="g",
        source=source,
        keys=case.keys,
        aggregations=aggregations,
        resolution=case.resolution,
        accuracy=case.accuracy,
    )


def join(con: ibis.BaseBackend, case: Case, columns: tuple[str, ...] = tuple(EVENTS.names)) -> Join:
    """Return the case as a join, whose column f{i} is the i-th reduction of the case."""
    events, left = tables(con, case, columns)
    asked = [
        Aggregation(r.expr.name(f"f{i}"), SPANS[case.window(w)])
        for i, (r, w) in enumerate(case.asked)
    ]
    part = JoinPart(
        group_by(events, case, asked),
        max_age=None if case.max_age is None else timedelta(microseconds=case.max_age),
    )
    return Join(name="j", left=EventSource(left, time="t"), parts=[part])


def column(case: Case, i: int) -> str:
    span = case.window(case.asked[i][1])
    return f"g_f{i}" + ("" if span == "all" else f"_{span}")


def expected(case: Case, row: dict, i: int) -> tuple[Any, float]:
    """Return what the oracle says, and the scale that rule 11 measures an error against."""
    reduction, span = case.asked[i]
    key = case.key(row)
    window = LENGTHS[case.window(span)]
    rows = oracle.events_at(
        case.rows, key, row["t"], window=window, resolution=case.resolution, accuracy=case.accuracy
    )
    if None in key or (
        case.max_age is not None
        and oracle.expired(case.rows, key, row["t"], case.accuracy, case.max_age)
    ):
        return None, 0.0
    return oracle.reduce_(reduction.name, rows, reduction.value), oracle.scale(
        reduction.name, rows, reduction.value
    )
