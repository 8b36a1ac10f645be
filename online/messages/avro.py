"""Avro messages, each read into the topic's schema from the schema that it was written with."""

from __future__ import annotations

import json
from datetime import date, datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any

from workbench.online.errors import StoreError
from workbench.online.messages.connect_values import KINDS, Meaning, decode_value
from workbench.online.time_units import UNITS_US, us_since_epoch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from workbench.online.plan import TopicPlan

MAGIC, HEAD = b"\x00", 5  # a zero byte and four of the writer's schema
INSTANTS = (
    "timestamp-millis",
    "timestamp-micros",
    "local-timestamp-millis",
    "local-timestamp-micros",
)
LOGICAL = {
    **dict.fromkeys(INSTANTS, "timestamp"),
    "date": "date",
    "time-millis": "time",
    "time-micros": "time",
    "uuid": "uuid",
}
FITS = {
    "boolean": ("boolean",),
    "int": ("int", "uint"),
    "long": ("int", "uint", "timestamp"),
    "float": ("float",),
    "double": ("float",),
    "string": ("string", "uuid"),
    "enum": ("string",),
    "bytes": ("binary",),
    "fixed": ("binary",),
    "array": ("array",),
    "map": ("map<string",),
    "record": ("struct",),
}


def parsed(schema: Any, names: dict[str, Any] | None = None) -> Any:
    """A schema in fastavro's parsed form; raises fastavro's own errors."""
    import fastavro  # noqa: PLC0415 what no Avro topic needs

    return fastavro.parse_schema(
        json.loads(schema) if isinstance(schema, str) else schema,
        named_schemas={} if names is None else names,
    )


def unreadable(schema: str, name: str) -> str | None:
    """The sentence that refuses a topic's schema, or None if it is readable."""
    try:
        parsed_schema = parsed(schema)
    except ImportError:
        return (
            f"topic {name} is Avro, and fastavro is not installed: pip install"
            " 'feature-workbench[kafka]'"
        )
    except Exception as error:  # noqa: BLE001 fastavro raises what it meets
        return f"the schema of topic {name} is no Avro schema: {type(error).__name__}: {error}"
    if not isinstance(parsed_schema, dict) or parsed_schema.get("type") != "record":
        return (
            f"the schema of topic {name} is no record: give a record with a field for each column"
            " of the table"
        )
    return None


def refused(topic: TopicPlan, source: Mapping[str, str], table: str) -> str | None:
    """The sentence that names the columns a topic's schema lacks or has with another type.

    None where it has all.
    """
    names: dict[str, Any] = {}
    fields = {f["name"]: f["type"] for f in parsed(topic.schema, names)["fields"]}
    if lacking := [c for c in source if c not in fields]:
        return (
            f"the schema of topic {topic.name} has no field for {', '.join(lacking)} of {table}: it"
            f" has {', '.join(fields)}; add them with a default, or drop them in the table that the"
            " source reads"
        )
    for column, type_ in source.items():
        kind = _kind(fields[column], names)
        if not any(type_.startswith(fit) for fit in _fits(kind)) or (
            kind == "long" and type_.startswith("timestamp") and topic.time == "iso"
        ):
            return (
                f"the schema of topic {topic.name} has {column} as {_kind_name(kind)}, and {table}"
                f" as {type_}: give the field a type that holds the column's"
            )
    return None


def kinds(schema: str | None) -> dict[str, Any]:
    """The type of each field of a topic's record, without null: a name, or a dict as in Avro."""
    names: dict[str, Any] = {}
    return {f["name"]: _kind(f["type"], names) for f in parsed(schema, names)["fields"]}


def _kind(field: Any, names: Mapping[str, Any]) -> Any:
    """A field's type without null; a union of several other types stays a union."""
    if isinstance(field, list):
        types = [f for f in field if f != "null"]
        return _kind(types[0], names) if len(types) == 1 else field
    if isinstance(field, str):
        return names.get(field, field)
    if isinstance(field, dict) and connect_name(field) in KINDS:
        return field
    return (
        field
        if not isinstance(field, dict)
        or "logicalType" in field
        or field["type"] in ("array", "map", "record", "enum", "fixed")
        else field["type"]
    )


def _fits(kind: Any) -> tuple[str, ...]:
    if isinstance(kind, dict):
        logical = kind.get("logicalType")
        if logical == "decimal":
            return ("decimal",)
        if (name := connect_name(kind)) in KINDS:
            return (KINDS[name],)
        return (LOGICAL.get(logical, "nothing"),) if logical else FITS.get(kind["type"], ())
    return FITS.get(kind, ()) if isinstance(kind, str) else ()


def _kind_name(kind: Any) -> str:
    return (
        str(kind.get("logicalType") or connect_name(kind) or kind["type"])
        if isinstance(kind, dict)
        else json.dumps(kind)
        if isinstance(kind, list)
        else str(kind)
    )


