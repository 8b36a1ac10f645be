"""Values of features and keys: in by their Postgres type, out by their Ibis type."""

from __future__ import annotations

import json
from datetime import date, datetime, time
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from psycopg.types.numeric import Int8

from online.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from online.plan import Column, Feature

MOST = 2**63
ACCEPTED: dict[str, tuple[type, ...]] = {
    "int8": (int,),
    "numeric(20,0)": (int,),
    "float8": (float, int),
    "bool": (bool,),
    "text": (str,),
    "bytea": (bytes,),
    "date": (date,),
    "timestamp": (datetime,),
    "timestamptz": (datetime,),
    "time": (time,),
    "uuid": (UUID, str),
}


def parameter(column: Column, value: Any, what: str = "key") -> Any:
    """A key or context value as a parameter of its column's type; StoreError for another type.

    numpy's scalars are taken as what they hold.
    """
    value = value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value
    if value is None or _absent(value):
        return None
    accepted = ACCEPTED.get(column.sql, (Decimal, int))
    if not isinstance(value, accepted) or (isinstance(value, bool) and column.sql != "bool"):
        message = f"{what} {column.name} takes {column.type}, not {value!r:.60} of type {type(value).__name__}: {_instead(column, value)}"
        raise StoreError(message)
    if isinstance(value, int) and column.sql == "int8":
        if not -MOST <= value < MOST:
            message = f"{what} {column.name} takes 64-bit whole numbers, and {value} has more digits: no such key can be stored"
            raise StoreError(message)
        return Int8(value)
    if isinstance(value, str) and _unwritten(value):
        message = f"{what} {column.name} has the text {value!r:.60}, which has no UTF-8: no stored text is like it"
        raise StoreError(message)
    if isinstance(value, str) and "\x00" in value:
        message = f"{what} {column.name} has a NUL character, which no stored text has: leave it out"
        raise StoreError(message)
    return float(value) if column.sql == "float8" and isinstance(value, int) else value


def _absent(value: Any) -> bool:
    """What pandas has for missing values: NaN, NaT, and NA, which says of no comparison that it is true."""
    return type(value).__name__ == "NAType" or (isinstance(value, float | datetime | Decimal) and value != value)  # noqa: PLR0124 they are not themselves


def _unwritten(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return True
    return False


def _instead(column: Column, value: Any) -> str:
    if column.sql == "text":
        return f"pass {str(value)!r:.60}"
    return f"pass a {ACCEPTED.get(column.sql, (Decimal,))[0].__name__}"


# --- out


def loads(data: str | bytes) -> Any:
    """JSON as Postgres sends it, with every digit of its numbers."""
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
    """What makes a value of this Ibis type from what the driver gives; null stays null."""
    inner = _reader(type_.lstrip("!"))
    return lambda value: None if value is None else inner(value)


def _reader(type_: str) -> Callable[[Any], Any]:
    if type_.startswith("array<"):
        element = reader(_arguments(type_)[0])
        return lambda value: [element(v) for v in value]
    if type_.startswith("map<"):
        key, item = map(reader, _arguments(type_))
        return lambda value: {key(k): item(v) for k, v in value.items()}
    if type_.startswith("decimal"):
        return lambda value: value if isinstance(value, Decimal) else Decimal(str(value))
    if type_.startswith("timestamp"):
        return lambda value: datetime.fromisoformat(value) if isinstance(value, str) else value
    if type_.startswith(("int", "uint")):
        return int
    return LEAVES.get(type_, lambda value: value)


def _arguments(type_: str) -> list[str]:
    """The types between a container's brackets.

    >>> _arguments("map<string, array<decimal(12, 2)>>")
    ['string', 'array<decimal(12, 2)>']
    """
    inner, depth, found = type_[type_.index("<") + 1 : -1], 0, [""]
    for letter in inner:
        depth += (letter in "<(") - (letter in ">)")
        if letter == "," and not depth:
            found.append("")
        else:
            found[-1] += letter
    return [f.strip() for f in found]


def plain(feature: Feature) -> bool:
    """Whether the driver's value of a feature is already the answer's."""
    return feature.sql in ("int8", "float8", "bool", "text", "bytea", "date", "timestamp", "timestamptz", "int8[]", "float8[]", "text[]", "bool[]") and not feature.type.startswith("decimal")
