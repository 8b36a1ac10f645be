"""Arrow columns as arrays that the loops take: ordinals, exact numbers, key codes."""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from attrs import frozen

from workbench.backends.asof_request import LacksError
from workbench.backends.kernel.central_moments import WIDEST
from workbench.backends.kernel.exact_sums import decomposed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workbench.backends.kernel.jit import Longs

NARROW = 18  # digits of a decimal that a 64-bit integer holds


def joined(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Returns the column in one piece."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def flags(column: pa.Array) -> np.ndarray:
    """Returns whether each row is true; null is false."""
    return np.asarray(pc.fill_null(column, False).to_numpy(zero_copy_only=False), bool)


def mask_of_valid(column: pa.Array) -> np.ndarray | None:
    """Returns whether each row has a value; None where all have."""
    return (
        np.asarray(column.is_valid().to_numpy(zero_copy_only=False), bool)
        if column.null_count
        else None
    )


def ordinals(column: pa.Array) -> Longs:
    """Returns whole numbers that compare as the values do, and are equal where they are.

    Nulls have any number. Raises LacksError for types without an order, such as lists.
    """
    kind = column.type
    if pa.types.is_boolean(kind):
        return flags(column).astype(np.int64)
    if pa.types.is_unsigned_integer(kind) and kind.bit_width == 64:  # noqa: PLR2004 bits
        return _plain(column, np.uint64).view(np.int64) ^ np.iinfo(np.int64).min
    if pa.types.is_integer(kind):
        return _plain(column, np.int64)
    if pa.types.is_floating(kind):
        bits = (_plain(column, np.float64) + 0.0).view(np.int64)
        return np.where(bits < 0, bits ^ np.iinfo(np.int64).max, bits)
    if pa.types.is_temporal(kind):
        # 64 is a width in bits
        return _plain(pc.cast(column, pa.int64() if kind.bit_width == 64 else pa.int32()), np.int64)  # noqa: PLR2004
    if pa.types.is_decimal(kind):
        low, high = words(column)
        return low if narrow(low, high, column) else _ranked(column)
    if (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    ):
        return _ranked(column)
    message = f"values of type {kind} have no order"
    raise LacksError(message)


def _plain(column: pa.Array, dtype: type) -> np.ndarray:
    """Returns the values as one numpy type, zero for nulls."""
    if column.null_count:
        column = pc.fill_null(column, pa.scalar(0, column.type))
    return np.ascontiguousarray(column.to_numpy(zero_copy_only=False).astype(dtype, copy=False))


def _ranked(column: pa.Array) -> Longs:
    """Returns ranks among the column's own values; strings rank by their UTF-8 bytes."""
    coded = column.dictionary_encode()
    ranks = np.empty(len(coded.dictionary), np.int64)
    ranks[pc.sort_indices(coded.dictionary).to_numpy()] = np.arange(len(ranks))
    if not len(ranks):
        return np.zeros(len(column), np.int64)
    return ranks[_plain(coded.indices, np.int64)]


def words(column: pa.Array) -> tuple[Longs, Longs]:
    """Returns the low and high words of decimals, unscaled."""
    column = (
        column
        if column.type.bit_width == 128  # noqa: PLR2004 bits
        else column.cast(pa.decimal128(column.type.precision, column.type.scale))
    )
    raw = np.frombuffer(column.buffers()[1], np.int64)[
        2 * column.offset : 2 * (column.offset + len(column))
    ]
    low, high = np.ascontiguousarray(raw[::2]), np.ascontiguousarray(raw[1::2])
    valid_mask = mask_of_valid(column)
    return (
        (low, high)
        if valid_mask is None
        else (np.where(valid_mask, low, 0), np.where(valid_mask, high, 0))
    )


def narrow(low: Longs, high: Longs, column: pa.Array) -> bool:
    """Returns whether all of the decimals fit 64 bits."""
    return column.type.precision <= NARROW or bool((high == low >> 63).all())


@frozen
class Numbers:
    """Exact numbers: mantissa * 2**(shift + exponent) / 10**scale; one shift may stand for all.

    Mantissas are Python integers where 64 bits do not hold them; then there are no shifts and no
    exponent.
    """

    mantissas: Longs
    shifts: Longs
    exponent: int
    scale: int

    @property
    def wide(self) -> bool:
        """Whether the mantissas are Python integers."""
        return self.mantissas.dtype == object

    @property
    def unit(self) -> tuple[int, int]:
        """What a mantissa counts: 2**unit[0] * 10**-unit[1]."""
        return self.exponent, self.scale


def numbers(column: pa.Array) -> Numbers:
    """Returns booleans, integers, decimals and doubles as exact numbers, with nulls as 0."""
    kind, none = column.type, np.zeros(1, np.int64)
    if pa.types.is_floating(kind):
        return Numbers(*decomposed(_plain(column, np.float64)), 0)
    if pa.types.is_decimal(kind):
        low, high = words(column)
        return Numbers(
            low if narrow(low, high, column) else _python(low, high), none, 0, kind.scale
        )
    if pa.types.is_boolean(kind):
        return Numbers(flags(column).astype(np.int64), none, 0, 0)
    if kind == pa.uint64():
        plain = _plain(column, np.uint64)
        return Numbers(
            plain.view(np.int64) if not (plain >> 63).any() else plain.astype(object), none, 0, 0
        )
    return Numbers(_plain(column, np.int64), none, 0, 0)


def _python(low: Longs, high: Longs) -> np.ndarray:
    """Returns the Python integers of two words."""
    return high.astype(object) * 2**64 + low.view(np.uint64).astype(object)


def squarable(found: Numbers) -> Numbers:
    """Returns the numbers, as Python integers where compiled loops cannot take their squares."""
    large = (
        not found.wide
        and len(found.mantissas)
        and (found.mantissas.max() >= WIDEST or found.mantissas.min() <= -WIDEST)
    )
    return Numbers(found.mantissas.astype(object), found.shifts, 0, found.scale) if large else found


def alike(x: Numbers, y: Numbers) -> tuple[Numbers, Numbers]:
    """Returns both as Python integers where one is, or as doubles where the other is one."""
    if not x.wide and not y.wide:
        return x, y
    if x.exponent or y.exponent:
        return tuple(
            Numbers(*decomposed(n.mantissas.astype(float)), n.scale) if n.wide else n
            for n in (x, y)
        )  # type: ignore[return-value]  # two
    # the tuple has two items, which a generator does not say
    return tuple(Numbers(n.mantissas.astype(object), n.shifts, 0, n.scale) for n in (x, y))  # type: ignore[return-value]


class Columns:
    """A table's columns in the forms that loops take, each made once, whatever thread is first."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self._made: dict[tuple[str, str], Any] = {}
        self._lock = RLock()

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def _once(self, name: str, make: Callable[[pa.Array], Any]) -> Any:
        with self._lock:
            if (name, make.__name__) not in self._made:
                self._made[name, make.__name__] = make(self[name])
            return self._made[name, make.__name__]

    def __getitem__(self, name: str) -> pa.Array:
        with self._lock:
            if (name, "") not in self._made:
                self._made[name, ""] = joined(self._table[name])
            return self._made[name, ""]

    def once(self, what: str, make: Callable[[], Any]) -> Any:
        """Returns a value made of the table, once for each name that says what it is."""
        with self._lock:
            if ("", what) not in self._made:
                self._made["", what] = make()
            return self._made["", what]

    def there(self, name: str) -> np.ndarray | None:
        """Returns whether each row has a value; None where all have."""
        valid_mask: np.ndarray | None = self._once(name, mask_of_valid)
        return valid_mask

    def flags(self, name: str) -> np.ndarray:
        """Returns whether each row is true."""
        return np.asarray(self._once(name, flags))

    def ordinals(self, name: str) -> Longs:
        """Returns the values as whole numbers that compare alike."""
        column_ordinals: Longs = self._once(name, ordinals)
        return column_ordinals

    def numbers(self, name: str) -> Numbers:
        """Returns the values as exact numbers."""
        column_numbers: Numbers = self._once(name, numbers)
        return column_numbers


DENSE = 4  # codes below this many times the rows are used as they are


def codes(events: pa.Table, left: pa.Table, keys: Sequence[str]) -> tuple[Longs, Longs]:
    """Returns a whole number for each row's keys, equal on both sides for equal keys.

    Keys are compared column by column, typed (rule 8).
    """
    group_codes: Longs | None = None
    for key in keys:
        kind = left[key].type
        wide = joined(pa.chunked_array([*left[key].chunks, *events[key].cast(kind).chunks], kind))
        column_codes = _plain(wide, np.int64) if pa.types.is_integer(kind) else None
        if (
            column_codes is None
            or not len(column_codes)
            or int(column_codes.min()) < 0
            or int(column_codes.max()) > DENSE * len(column_codes)
        ):
            column_codes = _plain(wide.dictionary_encode().indices, np.int64)
        group_codes = (
            column_codes
            if group_codes is None
            else np.unique(
                group_codes * (int(column_codes.max(initial=0)) + 1) + column_codes,
                return_inverse=True,
            )[1].astype(np.int64)
        )
    assert group_codes is not None, "a group-by has keys"  # noqa: S101 what a definition promises
    return group_codes[len(left) :], group_codes[: len(left)]
