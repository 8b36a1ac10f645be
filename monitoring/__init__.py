"""Monitoring of features: drift, freshness, and consistency between served and offline values."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.monitoring.comparison.consistency_result import Consistency
    from workbench.monitoring.comparison.served_vs_offline import consistency
    from workbench.monitoring.dashboards.dashboard_view import Dashboard, dashboard
    from workbench.monitoring.drifts.drift_scores import drift_of, series
    from workbench.monitoring.drifts.drift_values import Drift
    from workbench.monitoring.drifts.psi_verdicts import Rules
    from workbench.monitoring.lag.freshness_result import Freshness, freshness
    from workbench.monitoring.tiles.bin_edges import Edges, edges_of
    from workbench.monitoring.tiles.tile_series import Tile, merged, summarise

ROOMS = {
    "Consistency": "comparison.consistency_result",
    "Dashboard": "dashboards.dashboard_view",
    "Drift": "drifts.drift_scores",
    "Edges": "tiles.bin_edges",
    "Freshness": "lag.freshness_result",
    "Rules": "drifts.psi_verdicts",
    "Tile": "tiles.tile_series",
    "consistency": "comparison.served_vs_offline",
    "dashboard": "dashboards.dashboard_view",
    "drift_of": "drifts.drift_scores",
    "edges_of": "tiles.bin_edges",
    "freshness": "lag.freshness_result",
    "merged": "tiles.tile_series",
    "series": "drifts.drift_scores",
    "summarise": "tiles.tile_series",
}

__all__ = [
    "Consistency",
    "Dashboard",
    "Drift",
    "Edges",
    "Freshness",
    "Rules",
    "Tile",
    "consistency",
    "dashboard",
    "drift_of",
    "edges_of",
    "freshness",
    "merged",
    "series",
    "summarise",
]


def __getattr__(name: str) -> Any:
    """Imports the module of a public name on first use.

    So a dashboard that is only drawn needs no store, and tiles are counted without SciPy, which
    only scores need. Raises ImportError where SciPy is missing.
    """
    if name not in ROOMS:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    try:
        return getattr(import_module(f"workbench.monitoring.{ROOMS[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] == "scipy":
            message = (
                f"workbench.monitoring.{name} needs scipy, which is not installed: pip install"
                " 'feature-workbench[monitoring]'"
            )
            raise ImportError(message) from error
        raise


# In a checkout the folder may be imported by its own name: its public names are those of the one
# package, and no module is found below it, since it would be loaded, and its classes made, twice.
if __name__ == "monitoring":
    __path__ = []
