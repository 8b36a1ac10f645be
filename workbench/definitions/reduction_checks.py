"""Refusals of reductions whose value depends on the engine or on physical order (rules 9, 10)."""

from __future__ import annotations

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops

from workbench.definitions.reduction_kinds import kind
from workbench.errors import DefinitionError


def check(op: ops.Reduction) -> None:
    """Refuse a reduction whose value depends on the engine or on physical order (rules 9, 10)."""
    reduction_kind, name = kind(op), type(op).__name__.lower()
    if getattr(op, "order_by", ()):
        message = (
            f"{name}(order_by=...) is refused: the source says the order, as in EventSource(...,"
            " order=[t.id])"
        )
        raise DefinitionError(message)
    if getattr(op, "include_null", False):
        message = (
            f"{name}(include_null=True) is refused: reductions skip nulls; use fill_null() on the"
            " column to count them in"
        )
        raise DefinitionError(message)
    if getattr(op, "distinct", False):
        message = (
            f"{name}(distinct=True) is refused: use nunique(), or histogram() for the values"
            " themselves"
        )
        raise DefinitionError(message)
    if isinstance(op, ops.Quantile) and not 0 <= float(op.quantile.value) <= 1:
        message = (
            f"quantile({op.quantile.value}) is none: quantiles lie between 0 and 1, as in"
            " quantile(0.9)"
        )
        raise DefinitionError(message)
    if isinstance(op, ops.GroupConcat) and not isinstance(op.sep, ops.Literal):
        message = "group_concat takes one separator for all, as in group_concat(', ')"
        raise DefinitionError(message)
    if reduction_kind.numeric and not op.arg.dtype.is_numeric():
        message = f"{name} takes numbers, not {op.arg.dtype}: cast the column first"
        raise DefinitionError(message)
    _check_types(op)


def _written(op: ops.Reduction) -> str:
    facts = kind(op)
    own_name = None if type(op).__module__.startswith("ibis.") else facts.name
    return facts.method or own_name or type(op).__name__.lower()


def _check_types(op: ops.Reduction) -> None:
    """Refuse types that not all engines share, or that they order or compare differently.

    Rules 9 and 10 say which.
    """
    key, name = getattr(op, "key", None), _written(op)
    for value in (v for v in (getattr(op, "arg", None), key) if isinstance(v, ops.Value)):
        dtype = value.dtype
        if not isinstance(op, ops.Count | ops.CountStar) and (
            dtype.is_unknown() or dtype.is_interval()
        ):
            called = (
                str(getattr(dtype, "raw_type", None) or "a type of its own")
                if dtype.is_unknown()
                else str(dtype)
            )
            hint = (
                "take the times' difference as a number, as in end.delta(start, unit='second')"
                if dtype.is_interval()
                else "cast the column in the table, for example to a string"
            )
            message = (
                f"{name} does not take {value.name}, which is {called} and has no meaning that all"
                f" engines share: {hint}"
            )
            raise DefinitionError(message)
        unchanged = kind(op).by_place or isinstance(op, ops.ArgMin | ops.ArgMax)
        if (value is key or not unchanged) and _unordered(
            dtype, told_apart=isinstance(op, ops.CountDistinct)
        ):
            hint = (
                f"each({value.name}) takes its elements, "
                if dtype.is_array() or dtype.is_map()
                else ""
            )
            message = (
                f"{name} does not take {value.name}, which is {dtype}, since engines order such"
                f" values differently or not at all: {hint}last() or count() the whole, or cast it"
                " to a string in the table"
            )
            raise DefinitionError(message)


def _unordered(dtype: dt.DataType, *, told_apart: bool) -> bool:
    """Return whether values of a type have no order that all engines share.

    With `told_apart` it returns whether they cannot even be compared for equality: JSON, and
    whatever holds a map.
    """
    if dtype.is_array() or dtype.is_struct():
        inner = dtype.types if dtype.is_struct() else (dtype.value_type,)
        return not told_apart or any(_unordered(t, told_apart=True) for t in inner)
    return bool(dtype.is_json() or dtype.is_map())
