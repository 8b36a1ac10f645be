"""C12: an upload by name reads a warehouse that has changed as a backfill would.

Otherwise it is refused by the backfill's rule, in a sentence.
"""

from __future__ import annotations

from datetime import datetime

import ibis
import pyarrow as pa
import pytest

from workbench import EntitySource, EventSource, GroupBy, days, trailing
from workbench.backends import EngineError, engine_of
from workbench.serving.group_by_plans import group_by_plan
from workbench.serving.history_queries import of_definition, of_plan

T = datetime(2024, 3, 10)  # noqa: DTZ001 the tables' timestamps are naive UTC
TYPES = {
    "user_id": pa.string(),
    "ts": pa.timestamp("us"),
    "amt": pa.int64(),
    "n": pa.int64(),
    "kind": pa.string(),
    "beside": pa.string(),
}
SLOW = pytest.mark.slow


@pytest.fixture(
    params=["duck", pytest.param("postgres", marks=SLOW), pytest.param("spark", marks=SLOW)]
)
def con(request):
    made = request.getfixturevalue(request.param)
    yield made
    made.drop_table("c12_paid", force=True)


def put(con, **changed):
    """Put the table with other types, or with columns under other names or none."""
    row = {"user_id": "a", "ts": T, "amt": 3_000_000_000, "n": 2, "kind": "x", "beside": "y"}
    fields, values = [], []
    for name, kind in TYPES.items():
        told = changed.get(name, kind)
        if told is not None:
            fields.append((told, kind) if isinstance(told, str) else (name, told))
            values.append(pa.array([row[name]], kind).cast(fields[-1][1]))
    con.create_table(
        "c12_paid", pa.table(dict(zip([n for n, _ in fields], values, strict=True))), overwrite=True
    )


def spend():
    table = ibis.table(
        {
            "user_id": "string",
            "ts": "timestamp",
            "amt": "int64",
            "n": "int64",
            "kind": "string",
            "beside": "string",
        },
        name="c12_paid",
    )
    kept = table.filter(table.amt > 0)
    return GroupBy(
        name="spend",
        source=EventSource(kept, time="ts"),
        keys=["user_id"],
        aggregations=trailing(days(3), (kept.amt * kept.n).sum().name("spent"), kept.kind.last()),
        accuracy="temporal",
    )


def read(history):
    """Return the stored rows, whatever their order."""
    return history.engine.fetch(history.rows).select(["k0", "i0", "i1"]).to_pylist()


def refusals(con, group_by):
    """Return the errors of the upload by name and of that by definition."""
    said = []
    for make in (
        lambda: of_plan(group_by_plan(group_by), con),
        lambda: of_definition(group_by_plan(group_by), group_by, con),
    ):
        with pytest.raises(EngineError) as told:
            make()
        said.append(str(told.value))
    return said


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (
            {"amt": "amount"},
            (
                "c12_paid has no column 'amt' on {title}: it has user_id, ts, amount, n, kind,"
                " beside; did you mean 'amount'?"
            ),
        ),
        (
            {"kind": None},
            "c12_paid has no column 'kind' on {title}: it has user_id, ts, amt, n, beside",
        ),
        (
            {"amt": pa.float64()},
            (
                "c12_paid.amt is float64 on {title} and int64 in the definition: cast it in the"
                " warehouse or define it over float64"
            ),
        ),
        (
            {"n": pa.string()},
            (
                "c12_paid.n is string on {title} and int64 in the definition: cast it in the"
                " warehouse or define it over string"
            ),
        ),
        (
            {"user_id": "user"},
            (
                "c12_paid has no column 'user_id' on {title}: it has user, ts, amt, n, kind,"
                " beside; did you mean 'user'?"
            ),
        ),
    ],
)
def test_a_changed_column_is_refused_in_the_words_of_a_backfill(con, changed, sentence):
    put(con, **changed)

    said = refusals(con, spend())

    assert [sentence.format(title=engine_of(con).title)] * 2 == said


