"""Watching: drift, freshness, and online/offline consistency."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monitoring.agreement import consistency
    from monitoring.drift import Drift, drift_of, series
    from monitoring.edges import Edges, edges_of
    from monitoring.findings import Consistency
    from monitoring.tiles import Tile, merged, summarise
    from monitoring.timeliness import Freshness, freshness
    from monitoring.verdicts import Rules
    from monitoring.view import Dashboard, dashboard

ROOMS = {
    "Consistency": "findings",
    "Dashboard": "view",
    "Drift": "drift",
    "Edges": "edges",
    "Freshness": "timeliness",
    "Rules": "verdicts",
    "Tile": "tiles",
    "consistency": "agreement",
    "dashboard": "view",
    "drift_of": "drift",
    "edges_of": "edges",
    "freshness": "timeliness",
    "merged": "tiles",
    "series": "drift",
    "summarise": "tiles",
}

__all__ = ["Consistency", "Dashboard", "Drift", "Edges", "Freshness", "Rules", "Tile", "consistency", "dashboard", "drift_of", "edges_of", "freshness", "merged", "series", "summarise"]


def __getattr__(name: str) -> Any:
    """Loaded when asked for: a dashboard that is only drawn needs no store, and tiles are counted without what scores need."""
    if name not in ROOMS:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    try:
        return getattr(import_module(f"monitoring.{ROOMS[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] == "scipy":
            message = f"monitoring.{name} needs scipy, which is not installed: pip install 'feature-workbench[monitoring]'"
            raise ImportError(message) from error
        raise
