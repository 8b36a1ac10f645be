"""Outputs that answer: a page that asks its kernel for other parts of itself."""

from workbench.live.conversation import Conversation
from workbench.live.protocol import RefusedError, Reply, Request, Subject

__all__ = ["Conversation", "RefusedError", "Reply", "Request", "Subject"]
