"""Loops over arrays, compiled: numba, as machine code that holds no lock and is kept between sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

import numba

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    Longs = np.ndarray[tuple[int], np.dtype[np.int64]]
    Doubles = np.ndarray[tuple[int], np.dtype[np.float64]]

F = TypeVar("F", bound="Callable[..., object]")


def compiled(function: F) -> F:
    """The function as machine code, made at its first call; division by zero gives what IEEE 754 says."""
    return cast("F", numba.njit(cache=True, nogil=True, error_model="numpy")(function))
