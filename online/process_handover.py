"""A pipe that hands a text to a started process, unseen by process lists.

The text is an address, which may hold a password.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

MODULES = ("workbench.online.http.server_processes", "workbench.online.streaming.stream_process")


def offered(told: str) -> int:
    """Return the read end of an inheritable pipe that holds the text; the caller closes it."""
    source, sink = os.pipe()
    os.set_inheritable(source, True)
    with os.fdopen(sink, "w", encoding="utf-8") as pipe:
        pipe.write(told)
    return source


def received(number: str) -> str:
    """The text that the pipe of this number holds."""
    with os.fdopen(int(number), encoding="utf-8") as pipe:
        return pipe.read()


def become(module: str, told: str) -> NoReturn:
    """Replace this process by one that runs the module and reads the text."""
    assert module in MODULES  # noqa: S101 our own programs
    # S606: it runs this Python with a module of ours
    os.execv(sys.executable, [sys.executable, "-P", "-m", module, str(offered(told))])  # noqa: S606
