"""Measured columns of a feature: doubles or texts, several for a list, a map or a long text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis
from attrs import frozen

from workbench.backends import engine_of
from workbench.errors import DefinitionError, near
from workbench.online.time_units import SECOND_US
from workbench.portable.time_rewrites import micros

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import ibis.expr.types as ir

    from workbench.backends import Engine

X, KEY = "_fw_x", "_fw_key"


@frozen(eq=False)
class MeasuredColumn:
    """A measured column: a value, double or string, over the rows of `base`."""

    name: str
    base: ir.Table
    value: ir.Value
    numeric: bool

    @property
    def table(self) -> ir.Table:
        """The rows, with the value as `_fw_x`."""
        return self.base.mutate(**{X: self.value})


def double(value: float) -> ir.FloatingScalar:
    """Returns a double literal that every engine reads as exactly this number.

    A bare literal is a DECIMAL on DuckDB, an ulp away.
    """
    return ibis.literal(repr(float(value))).cast("float64")


def parts(table: ir.Table, names: Sequence[str]) -> Iterator[MeasuredColumn]:
    """Yields the measured columns of some features.

    A feature has its own column, and besides `.length` of texts and containers, `[]` for elements,
    `.key` and `.value` for maps. Numbers are doubles, so whole numbers beyond 2**53 share bins;
    times are seconds since 1970; booleans are the texts "false" and "true". Raises DefinitionError
    for a type that has no summary, and for a feature that the table lacks.
    """
    engine = engine_of(table.get_backend())
    for name in names:
        if name not in table.columns:
            message = f"feature {name!r} is no column of the table: {near(name, table.columns)}"
            raise DefinitionError(message)
        yield from _of(name, table, table[name], engine)


def _of(name: str, table: ir.Table, column: ir.Value, engine: Engine) -> Iterator[MeasuredColumn]:
    dtype = column.type()
    if dtype.is_array():
        yield MeasuredColumn(f"{name}.length", table, column.length().cast("float64"), numeric=True)
        elements = table.mutate(**{KEY: column}).unnest(KEY)
        yield from _of(f"{name}[]", elements, elements[KEY], engine)
    elif dtype.is_map():
        yield MeasuredColumn(f"{name}.length", table, column.length().cast("float64"), numeric=True)
        entries = engine.entries(table, column, KEY, X)
        yield from _of(f"{name}.key", entries, entries[KEY], engine)
        yield from _of(f"{name}.value", entries, entries[X], engine)
    elif dtype.is_string() or dtype.is_uuid() or dtype.is_boolean():
        text = column.ifelse("true", "false") if dtype.is_boolean() else column.cast("string")
        yield MeasuredColumn(
            name, table, column.isnull().ifelse(ibis.null("string"), text), numeric=False
        )
        if dtype.is_string():
            yield MeasuredColumn(
                f"{name}.length", table, column.length().cast("float64"), numeric=True
            )
    else:
        yield MeasuredColumn(name, table, _number(name, column), numeric=True)


def _number(name: str, column: ir.Value) -> ir.Value:
    """Returns a number or a time as a double; raises DefinitionError for other types."""
    dtype = column.type()
    if dtype.is_numeric():
        return column.cast("float64")
    if dtype.is_date():
        return micros(column.cast("timestamp")).cast("float64") / double(SECOND_US)
    if dtype.is_timestamp():
        return micros(column).cast("float64") / double(SECOND_US)
    message = (
        f"feature {name!r} is {dtype}, which has no summary: cast it to a number, a text, a time, a"
        " list or a map, or name the others with features="
    )
    raise DefinitionError(message)
