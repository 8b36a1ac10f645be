"""Messages become rows, each at its place; bad ones stand apart with a reason (rules 1, 7, 21)."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime, time
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.online.messages.decoder import Decoder
from workbench.online.plan import TopicPlan

RETURNS = {
    "ts": "timestamp",
    "return_id": "string",
    "user_id": "int64",
    "product_id": "int64",
    "refund_amt": "int64",
}
LINE = b"1701475200000,F8E3E287-1B44-4D5B-9F0B-3D1A5E0A7C11,91,81,356"
ROW = {
    "ts": datetime(2023, 12, 2),  # noqa: DTZ001 naive, as the table's
    "return_id": "F8E3E287-1B44-4D5B-9F0B-3D1A5E0A7C11",
    "user_id": 91,
    "product_id": 81,
    "refund_amt": 356,
}
T, Z = datetime(2024, 1, 1), datetime(2024, 1, 1, tzinfo=UTC)  # noqa: DTZ001

JSON_GOOD = [
    ("int64", b"9223372036854775807", 2**63 - 1),
    ("int64", b"-9223372036854775808", -(2**63)),
    ("uint64", b"18446744073709551615", 2**64 - 1),
    ("float64", b"0.1", 0.1),
    ("float64", b"2.2250738585072011e-308", 2.2250738585072011e-308),
    ("float64", b"123456789012345678901234567890", 1.2345678901234568e29),
    ("float64", b"Infinity", float("inf")),
    ("decimal(20, 2)", b"12345678901234567.89", Decimal("12345678901234567.89")),
    ("decimal(20, 2)", b'"1.50"', Decimal("1.50")),
    ("decimal(20, 2)", b"1e2", Decimal("100.00")),
    (
        "decimal(38, 10)",
        b"1234567890123456789012345678.0123456789",
        Decimal("1234567890123456789012345678.0123456789"),
    ),
    ("string", b'"\\u0000x"', "\0x"),
    ("string", b'"\\ud83d\\ude00, \xc3\xa9"', "😀, é"),
    ("boolean", b"true", True),
    ("date", b'"2024-02-29"', date(2024, 2, 29)),
    ("time", b'"10:00:00.25"', time(10, 0, 0, 250000)),
    ("uuid", b'"F8E3E287-1B44-4D5B-9F0B-3D1A5E0A7C11"', "f8e3e287-1b44-4d5b-9f0b-3d1a5e0a7c11"),
    ("timestamp", b"1704067200000", T),
    ("timestamp('UTC')", b"1704067200000", Z),
    ("array<int64>", b"[1, null]", [1, None]),
    ("array<array<decimal(5, 2)>>", b"[[1.25], []]", [[Decimal("1.25")], []]),
    ("struct<a: int64, b: string>", b'{"a": 1, "z": [2]}', {"a": 1, "b": None}),
    ("timestamp", b"null", None),
    (
        "map<string, decimal(20, 2)>",
        b'{"a": 12345678901234567.89, "b": null}',
        [("a", Decimal("12345678901234567.89")), ("b", None)],
    ),
    ("array<map<string, float64>>", b'[{"a": 0.1}]', [[("a", 0.1)]]),
]
JSON_BAD = [
    ("int64", b"9223372036854775808"),
    ("int64", b"5.0"),
    ("int64", b'"5"'),
    ("int64", b"1e3"),
    ("int64", b"NaN"),
    ("int64", b"true"),
    ("int8", b"128"),
    ("uint8", b"-1"),
    ("float64", b"1e400"),
    ("float64", b'"1"'),
    ("float32", b"1e39"),
    ("decimal(20, 2)", b"1.005"),
    ("decimal(20, 2)", b"1e99"),
    ("decimal(4, 2)", b"123.45"),
    ("string", b"5"),
    ("string", b'"\\ud800"'),
    ("string", b'"\xff"'),
    ("string", b'"a\nb"'),
    ("boolean", b"1"),
    ("date", b'"2023-02-29"'),
    ("date", b"19000"),
    ("timestamp", b"1704067200000.5"),
    ("timestamp", b"9223372036854775807"),
    ("timestamp", b'"2024-01-01"'),
    ("array<int64>", b"[1.5]"),
    ("array<int64>", b"[" * 200_000 + b"]" * 200_000),
    ("struct<a: int64>", b'{"a": 1, "a": 2}'),
    ("map<string, int64>", b'{"a": 1, "a": 2}'),
    ("map<string, int64>", b'{"a": 5.0}'),
    ("map<string, float64>", b'{"a": 1e400}'),
    ("map<string, decimal(5, 2)>", b'{"a": 1.005}'),
    ("map<string, int64>", b"[" * 200_000 + b"]" * 200_000),
]


def decoded(payloads, source, **topic):
    got = Decoder(TopicPlan("t", **topic), source).decode(payloads)
    assert sorted([*got.good, *(place for place, _ in (*got.bad, *got.passed))]) == list(
        range(len(payloads))
    )
    assert len(got.good) == got.table.num_rows
    return got


@pytest.mark.parametrize(("type_", "text", "value"), JSON_GOOD)
def test_a_json_value_is_read_exactly(type_, text, value):
    got = decoded([b"{}", b'{"x": %b, "other": {"x": [7]}}' % text, b" {\r\n}"], {"x": type_})

    assert ([{"x": None}, {"x": value}, {"x": None}], []) == (got.table.to_pylist(), got.bad)


@pytest.mark.parametrize(("type_", "text"), JSON_BAD)
def test_a_json_value_that_its_column_does_not_hold_is_bad_and_alone(type_, text):
    got = decoded([b"{}", b'{"x": %b}' % text, b"{}"], {"x": type_})

    assert ([0, 2], 1) == (got.good, got.bad[0][0])
    assert "column 'x' is" in got.bad[0][1] or "the message is no" in got.bad[0][1]


@pytest.mark.parametrize("topic", [{}, {"format": "csv", "fields": ("x",)}])
def test_a_message_without_a_value_is_passed_over_and_shifts_no_row(topic):
    """N3: a null of a compacted topic is no event, and nothing is wrong with it."""
    written = [b'{"x": 1}', b'{"x": 3}'] if not topic else [b"1", b"3"]

    got = decoded([None, written[0], None, written[1]], {"x": "int64"}, **topic)

    assert ([1, 3], [1, 3], [], [(0, "tombstones"), (2, "tombstones")]) == (
        got.good,
        got.table["x"].to_pylist(),
        got.bad,
        got.passed,
    )


BAD_OBJECTS = [
    b"",
    b"null",
    b"[]",
    b"5",
    b'{"x": 1',
    b'"x": 1}',
    b'{"x": 1} {"x": 2}',
    b'{"x": 1}\n{"x": 2}',
    b'{"x": 1} null',
    b'{"x": 1,}',
    b"\xef\xbb\xbf{}",
    b'{"x": 1, "x": 1}',
    b'{"y": "\xff"}',
    b'{"y": [',
    b"]}",
    b'{"y": "',
    b'{"x": 1}\0',
    b'{"x": 1}{"__workbench_place__": 3',
]


@pytest.mark.parametrize("wrong", BAD_OBJECTS)
def test_a_message_that_is_no_single_object_shifts_no_row(wrong):
    messages = [b'{"x": 0}', wrong, b'{"x": 2}', wrong, b'{"x": 4}']

    got = decoded(messages, {"x": "int64"})

    assert ([0, 2, 4], [0, 2, 4], [1, 3]) == (
        got.good,
        got.table["x"].to_pylist(),
        [place for place, _ in got.bad],
    )


def test_two_halves_of_an_object_are_two_bad_messages():
    got = decoded([b'{"x": 0, "y": [', b'{"x": 1}]}', b'{"x": 2}'], {"x": "int64"})

    assert ([2], [2]) == (got.good, got.table["x"].to_pylist())


def test_a_long_and_a_deep_message_are_read():
    long, deep = (
        b'{"x": "%b"}' % (b"a" * 1_500_000),
        b'{"y": %b1%b, "x": "b"}'
        % (
            b"[" * 300_000,
            b"]" * 300_000,
        ),
    )

    got = decoded([long, deep, b'{"x": "c"}'], {"x": "string"})

    assert [1_500_000, 1, 1] == [len(x) for x in got.table["x"].to_pylist()]


def test_a_reason_names_the_column_and_what_stood_there():
    wrong = [b'{"x": 5.0}', b'{"x": "5"}', b'{"x": 1, "x": 2}', b"x"]

    got = decoded(wrong, {"x": "int64"})

    assert [
        "column 'x' is int64, and the message has 5.0",
        "column 'x' is int64, and the message has '5'",
        "column 'x' is given twice",
        "the message is no JSON object: it begins with b'x'",
    ] == [why for _, why in got.bad]


ISO = [
    ("2024-01-01T02:00:00Z", 2),
    ("2024-01-01T02:00:00+02:00", 0),
    ("2024-01-01T02:00:00-0130", 3.5),
    ("2024-01-01 02:00", 2),
    ("2024-01-01", 0),
    ("2024-01-01T02:00:00.0000000Z", 2),
]


@pytest.mark.parametrize("format_", ["json", "csv"])
@pytest.mark.parametrize(("type_", "zone"), [("timestamp", None), ("timestamp('UTC')", UTC)])
def test_iso_times_are_utc_with_a_zone_or_without(format_, type_, zone):
    written = [
        json.dumps({"x": text}).encode() if format_ == "json" else text.encode() for text, _ in ISO
    ]

    got = decoded(
        written, {"x": type_}, format=format_, time="iso", fields=("x",) if format_ == "csv" else ()
    )

    assert [
        datetime(2024, 1, 1, int(h), int(h % 1 * 60), tzinfo=zone) for _, h in ISO
    ] == got.table["x"].to_pylist()


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-01T00:00:00.0000001",
        "2024-02-30T00:00:00Z",
        "2024-01-01T24:00:00",
        "yesterday",
        "1704067200000",
        "2024-01-01T00:00:00 Z",
    ],
)
def test_a_time_that_microseconds_do_not_hold_is_bad(text):
    got = decoded(
        [b'{"x": "2024-01-01T00:00:00Z"}', json.dumps({"x": text}).encode()],
        {"x": "timestamp"},
        time="iso",
    )

    assert [(1, f"column 'x' is timestamp in iso, and the message has {text!r}")] == got.bad


def test_the_readmes_line_is_a_row():
    got = decoded([LINE, LINE + b"\r\n"], RETURNS, format="csv", fields=tuple(RETURNS))

    assert [ROW, ROW] == got.table.to_pylist()
    assert pa.timestamp("us") == got.table.schema.field("ts").type


def test_csv_tells_an_empty_text_from_null_and_reads_quotes():
    lines = [b',""', b'1,"a, ""b"""', b"1,", b'"2","x\ny"']

    got = decoded(lines, {"s": "string", "n": "int64"}, format="csv", fields=("n", "s"))

    assert [("", None), ('a, "b"', 1), (None, 1), ("x\ny", 2)] == [
        (r["s"], r["n"]) for r in got.table.to_pylist()
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"1",
        b"1,2,3",
        b'1,"a',
        b'a",1',
        b"1,a\n2,b",
        b"5.0,a",
        b"0x10,a",
        b'"",a',
        b"\xef\xbb\xbf1,a",
        b"1,\xff",
        b"9223372036854775808,a",
        b"1,a\rb",
    ],
)
def test_a_message_that_is_no_line_of_the_topic_shifts_no_row(wrong):
    got = decoded(
        [b"0,a", wrong, wrong, b"3,0xf"],
        {"n": "int64", "s": "string"},
        format="csv",
        fields=("n", "s"),
    )

    assert ([0, 3], [0, 3], ["a", "0xf"]) == (
        got.good,
        got.table["n"].to_pylist(),
        got.table["s"].to_pylist(),
    )


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        ("float64", b"1e400"),
        ("decimal(5, 2)", b"1.005"),
        ("boolean", b"yes"),
        ("date", b"2024-13-01"),
    ],
)
def test_a_csv_value_that_its_column_does_not_hold_is_bad(type_, text):
    got = decoded([text, text], {"x": type_}, format="csv", fields=("x",))

    assert [0, 1] == [place for place, _ in got.bad]


