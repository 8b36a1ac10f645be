"""Feature Workbench: features as Ibis expressions, with the same number everywhere."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.backends.engine_refusals import EngineError
    from workbench.catalogs.catalog_entries import Entry
    from workbench.catalogs.catalog_view import Catalog, catalog
    from workbench.definitions.aggregations import Aggregation, trailing
    from workbench.definitions.data_checks import DataCheck, increasing, row_count, unique
    from workbench.definitions.group_by import GroupBy
    from workbench.definitions.join import Join, JoinPart
    from workbench.definitions.reductions import (
        bottom_k,
        each,
        first_k,
        histogram,
        kurtosis,
        last_k,
        skew,
        top_k,
    )
    from workbench.definitions.sketch_reductions import (
        approx_histogram,
        approx_percentile,
        approx_unique_count,
    )
    from workbench.definitions.sources import EntitySource, EventSource
    from workbench.definitions.topics import Topic
    from workbench.definitions.windows import Window, days, hours, minutes
    from workbench.errors import CheckError, DefinitionError
    from workbench.feature_tests.feature_check import Checked, check
    from workbench.monitoring.comparison.served_vs_offline import consistency
    from workbench.monitoring.dashboards.dashboard_view import dashboard
    from workbench.monitoring.lag.freshness_result import freshness
    from workbench.online.errors import StoreError
    from workbench.online.fetching.async_fetcher import AsyncFetcher
    from workbench.online.fetching.fetch_call import fetch
    from workbench.online.fetching.fetcher import Fetcher
    from workbench.online.storage.store import Store
    from workbench.online.streaming.updater import Updater
    from workbench.overview.table_preview import TablePreview
    from workbench.previews.preview_view import Preview, preview
    from workbench.serving.proposals import Proposal, Publication
    from workbench.serving.publication import history, publish, rollback, unpublish, upload
    from workbench.serving.value_reasons import why
    from workbench.training.backfilling import backfill, manifest
    from workbench.training.engine_comparison import Certificate, compare
    from workbench.training.explanation import Explanation, explain

__all__ = [
    "Aggregation",
    "AsyncFetcher",
    "Catalog",
    "Certificate",
    "CheckError",
    "Checked",
    "DataCheck",
    "DefinitionError",
    "EngineError",
    "EntitySource",
    "Entry",
    "EventSource",
    "Explanation",
    "Fetcher",
    "GroupBy",
    "Join",
    "JoinPart",
    "Preview",
    "Proposal",
    "Publication",
    "Store",
    "StoreError",
    "TablePreview",
    "Topic",
    "Updater",
    "Window",
    "approx_histogram",
    "approx_percentile",
    "approx_unique_count",
    "backfill",
    "bottom_k",
    "catalog",
    "check",
    "compare",
    "consistency",
    "dashboard",
    "days",
    "each",
    "explain",
    "fetch",
    "first_k",
    "freshness",
    "histogram",
    "history",
    "hours",
    "increasing",
    "kurtosis",
    "last_k",
    "manifest",
    "minutes",
    "preview",
    "publish",
    "rollback",
    "row_count",
    "skew",
    "top_k",
    "trailing",
    "unique",
    "unpublish",
    "upload",
    "why",
]

# The module of each public name, which is loaded on first use: serving needs no Ibis.
MODULES = {
    "backends.engine_refusals": ("EngineError",),
    "catalogs.catalog_entries": ("Entry",),
    "catalogs.catalog_view": ("Catalog", "catalog"),
    "definitions.data_checks": ("DataCheck", "increasing", "row_count", "unique"),
    "definitions.group_by": ("GroupBy",),
    "definitions.aggregations": ("Aggregation", "trailing"),
    "definitions.join": ("Join", "JoinPart"),
    "definitions.reductions": (
        "bottom_k",
        "each",
        "first_k",
        "histogram",
        "kurtosis",
        "last_k",
        "skew",
        "top_k",
    ),
    "definitions.sketch_reductions": (
        "approx_histogram",
        "approx_percentile",
        "approx_unique_count",
    ),
    "definitions.sources": ("EntitySource", "EventSource"),
    "definitions.topics": ("Topic",),
    "definitions.windows": ("Window", "days", "hours", "minutes"),
    "errors": ("CheckError", "DefinitionError"),
    "feature_tests.feature_check": ("Checked", "check"),
    "monitoring.comparison.served_vs_offline": ("consistency",),
    "monitoring.dashboards.dashboard_view": ("dashboard",),
    "monitoring.lag.freshness_result": ("freshness",),
    "online.errors": ("StoreError",),
    "online.fetching.async_fetcher": ("AsyncFetcher",),
    "online.fetching.fetch_call": ("fetch",),
    "online.fetching.fetcher": ("Fetcher",),
    "online.storage.store": ("Store",),
    "online.streaming.updater": ("Updater",),
    "overview.table_preview": ("TablePreview",),
    "previews.preview_view": ("Preview", "preview"),
    "serving.publication": (
        "Proposal",
        "Publication",
        "history",
        "publish",
        "rollback",
        "unpublish",
        "upload",
    ),
    "serving.value_reasons": ("why",),
    "training.backfilling": ("backfill", "manifest"),
    "training.engine_comparison": ("Certificate", "compare"),
    "training.explanation": ("Explanation", "explain"),
}
MODULE_OF = {name: module for module, names in MODULES.items() for name in names}
EXTRAS = {
    "psycopg": "postgres",
    "psycopg_pool": "postgres",
    "sqlalchemy": "postgres",
    "kafka": "postgres,kafka",
    "fastavro": "postgres,kafka",
    "prometheus_client": "postgres,kafka",
    "scipy": "monitoring",
}


def __getattr__(name: str) -> Any:
    """Import the module of a public name; ImportError says which extra brings what it lacks."""
    if name not in MODULE_OF:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    try:
        found = getattr(import_module(f"workbench.{MODULE_OF[name]}"), name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in EXTRAS:
            message = (
                f"workbench.{name} needs {package}, which is not installed: "
                f"pip install 'feature-workbench[{EXTRAS[package]}]'"
            )
            raise ImportError(message) from error
        raise
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return [*globals(), *__all__]


def load_ipython_extension(shell: Any) -> None:
    """Add the cell magic `%%feature_set`, on `%load_ext workbench`."""
    from workbench.commands.cell_magic import load  # noqa: PLC0415 only a notebook has IPython

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Restore what was there before, on `%unload_ext workbench`."""
    from workbench.commands.cell_magic import unload  # noqa: PLC0415 only a notebook has IPython

    unload(shell)
