"""Compilation of loops over arrays by numba.

The machine code holds no lock and is kept between sessions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

import numba

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    Longs = NDArray[np.int64]
    Doubles = NDArray[np.float64]
    Flags = NDArray[np.bool_]

F = TypeVar("F", bound="Callable[..., object]")


def compiled(function: F) -> F:
    """Returns the function as machine code, which is made at its first call.

    Division by zero gives what IEEE 754 says.
    """
    try:
        machine_code = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:
        # Neither the sources' folder nor the user's can be written: each process compiles anew.
        machine_code = numba.njit(nogil=True, error_model="numpy")(function)
    return cast("F", machine_code)
