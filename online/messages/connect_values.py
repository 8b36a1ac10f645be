"""Values as Kafka Connect and Debezium write them, rewritten as JSON of the table's columns.

Those are decimals as bytes in base64, days as numbers, and times in units of their own.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from attrs import frozen

from workbench.online.messages.json_csv import MalformedError
from workbench.online.time_units import EPOCH, EPOCH_DAY, days_since_epoch, us_since_epoch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.online.plan import TopicPlan

DEBEZIUM, CONNECT = "io.debezium.", "org.apache.kafka.connect.data."
NANOS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}  # nanoseconds in a unit
DECIMAL, VARIABLE = f"{CONNECT}Decimal", f"{DEBEZIUM}data.VariableScaleDecimal"
DATES = {f"{DEBEZIUM}time.Date", f"{CONNECT}Date"}
TIMES = {
    f"{DEBEZIUM}time.Time": "ms",
    f"{DEBEZIUM}time.MicroTime": "us",
    f"{DEBEZIUM}time.NanoTime": "ns",
    f"{CONNECT}Time": "ms",
}
INSTANTS = {
    f"{DEBEZIUM}time.Timestamp": "ms",
    f"{DEBEZIUM}time.MicroTimestamp": "us",
    f"{DEBEZIUM}time.NanoTimestamp": "ns",
    f"{CONNECT}Timestamp": "ms",
}
ZONED = f"{DEBEZIUM}time.ZonedTimestamp"
# What a value of such a name is, as Ibis calls it; of decimals Avro says it itself.
KINDS = {
    **dict.fromkeys(DATES, "date"),
    **dict.fromkeys(TIMES, "time"),
    **dict.fromkeys([*INSTANTS, ZONED], "timestamp"),
}
NAMES = {DECIMAL, VARIABLE, *DATES, *TIMES, *INSTANTS, ZONED}
NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")
BASE64 = re.compile(r"([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
DAY_NANOS = NANOS["s"] * 86_400


@frozen
class Meaning:
    """The meaning of a field's values by its schema: Connect's type name, and a decimal's scale.

    The name is empty where the schema gives none.
    """

    name: str = ""
    scale: int | None = None


def meanings(schema: Any) -> dict[str, Meaning]:
    """The meanings of the fields of a Connect schema in JSON that is a struct.

    Of a change event, these are the fields of the row after it. The meaning of a schema of a single
    value stands under the empty name.
    """
    fields = {f["field"]: f for f in _fields(schema)}
    if {"after", "op"} <= set(fields):
        fields = {f["field"]: f for f in _fields(fields["after"])}
    if not fields and isinstance(schema, dict) and schema.get("name"):
        fields = {"": schema}
    return {name: Meaning(str(f.get("name") or ""), _scale(f)) for name, f in fields.items()}


def _fields(schema: Any) -> list[dict[str, Any]]:
    fields = schema.get("fields") if isinstance(schema, dict) else None
    return [f for f in fields or () if isinstance(f, dict) and isinstance(f.get("field"), str)]


def _scale(field: Mapping[str, Any]) -> int | None:
    scale = (field.get("parameters") or {}).get("scale")
    return int(scale) if scale is not None and re.fullmatch(r"-?\d+", str(scale)) else None


class ConnectValues:
    """A rewriter of a topic's values, by their schema, else by their columns' types."""

    def __init__(self, topic: TopicPlan, types: Mapping[str, str]) -> None:
        self.unit = topic.time
        self.types = {c: t.lstrip("!") for c, t in types.items()}
        self._apart = {
            c for c, t in self.types.items() if t.startswith(("date", "time", "decimal"))
        }
        self._known: tuple[str, dict[str, Meaning]] = ("", {})

    def said(self, schema: str) -> dict[str, Meaning]:
        """The meanings in a schema that comes with a message.

        The last schema's meanings are cached, since most messages repeat it.
        """
        if schema != self._known[0]:
            self._known = schema, meanings(json.loads(schema))
        return self._known[1]

    def concerns(self, column: str, meaning: Meaning | None) -> bool:
        """Whether a value of the column may be encoded in another way than in plain messages."""
        if column not in self.types:
            return False
        return (
            column in self._apart if meaning is None or not meaning.name else meaning.name in NAMES
        )

    def text(self, column: str, told: str, meaning: Meaning | None) -> str:
        """Rewrite a JSON value as JSON of the column's type.

        MalformedError where the value does not fit the schema or the column's type.
        """
        if told == "null" or (
            (meaning is None or not meaning.name)
            and self.types[column].startswith("timestamp")
            and not told.startswith('"')
        ):
            return told
        value, name = json.loads(told, parse_float=Decimal), "" if meaning is None else meaning.name
        try:
            return self._text(
                column,
                value,
                told,
                meaning if name in NAMES else None,
                has_meaning=meaning is not None,
            )
        except (
            ValueError,
            OverflowError,
            ArithmeticError,
            binascii.Error,
            TypeError,
            KeyError,
        ) as error:
            type_name = f"{name}" if name in NAMES else self.types[column]
            message = f"column {column!r} is {type_name}, and the message has {told[:60]}: {error}"
            raise MalformedError(message) from None

    def _text(
        self, column: str, value: Any, json_text: str, meaning: Meaning | None, *, has_meaning: bool
    ) -> str:
        type_, name = self.types[column], "" if meaning is None else meaning.name
        decimal = type_.startswith("decimal")
        if (
            isinstance(value, dict)
            and set(value) == {"scale", "value"}
            and (name == VARIABLE or (decimal and not name))
        ):
            return _unscaled(value["value"], int(value["scale"]))
        if name == DECIMAL and meaning is not None and isinstance(value, str):
            return _unscaled(
                value, meaning.scale if meaning.scale is not None else _declared(type_)
            )
        if decimal and isinstance(value, str) and not has_meaning:
            return self._guessed(value, json_text, _declared(type_))
        if isinstance(value, int) and not isinstance(value, bool):
            return self._number(value, json_text, type_, name)
        if type_.startswith("timestamp") and isinstance(value, str) and self.unit != "iso":
            return self._instant(us_since_epoch(_iso(value)) * NANOS["us"])
        return json_text

    def _guessed(self, value: str, json_text: str, scale: int) -> str:
        """A decimal's text where no schema says what it is: digits, or the base64 of bytes.

        ValueError where it may be both.
        """
        digits, encoded = (
            NUMBER.fullmatch(value) is not None,
            bool(value) and BASE64.fullmatch(value) is not None,
        )
        if digits and encoded:
            problem = (
                "that may be its digits or the base64 of its bytes: let the connector send schemas"
                " (schemas.enable), or numbers"
            )
            raise ValueError(problem)
        return _unscaled(value, scale) if encoded else json_text

    def _number(self, value: int, json_text: str, type_: str, name: str) -> str:
        """Rewrite a whole number that stands for a day, a time of day or an instant."""
        if name in DATES or (type_.startswith("date") and not name):
            day = EPOCH_DAY + timedelta(days=value)
            return (
                self._instant(value * DAY_NANOS)
                if type_.startswith("timestamp")
                else json.dumps(day.isoformat())
            )
        unit = TIMES.get(name) or (self.unit if not name else "")
        if type_.startswith("time") and not type_.startswith("timestamp") and unit in NANOS:
            return json.dumps(_clock(value * NANOS[unit]))
        if name in INSTANTS and type_.startswith("timestamp"):
            return self._instant(value * NANOS[INSTANTS[name]])
        return json_text

    def _instant(self, nanos: int) -> str:
        """An instant as JSON in the topic's unit, truncated."""
        if self.unit == "iso":
            return json.dumps((EPOCH + timedelta(microseconds=nanos // 1_000)).isoformat())
        return str(nanos // NANOS[self.unit])

    def plain(self, column: str, value: Any) -> str:
        """A Python value of the Avro reader, as JSON.

        MalformedError for bytes and containers, which no column of a key holds.
        """
        if isinstance(value, datetime):
            return self._instant(us_since_epoch(value) * NANOS["us"])
        if isinstance(value, date | time):
            return json.dumps(value.isoformat())
        if isinstance(value, Decimal):
            return format(value, "f")
        if value is None or isinstance(value, bool | int | float | str):
            return json.dumps(value)
        if isinstance(value, bytes | list | dict | tuple):
            message = (
                f"column {column!r} is {self.types[column]}, and the message's key has"
                f" {value!r:.60}"
            )
            raise MalformedError(message)
        return json.dumps(str(value))


def decode_value(name: str, value: Any) -> Any:
    """An Avro value of this Connect type, as a date, a time of day, or microseconds since 1970.

    ValueError where the value does not fit the type.
    """
    try:
        if name in DATES:
            return EPOCH_DAY + timedelta(days=value)
        if name in TIMES:
            return time.fromisoformat(_clock(value * NANOS[TIMES[name]]))
        if name in INSTANTS:
            return value * NANOS[INSTANTS[name]] // NANOS["us"]
        return us_since_epoch(_iso(value))
    except (OverflowError, TypeError) as error:
        problem = f"{name} is no {value!r:.60}: {error}"
        raise ValueError(problem) from None


def encode_value(name: str, value: Any) -> int | str:
    """The inverse of `decode_value`, from a date, a time or a datetime.

    Truncated to the type's unit.
    """
    if isinstance(value, datetime):
        at = value.replace(tzinfo=value.tzinfo or UTC)
        return (
            at.isoformat()
            if name == ZONED
            else us_since_epoch(at) * NANOS["us"] // NANOS[INSTANTS[name]]
        )
    if isinstance(value, time):
        micros = (
            (value.hour * 60 + value.minute) * 60 + value.second
        ) * 1_000_000 + value.microsecond
        return micros * NANOS["us"] // NANOS[TIMES[name]]
    return days_since_epoch(value)


def _unscaled(encoded: Any, scale: int) -> str:
    """The decimal, with all its digits, from the base64 of its big-endian unscaled value."""
    if not isinstance(encoded, str) or not (raw := base64.b64decode(encoded, validate=True)):
        problem = "that is no base64 of bytes"
        raise ValueError(problem)
    value = int.from_bytes(raw, "big", signed=True)
    digits = tuple(map(int, str(abs(value))))
    return format(Decimal((int(value < 0), digits, -scale)), "f")


def _declared(type_: str) -> int:
    """The scale in the text of a decimal type; 0 for any other type."""
    decimal_match = re.fullmatch(r"decimal\(\d+, (\d+)\)", type_)
    return int(decimal_match[1]) if decimal_match else 0


def _clock(nanos: int) -> str:
    if not 0 <= nanos < DAY_NANOS:
        problem = "that is no time of a day"
        raise ValueError(problem)
    return (EPOCH + timedelta(microseconds=nanos // 1_000)).time().isoformat()


def _iso(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    return instant.replace(tzinfo=instant.tzinfo or UTC)
