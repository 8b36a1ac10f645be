"""Requests to a live preview's session, without a browser."""

from __future__ import annotations

from workbench.live import Request


def ask(explorer, kind, **params):
    parts = {}
    reply = explorer.answer(Request(1, "view", kind, params), lambda part: parts.update(part.parts))
    return {**parts, **reply.parts}
