"""Rules 9 and 10: what has no shared meaning for a type is refused by name, in the author's cell.

This holds whatever engine has the table.
"""

from __future__ import annotations

import ibis
import pytest
from ibis import _

import workbench as wb
from workbench import Aggregation, DefinitionError, EventSource, GroupBy

STRANGE = {
    "duckdb": {"apart": "interval 3 days", "bits": "'101'::bit", "clock": "'01:02:03+02'::timetz"},
    "postgres": {"apart": "interval '3 days'", "bits": "B'101'", "clock": "'01:02:03+02'::timetz"},
    "pyspark": {"apart": "interval 3 days"},
}
NESTED = {
    "duckdb": {"list": "[1, 2]", "struct": "{'a': 1}", "map": "map {'x': 1}", "json": "'{}'::json"},
    "postgres": {"list": "array[1, 2]", "json": "'{}'::jsonb"},
    "pyspark": {"list": "array(1, 2)", "struct": "named_struct('a', 1)", "map": "map('x', 1)"},
}
PLACED = {
    "last": lambda c: c.last(),
    "first_k": lambda c: wb.first_k(c, 2),
    "collect": lambda c: c.collect(),
    "argmin": lambda c: c.argmin(_.n),
}
COMPARED = {
    "max": lambda c: c.max(),
    "min": lambda c: c.min(),
    "top_k": lambda c: wb.top_k(c, 2),
    "bottom_k": lambda c: wb.bottom_k(c, 2),
    "mode": lambda c: c.mode(),
    "histogram": wb.histogram,
    "argmax": _.n.argmax,
}
COUNTED = {"nunique": lambda c: c.nunique()}


def sourced(con, columns):
    """Make a table of `con` with a column of each of these types."""
    chosen = ", ".join(
        f"{sql} as {name}"
        for name, sql in (
            {"k": "'a'", "at": "timestamp '2023-11-29 00:00:00'", "n": "1"} | columns
        ).items()
    )
    for statement in ("drop table if exists strange", f"create table strange as select {chosen}"):
        cursor = con.raw_sql(statement)
        if con.name == "postgres":
            cursor.close()
    return EventSource(con.table("strange"), time="at")


def group_by(source, reduction):
    return GroupBy(
        name="g", source=source, keys=["k"], aggregations=[Aggregation(reduction.name("f"))]
    )


@pytest.fixture(
    params=[
        "duckdb",
        pytest.param("postgres", marks=pytest.mark.slow),
        pytest.param("spark", marks=pytest.mark.slow),
    ]
)
def con(request):
    return (
        ibis.duckdb.connect()
        if request.param == "duckdb"
        else request.getfixturevalue(request.param)
    )


def test_what_a_type_has_no_shared_meaning_for_is_refused_alike(con):
    """N7: these are an interval, bits, and a time of day whose offset Ibis drops."""
    strange, nested = STRANGE[con.name], NESTED[con.name]
    source = sourced(con, strange | nested)

    for name in strange:
        assert group_by(source, _[name].count())
        for called, reduction in (PLACED | COMPARED | COUNTED).items():
            with pytest.raises(
                DefinitionError,
                match=rf"{called} does not take {name}, .*no meaning that all engines share",
            ):
                group_by(source, reduction(_[name]))
    for name in nested:
        assert group_by(source, _[name].last())
        for called, reduction in COMPARED.items():
            with pytest.raises(
                DefinitionError,
                match=rf"{called} does not take {name}, .*order such values differently",
            ):
                group_by(source, reduction(_[name]))
    for name in {"map", "json"} & nested.keys():
        with pytest.raises(DefinitionError, match=rf"nunique does not take {name}"):
            group_by(source, _[name].nunique())


def test_a_whole_number_beyond_38_digits_is_an_error_never_another_number():
    """N7, rule 11: Ibis does not know DuckDB's UHUGEINT.

    A decimal has no room for its largest value.
    """
    con = ibis.duckdb.connect()
    source = sourced(con, {"wide": "340282366920938463463374607431768211455::uhugeint"})

    with pytest.raises(RuntimeError, match=r"UINT128|UHUGEINT|DECIMAL|cast"):
        wb.backfill(
            wb.Join(
                name="j",
                left=EventSource(con.sql("select 'a' as k, timestamp '2023-12-01' as t"), time="t"),
                parts=[group_by(source, _.wide.max())],
            )
        ).to_pyarrow()
