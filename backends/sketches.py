"""Apache DataSketches for distinct counts, percentiles and frequent values (semantics rule 13).

Each class is one kind of sketch with its settings: it makes sketches of values, merges them, writes
and reads them as bytes, and says what they estimate and within which bound. Callers leave out
nulls, NaN and -0.0 (rule 9).
"""

from __future__ import annotations

import math
import struct
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import datasketches as ds
from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    import numpy as np

FEW_HASHES_MAGIC = b"FWU1"  # before the hashes of few values; no sketch of DataSketches begins so
SPARE = 8  # values that a frequent-items sketch counts for each one that it is asked for
LOAD = 0.75  # of its map that such a sketch fills
SMALLEST = 3  # log2 of its smallest map


@frozen(eq=False)
class Distinct:
    """A sketch of different values: a CPC sketch, and while they are few their 64-bit hashes too.

    `hashes` is None once there were more.
    """

    sketch: Any
    hashes: frozenset[int] | None


@frozen
class Uniques:
    """Counts of different values by CPC sketches of 2**lg_k bins.

    They are exact while there are at most 2**(lg_k - 3) values, held as 64-bit hashes. Strings hash
    as UTF-8, whole numbers and doubles as 64 bits. A sketch, its bytes and its estimate are
    functions of the set of values alone: neither their order nor how they came together changes a
    bit, since every sketch goes through a union, whose estimator counts the distinct hashes. Two of
    the few values are taken for one where all 64 bits agree: once in 10**15 sets of 256.
    """

    lg_k: int = 11

    @property
    def held(self) -> int:
        """The number of different values up to which the count is exact.

        It is 256 at 11, 32 at Chronon's 8.
        """
        return 1 << (self.lg_k - 3)

    @property
    def error(self) -> float:
        """The relative standard error of larger counts: 1.5 % at 11, 4.3 % at Chronon's 8."""
        return math.log(2) / math.sqrt(2**self.lg_k)

    def of(self, values: Iterable[int | float | str]) -> Distinct:
        """Returns a sketch of these values."""
        sketch, hashes = ds.cpc_sketch(self.lg_k), set[int]()
        for value in values:
            sketch.update(value)
            if len(hashes) <= self.held:
                hashes.add(_hash(value))
        return self._made([sketch], frozenset(hashes))

    def merged(self, *sketches: Distinct) -> Distinct:
        """Returns the sketch of all their values."""
        few = [s.hashes for s in sketches]
        return self._made(
            [s.sketch for s in sketches],
            None if None in few else frozenset[int]().union(*filter(None, few)),
        )

    def _made(self, sketches: Iterable[Any], hashes: frozenset[int] | None) -> Distinct:
        union = ds.cpc_union(self.lg_k)
        for sketch in sketches:
            union.update(sketch)
        return Distinct(
            union.get_result(), None if hashes is None or len(hashes) > self.held else hashes
        )

    def dumped(self, sketch: Distinct) -> bytes:
        """Returns the sketch as DataSketches' own bytes, equal in Java and C++.

        While it is exact, its hashes go before them.
        """
        sketch_bytes = bytes(sketch.sketch.serialize())
        if sketch.hashes is None:
            return sketch_bytes
        return (
            FEW_HASHES_MAGIC
            + struct.pack(f"<I{len(sketch.hashes)}Q", len(sketch.hashes), *sorted(sketch.hashes))
            + sketch_bytes
        )

    def loaded(self, data: bytes) -> Distinct:
        """Returns the sketch of such bytes.

        DataSketches' own bytes alone are read too; their count is an estimate whatever they hold.
        """
        if not data.startswith(FEW_HASHES_MAGIC):
            sketch = ds.cpc_sketch.deserialize(data)
            return Distinct(sketch, frozenset() if sketch.is_empty() else None)
        (count,) = struct.unpack_from("<I", data, len(FEW_HASHES_MAGIC))
        start = len(FEW_HASHES_MAGIC) + 4
        hashes = frozenset(struct.unpack_from(f"<{count}Q", data, start))
        return Distinct(ds.cpc_sketch.deserialize(data[start + 8 * count :]), hashes)

    def estimate(self, sketch: Distinct) -> int:
        """Returns the number of different values: exact up to `held`, rounded down beyond."""
        return int(sketch.sketch.get_estimate()) if sketch.hashes is None else len(sketch.hashes)

    def count(self, values: Collection[int | float | str]) -> int:
        """Returns what a sketch of these values, of which no two are equal, estimates.

        Few values are counted without one.
        """
        return len(values) if len(values) <= self.held else self.estimate(self.of(values))

    def bounds(self, sketch: Distinct, sigmas: int = 2) -> tuple[float, float]:
        """Returns the bounds of the true count, with a confidence of 1 to 3 standard deviations.

        They are equal where the count is exact.
        """
        if sketch.hashes is not None:
            return len(sketch.hashes), len(sketch.hashes)
        return sketch.sketch.get_lower_bound(sigmas), sketch.sketch.get_upper_bound(sigmas)

    def bin(self, value: float | str) -> bytes:
        """Returns what a CPC sketch keeps of a value: values of one bin are one value to it."""
        sketch = ds.cpc_sketch(self.lg_k)
        sketch.update(value)
        return bytes(sketch.serialize())

    def estimates(self, values: Sequence[int | float | str], counts: Sequence[int]) -> list[int]:
        """Returns what CPC sketches that hold so many bins estimate.

        `counts` rise, and `values` are each of another bin.
        """
        sketch, filled, unique_counts = ds.cpc_sketch(self.lg_k), 0, []
        for count in counts:
            for value in values[filled:count]:
                sketch.update(value)
            filled = count
            unique_counts.append(self.estimate(self._made([sketch], None)))
        return unique_counts


