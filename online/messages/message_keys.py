"""Columns that come from a message's key or headers, gathered into one JSON object.

The object is then read like a JSON message.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from workbench.online.messages.avro import HEAD, MAGIC, connect_meanings, keyed
from workbench.online.messages.connect_values import ConnectValues, Meaning
from workbench.online.messages.envelopes import members
from workbench.online.messages.json_csv import MalformedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from workbench.online.plan import TopicPlan

WHOLE_NUMBER = re.compile(r"-?\d+")
BINARY = (4, 8)  # bytes of an integer that a producer writes as it stands
QUOTED = ("string", "uuid", "date", "time")  # what JSON has as texts


class KeyColumns:
    """A reader of the columns that a topic has in its messages' keys or headers."""

    def __init__(
        self,
        topic: TopicPlan,
        source: Mapping[str, str],
        written: Callable[[int], Any] | None = None,
    ) -> None:
        self.key, self.headers, self.time = dict(topic.key), dict(topic.headers), topic.time
        self.types = {c: source[c] for c in (*self.key, *self.headers)}
        self.values, self.envelope, self.written = (
            ConnectValues(topic, self.types),
            topic.envelope,
            written,
        )

    def text(self, key: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> bytes:
        """The columns as a JSON object.

        MalformedError where the key is not as the topic says.
        """
        texts = self._of_key(key)
        last = dict(headers)  # of one name the last counts
        texts |= {
            c: self._plain(last.get(name), c, f"header {name}") for c, name in self.headers.items()
        }
        return ("{" + ", ".join(f"{json.dumps(c)}: {v}" for c, v in texts.items()) + "}").encode()

    def _of_key(self, key: bytes | None) -> dict[str, str]:
        if key is None or not self.key:
            return dict.fromkeys(self.key, "null")
        if self.written is not None and key[:1] == MAGIC and len(key) > HEAD:
            return self._of_avro(key, self.written)
        try:
            if key.lstrip()[:1] == b"{":
                return self._members(key.decode())
        except (ValueError, RecursionError) as error:
            message = f"the message's key is no JSON object: {error}"
            raise MalformedError(message) from None
        if len(self.key) > 1:
            message = (
                f"the message's key is {key[:40]!r}, and {', '.join(self.key)} come from it: it"
                " should be a JSON object"
            )
            raise MalformedError(message)
        return {c: self._plain(key, c, "key") for c in self.key}

    def _members(self, text: str) -> dict[str, str]:
        spans, _ = members(text, 0)
        meanings: Mapping[str, Meaning] = {}
        if set(spans) == {"schema", "payload"}:
            start, end = spans["payload"]
            meanings = self.values.said(text[slice(*spans["schema"])])
            if text[start] != "{":
                texts = dict.fromkeys(self.key, text[start:end] if len(self.key) == 1 else "null")
                return {c: self._meant(c, v, meanings.get("")) for c, v in texts.items()}
            spans, _ = members(text, start)
        return {
            c: (
                self._meant(c, text[slice(*spans[name])], meanings.get(name))
                if name in spans
                else "null"
            )
            for c, name in self.key.items()
        }

    def _meant(self, column: str, json_text: str, meaning: Meaning | None) -> str:
        """Rewrite a value of Debezium's, or one that a schema describes, as its column's type."""
        if (meaning is None and not self.envelope) or not self.values.concerns(column, meaning):
            return json_text
        return self.values.text(column, json_text, meaning)

    def _of_avro(self, key: bytes, schema_of: Callable[[int], Any]) -> dict[str, str]:
        """The columns of a key that is Avro of the registry: a record or a plain value."""
        try:
            schema, value = keyed(key, schema_of)
        except ValueError as error:
            # a number that a producer writes as it stands
            if len(key) in BINARY and len(self.key) == 1 and all(map(self._whole, self.key)):
                return {c: self._plain(key, c, "key") for c in self.key}
            message = f"the message's key is no Avro of the registry: {error}"
            raise MalformedError(message) from None
        meanings = connect_meanings(schema)
        if not isinstance(value, dict):
            if len(self.key) > 1:
                message = (
                    f"the message's key is {value!r:.60}, and {', '.join(self.key)} come from it:"
                    " it should be a record"
                )
                raise MalformedError(message)
            value, meanings = (
                dict.fromkeys(self.key.values(), value),
                dict.fromkeys(self.key.values(), meanings.get("", Meaning())),
            )
        if lacking := [n for n in self.key.values() if n not in value]:
            message = f"the message's key has {', '.join(map(str, value))}: no {', '.join(lacking)}"
            raise MalformedError(message)
        return {
            c: self._meant(c, self.values.plain(c, value[n]), meanings.get(n, Meaning()))
            for c, n in self.key.items()
        }

    def _whole(self, column: str) -> bool:
        """Whether the column's values are whole numbers in messages."""
        type_ = self.types[column].lstrip("!")
        return type_.startswith(("int", "uint")) or (
            type_.startswith("timestamp") and self.time != "iso"
        )

    def _plain(self, value: bytes | None, column: str, origin: str) -> str:
        """A plain text or number as JSON."""
        if value is None:
            return "null"
        type_ = self.types[column].lstrip("!")
        if (
            self._whole(column)
            and len(value) in BINARY
            and not WHOLE_NUMBER.fullmatch(value.decode("latin-1"))
        ):
            return str(int.from_bytes(value, "big", signed=True))
        try:
            text = value.decode()
        except UnicodeDecodeError as wrong:
            message = f"the message's {origin} is no UTF-8 at byte {wrong.start}"
            raise MalformedError(message) from None
        quoted = self.time == "iso" if type_.startswith("timestamp") else type_.startswith(QUOTED)
        return text if _json(text, str if quoted else (int, float)) else json.dumps(text)


def _json(text: str, kinds: Any) -> bool:
    """Whether a text is JSON whose value has one of these types."""
    try:
        return isinstance(json.loads(text), kinds)
    except (ValueError, RecursionError):
        return False
