"""Watching: drift, freshness, and online/offline consistency."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monitoring.timeliness import Freshness, freshness

ROOMS = {"Freshness": "timeliness", "freshness": "timeliness"}

__all__ = ["Freshness", "freshness"]


def __getattr__(name: str) -> Any:
    """Loaded when asked for: a dashboard that is only drawn needs no store."""
    if name not in ROOMS:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(f"monitoring.{ROOMS[name]}"), name)
