"""A check's input in the types of its group-by: events as rows of the base table, and cases.

A case is a key, a time and the expected values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from attrs import frozen

from workbench.definitions.binding import title
from workbench.definitions.group_by import GroupBy
from workbench.definitions.nodes import as_it_stands, base
from workbench.errors import DefinitionError, near
from workbench.online.errors import StoreError
from workbench.online.fetching.answers import microseconds
from workbench.portable.arrow_types import arrow

if TYPE_CHECKING:
    import ibis.expr.datatypes as dt


@frozen
class ExpectedValues:
    """A key, an instant in microseconds, and the expected values of some features."""

    key: tuple[Any, ...]
    at: int
    expected: Mapping[str, Any]


@frozen
class Example:
    """A group-by, events of its base table, and the cases to check it by."""

    group_by: GroupBy
    events: pa.Table
    cases: tuple[ExpectedValues, ...]

    @property
    def values(self) -> int:
        """The number of expected values."""
        return sum(len(c.expected) for c in self.cases)


def example(group_by: Any, events: Any, key: Any, at: Any, expect: Any) -> Example:
    """Parse the arguments of `check`, and refuse what names something that does not exist."""
    if not isinstance(group_by, GroupBy):
        message = (
            f"check takes a GroupBy, not {type(group_by).__name__}: of a join, check its parts'"
            " group-bys one by one"
        )
        raise DefinitionError(message)
    rows = _events(group_by, events)
    return Example(group_by, rows, _cases(group_by, rows, key, at, expect))


def _events(group_by: GroupBy, events: Any) -> pa.Table:
    """Return the events in the base table's columns; what an event leaves out is null."""
    table = base(group_by.source.table)
    if isinstance(events, Mapping) or not isinstance(events, Sequence):
        message = (
            f"events of a check are a list of dicts, [{{{group_by.keys[0]!r}: ...}}], not"
            f" {type(events).__name__}"
        )
        raise DefinitionError(message)
    rows = []
    for i, event in enumerate(events):
        for name in event:
            if name not in table.schema:
                message = (
                    f"event {i + 1} has {name!r}, which is no column of {title(table)}:"
                    f" {near(name, table.schema.names)}"
                )
                raise DefinitionError(message)
        rows.append(
            {
                c: value(event.get(c), t, f"{c!r} of event {i + 1}{_made_anew(group_by, c, t)}")
                for c, t in table.schema.items()
            }
        )
    schema = pa.schema([(c, arrow(t)) for c, t in table.schema.items()])
    return pa.Table.from_pylist(rows, schema)


def _cases(
    group_by: GroupBy, rows: pa.Table, key: Any, at: Any, expect: Any
) -> tuple[ExpectedValues, ...]:
    """Return a case for each element of the lists that `key`, `at` and `expect` may be."""
    arguments = {"key": key, "at": at, "expect": expect}
    lists = {name: list(v) for name, v in arguments.items() if isinstance(v, list | tuple)}
    lengths = {name: len(v) for name, v in lists.items()}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        message = (
            f"{' and '.join(f'{name} has {n}' for name, n in lengths.items())}: lists of key, at"
            " and expect are of one length, a case each"
        )
        raise DefinitionError(message)
    if lists and "expect" not in lists:
        message = (
            f"{next(iter(lists))} has {next(iter(lengths.values()))} cases and expect is one: give"
            " a list, what to expect of each"
        )
        raise DefinitionError(message)
    n = next(iter(lengths.values()), 1)
    case_values = {name: lists.get(name, [v] * n) for name, v in arguments.items()}
    return tuple(
        ExpectedValues(_key(group_by, rows, k), _instant(t), _expected(group_by, e))
        for k, t, e in zip(
            case_values["key"], case_values["at"], case_values["expect"], strict=True
        )
    )


def _instant(at: Any) -> int:
    try:
        if at is None:
            message = "at=None is no time: a check is of a time that it names"
            raise DefinitionError(message)
        return microseconds(at)
    except StoreError as error:
        raise DefinitionError(str(error).split(", or leave it out")[0]) from None


