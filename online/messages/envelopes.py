"""JSON messages that are not plain rows: Debezium's envelope, and names unlike the table's.

They are rewritten as text, without parsing values that need no change.
"""

from __future__ import annotations

import json
import re

# undocumented, and in C where CPython has it
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import TYPE_CHECKING

from workbench.online.messages.connect_values import ConnectValues
from workbench.online.messages.json_csv import MalformedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.online.messages.connect_values import Meaning
    from workbench.online.plan import TopicPlan

BLANK = re.compile(r"[ \t\n\r]*")
DECODER = json.JSONDecoder()
TOMBSTONES, DELETES = "tombstones", "deletes"
CHANGED = (
    "the message is a change of a row (op u), and facts never change: name the column that"
    " identifies one, EventSource(..., id=...), and the next upload brings what changed"
)

Span = tuple[int, int]


class PassedError(Exception):
    """A message that is no event though nothing is wrong with it; `kind` is a field of `Counts`."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Opener:
    """Rewrites a topic's messages as JSON objects with the table's column names.

    From Debezium's envelope it takes the row after a change: a row that was created, read by a
    snapshot, or, where events are `identified`, updated. For a deleted row it raises `PassedError`:
    an event that happened stays.
    """

    def __init__(self, topic: TopicPlan, columns: Mapping[str, str], *, identified: bool) -> None:
        self.envelope, self.identified = topic.envelope, identified
        self.paths = dict(topic.names)
        self.folded = {c.casefold(): c for c in columns} if topic.insensitive else {}
        self.values = ConnectValues(topic, columns) if topic.envelope else None

    @property
    def idle(self) -> bool:
        """Whether messages are already plain rows."""
        return not (self.envelope or self.paths or self.folded)

    def opened(self, payload: bytes) -> bytes:
        """The row in a message; raises PassedError, or MalformedError with a sentence."""
        try:
            text = payload.decode()
            spans, end = members(text, 0)
            _refuse_more(text, end)
            start = self._row(text, spans) if self.envelope else 0
            return self._named(text, start, self._said(text, spans)).encode()
        except UnicodeDecodeError as wrong:
            message = f"the message is no UTF-8 at byte {wrong.start}"
        except MalformedError:
            raise
        except (ValueError, RecursionError) as wrong:
            message = f"the message is no JSON object: {wrong}"
        raise MalformedError(message)

    def _row(self, text: str, spans: Mapping[str, Span]) -> int:
        """Where the row of an envelope begins, with or without a schema beside the envelope."""
        if "payload" in spans and "op" not in spans:
            start, end = spans["payload"]
            if text[start:end] == "null":
                raise PassedError(TOMBSTONES)
            spans, _ = members(text, start)
        else:
            start = 0
        marks = {
            name: DECODER.decode(text[slice(*spans[name])])
            for name in ("op", "__op", "__deleted")
            if name in spans
        }
        if "op" not in marks:
            return self._flat(marks, spans, start)
        op = marks["op"]
        if op in ("d", "t"):
            raise PassedError(DELETES)
        if op == "m":
            raise PassedError(TOMBSTONES)
        if op not in ("c", "r", "u") or "after" not in spans:
            message = (
                f"the message is no change that Debezium writes: its op is {op!r}, and it has"
                f" {', '.join(spans)}"
            )
            raise MalformedError(message)
        if op == "u" and not self.identified:
            raise MalformedError(CHANGED)
        return spans["after"][0]

    def _flat(self, marks: Mapping[str, object], spans: Mapping[str, Span], start: int) -> int:
        """Where a row begins that was unwrapped from its envelope, by `__op` and `__deleted`."""
        if not marks:
            message = (
                f"the message is no envelope of Debezium's: it has {', '.join(spans) or 'nothing'},"
                " and no op"
            )
            raise MalformedError(message)
        if marks.get("__deleted") in (True, "true") or marks.get("__op") == "d":
            raise PassedError(DELETES)
        if marks.get("__op") == "u" and not self.identified:
            raise MalformedError(CHANGED)
        return start

    def _said(self, text: str, spans: Mapping[str, Span]) -> Mapping[str, Meaning]:
        """The meanings of columns in the schema beside a change; empty where there is none."""
        if self.values is None or "payload" not in spans or "schema" not in spans:
            return {}
        return self.values.said(text[slice(*spans["schema"])])

    def _named(self, text: str, start: int, meanings: Mapping[str, Meaning]) -> str:
        """The object at `start` under the table's names, with values as its types have them."""
        spans, end = members(text, start)
        object_text = text[start:end].lstrip()
        row: dict[str, str] = {}
        column_meanings: dict[str, Meaning | None] = {}
        for name, (at, after) in spans.items():
            column = self.folded.get(name.casefold(), name)
            if column in row:
                message = f"column {column!r} is given twice, under names that differ in case alone"
                raise MalformedError(message)
            row[column], column_meanings[column] = text[at:after], meanings.get(name)
        row |= {column: _at(text, start, path) for column, path in self.paths.items()}
        column_meanings |= {column: meanings.get(path) for column, path in self.paths.items()}
        changed = bool(self.paths or self.folded)
        for column in [
            c
            for c in row
            if self.values is not None and self.values.concerns(c, column_meanings[c])
        ]:
            before = row[column]
            row[column] = (
                before
                if self.values is None
                else self.values.text(column, before, column_meanings[column])
            )
            changed |= row[column] != before
        if not changed:
            return object_text
        return "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in row.items()) + "}"


def _at(text: str, start: int, path: str) -> str:
    """The JSON value under a name, or under a path of nested names with dots between.

    It is `null` where there is none.
    """
    full_path, *parts = (path, *path.split("."))
    spans, _ = members(text, start)
    if full_path in spans:
        return text[slice(*spans[full_path])]
    for n, part in enumerate(parts):
        if part not in spans:
            return "null"
        at, end = spans[part]
        if n == len(parts) - 1:
            return text[at:end]
        if text[at] != "{":
            return "null"
        spans, _ = members(text, at)
    return "null"


def members(text: str, start: int) -> tuple[dict[str, Span], int]:
    """The names in the object at `start` with the span of each value, and where the object ends.

    ValueError where no object stands there or a name is repeated.
    """
    at, spans = _blank(text, start), dict[str, Span]()
    if text[at : at + 1] != "{":
        message = f"it begins with {text[at : at + 20]!r}"
        raise ValueError(message)
    at = _blank(text, at + 1)
    if text[at : at + 1] == "}":
        return spans, at + 1
    while True:
        if text[at : at + 1] != '"':
            message = f"a name is expected at {at}"
            raise ValueError(message)
        name, at = scanstring(text, at + 1)
        at = _blank(text, at)
        if text[at : at + 1] != ":":
            message = f"a colon is expected at {at}"
            raise ValueError(message)
        at = _blank(text, at + 1)
        end = DECODER.raw_decode(text, at)[1]
        if name in spans:
            message = f"{name!r} is given twice"
            raise ValueError(message)
        spans[name] = at, end
        at = _blank(text, end)
        if text[at : at + 1] == "}":
            return spans, at + 1
        if text[at : at + 1] != ",":
            message = f"a comma is expected at {at}"
            raise ValueError(message)
        at = _blank(text, at + 1)


def _refuse_more(text: str, end: int) -> None:
    if BLANK.fullmatch(text, end) is None:
        message = f"{text[end : end + 20]!r} follows the object"
        raise ValueError(message)


def _blank(text: str, at: int) -> int:
    blank_match = BLANK.match(text, at)
    return at if blank_match is None else blank_match.end()
