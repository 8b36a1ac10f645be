"""Sums and means of a lane: exact, and an error where a type does not hold them."""

from __future__ import annotations

from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pyarrow as pa

from workbench.backends.kernel import exact_sums, wide_integers
from workbench.backends.kernel.answer_arrays import OutOfRangeError, finite_numbers

if TYPE_CHECKING:
    from workbench.backends.asof_request import Ask
    from workbench.backends.kernel.event_lanes import Lane
    from workbench.backends.kernel.jit import Flags, Longs


UNSCALED_CONTEXT = Context(prec=200)  # no digit of an unscaled sum is lost
HIGHEST = 10**38 >> 64  # high word that 38 decimal digits do not reach


def sum_of(lane: Lane, ask: Ask) -> pa.Array:
    """Returns the sum of each window, in the type of the ask."""
    low, high = lane.range(ask.span)
    numbers = lane.numbers(ask.inputs["arg"])
    if numbers.wide:
        return _wide_sum(
            wide_integers.sums(numbers.mantissas, low, high), low == high, ask, numbers.scale
        )
    digits, signs = lane.totals(ask.inputs["arg"], ask.span)
    if pa.types.is_floating(ask.type):
        return finite_numbers(exact_sums.as_doubles(digits, signs, numbers.exponent), low == high)
    if pa.types.is_decimal(ask.type):
        return _decimals(digits, signs, low == high, ask, numbers.scale)
    return _integers(digits, signs, low == high, ask)


def _integers(digits: Longs, signs: Longs, empty: Flags, ask: Ask) -> pa.Array:
    low, high, fits = exact_sums.as_words(digits, signs)
    unsigned = ask.type == pa.uint64()
    _refuse(fits & (high == (0 if unsigned else low >> 63)), digits, signs, ask)
    return pa.array(low.view(np.uint64) if unsigned else low, mask=empty).cast(ask.type)


def _decimals(digits: Longs, signs: Longs, empty: Flags, ask: Ask, scale: int) -> pa.Array:
    low, high, fits = exact_sums.as_words(digits, signs)
    _refuse(fits & (np.abs(high) < HIGHEST), digits, signs, ask)
    raw = np.empty(2 * len(low), np.int64)
    raw[::2], raw[1::2] = low, high
    validity = pa.array(~empty, mask=empty).buffers()[0] if empty.any() else None
    return pa.Array.from_buffers(
        pa.decimal128(38, scale), len(low), [validity, pa.py_buffer(raw)]
    ).cast(ask.type)


def _wide_sum(sums: Any, empty: Flags, ask: Ask, scale: int) -> pa.Array:
    decimal = pa.types.is_decimal(ask.type)
    values = [
        None if none else Decimal(s).scaleb(-scale, UNSCALED_CONTEXT) if decimal else s
        for s, none in zip(sums, empty, strict=True)
    ]
    try:
        return pa.array(values, ask.type)
    except (pa.ArrowInvalid, OverflowError):
        _out_of_range(max(sums, key=abs), ask)


def _refuse(fits: Flags, digits: Longs, signs: Longs, ask: Ask) -> None:
    """Raises an error that shows the first sum that does not fit."""
    if not fits.all():
        worst = int(np.argmin(fits))
        _out_of_range(
            int(signs[worst])
            * sum(int(d) << (exact_sums.DIGIT * i) for i, d in enumerate(digits[worst])),
            ask,
        )


def _out_of_range(value: int, ask: Ask) -> NoReturn:
    message = (
        f"a sum is {value}, which {ask.type} does not hold: cast its input to a wider type, such as"
        " decimal(38, 0)"
    )
    raise OutOfRangeError(message)


def mean_of(lane: Lane, ask: Ask) -> pa.Array:
    """Returns the mean of each window: its exact sum, divided once."""
    low, high = lane.range(ask.span)
    numbers = lane.numbers(ask.inputs["arg"])
    if numbers.wide:
        return finite_numbers(
            wide_integers.means(numbers.mantissas, low, high, numbers.scale), low == high
        )
    digits, signs = lane.totals(ask.inputs["arg"], ask.span)
    return finite_numbers(
        exact_sums.as_means(digits, signs, numbers.exponent, high - low, numbers.scale), low == high
    )
