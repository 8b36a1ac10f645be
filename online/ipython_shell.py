"""The notebook that this runs in, asked in one place: its IPython, and what its cells have named."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from workbench.online.snippets import identifier, variable

if TYPE_CHECKING:
    from types import FrameType

PACKAGES = frozenset({"backends", "monitoring", "online", "workbench"})


def running_shell() -> Any:
    """IPython's shell of this process; None where there is none.

    IPython is not imported for the question.
    """
    return getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()


def running_kernel() -> Any:
    """The Jupyter kernel that this runs in; None in a terminal, and without IPython."""
    return getattr(running_shell(), "kernel", None)


def notebook_names() -> dict[str, Any]:
    """What the notebook's cells have named, as the dictionary that later cells go on filling.

    IPython's; marimo's are the globals of the cell that called into these packages. Empty
    elsewhere.
    """
    shell = running_shell()
    if shell is not None:
        return shell.user_ns
    if not getattr(sys.modules.get("marimo"), "running_in_notebook", lambda: False)():
        return {}
    # the standard library hands out frames by no other name
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in PACKAGES:
        frame = frame.f_back
    return {} if frame is None else frame.f_globals


def variable_of(value: Any) -> str | None:
    """What a notebook calls a value, where it is in one and the value has a name."""
    named = list(notebook_names().items())
    return next(
        (
            name
            for name, there in named
            if there is value and identifier(name) and not name.startswith("_")
        ),
        None,
    )


def variable_for(value: Any, name: str) -> str:
    """A definition in a line to copy: as the notebook calls it, else by its name where that can be
    a variable's.
    """
    return variable_of(value) or variable(name)
