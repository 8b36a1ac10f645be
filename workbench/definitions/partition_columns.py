"""Partition columns as an author declares them, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.definitions.binding import column, member, title
from workbench.definitions.column_origins import stored_column
from workbench.definitions.windows import windows
from workbench.errors import DefinitionError

if TYPE_CHECKING:
    from datetime import timedelta

    import ibis.expr.operations as ops

SMALLEST = 4  # bytes of an integer that holds 20240101


def partition_of(
    table: ops.Relation, value: Any, slack: Any
) -> tuple[str | None, timedelta | None]:
    """Return an author's partition column and slack, checked."""
    if value is None:
        if slack is not None:
            message = (
                f"slack= of {title(table)} is how far a row's time may lie from its partition's"
                " day: name that column by partition=, or leave slack= out"
            )
            raise DefinitionError(message)
        return None, None
    name = column(table, value, "partition")
    dtype = table.schema[name]
    if not (
        dtype.is_date() or dtype.is_string() or (dtype.is_integer() and dtype.nbytes >= SMALLEST)
    ):
        message = (
            f"partition {name!r} of {title(table)} is {dtype}, not a day: it is a date, a text such"
            " as '2024-01-31' or '20240131', or a number such as 20240131; leave partition= out"
        )
        raise DefinitionError(message)
    if stored_column(table, name) is None:
        message = (
            f"partition {name!r} of {title(table)} is computed, and only a stored column says what"
            f" a scan may skip: name the stored one, as in partition={member('ds')}"
        )
        raise DefinitionError(message)
    return name, _slack(table, slack)


def _slack(table: ops.Relation, slack: Any) -> timedelta | None:
    if slack is None or not slack:
        return None
    spans = windows(slack)
    if len(spans) != 1:
        message = (
            f"slack= of {title(table)} is one span, such as days(1), and {len(spans)} are given:"
            " name the longest"
        )
        raise DefinitionError(message)
    return spans[0].length
