"""Errors and warnings that the workbench raises.

Two error classes, suggestions for names that are unknown, and warnings that point at the line
outside this package that led to them.
"""

from __future__ import annotations

import sys
import warnings
from concurrent.futures import thread
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

POOL = thread.__file__
HOUSE = str(Path(__file__).parent)
MAX_NAMES_SHOWN = 12  # names listed in a message; more would bury the sentence


class DefinitionError(ValueError):
    """An error for a definition that contradicts itself, its source or its data."""


class CheckError(AssertionError):
    """An error for a feature whose value differs from what its check expects.

    The message draws why; `checked` holds the rest.
    """

    def __init__(self, message: str, checked: object = None) -> None:
        super().__init__(message)
        self.checked = checked

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows: the message, without the frames of the check."""
        return [f"CheckError: {self}"]


def near(name: object, known: Iterable[str]) -> str:
    """Say which of `known` the author may have meant, or list them.

    >>> near("prise", ["price", "ts"])
    "did you mean 'price'?"
    >>> near("zip", ["price", "ts"])
    'it has price, ts'
    """
    names = list(known)
    close = get_close_matches(str(name), names, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    more = f" and {len(names) - MAX_NAMES_SHOWN} more" if len(names) > MAX_NAMES_SHOWN else ""
    return f"it has {', '.join(names[:MAX_NAMES_SHOWN])}{more}" if names else "it has none"


def warn(sentence: str) -> None:
    """Warn at the line outside this package that led here.

    A view that runs in its own thread has no such line, and shows no warning.
    """
    frame, level = (
        sys._getframe(1),  # noqa: SLF001 the standard library hands out frames by no other name
        2,
    )
    while frame.f_back is not None and frame.f_code.co_filename.startswith(HOUSE):
        frame, level = frame.f_back, level + 1
    if frame.f_code.co_filename == POOL:
        warnings.warn_explicit(sentence, UserWarning, "workbench", 0)
    else:
        warnings.warn(sentence, stacklevel=level)
