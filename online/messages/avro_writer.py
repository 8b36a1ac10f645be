"""Writing of rows as Avro messages of a topic's schema."""

from __future__ import annotations

from datetime import UTC
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from workbench.online.errors import StoreError
from workbench.online.messages import avro
from workbench.online.messages.connect_values import KINDS, encode_value
from workbench.online.time_units import UNITS_US, us_since_epoch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.online.plan import TopicPlan

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


class AvroWriter:
    """Writes rows as records; fields that are no columns take their default, or a zero."""

    def __init__(self, topic: TopicPlan, types: Mapping[str, pa.DataType]) -> None:
        self.topic, self.types = topic, types
        self.schema, self.kinds = avro.parsed(topic.schema), avro.kinds(topic.schema)

    def __call__(self, row: Mapping[str, Any]) -> bytes:
        """Write a row; StoreError where the schema cannot carry it."""
        from fastavro import schemaless_writer  # noqa: PLC0415 what no Avro topic needs

        record = {f["name"]: self._field(f, row) for f in self.schema["fields"]}
        stream = BytesIO()
        try:
            schemaless_writer(stream, self.schema, record)
        except Exception as error:  # whatever a value makes fastavro raise
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
