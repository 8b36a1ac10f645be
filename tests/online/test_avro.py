"""Avro messages, with and without a registry, which is a real HTTP server here."""

from __future__ import annotations

import io
import json
import threading
from datetime import UTC, date, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fastavro
import pytest

from workbench.online import StoreError
from workbench.online.messages.decoder import Decoder
from workbench.online.plan import TopicPlan

AT = datetime(2024, 1, 1, tzinfo=UTC)
SOURCE = {
    "at": "timestamp('UTC')",
    "n": "int64",
    "d": "decimal(20, 2)",
    "day": "date",
    "tags": "array<string>",
    "m": "map<string, int64>",
    "s": "string",
}


def record(*fields):
    return {
        "type": "record",
        "name": "event",
        "fields": [{"name": n, "type": t, **more} for n, t, more in fields],
    }


FULL = record(
    ("at", {"type": "long", "logicalType": "timestamp-micros"}, {}),
    ("n", ["null", "long"], {}),
    ("d", {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2}, {}),
    ("day", {"type": "int", "logicalType": "date"}, {}),
    ("tags", {"type": "array", "items": "string"}, {}),
    ("m", {"type": "map", "values": "long"}, {}),
    ("s", "string", {}),
)
EVENT = {
    "at": AT,
    "n": 2**63 - 1,
    "d": Decimal("12345678901234567.89"),
    "day": date(2024, 2, 29),
    "tags": ["a"],
    "m": {"k": 1},
    "s": "é",
}


def written(schema, row):
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), row)
    return stream.getvalue()


def topic(schema, **more):
    return TopicPlan("t", "avro", schema=json.dumps(schema), **more)


@pytest.fixture
def registry():
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append((self.path, self.headers.get("Authorization")))
            known = self.server.schemas.get(int(self.path.rpartition("/")[2]))
            status = self.server.status or (200 if known else 404)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps({"schema": json.dumps(known)}).encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.schemas, server.asked, server.status = {}, [], None
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_every_value_of_an_avro_message_is_read_exactly():
    got = Decoder(topic(FULL), SOURCE).decode(
        [written(FULL, EVENT), written(FULL, EVENT | {"n": None})]
    )

    assert [EVENT, EVENT | {"n": None}] == got.table.to_pylist(maps_as_pydicts="strict")


def test_malformed_messages_are_bad_and_alone():
    whole = written(FULL, EVENT)

    got = Decoder(topic(FULL), SOURCE).decode([whole, None, b"", whole[:-1], whole + b"x", whole])

    assert ([0, 5], [2, 3, 4], [(1, "tombstones")]) == (
        got.good,
        [place for place, _ in got.bad],
        got.passed,
    )
    assert "the message has 1 bytes after its record" in got.bad[2][1]


def test_a_plain_long_has_the_topics_unit():
    schema = record(("at", "long", {}))

    got = Decoder(topic(schema, time="s"), {"at": "timestamp('UTC')"}).decode(
        [written(schema, {"at": 1704067200})]
    )

    assert [AT] == got.table["at"].to_pylist()


def test_what_another_schema_wrote_is_read_by_name_with_defaults(registry):
    registry.schemas = {7: record(("s", "string", {}), ("old", "int", {}), ("n", "int", {}))}
    reader = record(("n", "long", {}), ("s", "string", {}), ("new", "string", {"default": "none"}))
    url = f"http://user:p%40ss@127.0.0.1:{registry.server_port}"
    decoder = Decoder(
        topic(reader, registry=True), {"n": "int64", "s": "string", "new": "string"}, url
    )
    message = b"\0\0\0\0\x07" + written(registry.schemas[7], {"s": "a", "old": 1, "n": 5})

    got = [decoder.decode([message, b"\0\0\0\0\x08x", b"\x01junk", message]) for _ in range(2)]

    assert [[{"n": 5, "s": "a", "new": "none"}] * 2] * 2 == [g.table.to_pylist() for g in got]
    assert [
        (1, "the registry has no schema 8, which the message says it was written by"),
        (
            2,
            (
                "the message has no schema id: it begins with 016a756e6b, not with a zero byte and"
                " four of an id"
            ),
        ),
    ] == got[0].bad
    assert 1 == registry.asked.count(("/schemas/ids/7", "Basic dXNlcjpwQHNz"))


@pytest.mark.parametrize("status", [401, 500, 503])
def test_a_registry_that_does_not_answer_is_away_and_nothing_is_bad(registry, status):
    registry.status = status
    decoder = Decoder(
        topic(FULL, registry=True), SOURCE, f"http://user:secret@127.0.0.1:{registry.server_port}"
    )

    with pytest.raises(StoreError, match=f"answered {status}") as refused:
        decoder.decode([b"\0\0\0\0\x01x"])
    assert ("away", False) == (refused.value.kind, "secret" in str(refused.value))


def test_a_registry_that_cannot_be_reached_is_away():
    decoder = Decoder(topic(FULL, registry=True), SOURCE, "http://127.0.0.1:1")

    with pytest.raises(StoreError, match="cannot be reached") as refused:
        decoder.decode([b"\0\0\0\0\x01x"])
    assert "away" == refused.value.kind


def test_a_topic_with_a_registry_asks_for_its_address(monkeypatch):
    monkeypatch.delenv("WORKBENCH_SCHEMA_REGISTRY", raising=False)

    with pytest.raises(StoreError, match="set WORKBENCH_SCHEMA_REGISTRY to its URL"):
        Decoder(topic(FULL, registry=True), SOURCE)


def test_a_timestamp_that_was_written_without_its_unit_is_bad(registry):
    registry.schemas = {1: record(("at", "long", {}))}
    reader = record(("at", {"type": "long", "logicalType": "timestamp-millis"}, {}))
    decoder = Decoder(
        topic(reader, registry=True),
        {"at": "timestamp"},
        f"http://127.0.0.1:{registry.server_port}",
    )

    got = decoder.decode([b"\0\0\0\0\x01" + written(registry.schemas[1], {"at": 5})])

    assert [
        (
            0,
            (
                "column 'at' is a timestamp with a unit, and the message was written with 5 as a"
                " plain number"
            ),
        )
    ] == got.bad
