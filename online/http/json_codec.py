"""JSON of keys and answers, as the HTTP service reads and writes it."""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from binascii import Error as NoBase64
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl
from uuid import UUID

import orjson

from workbench.online.errors import StoreError
from workbench.online.legible_text import short

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from workbench.online.fetching.answers import Answer
    from workbench.online.plan import Column, Plan

OPTIONS = orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS
DEEPEST = 16  # levels of a body
INT64_MIN, UINT64_MAX = -(2**63), 2**64 - 1  # beyond, a JSON number of ours has no type
WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,80}")


# --- in


def _whole_number(text: str) -> int:
    if not WHOLE_NUMBER.fullmatch(text):
        raise ValueError(text)
    return int(text)


def _real(text: str) -> float:
    if not isfinite(value := float(text)):
        raise ValueError(text)
    return value


def _exact(text: str) -> Decimal:
    if not (value := Decimal(text)).is_finite():
        raise ValueError(text)
    return value


def _flag(text: str) -> bool:
    return {"true": True, "false": False}[text]


def _bytes(text: str) -> bytes:
    return b64decode(text, validate=True)


# By Postgres type: what makes a value of its text, and how such a text looks.
TEXTS: dict[str, tuple[Callable[[str], Any], str]] = {
    "int8": (_whole_number, "42"),
    "numeric(20,0)": (_whole_number, "42"),
    "float8": (_real, "0.5"),
    "bool": (_flag, "true"),
    "text": (str, "abc"),
    "bytea": (_bytes, "base64, as YWJj"),
    "date": (date.fromisoformat, "2023-12-01"),
    "timestamp": (datetime.fromisoformat, "2023-12-01T00:00:00Z"),
    "timestamptz": (datetime.fromisoformat, "2023-12-01T00:00:00Z"),
    "time": (time.fromisoformat, "12:30:00"),
    "uuid": (UUID, "123e4567-e89b-12d3-a456-426614174000"),
}
EXACT = (_exact, "12.50")
SAMPLES: dict[str, Any] = {"text": "5", "bytea": b"abc"}
BARE = ("int8", "numeric(20,0)", "float8", "bool")  # what JSON has of its own


def parse_value(column: Column, text: str) -> Any:
    """A key or context value from its text; StoreError for a text that is not of its type."""
    convert, example = TEXTS.get(column.sql, EXACT)
    try:
        return convert(text)
    except (ValueError, KeyError, InvalidOperation, NoBase64):
        message = f"{column.name} takes {column.type}, as {example}, not {short(text)}"
        raise StoreError(message) from None


def sample(column: Column) -> Any:
    """An example value of the column's type."""
    return (
        SAMPLES[column.sql]
        if column.sql in SAMPLES
        else parse_value(column, TEXTS.get(column.sql, EXACT)[1])
    )


def value(column: Column, given: Any) -> Any:
    """A key or context value from JSON.

    Dates, times, decimals, UUIDs and bytes are texts in JSON, so that no digit is lost. StoreError
    for a text or number that is not of the column's type.
    """
    if isinstance(given, str) and column.sql not in BARE:
        return parse_value(column, given)
    if isinstance(given, float) and column.sql != "float8":
        message = (
            f"{column.name} takes {column.type}, and the number {given!r} may have lost digits:"
            " give it as text"
        )
        raise StoreError(message)
    return given


def columns(plan: Plan) -> dict[str, Column]:
    """The columns that a row of a request may have: context and keys, by name."""
    return {c.name: c for c in (*plan.context, *plan.keys)}


def row(plan: Plan, given: Any, what: str = "a key", *, texts: bool = False) -> dict[str, Any]:
    """A request's keys and context as Python values; the fetcher checks their names."""
    if not isinstance(given, dict):
        wanted = plan.context if what == "context" else plan.keys
        message = (
            f"{what} is an object, as {{{', '.join(f'{c.name!r}: ...' for c in wanted)}}},"
            f" not {short(given)}"
        )
        raise StoreError(message)
    columns_by_name, make = columns(plan), parse_value if texts else value
    return {
        name: make(columns_by_name[name], v) if name in columns_by_name else v
        for name, v in given.items()
    }


def loads(body: bytes) -> Any:
    """Parse a body as JSON, strictly.

    StoreError for invalid JSON, a repeated name, or more levels than any key has.
    """
    try:
        document = orjson.loads(body)
        json.loads(body, object_pairs_hook=_once)  # of two values of a name, orjson gives the last
    except RecursionError:
        document, deep = None, True
    except ValueError as error:
        message = f"the body is no JSON: {error}"
        raise StoreError(message) from None
    else:
        deep = _nested(document, DEEPEST)
    if deep:
        message = (
            f"the body is nested deeper than {DEEPEST} levels, and a key has one: send keys as"
            " objects of plain values"
        )
        raise StoreError(message)
    return document


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len(names := [name for name, _ in pairs]) > len(set(names)):
        twice = next(name for name in names if names.count(name) > 1)
        message = f"{short(twice)} is given twice in one object of the body: give each name once"
        raise StoreError(message)


def _nested(value: Any, deepest: int) -> bool:
    """Whether a value has more levels than `deepest`."""
    if not isinstance(value, dict | list):
        return False
    return not deepest or any(
        _nested(v, deepest - 1)
        for v in (value.values() if isinstance(value, dict) else value)
        if isinstance(v, dict | list)
    )


def query(text: bytes) -> list[tuple[str, str]]:
    """Names and values of a URL's query in UTF-8; StoreError for other bytes."""
    try:
        return parse_qsl(text.decode(), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        message = "the query is no UTF-8: encode each key as UTF-8 and then by %, as 'caf%C3%A9'"
        raise StoreError(message) from None


# --- out


def dumps(answer: Any) -> bytes:
    """JSON bytes: decimals as text with all their digits, bytes as base64, times in UTC.

    Whole numbers beyond 64 bits are text too.
    """
    try:
        return orjson.dumps(answer, default=_encode_value, option=OPTIONS)
    except TypeError:  # maps whose keys are decimals or bytes, whole numbers beyond 64 bits
        return orjson.dumps(_plain(answer), default=_encode_value, option=OPTIONS)


def _encode_value(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, bytes):
        return b64encode(value).decode()
    raise TypeError(type(value).__name__)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k if isinstance(k, str) else _text(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, int) and not INT64_MIN <= value <= UINT64_MAX:
        return str(value)
    return value


def _text(key: Any) -> str:
    return orjson.dumps(key, default=_encode_value, option=OPTIONS).decode().strip('"')


def told(answer: Answer) -> dict[str, Any]:
    """An answer with all its fields as a dict for JSON."""
    return {
        "name": answer.name,
        "plan": answer.plan,
        "at": answer.at,
        "keys": answer.asked,
        "status": answer.status,
        "features": dict(answer),
        "parts": answer.parts,
        "errors": answer.errors,
    }


def result(given: Any, answer: Answer | str) -> Mapping[str, Any]:
    """One result in the form of Chronon's service, with `_exception` for a feature that failed.

    If `answer` is a text, it is the reason that the row failed.
    """
    if isinstance(answer, str):
        return {"status": "Failure", "entityKeys": given, "error": answer}
    return {
        "status": "Success",
        "entityKeys": given,
        "features": (
            dict(answer) | {f"{name}_exception": why for name, why in answer.errors.items()}
        ),
    }
