"""JSON and CSV messages, read a batch at a time by Arrow's readers.

Each message gets its place in front, so that no message can shift another.
"""

from __future__ import annotations

import csv
import json
import re
import secrets
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv
from pyarrow import json as arrow_json

from workbench.online.messages import json_maps
from workbench.online.time_units import UNITS_US

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workbench.online.plan import TopicPlan

PLACE = "__workbench_place__"
BOM = b"\xef\xbb\xbf"
BLOCK = 1 << 30  # bytes that are read at once: more are read in halves
ZONED = r"(Z|[+-]\d{2}(:?\d{2})?)$"
ISO = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6}0*)?)?(Z|[+-]\d{2}(:?\d{2})?)?)?$"
CLOCK = r"^\d{2}:\d{2}(:\d{2}(\.\d{1,6}0*)?)?$"
DAY = r"^\d{4}-\d{2}-\d{2}$"
UUID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
MAX_CHARACTERS_SHOWN = 60  # letters of a value in a sentence
BLANKS = bytes.maketrans(b"\n\r", b"\t\t")
SPACE = b" \t\r\n"


class MalformedError(ValueError):
    """Some message of a batch is not as the topic says; `row` guesses which one."""

    def __init__(self, message: str, row: int | None = None) -> None:
        super().__init__(message)
        self.row = row


class Text:
    """What both formats share: the types to read columns as, and the casts to the table's types."""

    beyond = 0  # rows of our own after the messages'

    def __init__(
        self, topic: TopicPlan, source: Mapping[str, str], types: Mapping[str, pa.DataType]
    ) -> None:
        self.topic, self.types, self.source = topic, types, source
        self.read = {c: self._read_as(types[c], source[c]) for c in source}

    def _read_as(self, type_: pa.DataType, source_type: str) -> pa.DataType:
        if pa.types.is_timestamp(type_):
            return pa.string() if self.topic.time == "iso" else pa.int64()
        return pa.string() if pa.types.is_temporal(type_) or source_type == "uuid" else type_

    def table(self, payloads: Sequence[bytes], columns: Sequence[str] | None = None) -> pa.Table:
        """Read the messages as rows, one for each message and in order.

        Raises MalformedError where one of them cannot be read.
        """
        chosen = list(self.source) if columns is None else list(columns)
        # random, so that nobody who writes a message can foretell the place of another one
        first = secrets.randbelow(1 << 60)
        joined = self.joined(payloads, first)
        if len(joined) > BLOCK:
            message = f"the message is longer than {BLOCK} bytes"
            raise MalformedError(message)
        try:
            maps = {c: self.types[c] for c in chosen if "map<" in self.source[c]}
            rows = self.parsed(joined, [c for c in chosen if c not in maps])
            _placed(rows.column(PLACE), first, len(payloads) + self.beyond)
            rows = rows.slice(0, len(payloads))
            self.overflown(rows, [c for c in chosen if c not in maps], joined)
            apart = json_maps.columns(payloads, maps) if maps else {}
            return pa.table(
                {
                    c: (
                        apart[c]
                        if c in apart
                        else self._final(rows.column(c), self.types[c], self.source[c])
                    )
                    for c in chosen
                },
                schema=pa.schema([(c, self.types[c]) for c in chosen]),
            )
        except MalformedError:
            raise
        except (pa.ArrowException, ValueError) as error:
            raise MalformedError(str(error), self.guess(str(error))) from error

    def joined(self, payloads: Sequence[bytes], first: int) -> bytes:
        """All messages in one text, each with its place."""
        raise NotImplementedError  # each format's own

    def parsed(self, joined: bytes, columns: list[str]) -> pa.Table:
        """The places and the given columns of a joined text."""
        raise NotImplementedError  # each format's own

    def guess(self, error: str) -> int | None:
        """The row that a parser's error names, or None."""
        row_match = re.search(r"(?:in row |Row #)(\d+)", error)
        return int(row_match[1]) if row_match else None

    def overflown(self, found: pa.Table, columns: list[str], joined: bytes) -> None:
        """Raise MalformedError where a finite number in a message was read as infinite."""
        doubles = [c for c in columns if pa.types.is_floating(self.read[c])]
        if any(pc.any(pc.is_inf(found.column(c))).as_py() for c in doubles) and not re.search(
            rb"inf", joined, re.IGNORECASE
        ):
            message = "a number is too large for its column"
            raise MalformedError(message)

    def _final(
        self, column: pa.ChunkedArray, type_: pa.DataType, source_type: str
    ) -> pa.ChunkedArray:
        """Cast a column from the type it was read as to the table's type."""
        if source_type == "uuid":
            return _only(pc.utf8_lower(column), UUID)
        if pa.types.is_timestamp(type_):
            return _instants(column, type_, self.topic.time)
        if pa.types.is_date(type_):
            return _only(column, DAY).cast(type_)
        return _clocks(column, type_) if pa.types.is_time(type_) else column


