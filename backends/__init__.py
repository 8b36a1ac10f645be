"""Engines: what differs between them, and what is the same number."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backends.engine import Engine, EngineError, engine_of

__all__ = ["Engine", "EngineError", "engine_of"]


def __getattr__(name: str) -> Any:
    """Loaded when asked for: what serves takes sketches from here, and must not load Ibis for them."""
    if name in __all__:
        return getattr(import_module("backends.engine"), name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