def _key(group_by: GroupBy, rows: pa.Table, key: Any) -> tuple[Any, ...]:
    """Return the key to check: the one given, else the only one of the events."""
    schema = group_by.source.table.schema
    if isinstance(key, Mapping):
        for name in (*key, *group_by.keys):
            if name not in group_by.keys or name not in key:
                message = (
                    f"key={dict(key)!r} is no key of {group_by.name}: it has"
                    f" {', '.join(group_by.keys)}, each once"
                )
                raise DefinitionError(message)
        return tuple(value(key[k], schema[k], f"{k!r} of the key") for k in group_by.keys)
    columns = [as_it_stands(group_by.source.table, k) for k in group_by.keys]
    event_keys = (
        []
        if key is not None or None in columns
        else list(
            dict.fromkeys(
                k
                for k in zip(*(rows[c].to_pylist() for c in columns), strict=True)
                if None not in k
            )
        )
    )
    if len(event_keys) != 1:
        keys_sentence = (
            f"the events are of {len(event_keys)} keys"
            if event_keys
            else (
                "no event says whose it is"
                if None not in columns
                else "the key is computed from the events"
            )
        )
        message = (
            f"{keys_sentence}: say which {', '.join(group_by.keys)} to ask for,"
            f" key={{{', '.join(f'{k!r}: ...' for k in group_by.keys)}}}"
        )
        raise DefinitionError(message)
    return event_keys[0]


def _expected(group_by: GroupBy, expect: Any) -> dict[str, Any]:
    """Return the expected values in the types of their features."""
    if not isinstance(expect, Mapping) or not expect:
        message = (
            f"expect={expect!r:.60} expects nothing: name features and their values,"
            f" expect={{{group_by.outputs[0].name!r}: ...}}"
        )
        raise DefinitionError(message)
    features = {f.name: f for f in group_by.outputs}
    for name in expect:
        if name not in features:
            message = f"{group_by.name} has no feature {name!r}: {near(name, features)}"
            raise DefinitionError(message)
    return {name: value(v, features[name].dtype, f"expect[{name!r}]") for name, v in expect.items()}


# How an author writes a value, by its type.
SPELLINGS = {
    "decimal": "Decimal('1.50') or '1.50'",
    "timestamp": "'2024-03-01 12:00' or a datetime",
    "date": "'2024-03-01' or a date",
    "integer": "a whole number",
    "floating": "a number",
    "boolean": "True or False",
    "string": "a text",
    "array": "a list",
    "map": "a dict",
}


def _made_anew(group_by: GroupBy, name: str, dtype: dt.DataType) -> str:
    """Explain that events need the base table's column, of which the source computes its own."""
    source_type = group_by.source.table.schema.get(name, dtype)
    if source_type == dtype:
        return ""
    return (
        f", a row as {title(base(group_by.source.table))} has it, of which {source_type} is made,"
    )


def value(given: Any, dtype: dt.DataType, what: str) -> Any:
    """Return a value as Python has those of its type.

    Times may be given as ISO text, decimals as text or whole numbers, floats as whole numbers.
    """
    if given is None:
        return None
    try:
        return pa.scalar(_plain(given, dtype), arrow(dtype)).as_py(
            **({"maps_as_pydicts": "strict"} if dtype.is_nested() else {})
        )
    except (TypeError, ValueError, ArithmeticError, pa.ArrowException):
        spelling = next(
            (w for type_name, w in SPELLINGS.items() if getattr(dtype, f"is_{type_name}")()),
            f"a value of {dtype}",
        )
        message = f"{what} is {given!r}, and the column is {dtype}: write {spelling}"
        raise DefinitionError(message) from None


def _plain(example_value: Any, dtype: dt.DataType) -> Any:
    """Return a value as Arrow takes it; TypeError where Arrow would change its kind."""
    if dtype.is_timestamp():
        return _moment(example_value, dtype)
    if dtype.is_boolean() != isinstance(example_value, bool) or (
        dtype.is_integer() and isinstance(example_value, float)
    ):
        raise TypeError
    if dtype.is_decimal():
        return (
            Decimal(str(example_value))
            if isinstance(example_value, str | int | float)
            else example_value
        )
    return (
        date.fromisoformat(example_value)
        if dtype.is_date() and isinstance(example_value, str)
        else example_value
    )


def _moment(example_value: Any, dtype: dt.DataType) -> datetime:
    at = datetime.fromisoformat(example_value) if isinstance(example_value, str) else example_value
    if not isinstance(at, datetime):
        raise TypeError
    aware = at if at.tzinfo else at.replace(tzinfo=UTC)
    return aware if dtype.timezone else aware.astimezone(UTC).replace(tzinfo=None)
