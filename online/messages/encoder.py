"""Encoding of rows of a source's table as messages of its topic: the inverse of decoding.

It serves comparisons of a table with its topic.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from workbench.online.errors import StoreError
from workbench.online.messages import avro
from workbench.online.messages.connect_values import KINDS, encode_value
from workbench.online.messages.decoder import Decoder
from workbench.online.time_units import UNITS_US, us_since_epoch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from workbench.online.plan import TopicPlan

LITERALS = {math.inf: "Infinity", -math.inf: "-Infinity"}
ZEROS = {
    "boolean": False,
    "int": 0,
    "long": 0,
    "float": 0.0,
    "double": 0.0,
    "string": "",
    "bytes": b"",
    "array": [],
    "map": {},
}


def as_told(topic: TopicPlan, source: Mapping[str, str], rows: pa.Table) -> pa.Table:
    """Rows of a source's table as they would arrive by its topic: encoded and decoded again.

    Raises StoreError where a message cannot carry a row, or cannot be read back.
    """
    plain = replace(topic, registry=False)  # the id of a schema is the registry's to give
    decoder = Decoder(plain, source)
    encoder = MessageEncoder(plain, decoder.types)
    messages = encoder.encode(rows)
    keys, headers = encoder.beside(rows)
    decoded = decoder.decode(messages, keys, headers)
    if decoded.bad:
        place, reason = decoded.bad[0]
        message = (
            f"{len(decoded.bad)} of {len(messages)} rows cannot come by {topic}, such as"
            f" {messages[place]!r:.300}: {reason}"
        )
        raise StoreError(message)
    return decoded.table


class MessageEncoder:
    """An encoder of rows as a producer of the topic writes them.

    Times are truncated to the topic's unit; decimals keep all their digits. `types` are the Arrow
    types of the source's columns, as a `Decoder` of the topic has them. Raises StoreError where a
    message cannot carry a row.
    """

    def __init__(self, topic: TopicPlan, types: Mapping[str, pa.DataType]) -> None:
        self.topic, self.types = topic, types
        self.value = {c: t for c, t in types.items() if c not in topic.beside}
        self._write: Callable[[dict[str, Any]], bytes]
        if topic.format == "avro":
            self.schema = avro.parsed(topic.schema)
            self.kinds = avro.kinds(topic.schema)
            self._write = self._avro
        else:
            self._write = self._json if topic.format == "json" else self._csv

    def encode(self, rows: pa.Table) -> list[bytes]:
        """One message for each row, in order."""
        typed = rows.select(list(self.types)).cast(pa.schema(list(self.types.items())))
        return [self._write(row) for row in typed.to_pylist()]

    def beside(
        self, rows: pa.Table
    ) -> tuple[list[bytes | None], list[list[tuple[str, bytes | None]]]]:
        """The messages' keys and headers; both lists are empty where no column comes from them."""
        records = (
            rows.select(list(self.types)).cast(pa.schema(list(self.types.items()))).to_pylist()
            if self.topic.beside
            else []
        )
        keys = [
            _object({n: self._text(row[c], self.types[c]) for c, n in self.topic.key}).encode()
            for row in records
        ]
        headers: list[list[tuple[str, bytes | None]]] = [
            [
                (n, self._text(row[c], self.types[c]).encode())
                for c, n in self.topic.headers
                if row[c] is not None
            ]
            for row in records
        ]
        return list(keys), headers

    def _json(self, row: Mapping[str, Any]) -> bytes:
        object_text = _object(
            {
                c: self._text(row[c], t)
                for c, t in self.value.items()
                if c not in dict(self.topic.names)
            }
        )
        # a name with a dot is read before the names of nested objects
        for column, path in self.topic.names:
            object_text = (
                object_text[:-1]
                + (", " if len(object_text) > 2 else "")  # noqa: PLR2004 an empty object's letters
                + f"{json.dumps(path)}: {self._text(row[column], self.types[column])}}}"
            )
        return (
            f'{{"before": null, "after": {object_text}, "op": "c"}}'
            if self.topic.envelope
            else object_text
        ).encode()

    def _csv(self, row: Mapping[str, Any]) -> bytes:
        return ",".join(
            self._cell(row[c], self.types[c]) if c in self.value else "" for c in self.topic.fields
        ).encode()

    def _cell(self, value: Any, type_: pa.DataType) -> str:
        """A value in a CSV line: nothing for null, quotes around texts, even the empty one."""
        if value is None:
            return ""
        text = self._text(value, type_)
        if text.startswith('"'):
            text = '"' + str(json.loads(text)).replace('"', '""') + '"'
        return {"Infinity": "inf", "-Infinity": "-inf", "NaN": "nan"}.get(text, text)

    def _text(self, value: Any, type_: pa.DataType) -> str:
        """A value as JSON."""
        if value is None:
            return "null"
        if pa.types.is_map(type_):
            return (
                "{"
                + ", ".join(f"{json.dumps(k)}: {self._text(v, type_.item_type)}" for k, v in value)
                + "}"
            )
        if pa.types.is_struct(type_):
            return (
                "{"
                + ", ".join(
                    f"{json.dumps(f.name)}: {self._text(value[f.name], f.type)}" for f in type_
                )
                + "}"
            )
        if pa.types.is_list(type_):
            return "[" + ", ".join(self._text(v, type_.value_type) for v in value) + "]"
        if pa.types.is_timestamp(type_):
            return self._instant(value)
        if pa.types.is_decimal(type_):
            return format(value, "f")
        if pa.types.is_floating(type_):
            return "NaN" if math.isnan(value) else LITERALS.get(value) or repr(value)
        return json.dumps(
            value.isoformat() if pa.types.is_temporal(type_) else value, ensure_ascii=False
        )

    def _instant(self, value: datetime) -> str:
        at = value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC)
        if self.topic.time == "iso":
            return json.dumps(at.isoformat().replace("+00:00", "Z"))
        return str(us_since_epoch(at) // UNITS_US[self.topic.time])

    # --- Avro

    def _avro(self, row: Mapping[str, Any]) -> bytes:
        from fastavro import schemaless_writer  # noqa: PLC0415 what no Avro topic needs

        record = {f["name"]: self._field(f, row) for f in self.schema["fields"]}
        stream = BytesIO()
        try:
            schemaless_writer(stream, self.schema, record)
        # whatever fastavro meets in a value that its schema does not hold
        except Exception as error:
            message = f"a message of {self.topic.name} cannot carry {record!r:.300}: {error}"
            raise StoreError(message) from error
        return stream.getvalue()

    def _field(self, field: Mapping[str, Any], row: Mapping[str, Any]) -> Any:
        name, kind = field["name"], self.kinds[field["name"]]
        if name in row:
            return self._value(row[name], self.types[name], kind)
        if "default" in field:
            return field["default"]
        nullable = field["type"] == "null" or (
            isinstance(field["type"], list) and "null" in field["type"]
        )
        return (
            None if nullable else ZEROS.get(kind["type"] if isinstance(kind, dict) else str(kind))
        )

    def _value(self, value: Any, type_: pa.DataType, kind: Any) -> Any:
        if value is None:
            return None
        if (name := avro.connect_name(kind)) in KINDS:
            return encode_value(name, value)
        if pa.types.is_timestamp(type_):
            at = value.replace(tzinfo=value.tzinfo or UTC)
            if kind == "long":
                return us_since_epoch(at) // UNITS_US[self.topic.time]
            local = isinstance(kind, dict) and str(kind.get("logicalType", "")).startswith("local-")
            return at.replace(tzinfo=None) if local else at
        if pa.types.is_map(type_):
            return {k: v for k, v in value}  # noqa: C416 pairs, as Arrow gives them
        return value


def _object(members: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in members.items()) + "}"
