"""A static page in a notebook, and the live one in its place where there is a front end for it."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.live.protocol import Subject
    from workbench.live.widget import LiveWidget


FIRST = 0.1  # seconds in which the live page is sent and drawn, before the static one takes the processor
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


def show(text: str, static: Callable[[], str], subject: Callable[[Callable[[str, str], None]], tuple[Subject, str]]) -> Any:
    """Display text and static HTML, and after them, where it can be, the live page of a subject.

    The static page is an output of its own, so that it is there for whoever has no kernel; the stylesheet of the live
    one hides it, and shows it again when the live one is gone. It is drawn while the live one is already looked at.
    `subject` is given what puts another text and static page in their place, for what is known only later. Returns the
    widget, or None.
    """
    from IPython.display import display  # noqa: PLC0415 only a notebook has it

    if not alive():
        display({"text/plain": text, "text/html": static()}, raw=True)
        return None
    from workbench.live.widget import LiveWidget  # noqa: PLC0415 an extra

    shown = display({"text/plain": text}, raw=True, display_id=True)
    _make_room()
    turn, later = threading.Lock(), []  # what is known later may be known before the static page is drawn

    def put(text: str, static: str) -> None:
        with turn:
            later.append(text)
            shown.update({"text/plain": text, "text/html": static}, raw=True)

    widget = LiveWidget(*subject(put))
    LIVE.append(widget)
    display(widget)
    time.sleep(FIRST)
    drawn = static()
    with turn:
        if not later:
            shown.update({"text/plain": text, "text/html": drawn}, raw=True)
    return widget


def _make_room() -> None:
    """Close the oldest views that are at rest, down to one less than MOST: each holds rows and connections, and a cell that is run again leaves the one before it."""
    for widget in [w for w in LIVE if not w.conversation.busy][: max(0, len(LIVE) - MOST + 1)]:
        LIVE.remove(widget)
        widget.close()
