"""Decoding of a topic's messages into rows of its source's table, a batch at a time.

Each message that is bad is reported by its place in the batch, with a reason.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from workbench.online.errors import StoreError
from workbench.online.messages.envelopes import TOMBSTONES, Opener, PassedError
from workbench.online.messages.json_csv import Json, MalformedError
from workbench.online.messages.message_formats import FORMATS
from workbench.online.messages.message_keys import KeyColumns
from workbench.online.messages.message_types import arrow
from workbench.online.messages.payload_batches import Decoded, read_batch
from workbench.online.messages.schema_registry import Registry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.online.plan import TopicPlan

REGISTRY = "WORKBENCH_SCHEMA_REGISTRY"
Headers = Sequence[tuple[str, bytes | None]]


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
        schema_of = self._registry(registry).schema if topic.registry else None
        self.read = FORMATS[topic.format].reader(topic, value_types, self.value, schema_of)
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
        decoded = self.read(texts)
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
        decoded = read_batch(self.apart, texts)
        bad += [(good[places[i]], f"of its key or headers: {why}") for i, why in decoded.bad]
        joined_places = [places[i] for i in decoded.good]
        rows = table.take(pa.array(joined_places, pa.int64()))
        columns = {c: decoded.table[c] if c in self.apart.types else rows[c] for c in self.types}
        return pa.table(columns, schema=self.schema), [good[i] for i in joined_places], bad
