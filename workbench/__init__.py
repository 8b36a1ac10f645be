"""Define features as Ibis expressions in a notebook; get the same number everywhere."""

from typing import Any

from backends import EngineError
from workbench.aggregates import bottom_k, each, first_k, histogram, kurtosis, last_k, skew, top_k
from workbench.certificate import Certificate, compare
from workbench.definitions import Aggregation, GroupBy, trailing
from workbench.errors import CheckError, DefinitionError
from workbench.estimates import approx_histogram, approx_percentile, approx_unique_count
from workbench.inspection import Explanation, explain
from workbench.inventory.entries import Entry
from workbench.inventory.view import Catalog, catalog
from workbench.joins import Join, JoinPart
from workbench.overview import TablePreview
from workbench.publication import Proposal, Publication, history, publish, rollback, unpublish, upload
from workbench.quality import DataCheck, increasing, row_count, unique
from workbench.reasons import why
from workbench.sources import EntitySource, EventSource
from workbench.testing import Checked, check
from workbench.timeline import Preview, preview
from workbench.topics import Topic
from workbench.training import backfill, manifest
from workbench.windows import Window, days, hours, minutes

__all__ = [
    "Aggregation",
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
    "GroupBy",
    "Join",
    "JoinPart",
    "Preview",
    "Proposal",
    "Publication",
    "TablePreview",
    "Topic",
    "Window",
    "approx_histogram",
    "approx_percentile",
    "approx_unique_count",
    "backfill",
    "bottom_k",
    "catalog",
    "check",
    "compare",
    "days",
    "each",
    "explain",
    "first_k",
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


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext workbench` brings the cell magic `%%feature_set`."""
    from workbench.feature_sets import load  # noqa: PLC0415 only a notebook has IPython

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """`%unload_ext workbench` puts back what was there before."""
    from workbench.feature_sets import unload  # noqa: PLC0415 only a notebook has IPython

    unload(shell)
