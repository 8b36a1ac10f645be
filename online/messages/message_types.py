"""Arrow types that messages decode to, by Ibis type."""

from __future__ import annotations

import re

import pyarrow as pa

from workbench.online.fetching.value_readers import arguments

PLAIN = {
    "boolean": pa.bool_(),
    "string": pa.string(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    **{
        f"{sign}int{bits}": getattr(pa, f"{sign}int{bits}")()
        for sign in ("", "u")
        for bits in (8, 16, 32, 64)
    },
}
LEAVES = PLAIN | {
    "date": pa.date32(),
    "time": pa.time64("us"),
    "uuid": pa.string(),
    "binary": pa.binary(),
}
DIGITS = 38  # of a decimal in 128 bits


def arrow(type_: str) -> pa.DataType | None:
    """The Arrow type for the text of an Ibis type; None where messages carry no such type.

    >>> arrow("array<decimal(12, 2)>")
    ListType(list<item: decimal128(12, 2)>)
    """
    type_ = type_.lstrip("!")
    if type_.startswith("timestamp"):
        return pa.timestamp("us", "UTC" if "'" in type_ else None)
    if type_.startswith("string("):
        return pa.string()
    if decimal_match := re.fullmatch(r"decimal\((\d+), (\d+)\)", type_):
        precision, scale = map(int, decimal_match.groups())
        return pa.decimal128(precision, scale) if precision <= DIGITS else None
    if "<" in type_:
        return _nested(type_)
    return LEAVES.get(type_)


def _nested(type_: str) -> pa.DataType | None:
    """The Arrow type of a container, or None where messages cannot carry it.

    Its elements are numbers, texts and booleans, or containers of these.
    """
    inner = arguments(type_)
    names = [i.partition(": ") for i in inner] if type_.startswith("struct<") else []
    inner_types = [arrow(t) for t in [rest for *_, rest in names] or inner]
    if any(t is None or pa.types.is_temporal(t) or pa.types.is_binary(t) for t in inner_types):
        return None
    if names:
        return pa.struct([(name, t) for (name, *_), t in zip(names, inner_types, strict=True)])
    if type_.startswith("array<"):
        return pa.list_(inner_types[0])
    return pa.map_(*inner_types) if type_.startswith("map<") else None
