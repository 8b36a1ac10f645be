"""Whatever the columns and features are called, each value is what it is under plain names.

This holds from the definition to the monitor (C2, S7 and N14).

CI takes the nastiest names at once through what differs by engine; WORKBENCH_NAMES=1 takes every
name through everything, for an hour; WORKBENCH_NAMES=20 every twentieth choice of them.
"""

from __future__ import annotations

import os

import ibis
import names_life
import pytest
from names_life import COLUMNS, FEATURES, PLAIN, SLOTS

from workbench import DefinitionError, EventSource, GroupBy, Join
from workbench.definitions.feature_names import strange
from workbench.online.own_columns import name_beside, row_beside

# fmt: off
NAMES = (
    " ", "a b", " lead", "trail ", "it's", 'say "x"', "back`tick", "a`b``c", "%", "%s", "%(x)s",
    "100%", "{}", "{x}", "{{", ")", "(", "a)b", ";", "a;b--", "--", "/*x*/", "\\", "a\\b",
    "\\n", "$1", "$$", "$x$", ":x", "a:b", "a::int", "?", "a.b", ".", "a.b.c", "[0]", "a[0]",
    "1x", "007", "user", "order", "select", "table", "from", "group", "null", "true", "index",
    "row_number", "timestamp", "date", "time", "at", "key", "value", "values", "count", "sum",
    "ts", "ds", "t", "t0", "t1", "t2", "_", "__", "__ts", "__left", "_row", "_id", "k0", "k1",
    "i0", "i1", "o0", "b0", "rows", "e", "l", "r", "written", "gone", "in_table", "in_stream",
    "number", "request", "hash", "keys", "context", "features", "errors", "parts", "name", "id",
    "left", "right", "as", "by", "on", "where", "rowid", "ctid", "oid", "xmin", "tableoid",
    "self", "class", "def", "None", "schema", "columns", "filter", "get_name", "execute",
    "store", "definition", "limit", "stra\xdfe", "\u0130stanbul", "\u0438\u043c\u044f",
    "\u540d\u524d", "\u0645\u0631\u062d\u0628\u0627", "\u05e9\u05dc\u05d5\u05dd",
    "\u2764\ufe0f", "\U0001f469\u200d\U0001f469\u200d\U0001f467", "\xe9", "e\u0301", "\xf1",
    "\ufb00", "K", "x" * 63, "\u00e9" * 31, "x" * 53, "a\tb", "a\nb", "a\r\nb", "\u202ea",
    "a\u200bb", "<b>", "</style>", "&amp;", "a&b=c", "a/b", "../x", "a#b", "a?b", "a+b", "a=b",
    "a,b", "a|b", "-x", "--help", "@x", "~", "!", "^", "*", "T", "TS", "User", "__proto__",
    "constructor", "toString", "status", "error", "detail", "batch_end", "newest", "as_of",
    "day", "__key__", "offset", "partition", "topic", "headers", "op", "before", "after",
    "having", "metrics", "exprs", "method", "amt%(b)s", "names_g_c_counted_3d", "c_feature_3d",
)
# fmt: on
# What breaks quotations, placeholders, keywords and calls, in a place of each kind.
NASTIEST = {
    "key": "a)%(x)s",
    "second": "self",
    "time": 'it\'s "%" \\ $1;--',
    "value": "time",
    "kind": "{}{x} :x ?",
    "order": "e\u0301 \u00e9",
    "id": "a.b::int [0]",
    "left_time": "user",
    "extra": "by",
    "summed": "self",
    "averaged": "a)b%s \u05e9\u05dc\u05d5\u05dd",
    "filtered": "having",
}
# Postgres has system columns of these names, so its tables have no others.
SYSTEM = {
    "ctid",
    "tableoid",
    "xmin",
    "oid",
}
STEPS = (
    range(0, len(NAMES), int(os.environ["WORKBENCH_NAMES"]))
    if "WORKBENCH_NAMES" in os.environ
    else ()
)


def assignment(start):
    """Return names for all places at once.

    From `start` on it takes every thirteenth name, so that each is once in each place.
    """
    found, used = dict(PLAIN), set()
    for i, slot in enumerate(SLOTS):
        name = NAMES[(start + 13 * i) % len(NAMES)]
        refused = slot in FEATURES and (
            strange(name) or not name.strip() or len(name.encode()) > 40
        )
        if not refused and name.casefold() not in used | SYSTEM:
            used.add(name.casefold())
            found[slot] = name
    return found


