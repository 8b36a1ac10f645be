"""Writing of rows as JSON and CSV messages, as a producer of the topic writes them."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from workbench.online.time_units import UNITS_US, us_since_epoch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.online.plan import TopicPlan

LITERALS = {math.inf: "Infinity", -math.inf: "-Infinity"}


class JsonWriter:
    """Writes rows as the objects of a JSON topic."""

    def __init__(self, topic: TopicPlan, types: Mapping[str, pa.DataType]) -> None:
        self.topic, self.types = topic, types
        self.value = {c: t for c, t in types.items() if c not in topic.beside}

    def __call__(self, row: Mapping[str, Any]) -> bytes:
        """Write a row as an object, in an envelope where the topic has one."""
        row_text = object_text(
            {
                c: value_text(row[c], t, self.topic.time)
                for c, t in self.value.items()
                if c not in dict(self.topic.names)
            }
        )
        # a name with a dot is read before the names of nested objects
        for column, path in self.topic.names:
            row_text = (
                row_text[:-1]
                + (", " if len(row_text) > 2 else "")  # noqa: PLR2004 an empty object's letters
                + f"{json.dumps(path)}: {self._text(row, column)}}}"
            )
        return (
            f'{{"before": null, "after": {row_text}, "op": "c"}}'
            if self.topic.envelope
            else row_text
        ).encode()

    def _text(self, row: Mapping[str, Any], column: str) -> str:
        return value_text(row[column], self.types[column], self.topic.time)


class CsvWriter:
    """Writes rows as the lines of a CSV topic."""

    def __init__(self, topic: TopicPlan, types: Mapping[str, pa.DataType]) -> None:
        self.topic, self.types = topic, types
        self.value = {c: t for c, t in types.items() if c not in topic.beside}

    def __call__(self, row: Mapping[str, Any]) -> bytes:
        """Write a row as a line; fields that are no columns stay empty."""
        return ",".join(
            self._cell(row[c], self.types[c]) if c in self.value else "" for c in self.topic.fields
        ).encode()

    def _cell(self, value: Any, type_: pa.DataType) -> str:
        """A value in a CSV line: nothing for null, quotes around texts, even the empty one."""
        if value is None:
            return ""
        text = value_text(value, type_, self.topic.time)
        if text.startswith('"'):
            text = '"' + str(json.loads(text)).replace('"', '""') + '"'
        return {"Infinity": "inf", "-Infinity": "-inf", "NaN": "nan"}.get(text, text)


def value_text(value: Any, type_: pa.DataType, time: str) -> str:
    """A value as JSON, with timestamps in the topic's unit `time`."""
    if value is None:
        return "null"
    if pa.types.is_map(type_):
        return (
            "{"
            + ", ".join(
                f"{json.dumps(k)}: {value_text(v, type_.item_type, time)}" for k, v in value
            )
            + "}"
        )
    if pa.types.is_struct(type_):
        return (
            "{"
            + ", ".join(
                f"{json.dumps(f.name)}: {value_text(value[f.name], f.type, time)}" for f in type_
            )
            + "}"
        )
    if pa.types.is_list(type_):
        return "[" + ", ".join(value_text(v, type_.value_type, time) for v in value) + "]"
    if pa.types.is_timestamp(type_):
        return _instant(value, time)
    if pa.types.is_decimal(type_):
        return format(value, "f")
    if pa.types.is_floating(type_):
        return "NaN" if math.isnan(value) else LITERALS.get(value) or repr(value)
    return json.dumps(
        value.isoformat() if pa.types.is_temporal(type_) else value, ensure_ascii=False
    )


def _instant(value: datetime, time: str) -> str:
    at = value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC)
    if time == "iso":
        return json.dumps(at.isoformat().replace("+00:00", "Z"))
    return str(us_since_epoch(at) // UNITS_US[time])


def object_text(members: Mapping[str, str]) -> str:
    """A JSON object of members that are JSON already."""
    return "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in members.items()) + "}"
