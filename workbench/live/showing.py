"""Display of a static page in a notebook, and of the live one in its place where widgets work."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from attrs import frozen

from workbench.online.ipython_shell import running_kernel

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.live.protocol import PageSubject
    from workbench.live.widget import LiveWidget

    Begin = Callable[[Callable[[str, str], None]], tuple[PageSubject, str]]

# Seconds for the live page to be sent and drawn, before the static one takes the processor.
FIRST = 0.1
UNASKED = 5.0  # seconds without a request, after which nobody is taken to look at the page
MAX_LIVE_VIEWS = 16  # live views of a kernel; the oldest gives way to its static page
LIVE: deque[LiveWidget] = deque()


def alive() -> bool:
    """Return whether a live view can be shown: a kernel, anywidget, no WORKBENCH_STATIC."""
    return running_kernel() is not None and _lively()


def watched() -> bool:
    """Return whether a person is watching, whose page requests what takes long.

    `jupyter execute`, nbconvert, papermill and Voila let no cell ask for input; marimo says whether
    a notebook is edited. What nobody asks for is then computed before it is shown, since later
    nothing is kept.
    """
    if "marimo" in sys.modules and (mode := _marimo_mode()) is not None:
        return _lively() and mode == "edit"
    if not alive():
        return False
    parent: dict[str, Any] = getattr(running_kernel(), "get_parent", dict)() or {}
    return parent.get("content", {}).get("allow_stdin") is not False


def _marimo_mode() -> str | None:
    """Return how marimo runs this notebook; `None` where it does not."""
    mode = sys.modules["marimo"].app_meta().mode
    return None if mode is None else str(mode)


def _lively() -> bool:
    if os.environ.get("WORKBENCH_STATIC"):
        return False
    try:
        import anywidget  # noqa: F401, PLC0415 an extra
    except ImportError:
        return False
    return True


def show(text: str, static: Callable[[], str], subject: Begin) -> Any:
    """Display text and static HTML, and after them, where possible, the live page of a subject.

    The static page is an output of its own, for readers without a kernel; the stylesheet of the
    live one hides it, and shows it again when the live one is gone. It is drawn while the live one
    is displayed already. `subject` gets a function that replaces the text and the static page, for
    what is known only later. Returns the widget, or `None`.
    """
    from IPython.display import display  # noqa: PLC0415 only a notebook has it

    if not alive():
        display({"text/plain": text, "text/html": static()}, raw=True)
        return None

    display_handle = display({"text/plain": text}, raw=True, display_id=True)
    # the later page may be ready before the static one is drawn
    turn, later = threading.Lock(), []

    def put(text: str, static: str) -> None:
        with turn:
            later.append(text)
            display_handle.update({"text/plain": text, "text/html": str(static)}, raw=True)

    widget = _live_widget(subject, put)
    display(widget)
    time.sleep(FIRST)
    drawn = static()
    with turn:
        if not later:
            display_handle.update({"text/plain": text, "text/html": drawn}, raw=True)
    return widget


@frozen
class Still:
    """A static page, as notebooks without an IPython kernel take it."""

    html: str

    def _repr_html_(self) -> str:
        return self.html


def marimo_output(static: Callable[[], str], subject: Begin) -> Any:
    """Return what marimo shows for a page: the live widget, or the static page."""
    return _live_widget(subject, lambda _text, _static: None) if _lively() else Still(static())


def unless_asked(widget: LiveWidget, do: Callable[[], object]) -> None:
    """Call `do` after some seconds if no page has sent a request.

    Its front end shows no widgets then.
    """

    def late() -> None:
        if not widget.conversation.asked:
            do()

    timer = threading.Timer(UNASKED, late)
    timer.daemon = True
    timer.start()


def _live_widget(subject: Begin, put: Callable[[str, str], None]) -> LiveWidget:
    """Return the widget of a subject, after making room for it."""
    from workbench.live.widget import LiveWidget  # noqa: PLC0415 an extra

    _make_room()
    widget = LiveWidget(*subject(put))
    LIVE.append(widget)
    return widget


def _make_room() -> None:
    """Close the oldest idle views, down to one less than MAX_LIVE_VIEWS.

    Each holds rows and connections, and a cell that is run again leaves its earlier view behind.
    """
    for widget in [w for w in LIVE if not w.conversation.busy][
        : max(0, len(LIVE) - MAX_LIVE_VIEWS + 1)
    ]:
        LIVE.remove(widget)
        widget.close()