def test_a_narrower_type_is_read_as_the_definition_says_and_nothing_overflows(con):
    put(con, n=pa.int16())

    assert [{"k0": "a", "i0": 6_000_000_000, "i1": "x"}] == read(
        of_plan(group_by_plan(spend()), con)
    )


def test_two_narrow_columns_are_multiplied_as_wide_ones(con):
    con.create_table(
        "c12_paid",
        pa.table(
            {
                "user_id": ["a"],
                "ts": pa.array([T], pa.timestamp("us")),
                "amt": pa.array([2_000_000_000], pa.int32()),
                "n": pa.array([2_000_000_000], pa.int32()),
                "kind": ["x"],
                "beside": ["y"],
            }
        ),
        overwrite=True,
    )

    assert [{"k0": "a", "i0": 4_000_000_000_000_000_000, "i1": "x"}] == read(
        of_plan(group_by_plan(spend()), con)
    )


def test_a_column_that_nothing_is_made_of_may_go(con):
    put(con, beside=None)

    assert [{"k0": "a", "i0": 6_000_000_000, "i1": "x"}] == read(
        of_plan(group_by_plan(spend()), con)
    )


def test_a_table_that_is_gone_is_said_to_be(con):
    said = refusals(con, spend())

    assert said[0].startswith(f"{engine_of(con).title} has no table 'c12_paid': it has ")
    assert said[0] == said[1]


def test_snapshots_are_read_by_the_same_rule(duck):
    duck.raw_sql(
        "create table people as select 'a' as user_id, date '2024-03-01' as ds, 1.5::double as"
        " level"
    )
    table = ibis.table({"user_id": "string", "ds": "date", "level": "int64"}, name="people")
    people = GroupBy(
        name="people",
        source=EntitySource(table, snapshot="ds"),
        keys=["user_id"],
        features=["level"],
    )

    with pytest.raises(
        EngineError, match=r"^people.level is float64 on DuckDB and int64 in the definition"
    ):
        of_plan(group_by_plan(people), duck)


def test_a_view_whose_table_went_says_so_and_not_that_there_is_none(duck):
    duck.raw_sql(
        "create table under (user_id varchar, ts timestamp, amt bigint, n bigint, kind varchar);"
        " create view c12_paid as select * from under; drop table under"
    )

    said = refusals(duck, spend())

    assert said[0].startswith("DuckDB has 'c12_paid', and cannot read it: ")
    assert "under" in said[0]
    assert [1, 1] == [len(s.splitlines()) for s in said]


def test_a_table_in_a_schema_is_found_there(duck):
    duck.raw_sql(
        "create schema shop; create table shop.c12_paid (user_id varchar, ts timestamp, amt"
        " integer, n integer, kind varchar); insert into shop.c12_paid values ('a', '2024-03-01',"
        " 5, 1, 'x')"
    )
    table = ibis.table(
        {"user_id": "string", "ts": "timestamp", "amt": "int64"}, name="c12_paid", database="shop"
    )
    group_by = GroupBy(
        name="spend",
        source=EventSource(table, time="ts"),
        keys=["user_id"],
        aggregations=trailing(days(3), table.amt.sum()),
        accuracy="temporal",
    )

    history = of_plan(group_by_plan(group_by), duck)

    assert [5] == history.engine.fetch(history.rows)["i0"].to_pylist()


@SLOW
def test_a_role_that_may_not_read_is_told_in_the_servers_words(postgres):
    put(postgres)
    postgres.raw_sql("create role c12_reader").close()
    try:
        postgres.raw_sql("set role c12_reader").close()
        with pytest.raises(EngineError, match="permission denied for table c12_paid"):
            read(of_plan(group_by_plan(spend()), postgres))
    finally:
        postgres.con.rollback()
        for statement in ("reset role", "drop role c12_reader", "drop table c12_paid"):
            postgres.raw_sql(statement).close()
