"""Hostile names, keys and texts: each is served as it is or refused in a sentence.

Nothing is left half done.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import psycopg
import pyarrow as pa
import pytest
from held import END, hold, served, table, uploaded
from ibis import _

from workbench import (
    Aggregation,
    EntitySource,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    days,
    each,
    hours,
    last_k,
)
from workbench.online import StoreError, fetch
from workbench.online.fetching import sql_functions
from workbench.online.storage import registry
from workbench.online.streaming import batch_values, batch_writer, dead_letters
from workbench.serving.online_plans import plan_of
from workbench.serving.publication import publish

pytestmark = pytest.mark.slow

# the tables' timestamps are naive UTC
T, AT = datetime(2024, 1, 1), datetime(2024, 1, 9)  # noqa: DTZ001
TYPES = {"k": pa.string(), "t": pa.timestamp("us"), "v": pa.string()}
# A megabyte that hardly compresses.
LONG = "".join(chr(0x4E00 + i * i % 20011) for i in range(350_000))
HOSTILE = [
    "'",
    '"',
    "\\",
    "'; drop table workbench.plans; --",
    "%s %(a)s",
    "$1",
    "{}",
    "\n\r\t",
    "🎉",
    "\u202e",
    " ",
    "",
    "null",
    "NULL",
    "\\N",
    "é",
    "e\u0301",
    "x" * 2000,
]


def join(con, rows, *, keys=("k",), types=TYPES, topic=None, aggregations=None, **source):
    events = table(con, "events", rows, types)
    left = table(
        con,
        "lefts",
        [{"row": i} | {k: r[k] for k in keys} | {"t": AT} for i, r in enumerate(rows)],
        {"row": pa.int64()} | {k: types[k] for k in keys} | {"t": pa.timestamp("us")},
    )
    group_by = GroupBy(
        name="g",
        source=EventSource(events, time="t", topic=topic, **source),
        keys=list(keys),
        aggregations=aggregations or [last_k(_.v, 2), _.count()],
    )
    return Join(name="j", left=EventSource(left, time="t"), parts=[group_by])


def test_keys_and_texts_are_never_taken_for_sql(store, duck):
    rows = [{"k": k, "t": T, "v": v} for k, v in zip(HOSTILE, HOSTILE[::-1], strict=True)]

    got = hold(store, join(duck, rows), duck)

    assert [[r["v"]] for r in rows] == [r["g_v_last2"] for r in got]


@pytest.mark.parametrize(
    "name",
    [
        'user "id"',
        "user'id",
        "a; drop table x",
        "%s",
        "🎉",
        "at",
        "k0",
        "time",
        "n",
        "in_table",
        "select",
        "A",
    ],
)
def test_a_key_column_may_have_any_name(store, duck, name):
    made = join(
        duck,
        [{name: "a", "t": T, "v": "x"}],
        keys=(name,),
        types={name: pa.string()} | {c: t for c, t in TYPES.items() if c != "k"},
    )
    lacking = sql_functions.lacking(plan_of(made))

    with served(store, made, duck):
        got = fetch(store, "j", {name: "a"}, at=AT)

    assert {"g_v_last2": ["x"], "g_count": 1} == dict(got)
    assert (lacking is not None) == (name == "at")


def test_a_text_of_a_megabyte_is_a_value_and_a_key_to_ask_for_and_no_key_to_store(store, duck):
    made = join(duck, [{"k": "a", "t": T, "v": LONG}])
    with served(store, made, duck) as plan:
        assert [LONG] == fetch(store, "j", k="a", at=AT)["g_v_last2"]
        assert 0 == fetch(store, "j", k=LONG, at=AT)["g_count"]
        table(duck, "events", [{"k": LONG, "t": T, "v": "b"}, {"k": "a", "t": T, "v": "b"}], TYPES)
        with pytest.raises(
            StoreError,
            match=(
                f"g has a k of {len(LONG.encode())} bytes, '{LONG[:40]}'.*no room for it:"
                " shorten it"
            ),
        ):
            uploaded(store, plan, made, duck)
        assert [LONG] == fetch(store, "j", k="a", at=AT)["g_v_last2"]


def test_a_text_with_a_nul_is_refused_in_a_sentence_and_the_old_answers_serve_on(store, duck):
    types = TYPES | {"l": pa.list_(pa.string()), "m": pa.map_(pa.string(), pa.string())}
    good = {"k": "a", "t": T, "v": "x", "l": ["\\u0000"], "m": [("p", "q")]}
    made = join(
        duck,
        [good],
        types=types,
        aggregations=[_.v.last(), _.l.last(), _.m.last(), each(_.l).count()],
    )
    with served(store, made, duck) as plan:
        for bad in ({"k": "a\x00"}, {"v": "\x00"}, {"l": ["x", "a\x00b"]}, {"m": [("\x00", None)]}):
            table(duck, "events", [good, good | bad], types)
            with pytest.raises(StoreError, match="NUL character"):
                uploaded(store, plan, made, duck)
        assert ("x", ["\\u0000"], {"p": "q"}) == tuple(
            fetch(store, "j", k="a", at=AT)[n] for n in ("g_v_last", "g_l_last", "g_m_last")
        )


@pytest.mark.parametrize(
    ("key", "at", "words"),
    [
        ("a\x00", AT, "NUL"),
        ("\ud800", AT, "surrogate"),
        (5, AT, "takes string"),
        (b"a", AT, "takes string"),
        ("a", 2**70, "no time"),
        ("a", "yesterday", "no time"),
        ("a", True, "no time"),
    ],
)
def test_what_no_store_can_hold_is_refused_in_a_sentence(store, duck, key, at, words):
    with (
        served(store, join(duck, [{"k": "a", "t": T, "v": "x"}]), duck),
        pytest.raises(StoreError, match=words),
    ):
        fetch(store, "j", k=key, at=at)


def test_a_hostile_topic_is_only_a_text_and_a_message_without_its_id_is_a_dead_letter(store, duck):
    types = TYPES | {"uid": pa.int64()}
    topic = "'; drop table workbench.offsets; -- %s 🎉"
    made = join(duck, [{"k": "a", "t": T, "v": "x", "uid": 1}], types=types, topic=topic, id="uid")
    with served(store, made, duck, upload=False) as plan:
        level = batch_values.RowLevel(plan.group_bys[0])
        messages = [
            pa.Table.from_pylist(
                [{"k": "a", "t": T, "v": v, "uid": uid} for v, uid in pairs], pa.schema(types)
            )
            for pairs in ([("x", 1), ("y", 2)], [("z", 3), ("w", None)])
        ]
        with store.connection() as con:
            batch_writer.applied(
                con, level, batch_values.Messages(topic, messages[0], [0, 0], [0, 1])
            )
            done = batch_writer.applied(
                con,
                level,
                batch_values.Messages(topic, messages[1], [0, 0], [2, 3], payloads=[b"z", b"w"]),
            )

        (dead,) = [d for d in dead_letters.listed(store, "g") if d.topic == topic]
        assert (3, b"w") == (dead.offset, dead.payload)
        assert "1 rows of g have a null id" in dead.reason
        assert 1 == len(done.dead)
        assert 3 == fetch(store, "j", k="a", at=AT)["g_count"]


# --- what a store forgets and remembers


def test_what_is_published_again_takes_its_messages_again(store, duck):
    made = join(duck, [{"k": "a", "t": T, "v": "x"}], topic="events")
    counts = []
    for _again in range(2):
        with served(store, made, duck, upload=False) as plan, store.connection() as con:
            message = pa.Table.from_pylist([{"k": "a", "t": T, "v": "x"}], pa.schema(TYPES))
            batch_writer.applied(
                con,
                batch_values.RowLevel(plan.group_bys[0]),
                batch_values.Messages("events", message, [0], [0]),
            )
            counts.append(fetch(store, "j", k="a", at=AT)["g_count"])

    assert [1, 1] == counts


def test_retention_keeps_what_max_age_and_midnight_windows_look_at(store, duck):
    day = timedelta(days=1)
    rows = [
        {"k": k, "t": T + n * day, "v": "x"}
        for k, n in (("old", 0), ("old", 1), ("new", 0), ("new", 12), ("edge", 11))
    ]
    events = table(duck, "events", rows, TYPES)
    left = table(
        duck,
        "lefts",
        [{"row": 0, "k": "old", "t": AT}],
        {"row": pa.int64(), "k": pa.string(), "t": pa.timestamp("us")},
    )
    options = {"source": EventSource(events, time="t"), "keys": ["k"]}
    kept = GroupBy(
        name="g", aggregations=[Aggregation(_.count(), days(2))], accuracy="temporal", **options
    )
    midnight = GroupBy(
        name="s", aggregations=[Aggregation(_.count(), days(2))], accuracy="snapshot", **options
    )
    made = Join(
        name="j",
        left=EventSource(left, time="t"),
        parts=[JoinPart(kept, max_age=hours(24 * 5)), midnight],
    )
    end = T + 14 * day
    publish(made, store, confirm=True, end=end, retain=days(4))
    try:
        at = T + 13 * day + timedelta(hours=1)
        old, new, none = (fetch(store, "j", k=k, at=at) for k in ("old", "new", "none"))
        with (
            store.connection() as con,
            pytest.raises(psycopg.errors.RaiseException, match="keeps too little"),
        ):
            con.execute("select * from features.j(k => 'edge', at => %s)", (T + 5 * day,))
        with pytest.raises(StoreError, match="goes back to 2024-01-14 00:00:00"):
            fetch(store, "j", k="edge", at=T + 12 * day + timedelta(hours=5))
    finally:
        registry.unpublish(store, "j")

    assert (None, "expired") == (old["g_count_2d"], old.parts["g"].status)
    assert (1, 1) == (new["g_count_2d"], new["s_count_2d"])
    assert (0, "missing") == (none["g_count_2d"], none.parts["g"].status)


def test_an_upload_never_takes_the_newest_snapshots_of_an_entity_away(store, duck):
    types = {"ds": pa.string(), "k": pa.string(), "v": pa.int64()}
    entity = table(
        duck, "events", [{"ds": f"2024-01-0{d}", "k": "a", "v": d} for d in (1, 2, 3)], types
    )
    left = table(
        duck,
        "lefts",
        [{"row": 0, "k": "a", "t": AT}],
        {"row": pa.int64(), "k": pa.string(), "t": pa.timestamp("us")},
    )
    made = Join(
        name="j",
        left=EventSource(left, time="t"),
        parts=[
            GroupBy(
                name="g", source=EntitySource(entity, snapshot="ds"), keys=["k"], features=["v"]
            )
        ],
    )

    with served(store, made, duck) as plan:
        with pytest.raises(StoreError, match="would take the newest away"):
            uploaded(store, plan, made, duck, END - 1)

        assert 3 == fetch(store, "j", k="a", at=AT)["g_v"]


def test_a_function_answers_alike_whatever_its_callers_session_says(store, duck):
    types = TYPES | {"x": pa.float64(), "z": pa.timestamp("us", "UTC")}
    # likewise
    rows = [{"k": "a", "t": T, "v": "x", "x": 0.1 + 0.2, "z": datetime(2024, 1, 2, 3, 4, 5, 6)}]  # noqa: DTZ001
    made = join(
        duck,
        rows,
        types=types,
        aggregations=[
            Aggregation(_.x.sum().name("m"), by="z"),
            Aggregation(_.x.max().name("n"), by="x"),
            _.z.hour().last().name("h"),
        ],
    )
    with served(store, made, duck):
        settings = [
            "set timezone = 'Asia/Kathmandu'",
            "set datestyle = 'SQL, DMY'",
            "set extra_float_digits = -5",
            "set search_path = nowhere",
        ]
        answers = []
        for before in ([], settings):
            with psycopg.connect(store.url, autocommit=True) as con:
                for setting in before:
                    con.execute(setting)
                answers.append(
                    con.execute(
                        "select * from features.j(k => 'a', at => '2024-01-09T00:00:00Z')"
                    ).fetchone()
                )

    assert answers[0] == answers[1]
