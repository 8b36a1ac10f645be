"""Conditions of operands under which a proven operation gives one value on every engine."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import ibis.expr.operations as ops

from workbench.portable.regex_subset import replaceable
from workbench.portable.time_rewrites import PARTS, UNITS

if TYPE_CHECKING:
    from collections.abc import Callable


DIGITS = 15  # what a double holds


def literal_value(node: Any) -> Any:
    """Return a literal's value; the node itself where the row decides."""
    return node.value if isinstance(node, ops.Literal) else node


def is_constant_text(node: Any, fits: Callable[[str], Any]) -> bool:
    """Return whether a node is a literal text that `fits` accepts."""
    return isinstance(literal_value(node), str) and bool(fits(node.value))


def is_whole_constant(node: Any) -> bool:
    """Return whether a number of characters is written out."""
    return isinstance(literal_value(node), int) and node.value >= 0


def rounds_to_constant_digits(node: Any) -> bool:
    """Return whether the digits that a number is rounded to are written out."""
    return node.digits is None or (
        isinstance(node.digits, ops.Literal) and abs(node.digits.value) <= DIGITS
    )


def pads_by_constants(node: Any) -> bool:
    """Return whether the length is written out, and the padding is one character."""
    return is_whole_constant(node.length) and is_constant_text(node.pad, lambda pad: len(pad) == 1)


def slices_by_constants(node: Any) -> bool:
    """Return whether both ends are written out, in order."""
    return is_whole_constant(node.start) and (
        node.end is None or (is_whole_constant(node.end) and node.start.value <= node.end.value)
    )


def likes_constant_pattern(node: Any) -> bool:
    """Return whether the pattern is written out and escapes nothing."""
    return node.escape is None and is_constant_text(node.pattern, lambda p: "\\" not in p)


def translates_in_pairs(node: Any) -> bool:
    """Return whether both alphabets are written out and equally long."""
    return is_constant_text(node.from_str, len) and is_constant_text(
        node.to_str, lambda to: len(to) == len(node.from_str.value)
    )


def replaces_by_constants(node: Any) -> bool:
    """Return whether pattern and replacement mean one thing on every engine."""
    return is_constant_text(node.pattern, replaceable) and is_constant_text(
        node.replacement, lambda r: not re.search(r"[\\$&]", r) or not r
    )


def counts_fixed_units(node: ops.TimestampDelta) -> bool:
    """Return whether a difference is counted in units of fixed length."""
    part = getattr(literal_value(node.part), "value", literal_value(node.part))
    return PARTS.get(str(part), str(part)) in UNITS


def buckets_by_fixed_units(node: ops.TimestampBucket) -> bool:
    """Return whether buckets have a fixed length and begin at the epoch."""
    return (
        node.offset is None
        and isinstance(node.interval, ops.Literal)
        and node.interval.dtype.unit.value in UNITS
    )


def has_fixed_unit(node: Any) -> bool:
    """Return whether the unit has a fixed length."""
    return node.unit.value in UNITS


def multiplies_fixed_unit(node: Any) -> bool:
    """Return whether a written span of fixed length is multiplied."""
    return isinstance(node.left, ops.Literal) and node.left.dtype.unit.value in UNITS


def is_portable_span(node: Any) -> bool:
    """Return whether a span is of years, months or fixed units."""
    return node.dtype.unit.value in ("Y", "M", *UNITS)
