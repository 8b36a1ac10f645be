"""N3: what Debezium writes of decimals, dates and times, and Avro keys, becomes the table's values.

The schema stands beside a message or not.
"""

from __future__ import annotations

import base64
import io
import json
from datetime import UTC, date, datetime, time
from decimal import Decimal

import fastavro
import ibis
import pyarrow as pa
import pytest
from test_avro import registry  # noqa: F401 a fixture

from workbench import DefinitionError, EventSource, GroupBy, Topic
from workbench.online.messages.decoder import Decoder
from workbench.online.messages.encoder import as_told
from workbench.serving.online_plans import plan_of

SOURCE = {
    "id": "int64",
    "ts": "timestamp",
    "price": "decimal(12, 2)",
    "day": "date",
    "clock": "time",
    "seen": "timestamp('UTC')",
    "n": "decimal(20, 0)",
    "s": "string",
}
AT = datetime(2024, 2, 29, 13, 14, 15, 123456, tzinfo=UTC)
ROW = {
    "id": 7,
    "ts": AT.replace(tzinfo=None),
    "price": Decimal("-1234567890.12"),
    "day": date(2024, 2, 29),
    "clock": time(13, 14, 15, 123456),
    "seen": AT,
    "n": Decimal(12345678901234567890),
    "s": "AZA=",
}
MICROS = int(AT.timestamp()) * 1_000_000 + 123456
CLOCK = ((13 * 60 + 14) * 60 + 15) * 1_000_000 + 123456
D, C = "io.debezium.time.", "org.apache.kafka.connect.data."


