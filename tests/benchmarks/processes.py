"""CPU seconds and memory of trees of processes, from /proc: an engine's servers and workers count as its own."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

TICK, PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
EVERY = 0.05  # seconds between two looks at the memory


def tree(roots: list[int]) -> list[int]:
    """The processes and all that descend from them."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, left = [], list(roots)
    while left:
        found.append(left.pop())
        left += parents.get(found[-1], [])
    return found


def _stat(pid: int) -> list[str]:
    """The fields of a process after its name, which may hold blanks; none of one that has ended."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def cpu(roots: list[int]) -> float:
    """CPU seconds so far, those of ended children too."""
    return sum(sum(map(int, fields[11:15])) for fields in map(_stat, tree(roots)) if fields) / TICK


def memory(roots: list[int]) -> int:
    """Resident bytes; what processes share is counted once."""
    resident = shared = 0
    for pid in tree(roots):
        try:
            pages = (Path("/proc") / str(pid) / "statm").read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        resident += int(pages[1]) - int(pages[2])
        shared = max(shared, int(pages[2]))
    return (resident + shared) * PAGE


class Watch:
    """Wall seconds, CPU seconds and peak memory of the block."""

    def __init__(self, roots: list[int]) -> None:
        self.roots, self.peak, self._over = roots, 0, threading.Event()

    def __enter__(self) -> Watch:
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
