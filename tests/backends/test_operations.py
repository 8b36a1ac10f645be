"""Every proven scalar operation, over nasty values, is one value on DuckDB, Postgres and Spark: the one that Python says."""

from __future__ import annotations

from collections import defaultdict
from functools import cache

import cases
import ibis
import oracle
import pyarrow as pa
import pytest
import scalar_texts  # noqa: F401 adds its cases
from scalars import CASES, DTYPES, Row, rows

from backends import EngineError, engine_of
from backends.equal import equal
from workbench import EventSource, GroupBy
from workbench.binding import bind
from workbench.operations import CASTS, PROVEN, TRIED, arguments, doubt, family
from workbench.rows import EventRows, Inputs

ROWS = [Row(**{c: oracle.clean(v) for c, v in row.items()}) for row in rows()]
TABLE = ibis.table(ibis.Schema.from_pyarrow(pa.schema(DTYPES)), name="scalars")
NODES = {name: case.expr(TABLE).op() for name, case in CASES.items()}


@cache
def python(name):
    """What Python says of every row; nothing for cases without a say of its own."""
    case, used = CASES[name], {f.name for f in NODES[name].find(ibis.expr.operations.Field)}
    if case.want is None:
        return None
    return [None if not case.nulls and any(row[c] is None for c in used) else oracle.clean(case.want(row)) for row in ROWS]


def values(con, names):
    """Each case as a column of a source's rows, as a backfill computes it, in the order of ROWS."""
    table = con.table("scalars")
    group_by = GroupBy(name="g", source=EventSource(table, time="t"), keys=["k"], aggregations=[table.count()])
    inputs = Inputs()
    columns = {name: inputs.name(bind(group_by.source.table, CASES[name].expr(table), name)) for name in names}
    selected = EventRows(group_by, engine_of(con)).selected(inputs, None, None, lambda _: {})
    fetched = con.to_pyarrow(selected) if con.name == "postgres" else engine_of(con).fetch(selected)  # COPY has no lists
    answers = {r["_fw_key0"]: r for r in fetched.to_pylist()}
    return {name: [naive(answers[row.k][column]) for row in ROWS] for name, column in columns.items()}


def naive(value):
    """Spark's timestamps come with their zone, which is UTC."""
    return value.replace(tzinfo=None) if getattr(value, "tzinfo", None) else value


def computed(con, names):
    """The cases' columns, and what the engine said of those that it could not compute."""
    try:
        return values(con, names), {}
    except (EngineError, con.exceptions) as error:
        if len(names) == 1:
            return {}, {names[0]: str(error)[:300]}
        con.recover()
        halves = computed(con, names[: len(names) // 2]), computed(con, names[len(names) // 2 :])
        return halves[0][0] | halves[1][0], halves[0][1] | halves[1][1]


@pytest.fixture(scope="module")
def duckdb():
    con = ibis.duckdb.connect()
    cases.stored(con, "scalars", pa.Table.from_pylist(rows(), pa.schema(DTYPES)))
    return values(con, list(CASES))


def differing(got, want):
    wrong = {}
    for name, column in want.items():
        odd = [(vars(row), expected, value) for row, expected, value in zip(ROWS, column, got[name], strict=True) if not equal(expected, value)]
        if odd:
            wrong[name] = [({f.name: row[f.name] for f in NODES[name].find(ibis.expr.operations.Field)}, f"want {expected!r}, got {value!r}") for row, expected, value in odd[:3]]
    return wrong


def test_every_operation_gives_what_python_says(duckdb):
    assert {} == differing(duckdb, {name: python(name) for name in CASES if CASES[name].want})
