"""Readers that turn the driver's values into feature values, by Ibis type."""

from __future__ import annotations

import json
from datetime import date, datetime, time
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.online.plan import PlanFeature


def loads(data: str | bytes) -> Any:
    """Parse JSON as Postgres sends it, with every digit of its numbers."""
    return json.loads(data, parse_float=Decimal)


def _flag(value: Any) -> bool:
    return value if isinstance(value, bool) else value in ("true", "t")


def _bytes(value: Any) -> bytes:
    return bytes.fromhex(value.removeprefix("\\x")) if isinstance(value, str) else bytes(value)


LEAVES: dict[str, Callable[[Any], Any]] = {
    "string": str,
    "boolean": _flag,
    "float64": float,
    "float32": float,
    "float16": float,
    "binary": _bytes,
    "date": lambda v: date.fromisoformat(v) if isinstance(v, str) else v,
    "time": lambda v: time.fromisoformat(v) if isinstance(v, str) else v,
    "uuid": lambda v: UUID(v) if isinstance(v, str) else v,
}


@cache
def reader(type_: str) -> Callable[[Any], Any]:
    """A function that reads the driver's value as this Ibis type; null stays None."""
    inner = _reader(type_.lstrip("!"))
    return lambda value: None if value is None else inner(value)


def _reader(type_: str) -> Callable[[Any], Any]:
    if type_.startswith("array<"):
        element = reader(arguments(type_)[0])
        return lambda value: [element(v) for v in value]
    if type_.startswith("map<"):
        key, item = map(reader, arguments(type_))
        return lambda value: {key(k): item(v) for k, v in value.items()}
    if type_.startswith("decimal"):
        return lambda value: value if isinstance(value, Decimal) else Decimal(str(value))
    if type_.startswith("timestamp"):
        return lambda value: datetime.fromisoformat(value) if isinstance(value, str) else value
    if type_.startswith(("int", "uint")):
        return int
    return LEAVES.get(type_, lambda value: value)


def arguments(type_: str) -> list[str]:
    """The types between a container's brackets.

    >>> arguments("map<string, array<decimal(12, 2)>>")
    ['string', 'array<decimal(12, 2)>']
    """
    inner, depth, inner_types = type_[type_.index("<") + 1 : -1], 0, [""]
    for letter in inner:
        depth += (letter in "<(") - (letter in ">)")
        if letter == "," and not depth:
            inner_types.append("")
        else:
            inner_types[-1] += letter
    return [f.strip() for f in inner_types]


def plain(feature: PlanFeature) -> bool:
    """Whether the driver's value of a feature is already the answer's."""
    return feature.sql in (
        "int8",
        "float8",
        "bool",
        "text",
        "bytea",
        "date",
        "timestamp",
        "timestamptz",
        "int8[]",
        "float8[]",
        "text[]",
        "bool[]",
    ) and not feature.type.startswith("decimal")
