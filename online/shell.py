"""The IPython that this runs in, asked in one place."""

from __future__ import annotations

import sys
from typing import Any


def running_shell() -> Any:
    """IPython's shell of this process; None where there is none. IPython is not imported for the question."""
    return getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()


def running_kernel() -> Any:
    """The Jupyter kernel that this runs in; None in a terminal, and without IPython."""
    return getattr(running_shell(), "kernel", None)
