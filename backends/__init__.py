"""Engines: what differs between them, and what is the same number."""

from backends.engine import Engine, EngineError, engine_of

__all__ = ["Engine", "EngineError", "engine_of"]
