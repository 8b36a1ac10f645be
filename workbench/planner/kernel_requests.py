"""Translation of Ibis reductions over windows to the kernel's requests, each an `Ask` by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis.expr.operations as ops

from workbench.backends.asof_request import Ask, LacksError, WindowSpan
from workbench.definitions.reduction_kinds import kind
from workbench.online.time_units import in_us
from workbench.portable.arrow_types import arrow
from workbench.portable.rewrites import normal

if TYPE_CHECKING:
    from collections.abc import Iterable

    import ibis.expr.datatypes as dt

    from workbench.definitions.windows import Window
    from workbench.planner.pairs_cells import AggregateCell


def span(window: Window | None, resolution: str) -> WindowSpan:
    """Return a window in microseconds, its start rounded to hops where `"sawtooth"` (rule 3)."""
    if window is None:
        return WindowSpan()
    return WindowSpan(in_us(window.length), in_us(window.hop) if resolution == "sawtooth" else None)


def reach_of(spans: Iterable[WindowSpan]) -> int | None:
    """Return how many microseconds before an instant the longest span begins, rounded up a little.

    `None` where a span has no beginning.
    """
    reaches = [(s.length, s.hop or 0) for s in spans]
    return (
        None
        if any(length is None for length, _ in reaches)
        else max((length + hop for length, hop in reaches if length is not None), default=None)
    )


def asked(cell: AggregateCell, over: WindowSpan) -> Ask:
    """Return the cell as a request to the kernel.

    Raises LacksError where the kernel does not take such values.
    """
    op = normal(cell.op)
    facts = kind(op)
    answer = facts.dtype(op)
    columns = [a.dtype for a in op.__args__ if isinstance(a, ops.Value)]
    # a reduction that compares or adds values has no meaning of nested ones in the kernel
    strange = [c for c in (answer, *columns) if not _carried(c)] + [
        c for c in columns if c.is_nested() and not facts.by_place
    ]
    if strange:
        message = f"{type(cell.op).__name__} of {', '.join(map(str, strange))}"
        raise LacksError(message)
    return Ask(cell.name, facts.name, cell.inputs, over, arrow(answer), facts.settings(cell.op))


def _carried(dtype: dt.DataType) -> bool:
    """Return whether values of the type pass through Arrow as they are."""
    if dtype.is_array() or dtype.is_map():
        return all(
            _carried(t) for t in ((dtype.key_type,) if dtype.is_map() else ()) + (dtype.value_type,)
        )
    if dtype.is_decimal():
        return dtype.scale is not None
    if dtype.is_timestamp():
        return (dtype.scale or 0) <= 6  # noqa: PLR2004 microseconds
    return any(
        (
            dtype.is_boolean(),
            dtype.is_integer(),
            dtype.is_float32(),
            dtype.is_float64(),
            dtype.is_string(),
            dtype.is_binary(),
            dtype.is_date(),
        )
    )
