"""CPU seconds and memory of trees of processes, from /proc.

An engine's servers and workers count as its own.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

TICK, PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
EVERY = 0.2  # seconds between two looks at the memory


def _stats() -> dict[int, list[str]]:
    """Return the fields of each process after its name, which may hold blanks."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(FileNotFoundError, ProcessLookupError):
                found[int(entry.name)] = (entry / "stat").read_text().rpartition(")")[2].split()
    return found


def _tree(roots: list[int], stats: dict[int, list[str]]) -> list[int]:
    """Return the processes and all that descend from them."""
    children: dict[int, list[int]] = {}
    for pid, fields in stats.items():
        children.setdefault(int(fields[1]), []).append(pid)
    found, left = [], list(roots)
    while left:
        found.append(left.pop())
        left += children.get(found[-1], [])
    return [pid for pid in found if pid in stats]


def cpu(roots: list[int]) -> float:
    """Return the CPU seconds of these processes and their children so far.

    The seconds of an ended child are its parent's, so the tree must not change while it is read.
    """
    stats, again = _stats(), _stats()
    while (there := _tree(roots, stats)) != _tree(roots, again):
        stats, again = again, _stats()
    return sum(sum(map(int, stats[pid][11:15])) for pid in there) / TICK


def memory(roots: list[int]) -> int:
    """Return resident bytes; what processes share is counted once."""
    resident = shared = 0
    for pid in _tree(roots, _stats()):
        with suppress(FileNotFoundError, ProcessLookupError):
            pages = (Path("/proc") / str(pid) / "statm").read_text().split()
            resident += int(pages[1]) - int(pages[2])
            shared = max(shared, int(pages[2]))
    return (resident + shared) * PAGE


class Watch:
    """Wall seconds, CPU seconds and peak memory of the block."""

    def __init__(self, roots: list[int]) -> None:
        self.roots, self.peak, self._over = roots, 0, threading.Event()

    def __enter__(self) -> Self:
        self._looking = threading.Thread(target=self._look, daemon=True)
        self._looking.start()
        self._start = time.perf_counter(), cpu(self.roots)
        return self

    def __exit__(self, *_: object) -> None:
        self.wall, self.cpu = time.perf_counter() - self._start[0], cpu(self.roots) - self._start[1]
        self._over.set()
        self._looking.join()

    def _look(self) -> None:
        while True:
            self.peak = max(self.peak, memory(self.roots))
            if self._over.wait(EVERY):
                return