def test_nothing_decoded_is_an_empty_table_of_the_types():
    got = decoded([], RETURNS)

    assert (0, list(RETURNS)) == (got.table.num_rows, got.table.column_names)


# The one left out is of columns that these tables lack.
BAD_ALWAYS = [m for m in BAD_OBJECTS if m != b'{"x": 1, "x": 1}']
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ROWS = st.fixed_dictionaries(
    {
        "n": st.none() | st.integers(-(2**63), 2**63 - 1),
        "d": st.none() | st.decimals(-999, 999, places=2),
        "f": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "s": st.none() | TEXT,
    }
)
TYPES = {"n": "int64", "d": "decimal(5, 2)", "f": "float64", "s": "string"}


def as_json(row):
    return (
        "{"
        + ", ".join(
            f"{json.dumps(k)}: {v if isinstance(v, Decimal) else json.dumps(v)}"
            for k, v in row.items()
        )
        + "}"
    ).encode()


@settings(max_examples=60, deadline=None)
@given(st.lists(ROWS.map(as_json) | st.sampled_from(BAD_ALWAYS), max_size=12))
def test_json_is_read_as_python_reads_it(messages):
    got = decoded(messages, TYPES)

    good = [i for i, m in enumerate(messages) if m not in BAD_ALWAYS]
    assert good == got.good
    want = [json.loads(messages[i], parse_float=Decimal) for i in good]
    assert [
        {**w, "f": None if w["f"] is None else float(w["f"])} for w in want
    ] == got.table.to_pylist()


CELLS = st.tuples(
    st.integers(-(2**63), 2**63 - 1), TEXT.filter(lambda s: "\r" not in s and "\n" not in s and s)
)
BAD_LINES = [b"", b"1", b'1,"a', b"x,a", b"1,2,3", b"1,a\n2,b"]


def as_csv(cells):
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue().encode()


@settings(max_examples=60, deadline=None)
@given(st.lists(CELLS.map(as_csv) | st.sampled_from(BAD_LINES), max_size=12))
def test_csv_is_read_as_python_reads_it(messages):
    got = decoded(messages, {"n": "int64", "s": "string"}, format="csv", fields=("n", "s"))

    good = [i for i, m in enumerate(messages) if m not in BAD_LINES]
    assert good == got.good
    want = [next(csv.reader(io.StringIO(messages[i].decode(), newline=""))) for i in good]
    assert [(int(n), s) for n, s in want] == [(r["n"], r["s"]) for r in got.table.to_pylist()]