def unscaled(value, scale):
    number = int(value.scaleb(scale))
    return base64.b64encode(
        number.to_bytes((number.bit_length() + 8) // 8, "big", signed=True)
    ).decode()


PRECISE = {
    "id": 7,
    "ts": MICROS,
    "price": unscaled(ROW["price"], 2),
    "day": 19782,
    "clock": CLOCK,
    "seen": "2024-02-29T13:14:15.123456Z",
    "n": unscaled(ROW["n"], 0),
    "s": "AZA=",
}
FIELDS = {
    "id": ("int64", None),
    "ts": ("int64", f"{D}MicroTimestamp"),
    "price": ("bytes", f"{C}Decimal", {"scale": "2", "connect.decimal.precision": "12"}),
    "day": ("int32", f"{D}Date"),
    "clock": ("int64", f"{D}MicroTime"),
    "seen": ("string", f"{D}ZonedTimestamp"),
    "n": ("bytes", f"{C}Decimal", {"scale": "0"}),
    "s": ("string", None),
}


def schema(**other):
    """Return a schema as Connect's JSON converter writes it beside a change."""
    fields = [
        {
            "type": t,
            "optional": True,
            "field": c,
            **({"name": n, "version": 1} if n else {}),
            **({"parameters": p[0]} if p else {}),
        }
        for c, (t, n, *p) in (FIELDS | other).items()
    ]
    rows = [
        {
            "type": "struct",
            "fields": fields,
            "optional": True,
            "name": "shop.public.orders.Value",
            "field": side,
        }
        for side in ("before", "after")
    ]
    return {
        "type": "struct",
        "fields": [
            *rows,
            {"type": "struct", "fields": [], "field": "source"},
            {"type": "string", "field": "op"},
        ],
        "name": "shop.public.orders.Envelope",
    }


def change(after=PRECISE, said=None, **more):
    told = {
        "before": None,
        "after": after,
        "source": {"connector": "postgresql", "ts_ms": 1},
        "op": "c",
        "ts_ms": 1,
    } | more
    return json.dumps(told if said is None else {"schema": said, "payload": told}).encode()


def decoded(messages, source=SOURCE, *, keys=(), url=None, **said):
    return Decoder(
        Topic("t", **{"envelope": "debezium", "time": "us"} | said).plan, source, url
    ).decode(messages, keys)


@pytest.mark.parametrize("said", [None, schema()], ids=["declared types tell", "schema names tell"])
def test_a_change_of_every_type_is_the_row_of_the_table(said):
    got = decoded([change(said=said)] * 3)

    assert ([], [ROW] * 3) == (got.bad, got.table.to_pylist())


UNITS = {
    "milliseconds": (
        {"ts": MICROS // 1000, "clock": CLOCK // 1000},
        {"ts": ("int64", f"{D}Timestamp"), "clock": ("int32", f"{D}Time")},
        123000,
    ),
    "nanoseconds": (
        {"ts": MICROS * 1000 + 789, "clock": CLOCK * 1000 + 789},
        {"ts": ("int64", f"{D}NanoTimestamp"), "clock": ("int64", f"{D}NanoTime")},
        123456,
    ),
    "Connect's own": (
        {"ts": MICROS // 1000, "clock": CLOCK // 1000},
        {
            "ts": ("int64", f"{C}Timestamp"),
            "clock": ("int32", f"{C}Time"),
            "day": ("int32", f"{C}Date"),
        },
        123000,
    ),
}


@pytest.mark.parametrize("time_", ["us", "ms", "s", "iso"])
@pytest.mark.parametrize("case", UNITS)
def test_the_schema_says_the_unit_whatever_the_topic_has(case, time_):
    """A time that the topic tells less exactly is cut to its unit, as in the plan (rule 21)."""
    values, fields, micros = UNITS[case]

    (row,) = decoded([change(PRECISE | values, schema(**fields))], time=time_).table.to_pylist()

    kept = {"ms": micros // 1000 * 1000, "s": 0}.get(time_, micros)
    assert (ROW["ts"].replace(microsecond=kept), ROW["clock"].replace(microsecond=micros)) == (
        row["ts"],
        row["clock"],
    )
    assert AT.replace(microsecond={"ms": 123000, "s": 0}.get(time_, 123456)) == row["seen"]
    assert ROW["day"] == row["day"]


def test_decimals_come_in_every_handling_mode():
    """decimal.handling.mode is precise, string or double; a numeric may have no scale."""
    source = {"d": "decimal(12, 2)"}
    variable = {"type": "struct", "name": "io.debezium.data.VariableScaleDecimal"}
    told = ["AZA=", "4.00", 4.0, 4, "-0.01", {"scale": 1, "value": "KA=="}, "/w==", "AA=="]
    named = [
        ("bytes", f"{C}Decimal", {"scale": "2"}),
        ("string", None),
        ("double", None),
        ("int64", None),
        ("string", None),
        ("struct", variable["name"]),
        ("bytes", f"{C}Decimal", {"scale": "2"}),
        ("bytes", f"{C}Decimal", {"scale": "2"}),
    ]
    want = [Decimal(v) for v in ("4.00", "4.00", "4.00", "4.00", "-0.01", "4.00", "-0.01", "0.00")]

    bare = decoded([change({"d": v}) for v in told], source)
    said = decoded(
        [change({"d": v}, schema(d=n)) for v, n in zip(told, named, strict=True)], source
    )

    assert want == bare.table["d"].to_pylist() == said.table["d"].to_pylist()


def test_what_may_be_digits_or_bytes_is_no_guess():
    """`1234` is digits, or the base64 of -2663048, and only a schema tells which."""
    source, text, bytes_ = (
        {"n": "decimal(20, 0)"},
        schema(n=("string", None)),
        schema(n=("bytes", f"{C}Decimal", {"scale": "0"})),
    )
    values = [Decimal(v) for v in ("1234", "12345", "-1234")]

    bare = decoded([change({"n": str(v)}) for v in values], source)
    told = [
        decoded([change({"n": "1234"}, said)], source).table["n"].to_pylist()
        for said in (text, bytes_)
    ]

    assert ([1, 2], values[1:]) == (bare.good, bare.table["n"].to_pylist())
    assert (
        "may be its digits or the base64 of its bytes: let the connector send schemas"
        in bare.bad[0][1]
    )
    assert [
        [Decimal(1234)],
        [Decimal(int.from_bytes(base64.b64decode("1234"), "big", signed=True))],
    ] == told


BAD = {
    "a day beyond all years": {"day": 20240101},
    "no time of a day": {"clock": 86_400_000_000},
    "a negative time": {"clock": -1},
    "no base64": {"price": "A==="},
    "no bytes": {"price": ""},
    "a list": {"price": ["AZA="]},
    "too many digits": {"price": unscaled(Decimal(10) ** 11, 2)},
    "no time": {"seen": "yesterday"},
    "a scale that is none": {"price": {"scale": "x", "value": "AZA="}},
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("said", [None, schema()], ids=["bare", "with its schema"])
def test_what_is_none_of_these_is_bad_and_alone(case, said):
    got = decoded([change(said=said), change(PRECISE | BAD[case], said), change(said=said)])

    assert ([0, 2], [1]) == (got.good, [place for place, _ in got.bad])
    assert next(iter(BAD[case])) in got.bad[0][1]


def test_other_names_and_nulls_are_read_alike():
    upper = {c.upper(): v for c, v in PRECISE.items()} | {"DAY": None}
    fields = schema()
    for row in fields["fields"][:2]:
        row["fields"] = [f | {"field": f["field"].upper()} for f in row["fields"]]

    got = decoded(
        [change(upper, fields), change({**PRECISE, "cost": PRECISE["price"]})], names="insensitive"
    )
    renamed = decoded(
        [change({"cost": PRECISE["price"]}, schema(cost=FIELDS["price"]))],
        {"price": SOURCE["price"]},
        names={"price": "cost"},
    )

    assert [ROW | {"day": None}, ROW] == got.table.to_pylist()
    assert [ROW["price"]] == renamed.table["price"].to_pylist()


def test_what_is_no_change_of_debeziums_keeps_its_meaning():
    """A topic of other JSON has days and clock times as texts, and no decimal to guess."""
    got = decoded(
        [json.dumps({"d": "1234"}).encode(), json.dumps({"d": "AZA="}).encode()],
        {"d": "decimal(12, 2)"},
        envelope=None,
    )

    assert ([0], [Decimal("1234.00")]) == (got.good, got.table["d"].to_pylist())


def connected(kind, name):
    return ["null", {"type": kind, "connect.version": 1, "connect.name": name}]


AVRO = {
    "ts": ("long", f"{D}MicroTimestamp"),
    "day": ("int", f"{D}Date"),
    "clock": ("long", f"{D}MicroTime"),
    "seen": ("string", f"{D}ZonedTimestamp"),
}
MILLIS = {
    "ts": ("long", f"{D}Timestamp"),
    "day": ("int", f"{C}Date"),
    "clock": ("int", f"{D}Time"),
    "seen": ("long", f"{C}Timestamp"),
}


def avro_topic(kinds):
    fields = [{"name": c, "type": connected(*kinds[c])} for c in AVRO]
    return Topic("t", format="avro", schema={"type": "record", "name": "Value", "fields": fields})


@pytest.mark.parametrize(
    ("kinds", "micros"), [(AVRO, 123456), (MILLIS, 123000)], ids=["micro", "milli"]
)
def test_an_avro_schema_of_debeziums_tells_as_its_names_say(kinds, micros):
    """The schema that the connector registered is given as it is.

    Rows are written by it, and read, as any topic's.
    """
    topic, source = avro_topic(kinds).plan, {c: SOURCE[c] for c in AVRO}
    told = {
        "ts": MICROS // (1 if kinds is AVRO else 1000),
        "day": 19782,
        "clock": CLOCK // (1 if kinds is AVRO else 1000),
        "seen": PRECISE["seen"] if kinds is AVRO else MICROS // 1000,
    }
    message = avro(0, json.loads(topic.schema), told)[5:]
    want = {c: ROW[c] for c in AVRO} | {
        c: ROW[c].replace(microsecond=micros) for c in ("ts", "clock", "seen")
    }
    rows = pa.table(
        {c: pa.array([ROW[c], None], t) for c, t in Decoder(topic, source).types.items()}
    )

    got, again = (
        Decoder(topic, source).decode([message, message[:-1]]),
        as_told(topic, source, rows),
    )

    assert ([want], [1]) == (got.table.to_pylist(), [p for p, _ in got.bad])
    assert [want, dict.fromkeys(want)] == again.to_pylist()


def test_what_such_a_schema_tells_less_exactly_is_known():
    """N1: the topic's milliseconds meet the table's microseconds; a day is no text."""
    table = ibis.table({c: SOURCE[c] for c in AVRO}, name="connected")
    source = EventSource(table, time="ts", topic=avro_topic(MILLIS))
    plan = plan_of(
        GroupBy(
            name="connected_v1",
            source=source,
            keys=["day"],
            aggregations=[table.clock.max().name("c"), table.seen.max().name("s")],
            accuracy="temporal",
        )
    )

    assert {"time": "ms", "i0": "ms", "i1": "ms"} == plan.group_bys[0].coarse
    with pytest.raises(
        DefinitionError, match=r"has day as io\.debezium\.time\.Date, and connected as string"
    ):
        EventSource(
            ibis.table({c: SOURCE[c] for c in AVRO} | {"day": "string"}, name="connected"),
            time="ts",
            topic=avro_topic(AVRO),
        )


KEYED = {"id": "int64", "day": "date", "price": "decimal(12, 2)", "amt": "int64"}


@pytest.mark.parametrize("said", [False, True])
def test_columns_of_a_json_key_are_read_as_those_of_the_row(said):
    key = {"id": 7, "day": 19782, "price": PRECISE["price"]}
    fields = [f for f in schema()["fields"][1]["fields"] if f["field"] in key]
    key = {"schema": {"type": "struct", "fields": fields}, "payload": key} if said else key

    got = decoded(
        [change({"amt": 1})], KEYED, keys=[json.dumps(key).encode()], key=["id", "day", "price"]
    )

    assert [{"id": 7, "day": ROW["day"], "price": ROW["price"], "amt": 1}] == got.table.to_pylist()


VALUE = {"type": "record", "name": "Value", "fields": [{"name": "amt", "type": "long"}]}
KEY_SCHEMA = {
    "type": "record",
    "name": "Key",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "day", "type": {"type": "int", "connect.version": 1, "connect.name": f"{D}Date"}},
        {
            "name": "price",
            "type": [
                "null",
                {
                    "type": "bytes",
                    "scale": 2,
                    "precision": 12,
                    "connect.name": f"{C}Decimal",
                    "logicalType": "decimal",
                },
            ],
        },
        {"name": "at", "type": {"type": "long", "connect.name": f"{D}MicroTimestamp"}},
        {"name": "clock", "type": {"type": "long", "connect.name": f"{D}NanoTime"}},
        {"name": "seen", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "s", "type": "string"},
    ],
}


def avro(number, schema_, value):
    stream = io.BytesIO(b"\0" + number.to_bytes(4, "big"))
    stream.seek(5)
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema_), value)
    return stream.getvalue()


@pytest.fixture
def keyed(registry):  # noqa: F811 the fixture
    registry.schemas = {1: VALUE, 2: KEY_SCHEMA, 3: "string", 4: "long"}

    def read(keys, columns, source):
        payload = avro(1, VALUE, {"amt": 1})
        return decoded(
            [payload] * len(keys),
            source | {"amt": "int64"},
            keys=keys,
            envelope=None,
            format="avro",
            schema=VALUE,
            registry=True,
            key=columns,
            url=f"http://127.0.0.1:{registry.server_port}",
        )

    return read


def test_avro_keys_of_the_registry_are_read(keyed):
    """Records with Debezium's and Connect's types, and plain values."""
    source = {
        "id": "int64",
        "day": "date",
        "price": "decimal(12, 2)",
        "at": "timestamp",
        "clock": "time",
        "seen": "timestamp('UTC')",
        "s": "string",
    }
    key = {
        "id": 7,
        "day": 19782,
        "price": ROW["price"],
        "at": MICROS,
        "clock": CLOCK * 1000 + 1,
        "seen": AT,
        "s": "é",
    }

    got = keyed(
        [avro(2, KEY_SCHEMA, key), avro(2, KEY_SCHEMA, key | {"price": None})], [*source], source
    )
    texts = keyed([avro(3, "string", "abc"), b"abc"], "s", {"s": "string"})
    numbers = keyed([avro(4, "long", 42), (42).to_bytes(8, "big"), b"42"], "n", {"n": "int64"})

    want = {
        "id": 7,
        "day": ROW["day"],
        "price": ROW["price"],
        "at": ROW["ts"],
        "clock": ROW["clock"],
        "seen": AT.replace(microsecond=123000),
        "s": "é",
        "amt": 1,
    }
    assert [want, want | {"price": None}] == got.table.to_pylist()
    assert (["abc", "abc"], [42, 42, 42]) == (
        texts.table["s"].to_pylist(),
        numbers.table["n"].to_pylist(),
    )


def test_an_avro_key_that_cannot_be_read_is_bad_and_alone(keyed):
    good = avro(3, "string", "abc")

    got = keyed(
        [
            good,
            b"\0\0\0\0\x09abc",
            good[:-1],
            good + b"x",
            avro(
                2,
                KEY_SCHEMA,
                {"id": 1, "day": 1, "price": None, "at": 1, "clock": 1, "seen": AT, "s": "x"},
            ),
            good,
        ],
        "name",
        {"name": "string"},
    )

    assert ([0, 5], [1, 2, 3, 4]) == (got.good, [place for place, _ in got.bad])
    assert "no schema 9" in got.bad[0][1]
    assert "the message's key has id, day, price, at, clock, seen, s: no name" in got.bad[3][1]
