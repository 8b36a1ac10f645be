"""Encoding of rows of a source's table as messages of its topic: the inverse of decoding.

It serves comparisons of a table with its topic.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa

from workbench.online.errors import StoreError
from workbench.online.messages.decoder import Decoder
from workbench.online.messages.message_formats import FORMATS
from workbench.online.messages.text_writers import object_text, value_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.online.plan import TopicPlan


def as_told(topic: TopicPlan, source: Mapping[str, str], rows: pa.Table) -> pa.Table:
    """Rows of a source's table as they would arrive by its topic: encoded and decoded again.

    Raises StoreError where a message cannot carry a row, or cannot be read back.
    """
    plain = replace(topic, registry=False)  # the id of a schema is the registry's to give
    decoder = Decoder(plain, source)
    encoder = MessageEncoder(plain, decoder.types)
    messages = encoder.encode(rows)
    keys, headers = encoder.beside(rows)
    decoded = decoder.decode(messages, keys, headers)
    if decoded.bad:
        place, reason = decoded.bad[0]
        message = (
            f"{len(decoded.bad)} of {len(messages)} rows cannot come by {topic}, such as"
            f" {messages[place]!r:.300}: {reason}"
        )
        raise StoreError(message)
    return decoded.table


class MessageEncoder:
    """An encoder of rows as a producer of the topic writes them.

    Times are truncated to the topic's unit; decimals keep all their digits. `types` are the Arrow
    types of the source's columns, as a `Decoder` of the topic has them. Raises StoreError where a
    message cannot carry a row.
    """

    def __init__(self, topic: TopicPlan, types: Mapping[str, pa.DataType]) -> None:
        self.topic, self.types = topic, types
        self._write = FORMATS[topic.format].writer(topic, types)

    def encode(self, rows: pa.Table) -> list[bytes]:
        """One message for each row, in order."""
        typed = rows.select(list(self.types)).cast(pa.schema(list(self.types.items())))
        return [self._write(row) for row in typed.to_pylist()]

    def beside(
        self, rows: pa.Table
    ) -> tuple[list[bytes | None], list[list[tuple[str, bytes | None]]]]:
        """The messages' keys and headers; both lists are empty where no column comes from them."""
        records = (
            rows.select(list(self.types)).cast(pa.schema(list(self.types.items()))).to_pylist()
            if self.topic.beside
            else []
        )
        keys = [
            object_text(
                {n: value_text(row[c], self.types[c], self.topic.time) for c, n in self.topic.key}
            ).encode()
            for row in records
        ]
        headers: list[list[tuple[str, bytes | None]]] = [
            [
                (n, value_text(row[c], self.types[c], self.topic.time).encode())
                for c, n in self.topic.headers
                if row[c] is not None
            ]
            for row in records
        ]
        return list(keys), headers