def _placed(places: pa.ChunkedArray, first: int, rows: int) -> None:
    """Raise MalformedError unless the places are those that were given, each once and in order."""
    if (
        len(places) != rows
        or not pc.all(pc.equal(places, pa.array(np.arange(first, first + rows)))).as_py()
    ):
        message = "the message is not one whole record"
        raise MalformedError(message)


def _only(column: pa.ChunkedArray, pattern: str) -> pa.ChunkedArray:
    if pc.all(pc.match_substring_regex(column, pattern)).as_py() is False:
        message = "a text is not written as its column asks"
        raise MalformedError(message)
    return column


def _short(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts without trailing zeros beyond microseconds."""
    return pc.replace_substring_regex(column, r"(\.\d{6})0+", r"\1")


def _clocks(column: pa.ChunkedArray, type_: pa.DataType) -> pa.ChunkedArray:
    """Cast texts to times of day, which Arrow does not parse from text on its own."""
    texts = pc.binary_join_element_wise("1970-01-01T", _short(_only(column, CLOCK)), "")
    return texts.cast(pa.timestamp("us")).cast(type_)


def _instants(column: pa.ChunkedArray, type_: pa.DataType, unit: str) -> pa.ChunkedArray:
    """Whole numbers or ISO texts as timestamps; those without a zone are UTC."""
    if unit != "iso":
        scaled = column if UNITS_US[unit] == 1 else pc.multiply_checked(column, UNITS_US[unit])
        return (
            scaled.cast(pa.timestamp("us")).cast(type_) if type_.tz is None else scaled.cast(type_)
        )
    texts = _short(_only(column, ISO))
    zoned = pc.match_substring_regex(texts, r"[T ].*" + ZONED)
    dated = pc.match_substring_regex(texts, DAY)
    full_times = pc.if_else(dated, pc.binary_join_element_wise(texts, "T00:00", ""), texts)
    return (
        pc.if_else(zoned, full_times, pc.binary_join_element_wise(full_times, "Z", ""))
        .cast(pa.timestamp("us", "UTC"))
        .cast(type_)
    )


class Json(Text):
    """Messages that are one JSON object each, with columns by name."""

    def joined(self, payloads: Sequence[bytes], first: int) -> bytes:
        """One message a line; newlines inside a message become tabs.

        A tab is a blank between values, and inside a text it is as invalid as a newline.
        """
        head = b'{"' + PLACE.encode() + b'":%d,'
        lines = b"\n".join([head % place + p[1:] for place, p in enumerate(payloads, first)])
        if lines.count(b"\n") >= len(payloads) or b"\r" in lines:
            lines = b"\n".join(
                [head % place + p[1:].translate(BLANKS) for place, p in enumerate(payloads, first)]
            )
        if len(payloads) == 1 and payloads[0][1:].lstrip(SPACE)[:1] == b"}":
            lines = lines.replace(b",", b" ", 1)  # the object is empty
        return lines

    def parsed(self, joined: bytes, columns: list[str]) -> pa.Table:
        """Parse the joined text; raises UnicodeDecodeError for invalid UTF-8, which Arrow takes."""
        joined.decode()
        schema = pa.schema([(PLACE, pa.int64()), *((c, self.read[c]) for c in columns)])
        return arrow_json.read_json(
            pa.BufferReader(joined),
            read_options=arrow_json.ReadOptions(use_threads=False, block_size=len(joined) + 1024),
            parse_options=arrow_json.ParseOptions(
                explicit_schema=schema, unexpected_field_behavior="ignore"
            ),
        )

    def begins(self, payload: bytes) -> bool:
        """Whether a message begins as most do, so that nothing is to be taken off its front."""
        return payload[:1] == b"{"

    def opened(self, payload: bytes) -> bytes:
        """A message without blanks in front; MalformedError where it does not begin with `{`."""
        payload = payload.lstrip(SPACE)
        if payload[:1] != b"{":
            message = (
                "the message is empty"
                if not payload
                else f"the message is no JSON object: it begins with {_short_value(payload)}"
            )
            raise MalformedError(message)
        return payload

    def reason(self, payload: bytes, error: MalformedError) -> str:
        """The sentence that says what is wrong with a message."""
        try:
            message_pairs = json.loads(
                payload, parse_float=Decimal, object_pairs_hook=lambda pairs: pairs
            )
        except UnicodeDecodeError as wrong:
            return f"the message is no UTF-8 at byte {wrong.start}"
        except (ValueError, RecursionError) as wrong:
            return f"the message is no JSON object: {wrong}"
        names = [name for name, _ in message_pairs]
        twice = next((c for c in self.source if names.count(c) > 1), None)
        return (
            f"column {twice!r} is given twice"
            if twice
            else _culprit(self, payload, dict(message_pairs), error)
            or f"the message is no JSON object: {error}"
        )


class Csv(Text):
    """Messages that are one CSV line each, with values in the order of the topic's fields."""

    # Arrow closes a quote at the end of the text, so a line of our own must still be seen there
    beyond = 1

    def joined(self, payloads: Sequence[bytes], first: int) -> bytes:
        """Each line behind its place, and a last line of our own."""
        lines = [b"%d,%b" % (place, p) for place, p in enumerate(payloads, first)]
        return b"\n".join(
            [*lines, b"%d%b\n" % (first + len(payloads), b"," * len(self.topic.fields))]
        )

    def parsed(self, joined: bytes, columns: list[str]) -> pa.Table:
        """Parse the joined text: an empty value is null, a quoted empty one is the empty text."""
        rows = self._parsed(joined, columns, {c: self.read[c] for c in columns})
        integer_columns = [c for c in columns if pa.types.is_integer(self.read[c])]
        if integer_columns and (b"0x" in joined or b"0X" in joined):  # Arrow reads 0x10 as 16
            texts = self._parsed(
                joined, integer_columns, dict.fromkeys(integer_columns, pa.string())
            )
            for c in integer_columns:
                if pc.any(pc.match_substring_regex(texts.column(c), "[xX]")).as_py():
                    message = "a whole number is written in another base than ten"
                    raise MalformedError(message)
        return rows

    def _parsed(
        self, joined: bytes, columns: list[str], types: Mapping[str, pa.DataType]
    ) -> pa.Table:
        return arrow_csv.read_csv(
            pa.BufferReader(joined),
            read_options=arrow_csv.ReadOptions(
                use_threads=False,
                block_size=len(joined) + 1024,
                column_names=[PLACE, *self.topic.fields],
            ),
            parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                include_columns=[PLACE, *columns],
                column_types={PLACE: pa.int64(), **types},
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                true_values=["true", "True", "TRUE", "1"],
                false_values=["false", "False", "FALSE", "0"],
            ),
        )

    def guess(self, error: str) -> int | None:
        """The row that a parser's error names; Arrow counts CSV rows from one."""
        row_number = super().guess(error)
        return None if row_number is None else row_number - 1

    def begins(self, payload: bytes) -> bool:
        """Whether a message begins as a line of CSV."""
        return payload[:3] != BOM

    def opened(self, payload: bytes) -> bytes:
        """The message; MalformedError where it is empty or begins with a byte-order mark."""
        if not payload or payload[:3] == BOM:
            message = (
                "the message begins with a byte-order mark" if payload else "the message is empty"
            )
            raise MalformedError(message)
        return payload

    def reason(self, payload: bytes, error: MalformedError) -> str:
        """The sentence that says what is wrong with a message."""
        fields = self.topic.fields
        try:
            lines = list(csv.reader(payload.decode().splitlines(keepends=True), strict=True))
        except UnicodeDecodeError as wrong:
            return f"the message is no UTF-8 at byte {wrong.start}"
        except csv.Error as wrong:
            return f"the message is no line of CSV: {wrong}"
        if len(lines) != 1:
            return f"the message has {len(lines)} lines, not one"
        if len(lines[0]) != len(fields):
            return (
                f"the message has {len(lines[0])} values, and a line of the topic has"
                f" {len(fields)}: {', '.join(fields)}"
            )
        return (
            _culprit(self, payload, dict(zip(fields, lines[0], strict=True)), error)
            or f"the message is no line of CSV: {error}"
        )


def _culprit(
    text: Json | Csv, payload: bytes, values: Mapping[str, Any], error: MalformedError
) -> str | None:
    """The sentence on the column that the parser names, else on the first that fails alone."""
    names = list(text.source)
    name_match = re.search(r"Column\(/([^/)]+)|CSV column #(\d+)", str(error))
    named = name_match and (
        name_match[1] or text.topic.fields[int(name_match[2]) - 1 : int(name_match[2])][0]
    )
    guilty = named if named in names else next((c for c in names if _fails(text, payload, c)), None)
    if guilty is None:
        return None
    unit = f" in {text.topic.time}" if pa.types.is_timestamp(text.types[guilty]) else ""
    return (
        f"column {guilty!r} is {text.source[guilty]}{unit}, and the message has"
        f" {_short_value(values.get(guilty))}"
    )


def _fails(text: Json | Csv, payload: bytes, column: str) -> bool:
    try:
        text.table([payload], [column])
    except MalformedError:
        return True
    return False


def _short_value(value: Any) -> str:
    text = str(value) if isinstance(value, Decimal) else repr(value)
    return text if len(text) <= MAX_CHARACTERS_SHOWN else f"{text[: MAX_CHARACTERS_SHOWN - 3]}..."
