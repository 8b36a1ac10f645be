"""N1: a topic's encoding is part of identity (rule 21).

An event that comes by table and by topic counts once, or publishing is refused.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

import ibis
import pyarrow as pa
import pytest
from pyarrow import csv

from workbench import (
    DefinitionError,
    EventSource,
    GroupBy,
    Join,
    Topic,
    backfill,
    days,
    publish,
    trailing,
)
from workbench.online import fetch
from workbench.online.messages.encoder import as_told
from workbench.online.storage import registry, uploads
from workbench.online.streaming import batch_values, batch_writer
from workbench.serving.history_queries import of_definition
from workbench.serving.online_plans import plan_of

pytestmark = pytest.mark.slow

CON = ibis.duckdb.connect()
T = datetime(2026, 11, 10, 12, 0, 0, 123456)  # noqa: DTZ001 the tables' timestamps are naive UTC
TYPES = {
    "user_id": pa.string(),
    "ts": pa.timestamp("us"),
    "i": pa.int64(),
    "f": pa.float64(),
    "f32": pa.float32(),
    "d": pa.decimal128(12, 4),
    "s": pa.string(),
    "b": pa.bool_(),
    "day": pa.date32(),
    "clock": pa.time64("us"),
    "seen": pa.timestamp("us", "UTC"),
    "ms": pa.timestamp("ms"),
    "uid": pa.string(),
    "tags": pa.list_(pa.float64()),
}
SCHEMA = pa.schema(list(TYPES.items()))
FULL = {
    "i": -(2**53) - 1,
    "f": 0.1,
    "f32": 0.25,
    "d": Decimal("12345678.1234"),
    "s": 'e\u0301, "x"\n',
    "b": False,
    "day": date(2024, 2, 29),
    "clock": time(1, 2, 3, 4),
    "seen": datetime(1969, 12, 31, 23, 59, 59, 999999, UTC),
    "ms": datetime(2026, 11, 10, 12, 0, 0, 5000),  # noqa: DTZ001 the table's is naive UTC
    "uid": str(UUID(int=7)),
    "tags": [0.1, None],
}


def events():
    """Return events of two keys.

    There are full ones, nulls, equal ones, ones within one millisecond or one second, and ones
    before 1970.
    """
    steps = [0, 1, 400, 999, 543_210, 1_000_000, 86_400_000_000, -(2**50)]
    made = [
        {"user_id": str(n % 2), "ts": T + timedelta(microseconds=step), **FULL}
        for n in range(2)
        for step in steps
    ]
    made += [{"user_id": "1", "ts": T + timedelta(microseconds=n)} for n in range(3)]
    made += [made[0], made[0], {**made[0], "f": 0.1 + 2**-56}, {**made[0], "s": 'é, "x"\n'}]
    return pa.Table.from_pylist([{c: e.get(c) for c in TYPES} for e in made], SCHEMA)


def record(columns, **kinds):
    known = {
        "i": "long",
        "f": "double",
        "f32": "float",
        "d": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 4},
        "s": "string",
        "user_id": "string",
        "b": "boolean",
        "day": {"type": "int", "logicalType": "date"},
        "clock": {"type": "long", "logicalType": "time-micros"},
        "ts": {"type": "long", "logicalType": "timestamp-micros"},
        "seen": {"type": "long", "logicalType": "timestamp-micros"},
        "ms": {"type": "long", "logicalType": "timestamp-millis"},
        "uid": "string",
        "tags": {"type": "array", "items": ["null", "double"]},
    } | kinds
    return {
        "type": "record",
        "name": "event",
        "fields": [{"name": c, "type": ["null", known[c]]} for c in columns],
    }


def logical(name):
    return {"type": "long", "logicalType": name}


UNITS = ("s", "ms", "us", "iso")
CLOCKS = {"clock": {"type": "int", "logicalType": "time-millis"}}
TOPICS = {
    **{f"json in {unit}": {"time": unit} for unit in UNITS},
    **{f"csv in {unit}": {"format": "csv", "time": unit} for unit in UNITS},
    "avro micros": {"format": "avro", "kinds": {}},
    "avro millis": {
        "format": "avro",
        "kinds": {
            "ts": logical("timestamp-millis"),
            "seen": logical("local-timestamp-millis"),
            **CLOCKS,
        },
    },
    **{
        f"avro long in {unit}": {
            "format": "avro",
            "time": unit,
            "kinds": {"ts": "long", "seen": "long", "ms": "long"},
        }
        for unit in ("s", "ms", "us")
    },
    "avro float": {"format": "avro", "kinds": {"f": "float"}},
}


def topic(said, columns):
    said = dict(said)
    if said.get("format") == "csv":
        said["fields"] = columns
    if "kinds" in said:
        said["schema"] = record(columns, **said.pop("kinds"))
    return Topic("events.encoded", **said)


def definition(con, said, *, name, rows=None, extra=(), **source):
    rows = events() if rows is None else rows
    if said.get("format") == "csv":
        rows = rows.drop_columns(["tags"])
    table = con.create_table(name, rows, overwrite=True)
    shown = [table[c].last() for c in rows.column_names if c not in ("user_id", "ts")]
    asked = [*trailing(days(3), table.count(), table.ts.max()), *shown, *(e(table) for e in extra)]
    made = EventSource(table, time="ts", topic=topic(said, rows.column_names), **source)
    return GroupBy(name=name, source=made, keys=["user_id"], aggregations=asked), rows


def uploaded(store, plan, group_by, con):
    (stored,) = plan.group_bys
    history = of_definition(stored, group_by, con)
    with store.connection() as connection:
        uploads.upload(connection, stored, history.engine.batches(history.rows), 2**60)


def streamed(store, plan, rows, first):
    (stored,) = plan.group_bys
    told = as_told(stored.topic, stored.source, rows)
    sent = batch_values.Messages(
        "events.encoded", told, [0] * len(told), list(range(first, first + len(told)))
    )
    with store.connection() as connection:
        return batch_writer.applied(connection, batch_values.RowLevel(stored), sent)


AT = (T + timedelta(days=2), T + timedelta(microseconds=400), T + timedelta(days=3, microseconds=1))


def answers(store, name):
    return [
        dict(fetch(store, name, user_id=user, at=at.replace(tzinfo=UTC)))
        for at in AT
        for user in ("0", "1")
    ]


def wanted(con, group_by):
    """Return what a backfill gives for both keys at each time."""
    asked = {
        "row": range(6),
        "user_id": ["0", "1"] * 3,
        "t": pa.array([at for at in AT for _ in "01"], pa.timestamp("us")),
    }
    left = con.create_table("asked", pa.table(asked), overwrite=True)
    rows = (
        backfill(Join(name="j", left=EventSource(left, time="t"), parts=[group_by]))
        .to_pyarrow()
        .to_pylist(maps_as_pydicts="strict")
    )
    head = f"{group_by.name}_"
    return [
        {k.removeprefix(head): v for k, v in r.items() if k.startswith(head)}
        for r in sorted(rows, key=lambda r: r["row"])
    ]


@contextmanager
def registered(store, plan):
    registry.prepare(store, plan)
    registry.register(store, plan)
    try:
        yield
    finally:
        registry.unpublish(store, plan.name)


# Each of the other encodings takes as long.
FEW = (
    "json in ms",
    "json in s",
    "csv in iso",
    "avro millis",
    "avro float",
)


@pytest.mark.parametrize("said", TOPICS if os.environ.get("WORKBENCH_ENCODINGS") == "all" else FEW)
def test_events_that_come_by_table_and_topic_count_once(store, said):
    """N1, rule 21: this holds for each format, unit and type of input, in any order.

    What is served after the upload is the table's to the bit.
    """
    name = "encoded_v1"
    group_by, rows = definition(CON, TOPICS[said], name=name)
    plan, want = plan_of(group_by), wanted(CON, group_by)
    with registered(store, plan):
        assert rows.num_rows == streamed(store, plan, rows, 0).rows
        uploaded(store, plan, group_by, CON)
        assert want == answers(store, name), "streamed first"
    with registered(store, plan):
        uploaded(store, plan, group_by, CON)
        streamed(store, plan, rows, 0)
        assert want == answers(store, name), "uploaded first"
        uploaded(store, plan, group_by, CON)
        assert want == answers(store, name), "and uploaded again"
    with registered(store, plan):
        streamed(store, plan, rows.slice(0, 9), 0)
        uploaded(store, plan, group_by, CON)
        streamed(store, plan, rows.slice(9), 9)
        assert want == answers(store, name), "some of each"


def test_before_the_upload_an_event_is_as_the_topic_tells_it_and_counts_once(store):
    """N1: the number of events is right at every moment, however the topic cuts times."""
    group_by, rows = definition(CON, {}, name="waiting_v1")
    plan = plan_of(group_by)
    with registered(store, plan):
        streamed(store, plan, rows, 0)

        first, second, *_ = answers(store, "waiting_v1")

        assert 21 == first["count_3d"] + second["count_3d"]
        assert 0 == first["ts_max_3d"].microsecond % 1000


def narrower(column, kind):
    return {"format": "avro", "kinds": {column: kind}}


REFUSED = {
    "a decimal with fewer digits": (
        narrower("d", {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}),
        (),
    ),
    "floats in a list": (narrower("tags", {"type": "array", "items": ["null", "float"]}), ()),
    "a part of a second": ({}, [lambda t: t.ts.microsecond().max().name("x")]),
    "a comparison that a cut time does not share": (
        {},
        [lambda t: t.f.sum(where=t.ts > ibis.timestamp("2024-01-01")).name("x")],
    ),
    "a computed float": (narrower("f", "float"), [lambda t: (t.f * 2).sum().name("x")]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_could_not_be_met_is_refused_with_the_line_to_add(case):
    """N1: publishing is refused, unless an id identifies the event."""
    said, extra = REFUSED[case]
    with pytest.raises(
        DefinitionError,
        match=(
            r"would count twice: name the column that identifies an event, EventSource\(\.\.\., id="
        ),
    ):
        plan_of(definition(CON, said, name="refused_v1", extra=extra)[0])

    assert plan_of(definition(CON, said, name="refused_v1", extra=extra, id="uid")[0])


SHARED = [
    lambda t: t.ts.hour().max().name("a"),
    lambda t: t.f.sum(where=t.ts >= ibis.timestamp("2024-01-01")).name("b"),
    lambda t: t.ts.date().max().name("c"),
    lambda t: t.ts.truncate("ms").max().name("d"),
]


def test_what_a_cut_time_shares_is_published():
    """N1: hours, dates and whole instants do not change when a time is cut down."""
    plan = plan_of(definition(CON, {}, name="shared_v1", extra=SHARED)[0])

    assert {"ms"} == set(plan.group_bys[0].coarse.values())


PADDED = (
    "create domain padded.code as char(4)",
    (
        "create table padded.events (user_id char(5), ts timestamp, c char(4), d padded.code, l"
        " char(3)[], v varchar(4))"
    ),
)


def filled(texts, length):
    return [f"{t:{length}}" for t in texts]


def test_the_blanks_that_fill_a_char_n_up_are_no_part_of_a_message(store, postgres):
    """N1, N6, rule 21: Debezium sends `'a   '` of a char(4).

    Keys, values, domains and lists meet the table's without an id.
    """
    for statement in ("drop schema if exists padded cascade", "create schema padded", *PADDED):
        postgres.raw_sql(statement).close()
    columns = {
        "user_id": filled(["1", "1", "12345"], 5),
        "c": filled(["a", "a", "abcd"], 4),
        "d": filled(["b", "", " b"], 4),
        "v": ["v ", "v", "v "],
    }
    try:
        for second, (user, c, d, v) in enumerate(zip(*columns.values(), strict=True)):
            postgres.raw_sql(
                f"insert into padded.events values ('{user}', timestamp '2024-01-01"
                f" 00:00:0{second}', '{c}', '{d}', array['a', null, 'b'], '{v}')"
            ).close()
        table = postgres.table("events", database="padded")
        group_by = GroupBy(
            name="padded_v1",
            source=EventSource(table, time="ts", topic="events.encoded"),
            keys=["user_id"],
            aggregations=[
                *trailing(days(3), table.count()),
                *(table[c].last() for c in ("c", "d", "l", "v")),
            ],
            accuracy="temporal",
        )
        plan = plan_of(group_by)
        with registered(store, plan):
            times = pa.array(
                [1_704_067_200_000_000 + 1_000_000 * n for n in range(3)], pa.timestamp("us")
            )
            messages = pa.table(columns | {"ts": times, "l": [["a  ", None, "b  "]] * 3}).select(
                list(plan.group_bys[0].source)
            )
            streamed(store, plan, messages, 0)
            before = [
                dict(fetch(store, "padded_v1", user_id=u, at=datetime(2024, 1, 2, tzinfo=UTC)))
                for u in ("1", "12345")
            ]
            uploaded(store, plan, group_by, postgres)
            after = [
                dict(fetch(store, "padded_v1", user_id=u, at=datetime(2024, 1, 2, tzinfo=UTC)))
                for u in ("1", "12345")
            ]

        assert before == after
        assert [2, 1] == [a["count_3d"] for a in after]
        assert (["a", None, "b"], "v", "", "a") == tuple(
            after[0][f"{c}_last"] for c in ("l", "v", "d", "c")
        )
    finally:
        postgres.raw_sql("drop schema padded cascade").close()


def test_what_spark_fills_up_is_known_to_the_plan_too(spark):
    """N1, N6: the plan lists such columns, and the updater fills up their texts."""
    spark.raw_sql(
        "create table filled (user_id char(5), ts timestamp, c char(4), v varchar(4), s string)"
        " using parquet"
    )
    try:
        table = spark.table("filled")
        group_by = GroupBy(
            name="filled_v1",
            source=EventSource(table, time="ts", topic="events.encoded"),
            keys=["user_id"],
            aggregations=[table.c.last(), table.s.last(), table.v.last()],
            accuracy="temporal",
        )

        assert ("user_id", "c") == plan_of(group_by).group_bys[0].padded
    finally:
        spark.raw_sql("drop table filled")


SOURCES = {
    "a table of a schema": lambda con: con.table("events", database="other"),
    "a file": lambda con: con.read_csv(con.csv),
    "a table in memory": lambda _: ibis.memtable(events().select(["user_id", "ts", "i"])),
}


def placed(folder):
    """Make a warehouse with equal events in a schema and beside it as a file."""
    con = ibis.duckdb.connect()
    con.raw_sql("create schema other")
    rows = events().select(["user_id", "ts", "i"])
    con.create_table("events", rows, database="other")
    con.csv = folder / "events.csv"
    csv.write_csv(rows, con.csv)
    return con


@pytest.mark.parametrize("source", SOURCES)
def test_messages_become_rows_wherever_the_table_is(store, tmp_path, source):
    """Rule 21: the updater's own table has a name of its own, not the warehouse's."""
    rows = events().select(["user_id", "ts", "i"])
    table = SOURCES[source](placed(tmp_path))
    group_by = GroupBy(
        name="placed_v1",
        source=EventSource(table, time="ts", topic=Topic("events.encoded", time="us")),
        keys=["user_id"],
        aggregations=[*trailing(days(3), table.count()), table.i.last()],
        accuracy="temporal",
    )
    plan = plan_of(group_by)
    with registered(store, plan):
        (stored,) = plan.group_bys
        keys = pa.array([*rows["user_id"].to_pylist()[:-1], None]).cast(
            as_told(stored.topic, stored.source, rows).schema.field("user_id").type
        )
        lacking = as_told(stored.topic, stored.source, rows).set_column(0, "user_id", keys)
        sent = batch_values.Messages(
            "events.encoded", lacking, [0] * len(rows), list(range(len(rows)))
        )
        with store.connection() as connection:
            done = batch_writer.applied(connection, batch_values.RowLevel(stored), sent)

    assert (rows.num_rows - 1, 1) == (done.rows, len(done.dead))


@pytest.mark.parametrize("source", SOURCES)
def test_a_proposal_without_a_topic_makes_rows_wherever_the_table_is(store, tmp_path, source):
    """Rule 21: a newcomer's file could not be published.

    Its rows were sought under the name that Ibis gave it.
    """
    table = SOURCES[source](placed(tmp_path))
    reductions = [*trailing(days(3), table.count()), table.i.last()]
    group_by = GroupBy(
        name="placed_v1",
        source=EventSource(table, time="ts"),
        keys=["user_id"],
        aggregations=reductions,
        accuracy="temporal",
    )

    checks = {f.name: f for f in publish(group_by, store, end="2026-11-30").check()}

    assert "pass" == checks["rows"].status


def test_a_proposal_says_at_what_precision_events_meet(store):
    """N1: the proposal says where the topic's encoding tells less than the table.

    Its check 'streamed row expression equals batch' sends rows through that encoding.
    """
    group_by, _ = definition(CON, {}, name="proposed_v1")

    proposal = publish(group_by, store, end="2026-11-30")

    assert "tells ts in milliseconds" in " ".join(proposal.notes)
    found = {f.name: f for f in proposal.check()}["rows"]
    assert ("pass", True) == (found.status, "in milliseconds" in found.detail)


def test_a_row_that_no_message_can_carry_fails_the_proposals_check(store):
    """N1: an Avro field that holds no null, beside a table that has some."""
    columns = list(TYPES)
    schema = record(columns)
    for field in schema["fields"]:
        field["type"] = field["type"][1] if field["name"] == "f" else field["type"]
    table = CON.create_table("uncarried_v1", events(), overwrite=True)
    source = EventSource(
        table, time="ts", topic=Topic("x", format="avro", schema=json.dumps(schema))
    )
    group_by = GroupBy(
        name="uncarried_v1",
        source=source,
        keys=["user_id"],
        aggregations=trailing(days(3), table.f.sum()),
        accuracy="temporal",
    )

    found = {f.name: f for f in publish(group_by, store, end="2026-11-30").check()}[
        "Streamed row expression equals batch"
    ]

    assert "fail" == found.status
    assert "cannot carry" in found.sentence
