"""The state of a live preview as one frozen value, and how each request of the page changes it.

It knows no engine and no widget.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen

from workbench.errors import DefinitionError
from workbench.live.protocol import RefusedError
from workbench.previews.left_rows import COMPARED, Wanted

if TYPE_CHECKING:
    from collections.abc import Mapping

    import ibis.expr.datatypes as dt

TABS = {
    "events": "Events",
    "steps": "Value over time",
    "distribution": "Distribution",
    "sql": "SQL",
    "lineage": "Lineage",
    "leak": "Leak check",
    "served": "Served value",
    "test": "Pin as test",
}
OPERATORS = tuple(COMPARED)
# the times of Python's calendar, in microseconds
EARLIEST, LATEST = -62_135_596_800_000_000, 253_402_300_799_999_999

# The page's requests, with their parameters and the parameters' types.
KINDS: Mapping[str, Mapping[str, type]] = {
    "page": {"page": int},
    "cell": {"row": int, "feature": str},
    "as_of": {"at": int},
    "change": {"direction": int},
    "back": {},
    "leak": {},
    "tab": {"tab": str},
    "columns": {"query": str},
    "rows": {"column": str, "op": str, "value": str},
    "guard": {"guard": str},
    "key": {"key": str},
    "guards": {},
    "compare": {},
    "publish": {},
}


@frozen
class ViewState:
    """The state of a view: page, cell, time and open panel.

    `row` counts from 0 within the page; `at` is the time that the slider was moved to, in
    microseconds since 1970, None at the row's own; `where` filters left rows by (column, operator,
    value); `key` stands for a row of its own.
    """

    page: int = 1
    size: int = 10
    row: int = 0
    feature: str = ""
    at: int | None = None
    leak: bool = False
    tab: str = "events"
    columns: str = ""
    where: tuple[tuple[str, str, Any], ...] = ()
    only: tuple[int, ...] | None = None
    because: str = ""
    key: Mapping[str, Any] | None = field(default=None)

    @property
    def filtered(self) -> bool:
        """Whether some left rows are left out."""
        return bool(self.where) or self.only is not None or self.key is not None

    @property
    def wanted(self) -> Wanted:
        """The left rows that are wanted."""
        key = None if self.key is None else tuple(self.key.items())
        return Wanted(self.where, self.only, key, self.at if key else None)

    def turned(self, page: int) -> ViewState:
        """Return the state on another page, from 1."""
        if page < 1:
            message = f"pages are counted from 1, and {page} was asked for"
            raise RefusedError(message)
        return evolve(self, page=page, row=0, at=None)

    def chosen(self, row: int, feature: str, features: tuple[str, ...]) -> ViewState:
        """Return the state at another cell; another row resets the slider to the row's time."""
        if not 0 <= row < self.size or feature not in features:
            message = "there is no such cell on this page"
            raise RefusedError(message)
        return evolve(self, row=row, feature=feature, at=self.at if row == self.row else None)

    def moved(self, at: int) -> ViewState:
        """Return the state as of another time."""
        if not EARLIEST <= at <= LATEST:
            message = f"{at} microseconds since 1970 is no time between the years 1 and 9999"
            raise RefusedError(message)
        return evolve(self, at=at)

    def opened(self, tab: str) -> ViewState:
        """Return the state with another panel open."""
        if tab not in TABS:
            message = f"there is no panel {tab!r:.40}: this page has {', '.join(TABS)}"
            raise RefusedError(message)
        return evolve(self, tab=tab)

    def kept(
        self, column: str, op: str, value: str, schema: Mapping[str, dt.DataType]
    ) -> ViewState:
        """Return the state with a filter of left rows; an empty column removes the filter."""
        if not column:
            return evolve(self, page=1, row=0, at=None, where=(), only=None, key=None, because="")
        if column not in schema or op not in OPERATORS:
            message = f"rows are filtered by a column of the left and one of {', '.join(OPERATORS)}"
            raise RefusedError(message)
        typed = (
            None if op == "is null" else typed_value(value, schema[column], text=op == "contains")
        )
        description = f"{column} {op}" + ("" if op == "is null" else f" {value}")
        return evolve(
            self,
            page=1,
            row=0,
            at=None,
            where=((column, op, typed),),
            only=None,
            key=None,
            because=description,
        )

    def alone(self, key: str, schema: Mapping[str, dt.DataType]) -> ViewState:
        """Return the state at one key that was typed, whether or not a left row has it."""
        try:
            key_values = json.loads(key)
        except ValueError:
            key_values = None
        if not isinstance(key_values, dict) or set(key_values) != set(schema):
            message = f"a key is given as {', '.join(schema)}"
            raise RefusedError(message)
        typed = {name: typed_value(str(key_values[name]), dtype) for name, dtype in schema.items()}
        return evolve(
            self,
            page=1,
            row=0,
            where=(),
            only=None,
            key=typed,
            because=", ".join(f"{k} {v}" for k, v in typed.items()),
        )


def typed_value(value: str, dtype: dt.DataType, *, text: bool = False) -> Any:
    """Parse a typed text as a value; RefusedError names the type that is expected."""
    import ibis  # noqa: PLC0415 the state is read without it

    if text or dtype.is_string():
        return value
    try:
        if dtype.is_boolean():
            return {"true": True, "false": False}[value.strip().lower()]
        if dtype.is_integer():
            return int(value.replace(",", ""))
        if dtype.is_floating() or dtype.is_decimal():
            return float(value.replace(",", ""))
        typed = ibis.literal(value.strip(), type=dtype).execute()
        return str(typed) if dtype.is_uuid() else typed
    except (KeyError, ValueError, TypeError, DefinitionError) as error:
        message = f"{value!r:.60} is no {dtype}"
        raise RefusedError(message) from error
