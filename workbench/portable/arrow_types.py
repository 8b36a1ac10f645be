"""Conversions between Ibis types and tables and Arrow's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ibis
import pyarrow as pa

from workbench.backends.stored_types import arrow_type
from workbench.definitions.nodes import name_values

if TYPE_CHECKING:
    import ibis.expr.datatypes as dt
    import ibis.expr.types as ir

    from workbench.backends import Engine


def arrow(dtype: dt.DataType) -> pa.DataType:
    """Return the Arrow type of an Ibis type; times are in microseconds."""
    return arrow_type(dtype, "us")


def fetched(engine: Engine, table: ir.Table, schema: ibis.Schema | None = None) -> pa.Table:
    """Return a table's rows in its Ibis types, or those of `schema`, whatever the driver gives."""
    return engine.fetch(table).cast(
        pa.schema([(n, arrow(t)) for n, t in (schema or table.schema()).items()])
    )


def told_as_text(dtype: dt.DataType) -> bool:
    """Return whether Arrow has values of the type as text, within lists too."""
    return any(word in str(dtype) for word in ("uuid", "json"))


def compared(value: Any, dtype: dt.DataType) -> Any:
    """Return a value to compare with a column of this type.

    It becomes a literal of the column's type where Ibis would infer another type, or none.
    """
    return (
        ibis.literal(value, dtype) if told_as_text(dtype) or dtype.is_unsigned_integer() else value
    )


def typed(table: ir.Table, schema: ibis.Schema | None) -> ir.Table:
    """Return rows that came by Arrow, in the types of a schema that it has as text."""
    texts = {
        n: table[n].cast(t)
        for n, t in (schema or {}).items()
        if n in table.columns and told_as_text(t)
    }
    return table.mutate(*name_values(texts)) if texts else table
