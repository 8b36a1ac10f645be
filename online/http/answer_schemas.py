"""OpenAPI 3.1 schemas of values in requests and answers, by type."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.online.plan import Column

MOST = 2**63 - 1
INT64 = {"type": "integer", "format": "int64"}
# a number, not an integer: generators make a signed one of 32 or 64 bits of every integer
UINT64 = {
    "type": "number",
    "format": "uint64",
    "minimum": 0,
    "maximum": 2 * MOST + 1,
    "multipleOf": 1,
}
TIMESTAMP = {"type": "string", "format": "date-time"}
BYTES = {"type": "string", "contentEncoding": "base64"}
DECIMAL = {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$"}
DAY, CLOCK, UUID = (
    {"type": "string", "format": "date"},
    {"type": "string"},
    {"type": "string", "format": "uuid"},
)
# Of keys and context, by Postgres type; a decimal is text, so that no digit is lost.
KEY_SCHEMAS: Mapping[str, dict[str, Any]] = {
    "int8": {**INT64, "minimum": -MOST - 1, "maximum": MOST},
    "numeric(20,0)": UINT64,
    "float8": {"type": "number", "format": "double"},
    "bool": {"type": "boolean"},
    "text": {"type": "string"},
    "bytea": BYTES,
    "date": DAY,
    "timestamp": TIMESTAMP,
    "timestamptz": TIMESTAMP,
    "time": CLOCK,
    "uuid": UUID,
}
# By how an Ibis type begins, the longest first: what a feature of it is in an answer.
KINDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("timestamp", TIMESTAMP),
    ("string", {"type": "string"}),
    ("decimal", DECIMAL),
    ("boolean", {"type": "boolean"}),
    ("binary", BYTES),
    ("float", {"type": "number", "format": "double"}),
    ("uint64", UINT64),
    ("uint", INT64),
    ("date", DAY),
    ("time", CLOCK),
    ("uuid", UUID),
    ("int", INT64),
)
NESTED = re.compile(r"(array|map|struct)<(.*)>", re.DOTALL)


def nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema, or null.

    >>> nullable({"type": "string"})
    {'type': ['string', 'null']}
    """
    if isinstance(schema.get("type"), str):
        return schema | {"type": [schema["type"], "null"]}
    return schema


def key_schema(column: Column) -> dict[str, Any]:
    """The schema of a key or context value."""
    return KEY_SCHEMAS.get(column.sql, DECIMAL)


def feature_schema(type_: str) -> dict[str, Any]:
    """The schema of a feature by its Ibis type; elements of lists and maps may be null.

    >>> feature_schema("map<string, decimal(12, 2)>")["additionalProperties"]["type"]
    ['string', 'null']
    >>> feature_schema("array<uint64>")["items"]["maximum"] == 2**64 - 1
    True
    """
    type_ = type_.strip().lstrip("!")
    nested = NESTED.fullmatch(type_)
    if nested is None:
        return next((schema for start, schema in KINDS if type_.startswith(start)), {})
    inner = _parts(nested[2])
    if nested[1] == "array":
        return {"type": "array", "items": nullable(feature_schema(inner[0]))}
    if nested[1] == "map":
        return {"type": "object", "additionalProperties": nullable(feature_schema(inner[1]))}
    fields = (part.partition(":") for part in inner)
    return {
        "type": "object",
        "properties": {
            name.strip(): nullable(feature_schema(kind)) for name, _, kind in fields if kind
        },
    }


def _parts(inner: str) -> list[str]:
    """The texts between commas that are outside of brackets."""
    parts, depth, start = [], 0, 0
    for i, letter in enumerate(inner):
        depth += (letter in "<(") - (letter in ">)")
        if letter == "," and not depth:
            parts.append(inner[start:i])
            start = i + 1
    return [*parts, inner[start:]]