@pytest.fixture(scope="module")
def plain():
    return names_life.offline(ibis.duckdb.connect(), PLAIN, "hn", plans=("pairs",))


@pytest.mark.slow
def test_values_of_hostile_names_are_those_of_plain_ones_by_every_plan(postgres, plain):
    found = names_life.offline(postgres, NASTIEST, "hn")

    assert dict.fromkeys(("pairs", "kernel", "into"), plain["pairs"]) == found


@pytest.mark.slow
def test_a_preview_and_its_panels_show_hostile_names_on_postgres(postgres, plain):
    found = names_life.looked_at(postgres, NASTIEST, "hn", whole=False)

    assert plain["pairs"] == found["Join"][0]
    # A value that is called `time` stands beside the event's time.
    assert ["'2024-03-0", "'4'", "'True'", "'in the window'"] == [
        found["why"][0][0][:10],
        *found["why"][0][1:],
    ]


@pytest.mark.slow
def test_hostile_names_are_served_by_every_door(store, duck):
    found = []
    for names in (PLAIN, NASTIEST):
        join = names_life.published(store, duck, names, "hn")
        found.append(names_life.answered(store, join, names))
        names_life.forgotten(store, join)

    assert found[0] == found[1]


@pytest.mark.parametrize("name", ["_fw_at", "_FW_key0"])
def test_names_of_the_plan_are_refused_where_they_are_given(name):
    table = ibis.table({"k": "string", "v": "int64", "ts": "timestamp"}, name="events")
    source = EventSource(table, time="ts")

    with pytest.raises(DefinitionError, match="starts with _fw_"):
        GroupBy(name="g", source=source, keys=["k"], aggregations=[table.v.sum().name(name)])
    with pytest.raises(DefinitionError, match="start with _fw_"):
        GroupBy(name=name, source=source, keys=["k"], aggregations=[table.v.sum()])
    with pytest.raises(DefinitionError, match="start with _fw_"):
        GroupBy(
            name="g",
            source=source,
            keys=["k"],
            aggregations=[table.v.sum()],
            derivations={name: ibis._.v_sum + 1},
        )


def test_a_sample_of_keys_has_a_time_beside_any_key(duck):
    from workbench.previews.key_sample import sampled

    duck.raw_sql("create table events as select 'a' as \"T\", 1 as v, timestamp '2024-01-01' as ts")
    group_by = GroupBy(
        name="g",
        source=EventSource(duck.table("events"), time="ts"),
        keys=["T"],
        aggregations=[duck.table("events").v.sum()],
    )

    join = sampled(group_by, duck)

    assert isinstance(join, Join)
    assert "t_" == join.left.time


def test_an_authors_column_that_is_called_as_ours_is_kept():
    assert {"time_": 1, "why": 2, "time": 3} == row_beside({"time": 1, "why": 2}, {"time": 3})
    assert {"time__": 1, "time_": 2, "time": 3} == row_beside({"time": 1, "time_": 2}, {"time": 3})
    assert "t__" == name_beside("t", ["T", "t_"])


# --- every name, through everything


@pytest.fixture(scope="module")
def whole(store):
    return life(ibis.duckdb.connect(), store, PLAIN)


def life(con, store, names):
    found = {
        "offline": names_life.offline(con, names, "hn"),
        "looked": names_life.looked_at(con, names, "hn"),
    }
    join = names_life.published(store, con, names, "hn", topic="some.topic")
    try:
        found["answered"] = names_life.answered(store, join, names)
        found["watched"] = names_life.watched(store, con, join)
    finally:
        names_life.forgotten(store, join)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("start", STEPS)
@pytest.mark.parametrize("engine", ["duck", "postgres"])
def test_every_name_in_every_place_lives_as_a_plain_one(engine, start, request, store, whole):
    names = assignment(start)

    assert whole == life(request.getfixturevalue(engine), store, names)


@pytest.mark.slow
@pytest.mark.parametrize("start", STEPS)
def test_every_name_in_every_place_is_right_on_spark(start, spark, plain):
    found = names_life.offline(spark, assignment(start), "hn")

    assert dict.fromkeys(("pairs", "kernel"), plain["pairs"]) == found


@pytest.mark.slow
@pytest.mark.parametrize("start", STEPS)
def test_every_name_in_every_place_is_streamed(start, store, kafka, duck):
    found = [
        names_life.streamed(store, duck, kafka, names, "hn") for names in (PLAIN, assignment(start))
    ]

    assert found[0] == found[1]


def test_every_place_is_in_the_nastiest():
    assert {*COLUMNS, *FEATURES} == NASTIEST.keys()