def _hash(value: float | str) -> int:
    """Returns 64 bits of a value: a hash of its UTF-8, or of its own 64 bits."""
    value_bytes = (
        value.encode()
        if isinstance(value, str)
        else struct.pack("<d", value)
        if isinstance(value, float)
        else struct.pack("<q", value)
    )
    return int.from_bytes(blake2b(value_bytes, digest_size=8).digest(), "little")


@frozen
class Percentiles:
    """Values at ranks, by KLL sketches of doubles.

    They are exact up to `k` values. From there on the library draws which half of the values it
    keeps from a generator of its own, without a seed: two sketches of the same values differ,
    within the bound.
    """

    k: int = 200

    @property
    def error(self) -> float:
        """The rank error that 99 of 100 sketches keep, as a share of all values.

        It is 1.3 % at 200, 2.1 % at Chronon's 128.
        """
        return float(ds.kll_doubles_sketch.get_normalized_rank_error(self.k, False))

    def of(self, values: np.ndarray[Any, np.dtype[np.float64]]) -> Any:
        """Returns a sketch of these values."""
        sketch = ds.kll_doubles_sketch(self.k)
        sketch.update(values)
        return sketch

    def merged(self, *sketches: Any) -> Any:
        """Returns a sketch of all their values."""
        merged_sketch = ds.kll_doubles_sketch(self.k)
        for sketch in sketches:
            merged_sketch.merge(sketch)
        return merged_sketch

    def dumped(self, sketch: Any) -> bytes:
        """Returns the sketch as DataSketches' own bytes, equal in Java and C++."""
        return bytes(sketch.serialize())

    def loaded(self, data: bytes) -> Any:
        """Returns the sketch of such bytes."""
        return ds.kll_doubles_sketch.deserialize(data)

    def estimate(self, sketch: Any, quantiles: Sequence[float]) -> list[float] | None:
        """Returns for each quantile the smallest value whose rank, itself included, reaches it.

        It is None over no values.
        """
        return None if sketch.is_empty() else list(sketch.get_quantiles(quantiles, True))


