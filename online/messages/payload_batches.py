"""Reading of a batch of payloads into rows, whatever the format: all at once, or one by one."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa

from workbench.online.messages.json_csv import MalformedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from workbench.online.messages.json_csv import Csv, Json

    TextReader = Json | Csv


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


def read_batch(text: TextReader, payloads: Sequence[bytes]) -> Decoded:
    """Read all messages at once; on failure, ever smaller parts until bad ones stand alone."""
    full_payloads = [p for p in payloads if p]
    if (
        0 < len(payloads) == sum(map(text.begins, full_payloads))
    ):  # nothing to open: the usual batch
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


def read_records(
    row_of: Callable[[bytes], dict[str, object]],
    types: Mapping[str, pa.DataType],
    payloads: Sequence[bytes],
) -> Decoded:
    """Read messages one by one with `row_of`, which raises ValueError for a bad one."""
    rows, good, bad = [], [], []
    for place, payload in enumerate(payloads):
        try:
            rows.append(_fitting_row(row_of(payload), types))
            good.append(place)
        except ValueError as error:
            bad.append((place, str(error)))
    arrays = [
        (
            pa.array([row[c] for row in rows], pa.int64()).cast(t)
            if pa.types.is_timestamp(t)
            else pa.array([row[c] for row in rows], t)
        )
        for c, t in types.items()
    ]
    return Decoded(pa.table(arrays, schema=pa.schema(list(types.items()))), good, bad)


def _fitting_row(row: dict[str, object], types: Mapping[str, pa.DataType]) -> dict[str, object]:
    """The row; ValueError where a value does not fit its column."""
    for column, type_ in types.items():
        try:
            pa.scalar(row[column], pa.int64() if pa.types.is_timestamp(type_) else type_)
        except (pa.ArrowException, OverflowError, TypeError, ValueError):
            message = f"column {column!r} is {type_}, and the message has {row[column]!r}"
            raise ValueError(message) from None
    return row


def _opened(
    text: TextReader, payloads: Sequence[bytes]
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
