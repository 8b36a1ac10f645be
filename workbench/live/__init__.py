"""Live outputs: pages that request other parts of themselves from their kernel."""

from workbench.live.conversation import Conversation
from workbench.live.protocol import RefusedError, Reply, Request, Subject

__all__ = ["Conversation", "RefusedError", "Reply", "Request", "Subject"]
