"""A static page in a notebook, and the live one in its place where there is a front end for it."""

from __future__ import annotations

import os
import sys
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.live.protocol import Subject
    from workbench.live.widget import LiveWidget


MOST = 16  # live views of a kernel; the oldest gives way to its static page
LIVE: deque[LiveWidget] = deque()


def alive() -> bool:
    """Whether a live view can be made here: in a kernel with anywidget, and WORKBENCH_STATIC is not set."""
    if os.environ.get("WORKBENCH_STATIC"):
        return False
    get = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)
    if getattr(get(), "kernel", None) is None:
        return False
    try:
        import anywidget  # noqa: F401, PLC0415 an extra
    except ImportError:
        return False
    return True


def show(text: str, static: str, subject: Callable[[Callable[[str, str], None]], tuple[Subject, str]]) -> Any:
    """Display text and static HTML, and after them, where it can be, the live page of a subject.

    The static page is an output of its own, so that it is there for whoever has no kernel; the stylesheet of the live
    one hides it, and shows it again when the live one is gone. `subject` is given what puts another text and static
    page in their place, for what is known only later. Returns the widget, or None.
    """
    from IPython.display import display  # noqa: PLC0415 only a notebook has it

    shown = display({"text/plain": text, "text/html": static}, raw=True, display_id=True)
    if not alive():
        return None
    from workbench.live.widget import LiveWidget  # noqa: PLC0415 an extra

    _make_room()
    widget = LiveWidget(*subject(lambda text, static: shown.update({"text/plain": text, "text/html": static}, raw=True)))
    LIVE.append(widget)
    display(widget)
    return widget


def _make_room() -> None:
    """Close the oldest views that are at rest, down to one less than MOST: each holds rows and connections, and a cell that is run again leaves the one before it."""
    for widget in [w for w in LIVE if not w.conversation.busy][: max(0, len(LIVE) - MOST + 1)]:
        LIVE.remove(widget)
        widget.close()
