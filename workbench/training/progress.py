"""Progress of long steps: a bar in a terminal, a changing line in a notebook's cell.

Elsewhere nothing is shown, so that logs are the same each run.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from workbench.online.ipython_shell import running_kernel
from workbench.online.legible_text import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")
QUICK_S = 0.5  # a cell that is done by then shows nothing
EVERY_S = 0.2  # between two changes of the line
BAR_CHARACTERS = 24  # characters of the bar


def track(steps: Sequence[T], what: str) -> Iterator[T]:
    """Yield the steps one by one, and show how many are done."""
    with counting(what, len(steps)) as counted:
        for step in steps:
            yield step
            counted(1)


@contextmanager
def counting(what: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Show the progress of rows: in the running cell, or on a terminal's standard error.

    Yields a function that is called with the number of new rows.
    """
    if _in_cell():
        line = CellLine(what, total)
        try:
            yield line.advance
        finally:
            line.finish()
        return
    with _bar() as bar:
        task = bar.add_task(what, total=total)
        yield lambda rows: bar.advance(task, rows)


def _in_cell() -> bool:
    """Return whether a notebook's cell runs this, so that its output can show progress.

    That is so neither in a worker of a live page nor with WORKBENCH_STATIC set.
    """
    return (
        running_kernel() is not None
        and not os.environ.get("WORKBENCH_STATIC")
        and threading.current_thread() is threading.main_thread()
    )


class CellLine:
    """A line of a cell's output that shows how far a step is.

    A quick step shows none; a step that fails leaves its last line.
    """

    def __init__(self, what: str, total: int | None) -> None:
        self.what, self.total, self.done = visible(what), total, 0
        self._display: Any = None
        self._began = self._shown = time.monotonic()

    def advance(self, rows: int) -> None:
        """Count more steps or rows as done, and show that when it is time to."""
        self.done += rows
        instant = time.monotonic()
        if instant - self._began >= QUICK_S and (
            self._display is None or instant - self._shown >= EVERY_S
        ):
            self._shown = instant
            self._show(self._text())

    def finish(self) -> None:
        """Leave one line without a bar, if any was shown."""
        if self._display is not None:
            self._show(f"{self.what}: {self._counted()}")

    def _counted(self) -> str:
        return f"{self.done:,}" if self.total is None else f"{self.done:,} of {self.total:,}"

    def _text(self) -> str:
        if not self.total:
            return f"{self.what}: {self._counted()} …"
        full = min(BAR_CHARACTERS, BAR_CHARACTERS * self.done // self.total)
        return f"{self.what}: {'█' * full}{'░' * (BAR_CHARACTERS - full)} {self._counted()}"

    def _show(self, text: str) -> None:
        from IPython.display import display  # noqa: PLC0415 only a notebook has it

        data = {"text/plain": text}
        if self._display is None:
            self._display = display(data, raw=True, display_id=True)
        else:
            self._display.update(data, raw=True)


def _bar() -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())
