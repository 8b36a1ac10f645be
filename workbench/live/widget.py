"""The live page's widget: an anywidget that carries HTML and messages, and nothing else."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from workbench.live.conversation import Conversation

if TYPE_CHECKING:
    from workbench.live.protocol import PageSubject


class LiveWidget(anywidget.AnyWidget):
    """A widget that shows `page` and passes its requests to a subject.

    The page is synced once; what changes in it is sent as messages, which notebooks do not store.
    """

    _esm = Path(__file__).with_name("live.js")
    page = traitlets.Unicode("").tag(sync=True)

    def __init__(self, subject: PageSubject, page: str) -> None:
        super().__init__(page=str(page))  # marimo takes no kind of str but str itself
        self._lock = threading.Lock()
        self.conversation = Conversation(subject, self._tell)
        self.on_msg(self._heard)

    def _heard(self, _widget: Any, content: Any, _buffers: Any) -> None:
        self.conversation.receive(content)

    def _tell(self, content: dict[str, Any]) -> None:
        with self._lock:  # workers answer at once, and a comm writes one message at a time
            self.send(content)

    def close(self) -> None:
        """End the conversation with the view."""
        if hasattr(self, "conversation"):
            self.conversation.close()
        super().close()

    def __repr__(self) -> str:
        return "live view: run the cell to use it"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        return bundle if bundle is None else ({**bundle[0], "text/plain": repr(self)}, bundle[1])
