"""N3: messages that are not the row itself.

They are Debezium's envelope, columns of keys and headers, other names, and messages that give no
row.
"""

from __future__ import annotations

import codecs
import gzip
import json
from decimal import Decimal

import ibis
import pyarrow as pa
import pytest

from workbench import DefinitionError, EventSource, Topic
from workbench.definitions.canonical import canonical
from workbench.online.messages.decoder import Decoder
from workbench.online.messages.encoder import as_told

SOURCE = {"user_id": "string", "ts": "timestamp", "amt": "int64"}
ROW = {"user_id": "1", "ts": 1_700_000_000_000, "amt": 5}


def decoded(messages, source=SOURCE, *, identified=False, keys=(), headers=(), **said):
    topic = Topic("t", **said).plan
    got = Decoder(topic, source, identified=identified).decode(
        [m if isinstance(m, bytes | None) else json.dumps(m).encode() for m in messages],
        keys,
        headers,
    )
    assert sorted([*got.good, *(place for place, _ in (*got.bad, *got.passed))]) == list(
        range(len(messages))
    )
    assert len(got.good) == got.table.num_rows
    return got


def change(op, after=ROW, before=None, **more):
    return {
        "before": before,
        "after": after,
        "source": {"ts_ms": 1, "db": {"after": {}}},
        "op": op,
        "ts_ms": 1,
        **more,
    }


FORMS = {
    "flat": lambda m: m,
    "with its schema": lambda m: {"schema": {"type": "struct"}, "payload": m},
    "payload alone": lambda m: {"payload": m},
}


@pytest.mark.parametrize("form", FORMS)
def test_debeziums_changes_are_events_deletes_are_counted_and_tombstones_passed(form):
    """N3: op c, r and, with an id, u bring rows; d removes nothing and is counted.

    What says nothing is passed over.
    """
    wrapped = FORMS[form]
    messages = [
        wrapped(change("c")),
        wrapped(change("r")),
        wrapped(change("u")),
        wrapped(change("d", None, ROW)),
        None,
        wrapped(change("c", None)),
        wrapped(change("x")),
    ]

    got, other = (
        decoded(messages, identified=True, envelope="debezium"),
        decoded(messages, envelope="debezium"),
    )

    assert ([0, 1, 2], ["1", "1", "1"]) == (got.good, got.table["user_id"].to_pylist())
    assert [(3, "deletes"), (4, "tombstones")] == got.passed
    assert [5, 6] == [place for place, _ in got.bad]
    assert [2, 5, 6] == [place for place, _ in other.bad]
    assert "EventSource(..., id=...)" in other.bad[0][1]


def test_a_row_that_was_taken_out_of_its_envelope_says_what_became_of_it():
    got = decoded(
        [{**ROW, "__deleted": "false"}, {**ROW, "__deleted": "true"}, {**ROW, "__op": "d"}, ROW],
        envelope="debezium",
    )

    assert ([0], [(1, "deletes"), (2, "deletes")], [3]) == (
        got.good,
        got.passed,
        [p for p, _ in got.bad],
    )
    assert "it has user_id, ts, amt, and no op" in got.bad[0][1]


def test_every_digit_of_a_row_in_an_envelope_counts():
    text = (
        b'{"payload": {"op": "c", "before": null, "after": {"d": 12345678901234567.890123, "s":'
        b' "\\ud83d\\ude00", "n": 9223372036854775807}}}'
    )

    got = decoded([text], {"d": "decimal(30, 6)", "s": "string", "n": "int64"}, envelope="debezium")

    assert [
        {"d": Decimal("12345678901234567.890123"), "s": "😀", "n": 2**63 - 1}
    ] == got.table.to_pylist()


BROKEN = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'{"op": "c", "after": {}} x',
    b'{"op": "c", "op": "c", "after": {}}',
    b'{"op": "c", "after": [1]}',
    b'{"op": "c", "after": 5}',
    b'{"op": ["c"], "after": {}}',
    b'{"op": "c", "after": {"a" 1}}',
    b"\xff",
    b'{"a": ' + b"[" * 100_000,
    b'{"payload": 5}',
    b"{}",
]


