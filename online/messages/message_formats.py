"""The formats of messages, one row each: all that the rest of the package asks of a format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from workbench.online.messages import avro
from workbench.online.messages.avro_writer import AvroWriter
from workbench.online.messages.json_csv import Csv, Json
from workbench.online.messages.json_names import member_names
from workbench.online.messages.message_types import arrow
from workbench.online.messages.payload_batches import Decoded, read_batch, read_records
from workbench.online.messages.text_writers import CsvWriter, JsonWriter

if TYPE_CHECKING:
    from workbench.online.plan import TopicPlan

# The settings of a topic that not every format takes, as sentences call them.
SETTINGS = {
    "fields": "fields",
    "schema": "a schema",
    "registry": "a registry",
    "envelope": "an envelope",
    "names": "names",
}
Types = Mapping[str, pa.DataType]
ReadBatch = Callable[[Sequence[bytes]], Decoded]
WriteRow = Callable[[Mapping[str, Any]], bytes]


@dataclass(frozen=True, kw_only=True)
class MessageFormat:
    """A format of messages.

    `reader` makes what reads a batch of payloads, from the topic, the Ibis and the Arrow types of
    its columns, and the registry's schemas by id, if it has one; `writer` makes what writes a row.
    `settings` of SETTINGS are those that a topic of this format may have, and `needs` the one that
    it must have, with the sentence that asks for it. `carries` says whether a message holds values
    of an Ibis type, where Arrow does. `unreadable` and `refused` return a sentence, or None where
    a topic can be read, and where it has a place for each column of a table. `kinds` has the
    format's own type of each field, where that says how exact values are. `member_names` returns
    the names in a payload, for the reasons of dead letters; None where it has none. `requires` is
    the package that must be installed beside this one.
    """

    reader: Callable[[TopicPlan, Mapping[str, str], Types, Callable[[int], Any] | None], ReadBatch]
    writer: Callable[[TopicPlan, Types], WriteRow]
    settings: frozenset[str]
    needs: tuple[str, str] | None
    carries: Callable[[str], bool]
    unreadable: Callable[[TopicPlan], str | None]
    refused: Callable[[TopicPlan, Mapping[str, str], str], str | None]
    kinds: Callable[[TopicPlan], Mapping[str, Any]]
    member_names: Callable[[bytes | None], list[str] | None]
    requires: str | None


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
    format_ = FORMATS[topic.format]
    if odd := [f"{c} ({t})" for c, t in source.items() if not _holds(format_, t)]:
        return (
            f"topic {topic.name} is {topic.format}, which cannot carry {', '.join(odd)} of {table}:"
            " keep such columns out of the table, or store them as a type that it carries, such as"
            " a string"
        )
    return format_.refused(topic, source, table)


def _holds(format_: MessageFormat, type_: str) -> bool:
    return arrow(type_) is not None and format_.carries(type_)


def _is_text(type_: str) -> bool:
    """Whether JSON has values of a type: no bytes, and an object's keys are texts."""
    return not pa.types.is_binary(arrow(type_)) and type_.count("map<") == type_.count(
        "map<string, "
    )


def _is_flat(type_: str) -> bool:
    return _is_text(type_) and not pa.types.is_nested(arrow(type_))


def _lacks_fields(topic: TopicPlan, source: Mapping[str, str], table: str) -> str | None:
    if lacking := [c for c in source if c not in topic.fields]:
        return (
            f"topic {topic.name} has no field for {', '.join(lacking)} of {table}: its lines carry"
            f" {', '.join(topic.fields)}; name every column, or drop it in the table that the"
            " source reads"
        )
    return None


def _avro_reader(
    topic: TopicPlan,
    source: Mapping[str, str],
    types: Types,
    schema_of: Callable[[int], Any] | None,
) -> ReadBatch:
    return partial(read_records, avro.Reader(topic, source, schema_of).row, types)


FORMATS: Mapping[str, MessageFormat] = {
    "json": MessageFormat(
        reader=lambda topic, source, types, _: partial(read_batch, Json(topic, source, types)),
        writer=JsonWriter,
        settings=frozenset({"envelope", "names"}),
        needs=None,
        carries=_is_text,
        unreadable=lambda _: None,
        refused=lambda *_: None,
        kinds=lambda _: {},
        member_names=member_names,
        requires=None,
    ),
    "csv": MessageFormat(
        reader=lambda topic, source, types, _: partial(read_batch, Csv(topic, source, types)),
        writer=CsvWriter,
        settings=frozenset({"fields"}),
        needs=(
            "fields",
            (
                "is CSV without fields: name the values of a line in order, as in"
                " fields=['ts', 'user_id']"
            ),
        ),
        carries=_is_flat,
        unreadable=lambda _: None,
        refused=_lacks_fields,
        kinds=lambda _: {},
        member_names=lambda _: None,
        requires=None,
    ),
    "avro": MessageFormat(
        reader=_avro_reader,
        writer=AvroWriter,
        settings=frozenset({"schema", "registry"}),
        needs=(
            "schema",
            "is Avro without a schema: give the record as schema=, a dict or JSON text",
        ),
        carries=lambda _: True,
        unreadable=lambda topic: avro.unreadable(topic.schema or "", topic.name),
        refused=avro.refused,
        kinds=lambda topic: avro.kinds(topic.schema),
        member_names=lambda _: None,
        requires="fastavro",
    ),
}
