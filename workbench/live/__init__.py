"""Live outputs: pages that request other parts of themselves from their kernel."""

from workbench.live.conversation import Conversation
from workbench.live.protocol import PageSubject, RefusedError, Reply, Request

__all__ = ["Conversation", "PageSubject", "RefusedError", "Reply", "Request"]