@pytest.mark.parametrize("wrong", BROKEN)
def test_what_is_no_envelope_is_bad_and_alone(wrong):
    got = decoded([change("c"), wrong, change("c")], envelope="debezium")

    assert ([0, 2], [1]) == (got.good, [p for p, _ in got.bad])


KEYS = [
    b"7",
    b'"7"',
    b'{"user_id": "7"}',
    b'{"schema": {}, "payload": {"user_id": "7"}}',
    b'{"schema": {}, "payload": "7"}',
]


@pytest.mark.parametrize("key", KEYS)
def test_a_column_comes_from_the_messages_key_in_any_form(key):
    """N3: a key is plain text, JSON text, or an object by names, with its schema or without."""
    value = {k: v for k, v in ROW.items() if k != "user_id"}

    got = decoded([value, value, None], keys=[key, None, key], key="user_id")

    assert (["7", None], [(2, "tombstones")]) == (got.table["user_id"].to_pylist(), got.passed)


@pytest.mark.parametrize(
    ("key", "number"),
    [
        (b"42", 42),
        (b"-42", -42),
        ((42).to_bytes(8, "big"), 42),
        ((-42).to_bytes(4, "big", signed=True), -42),
        (b'{"id": 42}', 42),
        (b"12345678", 12345678),
    ],
)
def test_a_number_comes_from_the_messages_key_as_text_or_bytes(key, number):
    got = decoded([{"amt": 1}], {"n": "int64", "amt": "int64"}, keys=[key], key={"n": "id"})

    assert [{"n": number, "amt": 1}] == got.table.to_pylist()


@pytest.mark.parametrize("key", [b"\xff\xfe", b"{", b"4.5", b"x", b'{"user_id": [1]}'])
def test_a_key_that_its_column_does_not_hold_is_bad_and_alone(key):
    got = decoded(
        [{"amt": 1}] * 3,
        {"user_id": "int64", "amt": "int64"},
        keys=[b"1", key, b"3"],
        key="user_id",
    )

    assert ([0, 2], [1]) == (got.good, [p for p, _ in got.bad])


def test_columns_come_from_headers_and_several_from_one_key():
    headers = [[("x-region", b"eu"), ("n", b"5"), ("x-region", b"us")], [], [("n", None)]]
    source = {"a": "string", "b": "int64", "region": "string", "n": "int64", "amt": "int64"}

    topic = Topic("t", key={"a": "a", "b": "B"}, headers={"region": "x-region", "n": "n"}).plan
    values = [json.dumps({"amt": i}).encode() for i in range(3)]

    got = Decoder(topic, source).decode(values, [b'{"a": "x", "B": 1}'] * 3, headers)

    assert [("us", 5), (None, None), (None, None)] == [
        (r["region"], r["n"]) for r in got.table.to_pylist()
    ]
    assert [("x", 1, 0), ("x", 1, 1), ("x", 1, 2)] == [
        (r["a"], r["b"], r["amt"]) for r in got.table.to_pylist()
    ]


def test_names_of_any_case_match_where_it_is_asked_for():
    """N3: upper-case names are no columns unless the topic says so.

    Two that meet in one column are bad.
    """
    messages = [{"USER_ID": "1", "Ts": 1, "amt": 2}, {"user_id": "1", "USER_ID": "2"}]

    got = decoded(messages, names="insensitive")

    assert ([0], [1]) == (got.good, [p for p, _ in got.bad])
    assert ("1", 2) == (got.table["user_id"][0].as_py(), got.table["amt"][0].as_py())
    assert [None, "1"] == decoded(messages).table["user_id"].to_pylist()


