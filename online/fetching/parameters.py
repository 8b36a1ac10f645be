"""Keys and context as parameters of a statement, checked by Postgres type."""

from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from psycopg.types.numeric import Int8

from workbench.online.errors import StoreError
from workbench.online.legible_text import short

if TYPE_CHECKING:
    from workbench.online.plan import Column

MOST = 2**63
ACCEPTED: dict[str, tuple[type, ...]] = {
    "int8": (int,),
    "numeric(20,0)": (int,),
    "float8": (float, int),
    "bool": (bool,),
    "text": (str,),
    "bytea": (bytes,),
    "date": (date,),
    "timestamp": (datetime,),
    "timestamptz": (datetime,),
    "time": (time,),
    "uuid": (UUID, str),
}


def parameter(column: Column, value: Any, what: str = "key") -> Any:
    """A key or context value as a parameter of its column's type; StoreError for another type.

    numpy's scalars are accepted as the values they hold.
    """
    value = value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value
    if value is None or absent(value):
        return None
    accepted = ACCEPTED.get(column.sql, (Decimal, int))
    if not isinstance(value, accepted) or (isinstance(value, bool) and column.sql != "bool"):
        message = (
            f"{what} {column.name} takes {column.type}, not {short(value)} of type"
            f" {type(value).__name__}: {_instead(column, value)}"
        )
        raise StoreError(message)
    if isinstance(value, int) and column.sql == "int8":
        if not -MOST <= value < MOST:
            message = (
                f"{what} {column.name} takes 64-bit whole numbers, and {short(value)} has more"
                " digits: no such key can be stored"
            )
            raise StoreError(message)
        return Int8(value)
    if isinstance(value, str):
        return _text(column, value, what)
    try:
        return float(value) if isinstance(value, int) and column.sql == "float8" else value
    except OverflowError:
        message = (
            f"{what} {column.name} takes {column.type}, and {short(value)} is beyond it: no such"
            " key can be stored"
        )
        raise StoreError(message) from None


def absent(value: Any) -> bool:
    """Whether a value is one of pandas's missing values: NaN, NaT, or NA.

    A comparison with NA is never true.
    """
    return type(value).__name__ == "NAType" or (
        value.is_nan()
        if isinstance(value, Decimal)
        # PLR0124: NaN and NaT do not equal themselves
        else isinstance(value, float | datetime) and value != value  # noqa: PLR0124
    )


def _text(column: Column, value: str, role: str) -> Any:
    if "\x00" in value:
        message = (
            f"{role} {column.name} has a NUL character, which no stored text has: leave it out"
        )
        raise StoreError(message)
    try:
        value.encode()
        return UUID(value) if column.sql == "uuid" else value
    except UnicodeEncodeError:
        message = (
            f"{role} {column.name} has half of a surrogate pair, {short(value)}, which is no text:"
            " no such key can be stored"
        )
    except ValueError:
        message = (
            f"{role} {column.name} takes a UUID, as '123e4567-e89b-12d3-a456-426614174000', not"
            f" {short(value)}"
        )
    raise StoreError(message)


def _instead(column: Column, value: Any) -> str:
    if column.sql == "text":
        return f"pass {short(value if isinstance(value, str) else short(value))}"
    return f"pass a {ACCEPTED.get(column.sql, (Decimal,))[0].__name__}"
