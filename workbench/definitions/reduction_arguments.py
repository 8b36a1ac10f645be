"""Arguments of the reductions that Ibis lacks: columns, conditions and numbers.

An invalid argument raises an error of one sentence.
"""

from __future__ import annotations

from typing import Any, Optional

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import ibis.expr.types as ir

from workbench.errors import DefinitionError

# Ibis reads this annotation when a class is made, so it is a real type, not a string.
Where = Optional[ops.Value[dt.Boolean]]  # noqa: UP045 ibis parses Optional


def whole_number(value: object, what: str, least: int = 1, most: int | None = None) -> int:
    """Return a whole number in [least, most], or refuse it."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int)
        or value < least
        or (most is not None and value > most)
    ):
        span = f"of at least {least}" if most is None else f"from {least} to {most:,}"
        message = f"{what} takes a whole number {span}, not {value!r}"
        raise DefinitionError(message)
    return value


def column(value: Any, what: str, rest: str = "") -> ops.Value:
    """Return a column's node, or refuse anything else; `rest` completes the error's example."""
    if not isinstance(value, ir.Column):
        value_text = (
            repr(value) if isinstance(value, int | float | str) else f"a {type(value).__name__}"
        )
        message = f"{what} takes a column first, as in {what}(t.price{rest}), not {value_text}"
        raise DefinitionError(message)
    return value.op()


def condition(value: Any, what: str) -> ops.Value | None:
    """Return a condition's node; a window in its place is refused, since it would count as true."""
    if value is None:
        return None
    if not isinstance(value, ir.BooleanValue):
        message = (
            f"where= of {what} takes a condition, as in where=t.price > 0, not a"
            f" {type(value).__name__}; windows go to trailing(days(7), {what}(...))"
        )
        raise DefinitionError(message)
    return value.op()
