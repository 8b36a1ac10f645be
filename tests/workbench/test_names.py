"""C2 and S7: names are refused in a sentence before anything runs, or are right on every engine."""

from __future__ import annotations

import ibis
import pytest
from cases import stored
from ibis import _

from workbench import EntitySource, EventSource, GroupBy, Join, JoinPart, Topic, backfill
from workbench.backends import engine_of
from workbench.definitions.engine_checks import check_features
from workbench.errors import DefinitionError
from workbench.planner.name_checks import check_join

ROWS = "select 'a' as k, 1 as v, timestamp '2024-01-01' as ts"
UNSEEN = {
    "": "no name",
    " ": "no name",
    "a\u202eb": r"U\+202E",
    "a\u200bb": r"U\+200B",
    "a\nb": r"U\+000A",
    "a\x00b": r"U\+0000",
    "</style>": r"U\+003C",
    "a\u2028b": r"U\+2028",
    "\ufeffa": r"U\+FEFF",
}


def events(name="events", columns="v"):
    return ibis.table(
        {"k": "string", **dict.fromkeys(columns.split(","), "int64"), "ts": "timestamp"}, name=name
    )


def joined(table, *aggregations, left=None, name="g"):
    group_by = GroupBy(
        name=name, source=EventSource(table, time="ts"), keys=["k"], aggregations=list(aggregations)
    )
    return Join(
        name="j",
        left=EventSource(events("lefts") if left is None else left, time="ts"),
        parts=[group_by],
    )


@pytest.mark.parametrize("name", UNSEEN)
def test_a_feature_has_no_name_that_does_not_show(name):
    with pytest.raises(DefinitionError, match=UNSEEN[name]) as refused:
        joined(events(), _.v.sum().name(name))

    assert "\n" not in str(refused.value)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("column", ["a\u202eb", "<b>", "a\nb"])
def test_a_column_of_any_name_gives_a_feature_under_another(column):
    table = events(columns=column)

    with pytest.raises(DefinitionError, match=r"U\+"):
        joined(table, table[column].sum())
    with pytest.raises(DefinitionError, match=r"U\+"):
        GroupBy(name="e", source=EntitySource(table, snapshot=None), keys=["k"], features=[column])
    assert ["g_plain"] == [f.name for f in joined(table, table[column].sum().name("plain")).outputs]


@pytest.mark.parametrize(
    "name",
    ["a'b", 'a"b', "a.b", "%s", "{x}", "order", " lead", "\u2764\ufe0f", "x" * 64, "by", "rowid"],
)
def test_other_names_stay_legal_and_right(duck, name):
    duck.raw_sql(
        f"create table events as {ROWS}; create table lefts as select 'a' as k, timestamp"
        " '2024-01-02' as ts"
    )

    table = backfill(joined(duck.table("events"), _.v.sum().name(name), left=duck.table("lefts")))

    assert [1] == table.to_pyarrow()[f"g_{name}"].to_pylist()


@pytest.mark.parametrize("owner", ["g\u202e", "g\n", "g\u200b", ""])
def test_groups_and_joins_say_the_code_point(owner):
    with pytest.raises(DefinitionError, match=r"is no name"):
        joined(events(), _.v.sum(), name=owner)


def test_columns_that_differ_by_case_are_refused_where_the_engine_takes_them_for_one(duck):
    twins = joined(events(columns="v,V"), events(columns="v,V").v.sum())
    twin = twins.parts[0].group_by
    left = joined(events(), _.v.sum(), left=events("lefts", "amt,Amt"))

    with pytest.raises(
        DefinitionError,
        match="the source of g has columns 'v' and 'V', which DuckDB does not tell apart",
    ):
        check_features(twin.name, twin.source.table, twin.computed, engine_of(duck))
    with pytest.raises(
        DefinitionError, match="the left of j has columns 'amt' and 'Amt', which DuckDB"
    ):
        check_join(left, engine_of(duck))
    check_join(left, engine_of(None, "postgres"))
    check_features(twin.name, twin.source.table, twin.computed, engine_of(None, "postgres"))


def test_a_topic_has_no_columns_that_differ_by_case():
    source = EventSource(events(columns="v,V"), time="ts", topic=Topic("t"))

    with pytest.raises(DefinitionError, match="which the updater does not tell apart"):
        GroupBy(name="g", source=source, keys=["k"], aggregations=[events(columns="v,V").v.sum()])


@pytest.mark.parametrize(
    ("name", "fits"), [("x" * 61, True), ("x" * 62, False), ("é" * 31, False), ("é" * 30, True)]
)
def test_postgres_names_are_counted_in_bytes(name, fits):
    join, postgres = joined(events(), _.v.sum().name(name)), engine_of(None, "postgres")

    if fits:
        check_join(join, postgres)
    else:
        with pytest.raises(DefinitionError, match="Postgres cuts names to 63"):
            check_join(join, postgres)


@pytest.mark.slow
def test_a_dated_table_on_postgres_leaves_room_for_the_one_that_is_built_beside_it(postgres):
    stored(postgres, "names_left", ibis.memtable({"k": ["a"]}).to_pyarrow())
    join = joined(events("names_events"), _.v.sum(), left=events("names_left"))

    with pytest.raises(DefinitionError, match="give it a name of at most 53"):
        backfill(join, into="x" * 54, on=postgres)


@pytest.mark.slow
def test_columns_told_apart_by_case_are_right_on_postgres(postgres):
    for name, query in {
        "cased": "select 'a' as k, 1 as amt, 2 as \"Amt\", timestamp '2024-01-01' as ts",
        "cased_left": "select 'a' as k, 7 as id, 8 as \"Id\", timestamp '2024-01-02' as ts",
    }.items():
        postgres.raw_sql(f"drop table if exists {name}; create table {name} as {query}")
    table = postgres.table("cased")
    group_by = GroupBy(
        name="g",
        source=EventSource(table, time="ts"),
        keys=["k"],
        aggregations=[table.amt.sum().name("small"), table.Amt.sum().name("large")],
    )

    got = (
        backfill(
            Join(
                name="j",
                left=EventSource(postgres.table("cased_left"), time="ts"),
                parts=[JoinPart(group_by)],
            )
        )
        .to_pyarrow()
        .to_pylist()
    )

    assert [(7, 8, 1, 2)] == [(r["id"], r["Id"], r["g_small"], r["g_large"]) for r in got]


def test_a_dated_table_is_of_the_current_schema_and_another_is_refused():
    """Issue 7b, item 4: the sentence spoke of names of columns."""
    con = ibis.duckdb.connect()
    table = stored(con, "dotted", con.sql(ROWS).to_pyarrow())

    with pytest.raises(
        DefinitionError,
        match=(
            r"into='lake\.db\.out' names a schema or catalog, .* connect to lake\.db and give"
            r" into='out'"
        ),
    ):
        backfill(joined(table, table.v.sum(), left=table), into="lake.db.out")
