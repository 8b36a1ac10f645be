"""The notebook that this process runs in: its IPython shell and the names that its cells define."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from workbench.online.snippets import identifier, variable

if TYPE_CHECKING:
    from types import FrameType

PACKAGES = frozenset({"backends", "monitoring", "online", "workbench"})


def running_shell() -> Any:
    """The IPython shell of this process, or None outside IPython.

    IPython is not imported to find out.
    """
    return getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()


def running_kernel() -> Any:
    """The Jupyter kernel of this process, or None in a terminal and without IPython."""
    return getattr(running_shell(), "kernel", None)


def notebook_names() -> dict[str, Any]:
    """The namespace of the notebook's cells, as the live dictionary that later cells fill.

    In marimo it is the globals of the cell that called into these packages. It is empty where
    there is no notebook.
    """
    shell = running_shell()
    if shell is not None:
        return shell.user_ns
    if not getattr(sys.modules.get("marimo"), "running_in_notebook", lambda: False)():
        return {}
    # SLF001: the standard library has no public function that does this
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in PACKAGES:
        frame = frame.f_back
    return {} if frame is None else frame.f_globals


def variable_of(value: Any) -> str | None:
    """The name of the notebook variable that holds a value, or None where there is none."""
    named = list(notebook_names().items())
    return next(
        (
            name
            for name, candidate in named
            if candidate is value and identifier(name) and not name.startswith("_")
        ),
        None,
    )


def variable_for(value: Any, name: str) -> str:
    """The text by which a line to copy refers to a definition.

    It is the notebook's variable that holds the value, else the definition's name if it is an
    identifier, else `definition`.
    """
    return variable_of(value) or variable(name)
