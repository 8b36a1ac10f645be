"""Engines: what differs between them, and what is the same number."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backends.engine import Engine, engine_of
    from backends.refusals import EngineError

__all__ = ["Engine", "EngineError", "engine_of"]


def __getattr__(name: str) -> Any:
    """What is public, when it is asked for: Spark's workers load the kernel alone, and what serves takes sketches from here; neither needs Ibis."""
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module("backends.engine"), name)
