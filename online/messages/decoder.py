"""Decoding of a topic's messages into rows of its source's table, a batch at a time.

Each message that is bad is reported by its place in the batch, with a reason.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa

from workbench.online.errors import StoreError
from workbench.online.messages import avro
from workbench.online.messages.envelopes import TOMBSTONES, Opener, PassedError
from workbench.online.messages.json_csv import BOM, Csv, Json, MalformedError
from workbench.online.messages.message_keys import KeyColumns
from workbench.online.messages.message_types import arrow
from workbench.online.messages.schema_registry import Registry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.online.plan import TopicPlan

REGISTRY = "WORKBENCH_SCHEMA_REGISTRY"
Headers = Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True)
class Decoded:
    """The rows of a batch.

    `good` has the places of the messages that the rows come from, and `bad` the places of the
    messages that failed, with reasons; both ascend. `passed` has the places of messages that are
    no events though nothing is wrong with them, each with a field name of `Counts`.
    """

    table: pa.Table
    good: list[int] = field(default_factory=list)
    bad: list[tuple[int, str]] = field(default_factory=list)
    passed: list[tuple[int, str]] = field(default_factory=list)


class Decoder:
    """A decoder of one topic's messages, which caches the registry's schemas between batches.

    `source` has the columns of the source's table with their Ibis types; `registry` is the URL of a
    schema registry, by default the environment's; `identified` says that events have an id. Raises
    StoreError where the topic needs a registry and none is configured, or where a column has a type
    that messages cannot carry.
    """

    def __init__(
        self,
        topic: TopicPlan,
        source: Mapping[str, str],
        registry: str | None = None,
        *,
        identified: bool = False,
    ) -> None:
        self.topic, self.types = topic, {}
        for column, type_ in source.items():
            arrow_type = arrow(type_)
            if arrow_type is None:
                message = (
                    f"messages of {topic.name} carry no {type_}, which {column} is: publish it with"
                    " a table of types that they carry"
                )
                raise StoreError(message, "broken")
            self.types[column] = arrow_type
        self.schema = pa.schema(list(self.types.items()))
        value_types = {c: t for c, t in source.items() if c not in topic.beside}
        self.value = {c: self.types[c] for c in value_types}
        self.text = (
            None
            if topic.format == "avro"
            else (Json if topic.format == "json" else Csv)(topic, value_types, self.value)
        )
        schema_of = self._registry(registry).schema if topic.registry else None
        self.avro = avro.Reader(topic, value_types, schema_of) if topic.format == "avro" else None
        self.opener = Opener(topic, value_types, identified=identified)
        self.beside = KeyColumns(topic, source, schema_of) if topic.beside else None
        apart = {c: t for c, t in source.items() if c in topic.beside}
        self.apart = Json(topic, apart, {c: self.types[c] for c in apart})

    def _registry(self, url: str | None) -> Registry:
        registry_url = url or os.environ.get(REGISTRY)
        if not registry_url:
            message = (
                f"topic {self.topic.name} is written by the schemas of a registry, and none is"
                f" told: set {REGISTRY} to its URL"
            )
            raise StoreError(message)
        return Registry(registry_url)

    def decode(
        self,
        payloads: Sequence[bytes | None],
        keys: Sequence[bytes | None] = (),
        headers: Sequence[Headers] = (),
    ) -> Decoded:
        """Decode the messages into a table of the source's columns.

        Every place is in exactly one of `good`, `bad` and `passed`.

        A message without a value is a tombstone, which is no event. Raises StoreError of kind
        `away` where the schema registry cannot be reached: then nothing is decided.
        """
        texts, places, bad, passed = self._texts(payloads)
        decoded = self._read(texts)
        bad += [(places[i], why) for i, why in decoded.bad]
        table, good = decoded.table, [places[i] for i in decoded.good]
        if self.beside is not None:
            table, good, wrong = self._joined(self.beside, table, good, (keys, headers))
            bad += wrong
        return Decoded(table, good, sorted(bad), passed)

    def _texts(
        self, payloads: Sequence[bytes | None]
    ) -> tuple[list[bytes], list[int], list[tuple[int, str]], list[tuple[int, str]]]:
        """The values to read rows from, their places, the bad messages, and those with no event."""
        texts, places = (
            [p for p in payloads if p is not None],
            [i for i, p in enumerate(payloads) if p is not None],
        )
        passed = [(i, TOMBSTONES) for i, p in enumerate(payloads) if p is None]
        if self.opener.idle:
            return texts, places, [], passed
        opened, opened_places, bad = list[bytes](), list[int](), list[tuple[int, str]]()
        for place, text in zip(places, texts, strict=True):
            try:
                opened.append(self.opener.opened(text))
                opened_places.append(place)
            except PassedError as pass_error:
                passed.append((place, pass_error.kind))
            except MalformedError as error:
                bad.append((place, str(error)))
        return opened, opened_places, bad, sorted(passed)

    def _joined(
        self,
        beside: KeyColumns,
        table: pa.Table,
        good: list[int],
        keys_and_headers: tuple[Sequence[bytes | None], Sequence[Headers]],
    ) -> tuple[pa.Table, list[int], list[tuple[int, str]]]:
        """Add the columns of keys and headers; a row whose key or headers fail is a bad message."""
        keys, headers = keys_and_headers
        texts, places, bad = list[bytes](), list[int](), list[tuple[int, str]]()
        for number, place in enumerate(good):
            try:
                texts.append(
                    beside.text(keys[place] if keys else None, headers[place] if headers else ())
                )
                places.append(number)
            except MalformedError as error:
                bad.append((place, str(error)))
        decoded = self._by_batch(self.apart, texts)
        bad += [(good[places[i]], f"of its key or headers: {why}") for i, why in decoded.bad]
        joined_places = [places[i] for i in decoded.good]
        rows = table.take(pa.array(joined_places, pa.int64()))
        columns = {c: decoded.table[c] if c in self.apart.types else rows[c] for c in self.types}
        return pa.table(columns, schema=self.schema), [good[i] for i in joined_places], bad

    def _read(self, payloads: Sequence[bytes]) -> Decoded:
        return (
            self._by_record(payloads) if self.text is None else self._by_batch(self.text, payloads)
        )

    def _by_batch(self, text: Json | Csv, payloads: Sequence[bytes]) -> Decoded:
        """Read all messages at once; on failure, ever smaller parts until bad ones stand alone."""
        full_payloads = [p for p in payloads if p]
        begun = (
            [p[:1] == b"{" for p in full_payloads]
            if isinstance(text, Json)
            else [p[:3] != BOM for p in full_payloads]
        )
        if 0 < len(payloads) == sum(begun):  # nothing to open: the usual batch
            with suppress(MalformedError):
                return Decoded(text.table(full_payloads), list(range(len(full_payloads))))
        opened, bad = _opened(text, payloads)
        parts, tables, good = [opened] if opened else [], [], []
        while parts:
            part = parts.pop()
            try:
                tables.append(text.table([p for _, p in part]))
                good += [place for place, _ in part]
            except MalformedError as error:
                if len(part) == 1:
                    bad.append((part[0][0], text.reason(part[0][1], error)))
                else:
                    parts += reversed(_parts(part, error.row))
        table = (
            pa.concat_tables(tables).combine_chunks()
            if len(tables) > 1
            else tables[0]
            if tables
            else pa.schema(list(text.types.items())).empty_table()
        )
        return Decoded(table, good, sorted(bad))

    def _by_record(self, payloads: Sequence[bytes]) -> Decoded:
        rows, good, bad = [], [], []
        for place, payload in enumerate(payloads):
            try:
                rows.append(self._row(payload))
                good.append(place)
            except ValueError as error:
                bad.append((place, str(error)))
        arrays = [
            (
                pa.array([row[c] for row in rows], pa.int64()).cast(t)
                if pa.types.is_timestamp(t)
                else pa.array([row[c] for row in rows], t)
            )
            for c, t in self.value.items()
        ]
        return Decoded(pa.table(arrays, schema=pa.schema(list(self.value.items()))), good, bad)

    def _row(self, payload: bytes) -> dict[str, object]:
        """Read one Avro message; ValueError where a value does not fit its column."""
        assert self.avro is not None  # noqa: S101 the topic is Avro
        row = self.avro.row(payload)
        for column, type_ in self.value.items():
            try:
                pa.scalar(row[column], pa.int64() if pa.types.is_timestamp(type_) else type_)
            except (pa.ArrowException, OverflowError, TypeError, ValueError):
                message = f"column {column!r} is {type_}, and the message has {row[column]!r}"
                raise ValueError(message) from None
        return row


def _opened(
    text: Json | Csv, payloads: Sequence[bytes]
) -> tuple[list[tuple[int, bytes]], list[tuple[int, str]]]:
    """The messages with their places, and the bad ones that do not even begin as a record."""
    opened, bad = [], []
    for place, payload in enumerate(payloads):
        try:
            opened.append((place, text.opened(payload)))
        except MalformedError as error:
            bad.append((place, str(error)))
    return opened, bad


def _parts(part: list[tuple[int, bytes]], row: int | None) -> list[list[tuple[int, bytes]]]:
    """Split a failing part around the row that the parser names, or in halves where it names none.

    What follows the row is halved, since more rows may be bad.
    """
    if row is None or row >= len(part):
        row, width = len(part) // 2, 0
    else:
        width = 1
    after = part[row + width :]
    pieces = [
        part[:row],
        part[row : row + width],
        *([after[: len(after) // 2], after[len(after) // 2 :]] if width else [after]),
    ]
    return [p for p in pieces if p]