@frozen
class Frequent:
    """Frequent values, by frequent-items sketches that count at least 8 values for each of `k`.

    They are exact while there are no more different values than are counted. From there on a value
    is returned if it surely occurs more often than the sketch's error; its count lies between
    `bounds`, and the upper one is returned.

    Where all counts are equal, the library drops all values at once, and then forgets the error too
    when it writes or merges the sketch: one of the values, which did occur, is counted once more.
    All bounds hold.
    """

    k: int

    @property
    def lg_size(self) -> int:
        """The log2 of the map's size."""
        return max(SMALLEST, math.ceil(math.log2(SPARE * self.k / LOAD)))

    @property
    def counted(self) -> int:
        """The number of different values that a sketch counts exactly."""
        return int(LOAD * 2**self.lg_size)

    @property
    def error(self) -> float:
        """The most that a count is above the true one, as a share of all values."""
        return float(ds.frequent_strings_sketch.get_epsilon_for_lg_size(self.lg_size))

    def of(self, values: Sequence[int | float | str]) -> Any:
        """Returns a sketch of these values, which are of one type."""
        sketch = (
            ds.frequent_strings_sketch
            if len(values) and isinstance(values[0], str)
            else ds.frequent_items_sketch
        )(self.lg_size)
        for value in values:
            sketch.update(value)
        if len(values) and sketch.is_empty():
            sketch.update(values[-1])
        return sketch

    def merged(self, *sketches: Any) -> Any:
        """Returns a sketch of all their values, an empty one where they have none."""
        filled_sketches = [s for s in sketches if not s.is_empty()]
        merged_sketch = type(filled_sketches[0])(self.lg_size) if filled_sketches else self.of(())
        for sketch in filled_sketches:
            merged_sketch.merge(sketch)
        if filled_sketches and merged_sketch.is_empty():
            merged_sketch.update(_counted_values(filled_sketches[-1])[0][0])
        return merged_sketch

    def dumped(self, sketch: Any) -> bytes:
        """Returns the sketch as DataSketches' own bytes; `loaded` needs the type of the values."""
        if isinstance(sketch, ds.frequent_strings_sketch):
            return bytes(sketch.serialize())
        return bytes(
            sketch.serialize(
                _codec(int if sketch.is_empty() else type(_counted_values(sketch)[0][0]))
            )
        )

    def loaded(self, data: bytes, kind: type) -> Any:
        """Returns the sketch of such bytes, of `int`, `float` or `str`."""
        return (
            ds.frequent_strings_sketch.deserialize(data)
            if kind is str
            else ds.frequent_items_sketch.deserialize(data, _codec(kind))
        )

    def estimate(self, sketch: Any) -> dict[Any, int] | None:
        """Returns at most `k` values and their counts, most frequent first, then smaller ones.

        It is None over no values.
        """
        if sketch.is_empty():
            return None
        frequent_items = sketch.get_frequent_items(ds.frequent_items_error_type.NO_FALSE_POSITIVES)
        best = sorted(frequent_items, key=lambda row: (-row[1], row[0]))[: self.k]
        return {row[0]: row[1] for row in best}

    def bounds(self, sketch: Any, value: float | str) -> tuple[int, int]:
        """Returns the certain bounds of a value's true count.

        It has them for values that `estimate` leaves out, too.
        """
        return sketch.get_lower_bound(value), sketch.get_upper_bound(value)


def _counted_values(sketch: Any) -> list[tuple[Any, int, int, int]]:
    """Returns the values that are counted: value, count, bounds."""
    return list(sketch.get_frequent_items(ds.frequent_items_error_type.NO_FALSE_NEGATIVES, 0))


def _codec(kind: type) -> Any:
    return ds.PyDoublesSerDe() if kind is float else ds.PyLongsSerDe()