def keyed(message: bytes, written: Callable[[int], Any]) -> tuple[Any, Any]:
    """The registry schema that a message's key was written with, and the key's value.

    ValueError where the bytes are not of that schema; StoreError where the registry is away.
    """
    from fastavro import schemaless_reader  # noqa: PLC0415 what no Avro topic needs

    schema, stream = written(int.from_bytes(message[1:HEAD], "big")), BytesIO(message)
    stream.seek(HEAD)
    try:
        key_value = schemaless_reader(stream, schema, None)
    except Exception as error:  # whatever fastavro meets in bytes that are not of the schema
        problem = f"{type(error).__name__} {error}".rstrip()
        raise ValueError(problem) from error
    if bytes_left := len(message) - stream.tell():
        problem = f"{bytes_left} bytes follow its value"
        raise ValueError(problem)
    return schema, key_value


def connect_meanings(schema: Any) -> dict[str, Meaning]:
    """Kafka Connect's names of the types of a record's fields, from `connect.name`.

    A plain value's stands under the empty name.
    """
    fields = (
        {f["name"]: f["type"] for f in schema["fields"]}
        if isinstance(schema, dict) and schema.get("type") == "record"
        else {"": schema}
    )
    return {name: Meaning(connect_name(type_)) for name, type_ in fields.items()}


def connect_name(type_: Any) -> str:
    """Connect's own name of a type, or of a union's type that is not null.

    Empty where Avro's logical type says what it is.
    """
    if isinstance(type_, list):
        return next((name for t in type_ if (name := connect_name(t))), "")
    if not isinstance(type_, dict) or type_.get("logicalType"):
        return ""
    return str(type_.get("connect.name") or "")


class Reader:
    """A reader of a topic's Avro messages into dicts of the source's columns.

    `written` returns the schema with a given id of the registry; None without a registry.
    """

    def __init__(
        self, topic: TopicPlan, source: Mapping[str, str], written: Callable[[int], Any] | None
    ) -> None:
        names: dict[str, Any] = {}
        self.schema, self.written, self.source = parsed(topic.schema, names), written, source
        kinds = {f["name"]: _kind(f["type"], names) for f in self.schema["fields"]}
        self.names = {
            c: m.name for c, m in connect_meanings(self.schema).items() if m.name in KINDS
        }
        self.unit = {c: UNITS_US.get(topic.time) if kinds[c] == "long" else None for c in source}

    def row(self, payload: bytes) -> dict[str, Any]:
        """Read one message.

        Raises ValueError with a sentence, or StoreError where the registry is away.
        """
        from fastavro import schemaless_reader  # noqa: PLC0415 what no Avro topic needs

        schema, start = self.schema, 0
        if self.written is not None:
            if payload[:1] != MAGIC or len(payload) < HEAD:
                message = (
                    f"the message has no schema id: it begins with {payload[:HEAD].hex()}, not with"
                    " a zero byte and four of an id"
                )
                raise ValueError(message)
            schema, start = self.written(int.from_bytes(payload[1:HEAD], "big")), HEAD
        stream = BytesIO(payload)
        stream.seek(start)
        try:
            record = schemaless_reader(stream, schema, self.schema)
        except StoreError:
            raise
        except Exception as error:  # whatever fastavro meets in bytes that are not of the schema
            message = (
                f"the message is no Avro of the topic's schema: {type(error).__name__} {error}"
            ).rstrip()
            raise ValueError(message) from error
        if bytes_left := len(payload) - stream.tell():
            message = (
                f"the message has {bytes_left} bytes after its record: it was written by another"
                " schema"
            )
            raise ValueError(message)
        return {c: self._value(c, type_, record[c]) for c, type_ in self.source.items()}

    def _value(self, column: str, type_: str, value: Any) -> Any:
        """A value as Arrow takes it: instants in microseconds, UUIDs as text, others unchanged."""
        if value is None:
            return None
        if column in self.names and isinstance(value, int | str):
            return decode_value(self.names[column], value)
        if type_.startswith("timestamp"):
            return self._instant(column, value)
        if type_.startswith("date") and not isinstance(value, date):
            message = (
                f"column {column!r} is a date, and the message was written with {value!r} as a"
                " plain number"
            )
            raise ValueError(message)
        return str(value) if type_ == "uuid" else value

    def _instant(self, column: str, value: Any) -> int:
        if isinstance(value, datetime):
            return us_since_epoch(value)
        unit = self.unit[column]
        if unit is None:
            message = (
                f"column {column!r} is a timestamp with a unit, and the message was written with"
                f" {value!r} as a plain number"
            )
            raise ValueError(message)
        return int(value) * unit


__all__ = ["Reader", "parsed", "refused", "unreadable"]
