"""Progress of long steps: a bar in a terminal, nothing elsewhere, so that logs and notebooks stay the same each run."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

T = TypeVar("T")


def track(steps: Sequence[T], what: str) -> Iterator[T]:
    """The steps one by one, with a bar on standard error if that is a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        yield from bar.track(steps, description=what)
