"""Every proven scalar operation, over nasty values, gives Python's value on every engine.

The engines are DuckDB, Postgres and Spark.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cache

import cases
import ibis
import ibis.expr.operations as ops
import oracle
import pyarrow as pa
import pytest
import scalar_texts  # noqa: F401 adds its cases
from scalars import CASES, DTYPES, Row, rows

from workbench import EventSource, GroupBy
from workbench.backends import EngineError, engine_of
from workbench.backends.equality import equal
from workbench.planner.source_rows import EventRows
from workbench.portable.proven_operations import CASTS, PROVEN, TRIED, family
from workbench.portable.rewrites import finite
from workbench.portable.unproven_operations import arguments, doubt

ROWS = [Row(**{c: oracle.clean(v) for c, v in row.items()}) for row in rows()]
SCHEMA = pa.schema(DTYPES)
TABLE = ibis.table(ibis.Schema.from_pyarrow(SCHEMA), name="scalars")
NODES = {name: case.expr(TABLE).op() for name, case in CASES.items()}
# These are held against DuckDB, not against Python.
SILENT = [name for name, case in CASES.items() if case.want is None]


@pytest.fixture(scope="module")
def duckdb():
    con = ibis.duckdb.connect()
    return values(con, list(CASES))


@pytest.fixture(params=["postgres", "spark"], scope="module")
def con(request):
    return request.getfixturevalue(request.param)


def group_by(table, names):
    """Return a source with each case as a column."""
    source = EventSource(
        table.select(
            "k", "t", **{f"c{i}": CASES[name].expr(table) for i, name in enumerate(names)}
        ),
        time="t",
    )
    return GroupBy(
        name="g", source=source, keys=["k"], aggregations=[source.table.to_expr().count()]
    )


def values(con, names):
    """Return the columns as a backfill computes a source's, in the order of ROWS.

    An operation that fails is named.
    """
    table, engine = (
        cases.stored(con, "scalars", pa.Table.from_pylist(rows(), SCHEMA)),
        engine_of(con),
    )
    source = EventRows(group_by(table, names), engine).table
    source = source.select(
        "k", **{c: finite(source[c]) for c in source.columns if c.startswith("c")}
    )
    try:
        # COPY, which the engine fetches by, has no lists.
        fetched = con.to_pyarrow(source) if con.name == "postgres" else engine.fetch(source)
    except Exception as error:
        failed = [name for name in names if not runs(con, table, name)]
        message = f"{engine.title} cannot compute {failed or 'all of them at once'}"
        raise AssertionError(message) from error
    answers = {r["k"]: r for r in fetched.to_pylist()}
    return {name: [naive(answers[row.k][f"c{i}"]) for row in ROWS] for i, name in enumerate(names)}


def runs(con, table, name):
    try:
        engine_of(con).keep(EventRows(group_by(table, [name]), engine_of(con)).table)
    except EngineError:
        return False
    return True


def naive(value):
    """Drop the zone of Spark's timestamps, which is UTC."""
    if isinstance(value, list):
        return [naive(v) for v in value]
    return value.replace(tzinfo=None) if getattr(value, "tzinfo", None) else value


def used(name):
    return [f.name for f in NODES[name].find(ops.Field)]


@cache
def expected():
    """Return what Python says of every row: null where a column is, unless the case differs."""
    said = {name: case for name, case in CASES.items() if case.want}
    return {
        name: [
            (
                None
                if not case.nulls and any(row[c] is None for c in used(name))
                else oracle.clean(case.want(row))
            )
            for row in ROWS
        ]
        for name, case in said.items()
    }


def differing(got, want):
    """Return the operations that differ, each with the first rows that do."""
    wrong = {}
    for name, column in want.items():
        odd = [
            ({c: row[c] for c in used(name)}, e, v)
            for row, e, v in zip(ROWS, column, got[name], strict=True)
            if not equal(e, v)
        ]
        if odd:
            wrong[name] = [f"{row}: want {e!r}, got {v!r}" for row, e, v in odd[:3]]
    return wrong


def test_every_operation_gives_what_python_says(duckdb):
    assert {} == differing(duckdb, expected())


@pytest.mark.slow
def test_every_operation_gives_the_same_on_other_engines(duckdb, con):
    assert {} == differing(
        values(con, list(CASES)), expected() | {name: duckdb[name] for name in SILENT}
    )


# --- the list and the cases say the same


def families():
    """Return, for each operation, the families of types that it is tried with."""
    found = defaultdict(set)
    for root in NODES.values():
        for node in (root, *(a for a in arguments(root) if a.dtype.is_interval())):
            found[type(node)] |= {family(a.dtype) for a in arguments(node)} - {"null"}
    return found


def test_every_listed_operation_has_a_case_of_every_family_of_types():
    tried = families()

    assert {} == {
        op.__name__: lacking
        for op, proven in PROVEN.items()
        if (lacking := proven.of - tried[op] - {"null"}) or op not in tried
    }


def test_every_case_is_of_a_listed_operation():
    assert [] == [
        (name, type(node).__name__) for name, node in NODES.items() if type(node) not in PROVEN
    ]
    assert {} == {
        name: said
        for name, node in NODES.items()
        if (said := [doubt(n) for n in node.find(ops.Value) if doubt(n)])
    }


def test_every_listed_cast_has_a_case():
    tried = {
        (type(n), family(n.arg.dtype), family(n.to))
        for n in NODES.values()
        if isinstance(n, ops.Cast | ops.TryCast)
    }
    listed = {
        (kind, a, b)
        for kind, table in ((ops.Cast, CASTS), (ops.TryCast, TRIED))
        for a, to in table.items()
        for b in to.split()
        if a != "null"
    }

    assert listed <= tried


# --- text that is no number or time


NO_VALUES = {
    "int64": ["12.5", "", "1e3", "0x1F", "1_000", "9223372036854775808", "12\n", "x"],
    "float64": ["", "1,5", "0x1F", "1e999", "x", "1.5\n"],
    "date": ["2024-2-9", "2024-02-30", "29.02.2024", "2024-02-29 10:00", ""],
    "timestamp": [
        "2024-02-29 24:00:00",
        "2024-02-29T10",
        "2024-02-30",
        "29/02/2024",
        "2024-02-29 10:00 PM",
        "now",
        "",
    ],
}


def accepted(con):
    """Return the texts that an engine makes something of."""
    texts = [(to, text) for to, some in NO_VALUES.items() for text in some]
    table = cases.stored(
        con,
        "texts",
        pa.table(
            {
                "k": range(len(texts)),
                "t": pa.array([0] * len(texts), pa.timestamp("us")),
                "s": [text for _, text in texts],
            }
        ),
    )
    return [
        (to, text)
        for k, (to, text) in enumerate(texts)
        if fetches(con, table.filter(table.k == k).mutate(v=table.s.cast(to)))
    ]


def fetches(con, table):
    made = GroupBy(
        name="g", source=EventSource(table, time="t"), keys=["k"], aggregations=[table.count()]
    )
    try:
        engine_of(con).fetch(EventRows(made, engine_of(con)).table.select("v"))
    except EngineError:
        return False
    return True


def test_text_that_is_no_value_is_an_error(duck):
    assert [] == accepted(duck)


@pytest.mark.slow
def test_text_that_is_no_value_is_an_error_on_other_engines(con):
    assert [] == accepted(con)