def test_columns_stand_under_other_names_and_in_nested_objects():
    """N3: columns are renamed, keys are nested, and a name has a dot itself."""
    messages = [{"user": {"id": "1", "x": {}}, "ts": 1, "amount.eur": 5}, {"user": "none", "ts": 1}]

    got = decoded(messages, names={"user_id": "user.id", "amt": "amount.eur"})

    assert [("1", 5), (None, None)] == [(r["user_id"], r["amt"]) for r in got.table.to_pylist()]


WRAPPED = {
    "a schema's id before JSON": b"\0\0\0\0\1" + json.dumps(ROW).encode(),
    "gzip": gzip.compress(json.dumps(ROW).encode()),
    "protobuf": b"\x0a\x011\x10\x05",
    "UTF-16": json.dumps(ROW).encode("utf-16"),
    "a BOM": codecs.BOM_UTF8 + json.dumps(ROW).encode(),
    "an array": [ROW],
    "a text": "x",
}


@pytest.mark.parametrize("wrong", WRAPPED)
@pytest.mark.parametrize("said", [{}, {"names": "insensitive"}, {"envelope": "debezium"}])
def test_what_only_wraps_json_is_bad_and_alone(wrong, said):
    good = change("c") if "envelope" in said else ROW

    got = decoded([good, WRAPPED[wrong], good], **said)

    assert ([0, 2], [1]) == (got.good, [p for p, _ in got.bad])


SAID = [
    {},
    {"envelope": "debezium"},
    {"key": "user_id"},
    {"key": {"user_id": "id"}, "headers": {"ts": "at"}},
    {"names": "insensitive"},
    {"names": {"amt": "a.b", "user_id": "u"}},
    {"envelope": "debezium", "names": {"amt": "x"}, "key": "user_id"},
    {"format": "csv", "fields": ["amt", "other", "ts"], "headers": ["user_id"]},
]


@pytest.mark.parametrize("said", SAID)
def test_rows_are_read_as_they_are_written_however_a_topic_carries_them(said):
    """N1: the encoder is the decoder's inverse for every way to carry a row."""
    rows = pa.Table.from_pylist(
        [
            {"user_id": u, "ts": n * 1_000_000, "amt": None if n == 2 else n}
            for n, u in enumerate(['"quoted"', "", "{}", "5", "é\n"])
        ],
        pa.schema({"user_id": pa.string(), "ts": pa.timestamp("us"), "amt": pa.int64()}),
    )

    assert rows.to_pylist() == as_told(Topic("t", **said).plan, SOURCE, rows).to_pylist()


REFUSED = [
    ({"envelope": "maxwell"}, "unknown: say 'debezium'"),
    ({"names": "any"}, "say names='insensitive'"),
    ({"envelope": "debezium", "format": "csv", "fields": ["ts"]}, "json alone takes"),
    ({"key": "user_id", "headers": ["user_id"]}, "from the key and from the headers"),
    ({"key": "nobody"}, "has no such column: it has user_id"),
    ({"key": "tags"}, "which are texts and numbers"),
]


@pytest.mark.parametrize(("said", "words"), REFUSED)
def test_a_topic_that_cannot_be_so_is_refused_in_the_authors_cell(said, words):
    table = ibis.table(
        {"user_id": "string", "ts": "timestamp", "amt": "int64", "tags": "array<string>"},
        name="events",
    )

    with pytest.raises(DefinitionError, match=words):
        EventSource(table, time="ts", topic=Topic("t", **said))


def test_what_is_not_said_of_a_topic_is_no_part_of_a_definition():
    """Hashes of what was published do not change."""
    table = ibis.table({"user_id": "string", "ts": "timestamp", "amt": "int64"}, name="events")

    plain, said = (
        canonical(EventSource(table, time="ts", topic=t))
        for t in (Topic("t", time="us"), Topic("t", time="us", key="user_id"))
    )

    assert not {"envelope", "headers", "names"} & {*json.loads(plain)["topic"]}
    assert '"key":[["user_id","user_id"]]' in said
