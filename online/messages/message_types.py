"""Types that messages can carry, by format, and the Arrow types they decode to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pyarrow as pa

from workbench.online.fetching.value_readers import arguments
from workbench.online.messages import avro

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.online.plan import TopicPlan

FORMATS = ("json", "csv", "avro")
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


def _holds(format_: str, type_: str) -> bool:
    arrow_type = arrow(type_)
    if arrow_type is None:
        return False
    if format_ == "avro":
        return True
    if pa.types.is_binary(arrow_type) or (format_ == "csv" and pa.types.is_nested(arrow_type)):
        return False
    return type_.count("map<") == type_.count("map<string, ")  # an object's keys are texts


def refused(topic: TopicPlan, source: Mapping[str, str], table: str) -> str | None:
    """The sentence that says why a topic's messages cannot carry a table's columns.

    None where they can.
    """
    if unknown := [
        c for c in (*dict(topic.key), *dict(topic.headers), *dict(topic.names)) if c not in source
    ]:
        return (
            f"topic {topic.name} says where {', '.join(unknown)} come from, and {table} has no such"
            f" column: it has {', '.join(source)}"
        )
    if odd := [
        f"{c} ({source[c]})"
        for c in sorted(topic.beside)
        if (arrow_type := arrow(source[c])) is None
        or pa.types.is_nested(arrow_type)
        or pa.types.is_binary(arrow_type)
    ]:
        return (
            f"topic {topic.name} takes {', '.join(odd)} from its keys or headers, which are texts"
            " and numbers: keep such columns in the value"
        )
    source = {c: t for c, t in source.items() if c not in topic.beside}
    if topic.format == "csv" and (lacking := [c for c in source if c not in topic.fields]):
        return (
            f"topic {topic.name} has no field for {', '.join(lacking)} of {table}: its lines carry"
            f" {', '.join(topic.fields)}; name every column, or drop it in the table that the"
            " source reads"
        )
    if odd := [f"{c} ({t})" for c, t in source.items() if not _holds(topic.format, t)]:
        return (
            f"topic {topic.name} is {topic.format}, which cannot carry {', '.join(odd)} of {table}:"
            " keep such columns out of the table, or store them as a type that it carries, such as"
            " a string"
        )
    return avro.refused(topic, source, table) if topic.format == "avro" else None
